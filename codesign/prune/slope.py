"""SLoPe: a static N:M mask, pruned once more for backward-data, and adapters for the last steps."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from codesign.prune.nm_training import NMTraining, nested
from codesign.prune.oneshot import random_mask
from codesign.prune.products import differentiable, product
from codesign.prune.target import Target
from codesign.sparsity.pattern import Pattern


class Slope(NMTraining):
    """The forward mask is random; backward-data reads it pruned again along the outputs; both stay.

    The weight gradient is masked, so that only kept weights ever move. For the last `adapter_share`
    of the run each layer gets L R added, of rank `rank` (default: a sixteenth of the shorter side,
    at least 1), L starting at zero; `finish` leaves them in place beside the sparse weight.
    """

    name = "slope"
    paper = "Mozaffari et al., ICLR 2025 (arXiv 2405.16325), equations 4.1 to 4.11 of the thesis"
    needs_optimizer = True

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        rank: int = 0,
        adapter_share: float = 0.01,
    ) -> None:
        super().__init__(pattern, seed=seed)
        self.rank, self.adapter_share = rank, adapter_share
        self.adapters: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}

    def choose(self, target: Target) -> Tensor:
        return random_mask(self, target)

    def choose_backward(self, target: Target) -> Tensor:
        return nested(target, self.n, self.m)

    def start(self) -> None:
        super().start()
        random = torch.Generator().manual_seed(self.seed)
        for target in self.targets:
            self.adapters[target.key] = target.low_rank(self.rank, random)

    def parameters(self) -> list[nn.Parameter]:
        return [factor for pair in self.adapters.values() for factor in pair]

    @property
    def adapting(self) -> bool:
        """Whether the adapters take part at this step."""
        return self.step >= self.steps - math.ceil(self.adapter_share * self.steps)

    def output(self, target: Target, x: Tensor) -> Tensor:
        y = product(x, target.layer, self.weight(target), self.backward_weight(target))
        return y + self._adapted(target, x) if self.adapting else y

    def _adapted(self, target: Target, x: Tensor) -> Tensor:
        up, down = self.adapters[target.key]
        if isinstance(target.layer, nn.Conv2d):
            return differentiable(x, target.layer, target.shaped(up @ down), bias=False)
        return (x @ down.t()) @ up.t()

    def gradient(self, target: Target, gradient: Tensor) -> Tensor:
        assert target.mask is not None
        return target.masked(gradient, target.mask)

    def advance(self) -> None:
        """Both masks are static."""

    def finish(self) -> None:
        adapted = self.adapting
        super().finish()
        if adapted:
            for target in self.targets:
                forward = partial(self._sum, target)
                target.layer.forward = forward  # type: ignore[method-assign]

    def _sum(self, target: Target, x: Tensor) -> Tensor:
        return differentiable(x, target.layer, target.layer.weight) + self._adapted(target, x)


def double_pruning_loss(n: int, m: int) -> float:
    """Density lost when a random N:M mask is pruned N:M once more along the other axis.

    Equation 4.8 of the thesis: a column group of m holds j kept elements with binomial probability,
    and what exceeds n is cut.

    >>> double_pruning_loss(2, 4)
    0.09375
    """
    s = n / m
    return sum(
        math.comb(m, j) * s**j * (1 - s) ** (m - j) * (j - n) / m for j in range(n + 1, m + 1)
    )
