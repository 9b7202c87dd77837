"""Masks as functions of the weights: AutoSparse, ST-3, PDP."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codesign.config import CodesignError
from codesign.prune.base import Sparsifier
from codesign.prune.oneshot import removed_share
from codesign.prune.products import differentiable
from codesign.prune.schedule import cosine, cubic, progress
from codesign.prune.select import count_kept, largest, largest_of_groups
from codesign.prune.target import Target
from codesign.sparsity.pattern import NM, Pattern, Unstructured


class _Soft(Sparsifier):
    """A method whose export is what its forward weight leaves non-zero."""

    patterns: ClassVar[tuple[type[Pattern], ...]] = (Unstructured,)

    def start(self) -> None:
        self.advance()

    def advance(self) -> None:
        for target in self.targets:
            target.mask = target.rows(self.weight(target)) != 0

    def layer_pattern(self, target: Target) -> Pattern:
        if target.mask is None or not isinstance(self.pattern, Unstructured):
            return self.pattern
        kept = max(1, int(target.mask.sum()))
        return Unstructured(1 - kept / target.mask.numel())


class _Annealed(torch.autograd.Function):
    """sign(w) * max(|w| - t, 0); pruned weights get alpha times the gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, threshold: Tensor, alpha: float) -> Tensor:
        kept = weight.abs() > threshold
        ctx.save_for_backward(kept, weight.sign())
        ctx.alpha = alpha
        return weight.sign() * (weight.abs() - threshold) * kept

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        kept, sign = ctx.saved_tensors
        to_weight = torch.where(kept, gradient, ctx.alpha * gradient)
        return to_weight, -(gradient * sign * kept).sum(), None


def annealed_threshold(weight: Tensor, threshold: Tensor, alpha: float) -> Tensor:
    """Soft thresholding with gradient annealing: 1 for kept weights, `alpha` for the others.

    The threshold, a scalar, gets minus the sum of gradient times sign over kept weights.
    """
    found: Tensor = _Annealed.apply(weight, threshold, alpha)  # type: ignore[no-untyped-call]
    return found


class AutoSparse(_Soft):
    """Each layer learns its threshold, sigmoid(s); pruned weights learn with a falling alpha.

    The threshold starts at the magnitude that removes `initial` of what the pattern removes; alpha
    falls from `alpha` to 0 along half a cosine until `end` of the run. When the model is as sparse
    as the pattern, thresholds stop rising; they decide where the zeros are and how many, so that
    `density()` is measured, not set.
    """

    name = "autosparse"
    paper = "Kundu et al. 2023 (arXiv 2304.06941)"
    needs_optimizer = True

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        alpha: float = 0.4,
        initial: float = 0.5,
        end: float = 0.75,
    ) -> None:
        super().__init__(pattern, seed=seed)
        self.alpha, self.initial, self.end = alpha, initial, end
        self.logits: dict[str, nn.Parameter] = {}

    def start(self) -> None:
        for target in self.targets:
            sizes = target.rows().abs().reshape(-1).float()
            removed = int(self.initial * removed_share(self.pattern) * sizes.numel())
            threshold = float(torch.kthvalue(sizes, max(1, removed)).values)
            logit = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else -8.0
            self.logits[target.key] = nn.Parameter(torch.tensor(logit).to(target.weight))
        super().start()

    def parameters(self) -> list[nn.Parameter]:
        return list(self.logits.values())

    @property
    def alpha_now(self) -> float:
        return cosine(self.alpha, progress(self.step, 0, int(self.end * self.steps)))

    def weight(self, target: Target) -> Tensor:
        threshold = torch.sigmoid(self.logits[target.key].detach())
        return annealed_threshold(target.weight.detach(), threshold, 0.0)

    def output(self, target: Target, x: Tensor) -> Tensor:
        threshold = torch.sigmoid(self.logits[target.key])
        soft = annealed_threshold(target.layer.weight, threshold, self.alpha_now)
        return differentiable(x, target.layer, soft)

    def after_backward(self) -> None:
        super().after_backward()
        if self.density() <= self.pattern.density:
            for logit in self.logits.values():
                if logit.grad is not None:
                    logit.grad.clamp_min_(0)  # a step against it can only lower the threshold


class _Reaching(_Soft):
    """One whose `finish` is at the pattern's sparsity whatever the number of steps."""

    def finish(self) -> None:
        self.step = max(self.step, self.steps)
        with torch.no_grad():
            self.advance()
        super().finish()


class St3(_Reaching):
    """Soft thresholding at the magnitude that the cubic schedule's sparsity asks for.

    The gradient passes straight to the raw weights. With `rescale` the soft weights are scaled so
    that their norm is that of the hard-pruned ones. One threshold per layer, or with `globally` one
    for the model.
    """

    name = "st3"
    paper = "Vanderschueren and De Vleeschouwer, WACV 2023 (arXiv 2212.01076)"

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        end: float = 0.75,
        rescale: bool = False,
        globally: bool = False,
    ) -> None:
        super().__init__(pattern, seed=seed)
        self.end, self.rescale, self.globally = end, rescale, globally

    @property
    def sparsity_now(self) -> float:
        done = progress(self.step, 0, int(self.end * self.steps))
        return cubic(0.0, removed_share(self.pattern), done)

    def advance(self) -> None:
        every = torch.cat([t.rows().abs().reshape(-1) for t in self.targets])
        shared = cut(every, self.sparsity_now) if self.globally else None
        for target in self.targets:
            rows = target.rows()
            threshold = cut(rows.abs(), self.sparsity_now) if shared is None else shared
            soft = rows.sign() * (rows.abs() - threshold).clamp_min(0)
            if self.rescale:
                hard = torch.where(soft != 0, rows, torch.zeros_like(rows))
                soft = soft * (hard.norm() / soft.norm().clamp_min(1e-12))
            target.state["weight"], target.mask = target.shaped(soft), soft != 0

    def weight(self, target: Target) -> Tensor:
        return target.state["weight"]


def cut(sizes: Tensor, sparsity: float) -> Tensor:
    """The largest magnitude that a sparsity removes, 0 if it removes none."""
    removed = sizes.numel() - count_kept(sparsity, sizes.numel())
    flat = sizes.reshape(-1)
    return torch.kthvalue(flat, removed).values if removed else torch.zeros(()).to(flat)


class Pdp(_Reaching):
    """The weight is multiplied by sigmoid((w^2 - t^2) / tau), t half-way across the cut; then hard.

    The cut is between the smallest kept and the largest pruned magnitude of a layer (of a group for
    N:M). The share removed grows linearly until `end` of the run; `finish` hardens the mask. `tau`
    counts in means of w^2 of the layer, `absolute_tau`, where given, in w^2 itself.
    """

    name = "pdp"
    paper = "Cho et al., NeurIPS 2023 (arXiv 2305.11203)"
    patterns = (Unstructured, NM)

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        tau: float = 0.1,
        absolute_tau: float | None = None,
        end: float = 0.5,
    ) -> None:
        super().__init__(pattern, seed=seed)
        if tau <= 0 or (absolute_tau is not None and absolute_tau <= 0):
            raise CodesignError("the temperature of pdp is above zero")
        self.tau, self.absolute_tau, self.end = tau, absolute_tau, end

    def soft_mask(self, target: Target, weight: Tensor) -> Tensor:
        """Between 0 and 1 for each weight, in the weight's shape; autograd sees the weight."""
        square, level = weight.square(), target.state["level"]
        tau = self.absolute_tau or self.tau * max(float(square.detach().mean()), 1e-12)
        return torch.sigmoid((square - level) / tau)

    def advance(self) -> None:
        for target in self.targets:
            rows = target.rows()
            hard = self.hard(rows)
            outside = torch.where(hard, torch.zeros_like(rows), rows.abs())
            inside = torch.where(hard, rows.abs(), torch.full_like(rows, torch.inf))
            if isinstance(self.pattern, NM):
                low, high = (self._groups(t, f) for t, f in ((outside, 0.0), (inside, torch.inf)))
                middle = (low.amax(2) + high.amin(2)) / 2
                level = middle.repeat_interleave(self.pattern.m, 1)[:, : rows.shape[1]]
                target.state["level"] = target.shaped(level.square())
            else:
                target.state["level"] = ((outside.max() + inside.min()) / 2).square()
            target.mask = hard

    def hard(self, rows: Tensor) -> Tensor:
        """The mask at the sparsity of this step."""
        done = progress(self.step, 0, int(self.end * self.steps))
        if isinstance(self.pattern, NM):
            n = self.pattern.m - round(done * (self.pattern.m - self.pattern.n))
            return largest_of_groups(rows, n, self.pattern.m)
        return largest(rows.abs(), count_kept(done * removed_share(self.pattern), rows.numel()))

    def _groups(self, rows: Tensor, fill: float) -> Tensor:
        assert isinstance(self.pattern, NM)
        padded = torch.nn.functional.pad(rows, (0, -rows.shape[1] % self.pattern.m), value=fill)
        return padded.reshape(rows.shape[0], -1, self.pattern.m)

    def output(self, target: Target, x: Tensor) -> Tensor:
        weight = target.layer.weight
        return differentiable(x, target.layer, weight * self.soft_mask(target, weight))
