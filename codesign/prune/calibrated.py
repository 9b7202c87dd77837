"""One-shot masks and repaired weights from calibration inputs: Wanda, SparseGPT, OBS, CHITA."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.prune.oneshot import FixedMask
from codesign.prune.select import count_kept, largest_of_groups
from codesign.prune.target import Target
from codesign.sparsity.pattern import NM, Pattern, Split, Unstructured

_SIDE = 512
"""Blocks of a symmetric sum: small enough to leave out nearly half, large enough for one GEMM."""


class _Calibrated(FixedMask):
    """Chooses masks layer by layer from the inputs that each layer saw."""

    needs_data = True
    patterns: ClassVar[tuple[type[Pattern], ...]] = (Unstructured, NM)

    def fit(self) -> None:
        for target in self.targets:
            if "tokens" not in target.state:
                raise CodesignError(f"{target.name}: no calibration input reached the layer")
            self.fit_layer(target)
            target.state.clear()

    def fit_layer(self, target: Target) -> None:
        """Choose the mask of a layer, and change its weights if the method does."""
        raise NotImplementedError

    def by_row(self, scores: Tensor) -> Tensor:
        """The pattern's mask with the largest scores, equally many in each row."""
        if isinstance(self.pattern, NM):
            return largest_of_groups(scores, self.pattern.n, self.pattern.m)
        assert isinstance(self.pattern, Unstructured)
        kept = count_kept(self.pattern.sparsity, scores.shape[1])
        chosen = scores.topk(kept, 1).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, chosen, True)


class _InputNorms(_Calibrated):
    """Keeps the sum of squares of each input over all tokens: all that the method needs of them."""

    def observe(self, target: Target, x: Tensor) -> None:
        rows = target.inputs(x.detach()).float()
        state = target.state
        state["squares"] = state.get("squares", torch.zeros(()).to(rows)) + rows.square().sum(0)
        state["tokens"] = state.get("tokens", torch.zeros(())) + len(rows)

    def scores(self, target: Target) -> Tensor:
        """|w_ij| * |x_j|, [n, k]."""
        return target.rows().float().abs() * target.state["squares"].sqrt()


class Wanda(_InputNorms):
    """In every row the smallest |w| times norm of its input go; weights stay as they are."""

    name = "wanda"
    paper = "Sun et al., ICLR 2024 (arXiv 2306.11695)"

    def fit_layer(self, target: Target) -> None:
        target.mask = self.by_row(self.scores(target))


class Spense(_InputNorms):
    """Rows that lose most under N:M stay dense, the others become N:M, by Wanda's scores.

    The two groups of rows are two ordinary products. The paper has two ways to choose the dense
    part; this is the one by sensitivity, over rows.
    """

    name = "spense"
    paper = "SpenseGPT: Practical One-shot Pruning Enabling Sparse and Dense GEMMs, its abstract"
    patterns = (Split,)

    def fit_layer(self, target: Target) -> None:
        scores = self.scores(target).square().double().cpu().numpy()
        kept = self.pattern.project(scores).to_dense()
        target.mask = torch.from_numpy(kept).to(target.weight.device)


class _Hessians(_Calibrated):
    """Keeps the mean of x x^T over all tokens, the Hessian of half the layer's squared error."""

    def __init__(self, pattern: Pattern | str, *, seed: int = 0, damping: float = 0.01) -> None:
        super().__init__(pattern, seed=seed)
        self.damping = damping

    def observe(self, target: Target, x: Tensor) -> None:
        add_tokens(target.state, target.inputs(x.detach()))

    def hessian(self, target: Target) -> Tensor:
        """The mean of x x^T plus `damping` of its mean diagonal; 1 for inputs that are never on."""
        return damped(gram(target.state) / target.state["tokens"], self.damping)


def add_tokens(state: dict[str, Tensor], rows: Tensor) -> None:
    """Add tokens [t, k] to the running sums `gram` (x x^T, float32) and `tokens`.

    Of `gram` only blocks on the diagonal and above are kept up: read it with the function `gram`.
    """
    rows = rows.float()
    k = rows.shape[1]
    if "gram" not in state:
        state["gram"] = torch.zeros(k, k).to(rows)
        state["tokens"] = torch.zeros(())
    for start in range(0, k, _SIDE):
        stop = start + _SIDE
        state["gram"][start:stop, start:].addmm_(rows[:, start:stop].t(), rows[:, start:])
    state["tokens"] += len(rows)


def gram(state: dict[str, Tensor]) -> Tensor:
    """The sum of x x^T over all tokens that `add_tokens` has seen, [k, k]."""
    sums = state["gram"]
    for start in range(0, len(sums), _SIDE):
        stop = start + _SIDE
        sums[stop:, start:stop] = sums[start:stop, stop:].t()
    return sums


def damped(sums: Tensor, damping: float) -> Tensor:
    """A positive definite copy of a Gram matrix."""
    hessian = sums.clone()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean()
    return hessian


class SparseGPT(_Hessians):
    """Columns are pruned from left to right and their error is pushed to the columns on the right.

    Masks are chosen in blocks of `block` columns (whole N:M groups) by w^2 / [H^-1]_jj^2 with the
    Cholesky factor of H^-1.
    """

    name = "sparsegpt"
    paper = "Frantar and Alistarh, ICML 2023 (arXiv 2301.00774), algorithm 1"

    def __init__(
        self, pattern: Pattern | str, *, seed: int = 0, damping: float = 0.01, block: int = 128
    ) -> None:
        super().__init__(pattern, seed=seed, damping=damping)
        if isinstance(self.pattern, NM) and block % self.pattern.m:
            raise CodesignError(f"blocks of {block} columns cut groups of {self.pattern.m}")
        self.block = block

    def fit_layer(self, target: Target) -> None:
        weights, mask = sparsegpt(target.rows(), self.hessian(target), self.pattern, self.block)
        target.mask = mask
        target.weight.copy_(target.shaped(weights))


def sparsegpt(
    rows: Tensor, hessian: Tensor, pattern: Pattern, block: int = 128
) -> tuple[Tensor, Tensor]:
    """Repaired weights and the mask of a matrix [n, k] under a Hessian [k, k].

    Unstructured masks keep an equal share in each block of columns.
    """
    weights = rows.float().clone()
    n, k = weights.shape
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    mask = torch.ones(n, k, dtype=torch.bool, device=rows.device)
    for start in range(0, k, block):
        stop = min(start + block, k)
        part = weights[:, start:stop].t().contiguous()  # columns of W are rows here: contiguous
        corner = factor[start:stop, start:stop]
        errors = torch.zeros_like(part)
        kept = torch.ones_like(part, dtype=torch.bool)
        scale = corner.diagonal()[:, None]
        if isinstance(pattern, Unstructured):
            salience = (part / scale).square()
            removed = part.numel() - count_kept(pattern.sparsity, part.numel())
            if removed:
                cut = torch.kthvalue(salience.reshape(-1), removed).values
                kept = salience > cut
        for j in range(stop - start):
            if isinstance(pattern, NM) and j % pattern.m == 0:
                group = slice(j, j + pattern.m)
                salience = (part[group] / scale[group]).square()
                kept[group] = largest_of_groups(salience, pattern.n, pattern.m, axis=0)
            errors[j] = torch.where(kept[j], 0.0, part[j] / corner[j, j])
            part[j + 1 :].addr_(corner[j, j + 1 :], errors[j], alpha=-1)
        part *= kept
        weights[:, start:stop], mask[:, start:stop] = part.t(), kept.t()
        weights[:, stop:].addmm_(errors.t(), factor[start:stop, stop:], alpha=-1)
    return weights.to(rows.dtype), mask


class Obs(_Hessians):
    """Optimal brain surgeon: one weight of each row at a time, the cheapest, with exact repair.

    Cost w_q^2 / (2 [H^-1]_qq), update -w_q H^-1 e_q / [H^-1]_qq, and q leaves H^-1. The work is of
    order n * k^3: for small layers and as a measure for the others.
    """

    name = "obs"
    paper = "Hassibi and Stork 1993; per row as in Frantar and Alistarh, NeurIPS 2022"

    def fit_layer(self, target: Target) -> None:
        inverse = torch.linalg.inv(self.hessian(target).double())
        rows = target.rows().double().clone()
        mask = torch.ones(rows.shape, dtype=torch.bool, device=rows.device)
        inverses = inverse.repeat(len(rows), 1, 1)
        k = rows.shape[1]
        for _ in range(self._removals(k)):
            diagonal = inverses.diagonal(dim1=1, dim2=2)
            cost = rows.square() / diagonal.clamp_min(1e-300)
            cost[~self._may_go(mask)] = torch.inf
            chosen = cost.argmin(1, keepdim=True)
            column = inverses.gather(2, chosen[:, :, None].expand(-1, k, 1))
            share = column / column.gather(1, chosen[:, :, None])
            rows -= rows.gather(1, chosen) * share[:, :, 0]
            inverses.baddbmm_(share, column.transpose(1, 2), alpha=-1)
            mask.scatter_(1, chosen, False)
            rows *= mask
        target.mask = mask
        target.weight.copy_(target.shaped(rows.to(target.weight)))

    def _removals(self, k: int) -> int:
        if isinstance(self.pattern, NM):
            full, rest = divmod(k, self.pattern.m)
            return full * (self.pattern.m - self.pattern.n) + max(0, rest - self.pattern.n)
        assert isinstance(self.pattern, Unstructured)
        return k - count_kept(self.pattern.sparsity, k)

    def _may_go(self, mask: Tensor) -> Tensor:
        if not isinstance(self.pattern, NM):
            return mask
        n, m = self.pattern.n, self.pattern.m
        groups = torch.nn.functional.pad(mask, (0, -mask.shape[1] % m)).reshape(len(mask), -1, m)
        open_groups = (groups.sum(2, keepdim=True) > n).expand(groups.shape)
        return mask & open_groups.reshape(len(mask), -1)[:, : mask.shape[1]]


class Chita(_Hessians):
    """Several weights together: L0-constrained ridge regression by iterative hard thresholding.

    Per layer, minimise half of (w - w0)^T H (w - w0) + ridge * |w - w0|^2 with the pattern's number
    of weights in each row: gradient steps of 1 / (largest eigenvalue), each cut to the pattern and
    followed by an exact refit of the kept weights; the best of at most `rounds` counts. Here H is
    that of the layer's squared error; the paper takes the empirical Fisher matrix of the loss.
    """

    name = "chita"
    paper = "Benbaki et al., ICML 2023 (arXiv 2302.14623)"

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        damping: float = 0.01,
        ridge: float = 1e-3,
        rounds: int = 20,
    ) -> None:
        super().__init__(pattern, seed=seed, damping=damping)
        self.ridge, self.rounds = ridge, rounds

    def fit_layer(self, target: Target) -> None:
        hessian = self.hessian(target).double()
        hessian.diagonal().add_(self.ridge * float(hessian.diagonal().mean()))
        dense = target.rows().double()
        step = 1 / float(torch.linalg.eigvalsh(hessian)[-1])
        mask = self.by_row(dense.abs() * hessian.diagonal().sqrt())
        weights = refit(dense, hessian, mask)
        best, best_error = (weights, mask), quadratic(weights - dense, hessian)
        for _ in range(self.rounds):
            moved = weights - step * (weights - dense) @ hessian
            previous, mask = mask, self.by_row(moved.abs())
            if torch.equal(previous, mask):
                break
            weights = refit(dense, hessian, mask)
            error = quadratic(weights - dense, hessian)
            if error < best_error:
                best, best_error = (weights, mask), error
        target.mask = best[1]
        target.weight.copy_(target.shaped(best[0].to(target.weight)))


def quadratic(change: Tensor, hessian: Tensor) -> float:
    """Half of the sum over rows of change^T H change."""
    return float(((change @ hessian) * change).sum()) / 2


def refit(dense: Tensor, hessian: Tensor, mask: Tensor) -> Tensor:
    """The weights inside a mask that minimise (w - dense)^T H (w - dense), row by row."""
    wanted = dense @ hessian
    eye = torch.eye(hessian.shape[0], dtype=hessian.dtype, device=hessian.device)
    out = torch.zeros_like(dense)
    for row in range(len(dense)):
        kept = mask[row]
        system = torch.where(kept[:, None] & kept[None, :], hessian, eye)
        out[row] = torch.linalg.solve(system, wanted[row] * kept)
    return out
