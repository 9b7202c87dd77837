"""Zeros in activations, decided anew for every token: TEAL, WINA, R-Sparse, Mustafar, k-WTA."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codesign.config import CodesignError
from codesign.prune.base import Sparsifier
from codesign.prune.oneshot import removed_share
from codesign.prune.products import differentiable
from codesign.prune.select import count_kept
from codesign.prune.target import Target
from codesign.sparsity.pattern import Pattern, Unstructured


class _Activation(Sparsifier):
    """Leaves weights alone; the pattern is that of the input, unstructured in channels."""

    timing = "activation"
    patterns = (Unstructured,)

    def finish(self) -> None:
        """Keep the layers' forward as it is: the method works whenever the model runs."""

    def input_density(self) -> dict[str, float]:
        """Kept fraction of each layer's inputs since the last call, by parameter name."""
        found = {}
        for target in self.targets:
            if "seen" in target.state:
                kept, seen = target.state.pop("kept"), target.state.pop("seen")
                found[target.key] = float(kept / seen)
        return found

    def _count(self, target: Target, kept: Tensor) -> None:
        state = target.state
        for name, value in (("kept", int(kept.sum())), ("seen", kept.numel())):
            state[name] = state.get(name, torch.zeros((), dtype=torch.float64)) + value


def top_channels(scores: Tensor, sparsity: float, axis: int) -> Tensor:
    """True at the largest scores of each vector along an axis."""
    kept = count_kept(sparsity, scores.shape[axis])
    chosen = scores.topk(kept, dim=axis).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(axis, chosen, True)


def channel_axis(x: Tensor, target: Target) -> int:
    """The axis of a layer's input or output that holds channels."""
    return 1 if isinstance(target.layer, nn.Conv2d) else -1


class Teal(_Activation):
    """Inputs below a threshold are zero; the threshold is a quantile of calibration magnitudes.

    Every layer has the same sparsity; the paper's greedy allocation is not part of it. Quantiles
    are of at most `sampled` magnitudes per layer.
    """

    name = "teal"
    paper = "Liu et al., ICLR 2025 (arXiv 2408.14690)"
    needs_data = True

    def __init__(self, pattern: Pattern | str, *, seed: int = 0, sampled: int = 1 << 20) -> None:
        super().__init__(pattern, seed=seed)
        self.sampled = sampled
        self._random = torch.Generator().manual_seed(seed)

    def observe(self, target: Target, x: Tensor) -> None:
        sizes = x.detach().abs().reshape(-1).float().cpu()
        before = target.state.get("sizes", torch.empty(0))
        every = torch.cat([before, sizes])
        if every.numel() > self.sampled:
            every = every[torch.randperm(every.numel(), generator=self._random)[: self.sampled]]
        target.state["sizes"] = every

    def fit(self) -> None:
        for target in self.targets:
            if "sizes" not in target.state:
                raise CodesignError(f"{target.name}: no calibration input reached the layer")
            sizes = target.state.pop("sizes")
            removed = sizes.numel() - count_kept(removed_share(self.pattern), sizes.numel())
            cut = torch.kthvalue(sizes, removed).values if removed else torch.zeros(())
            target.state["threshold"] = cut.to(target.weight)

    def kept(self, target: Target, x: Tensor) -> Tensor:
        """Where the input stays."""
        return x.detach().abs() > target.state["threshold"]

    def output(self, target: Target, x: Tensor) -> Tensor:
        if "threshold" not in target.state:
            return differentiable(x, target.layer, target.layer.weight)
        kept = self.kept(target, x)
        self._count(target, kept)
        return differentiable(x * kept, target.layer, target.layer.weight)


class Wina(_Activation):
    """Of each token's inputs the largest |x_i| times the norm of column i of the weight stay."""

    name = "wina"
    paper = "Chen et al. 2025 (arXiv 2505.19427)"

    def scores(self, target: Target, x: Tensor) -> Tensor:
        """|x_i| * |W_:,i|, of the input's shape."""
        if isinstance(target.layer, nn.Conv2d):
            if target.layer.groups != 1:
                raise CodesignError(f"{target.name}: wina does not know grouped convolutions")
            weight = target.weight.detach()
            norms: Tensor = torch.linalg.vector_norm(weight, dim=(0, 2, 3)).view(-1, 1, 1)
        else:
            norms = torch.linalg.vector_norm(target.rows(), dim=0)
        return x.detach().abs() * norms

    def output(self, target: Target, x: Tensor) -> Tensor:
        axis = channel_axis(x, target)
        kept = top_channels(self.scores(target, x), removed_share(self.pattern), axis)
        self._count(target, kept)
        return differentiable(x * kept, target.layer, target.layer.weight)


class RSparse(Teal):
    """Large inputs meet the weight, the others its best approximation of rank `rank`.

    `rank` defaults to an eighth of the shorter side. Singular vectors are taken once, after
    calibration; the search for each layer's split is not part of it.
    """

    name = "r_sparse"
    paper = "R-Sparse: Rank-Aware Activation Sparsity for Efficient LLM Inference, ICLR 2025"

    def __init__(
        self, pattern: Pattern | str, *, seed: int = 0, sampled: int = 1 << 20, rank: int = 0
    ) -> None:
        super().__init__(pattern, seed=seed, sampled=sampled)
        self.rank = rank

    def fit(self) -> None:
        super().fit()
        for target in self.targets:
            rank = self.rank or max(1, min(target.shape) // 8)
            u, s, v = torch.linalg.svd(target.rows().float(), full_matrices=False)
            low = (u[:, :rank] * s[:rank]) @ v[:rank]
            target.state["low"] = target.shaped(low).to(target.weight)

    def output(self, target: Target, x: Tensor) -> Tensor:
        large = super().output(target, x)
        if "low" not in target.state:
            return large
        rest = x * ~self.kept(target, x)
        return large + differentiable(rest, target.layer, target.state["low"], bias=False)


class Mustafar(_Activation):
    """Keys and values lose the smallest elements of each token, except the last `recent` tokens.

    Attach it to the layers that make them, `where=("*k_proj", "*v_proj")`: what they put out,
    [.., tokens, channels], is what the cache holds.
    """

    name = "mustafar"
    paper = "Mustafar: Promoting Unstructured Sparsity for KV Cache Pruning in LLM Inference, 2025"

    def __init__(self, pattern: Pattern | str, *, seed: int = 0, recent: int = 32) -> None:
        super().__init__(pattern, seed=seed)
        self.recent = recent

    def output(self, target: Target, x: Tensor) -> Tensor:
        made = differentiable(x, target.layer, target.layer.weight)
        if isinstance(target.layer, nn.Conv2d) or made.ndim < 2:
            raise CodesignError(f"{target.name}: keys and values are [.., tokens, channels]")
        kept = top_channels(made.detach().abs(), removed_share(self.pattern), -1)
        if self.recent:
            kept[..., -self.recent :, :] = True
        self._count(target, kept)
        return made * kept


class Kwta(_Activation):
    """Of each output vector the k largest values stay, and only winners get a gradient."""

    name = "kwta"
    paper = "Ahmad and Scheinkman 2019 (arXiv 1903.11257); Majani et al. 1988"

    def output(self, target: Target, x: Tensor) -> Tensor:
        made = differentiable(x, target.layer, target.layer.weight)
        axis = channel_axis(made, target)
        kept = top_channels(made.detach(), removed_share(self.pattern), axis)
        self._count(target, kept)
        return made * kept
