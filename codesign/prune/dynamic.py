"""Masks that gain and lose weights while training: gradual, GraNet, RigL, SRigL, BLaST."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.prune.oneshot import FixedMask, erk, random_mask, removed_share
from codesign.prune.schedule import cosine, cubic, progress
from codesign.prune.select import block_norms, count_kept, largest, spread_blocks
from codesign.prune.target import Target
from codesign.sparsity.pattern import Block, FanIn, Pattern, Unstructured


class _Scheduled(FixedMask):
    """Masks that change every `every` steps between the shares `begin` and `end` of the run."""

    timing = "training"
    patterns: ClassVar[tuple[type[Pattern], ...]] = (Unstructured,)

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        every: int = 100,
        begin: float = 0.0,
        end: float = 0.75,
    ) -> None:
        super().__init__(pattern, seed=seed)
        if every < 1 or not 0 <= begin < end <= 1:
            raise CodesignError(
                "masks change every 1 or more steps between shares 0 <= begin < end <= 1, "
                f"got every {every}, {begin} to {end}"
            )
        self.every, self.begin, self.end = every, begin, end

    @property
    def done(self) -> float:
        """How far the schedule is at this step, from 0 to 1; a run of 0 steps is at its end."""
        return progress(self.step, int(self.begin * self.steps), int(self.end * self.steps))

    def advance(self) -> None:
        first = self.begin * self.steps <= self.step
        ends_now = self.step == int(self.end * self.steps)
        if ends_now or (first and self.done < 1 and self.step % self.every == 0):
            for target in self.targets:
                self.change(target)

    def change(self, target: Target) -> None:
        """Give a layer its next mask."""
        raise NotImplementedError

    def layer_pattern(self, target: Target) -> Pattern:
        if target.mask is None or not isinstance(self.pattern, Unstructured):
            return self.pattern
        return Unstructured(1 - int(target.mask.sum()) / target.mask.numel())


class Gradual(_Scheduled):
    """Magnitude pruning of every layer along a cubic schedule; pruned weights stay pruned.

    `finish` reaches the pattern's sparsity whatever the number of steps.
    """

    name = "gradual"
    paper = "Zhu and Gupta 2017 (arXiv 1710.01878)"
    patterns = (Unstructured, Block)

    @property
    def sparsity_now(self) -> float:
        assert isinstance(self.pattern, Unstructured | Block)
        return cubic(0.0, self.pattern.sparsity, self.done)

    def choose(self, target: Target) -> Tensor:
        return torch.ones(target.shape, dtype=torch.bool, device=target.weight.device)

    def change(self, target: Target) -> None:
        assert target.mask is not None
        rows = target.rows() * target.mask
        if isinstance(self.pattern, Block):
            target.mask = largest_blocks(rows, self.pattern, self.sparsity_now)
        else:
            target.mask = largest(rows.abs(), count_kept(self.sparsity_now, rows.numel()))

    def finish(self) -> None:
        if self.done < 1:
            self.step = max(1, self.steps)
            with torch.no_grad():
                for target in self.targets:
                    self.change(target)
        super().finish()


def largest_blocks(scores: Tensor, pattern: Block, sparsity: float) -> Tensor:
    """The mask of the blocks with the largest norms, boolean [n, k]."""
    norms = block_norms(scores, pattern.block_rows, pattern.block_cols)
    kept = largest(norms, count_kept(sparsity, norms.numel()))
    n, k = scores.shape
    return spread_blocks(kept, pattern.block_rows, pattern.block_cols, (n, k))


class _Regrowing(_Scheduled):
    """Masks that take weights back by the size of their dense gradient."""

    def gradient(self, target: Target, gradient: Tensor) -> Tensor:
        target.state["gradient"] = target.rows(gradient).abs()
        return super().gradient(target, gradient)

    def advance(self) -> None:
        if all("gradient" in target.state for target in self.targets):
            super().advance()

    def regrow(self, target: Target, kept: Tensor, grown: int) -> None:
        """Let as many weights grow beside the kept ones, where gradients are largest."""
        none = -torch.ones(()).to(target.weight)
        self.swap(target, kept, largest(torch.where(kept, none, target.state["gradient"]), grown))

    def swap(self, target: Target, kept: Tensor, regrown: Tensor) -> None:
        """The mask of what is kept and what grows; weights that were not there start from zero."""
        assert target.mask is not None
        target.weight.mul_(target.shaped(~(regrown & ~target.mask)))
        target.mask = kept | regrown


class RigL(_Regrowing):
    """The smallest weights of a layer make room for those with the largest gradients.

    The share is `share` times half a cosine of the run; layers have ERK densities (`uniform=True`:
    equal ones), and as many weights at the end as at the start.
    """

    name = "rigl"
    paper = "Evci et al., ICML 2020 (arXiv 1911.11134)"

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        every: int = 100,
        begin: float = 0.0,
        end: float = 0.75,
        share: float = 0.3,
        uniform: bool = False,
    ) -> None:
        super().__init__(pattern, seed=seed, every=every, begin=begin, end=end)
        self.share, self.uniform = share, uniform

    def start(self) -> None:
        removed = erk(self.pattern, self.targets)
        for target in self.targets:
            size = target.weight.numel()
            share = removed_share(self.pattern) if self.uniform else removed[target.key]
            keys = torch.rand(
                target.shape, generator=torch.Generator().manual_seed(self.layer_seed(target))
            )
            target.mask = largest(keys.to(target.weight.device), count_kept(share, size))

    def change(self, target: Target) -> None:
        assert target.mask is not None
        total = int(target.mask.sum())
        moved = min(int(cosine(self.share, self.done) * total), target.mask.numel() - total)
        sizes = torch.where(target.mask, target.rows().abs(), -torch.ones(()).to(target.weight))
        self.regrow(target, largest(sizes, total - moved), moved)


class GraNet(_Regrowing):
    """Gradual pruning that at each change prunes a share more and grows as many back by gradient.

    The share follows half a cosine from `share`, the sparsity the cubic schedule from
    `initial_sparsity`.
    """

    name = "granet"
    paper = "Liu et al., NeurIPS 2021 (arXiv 2106.10404)"

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        every: int = 100,
        begin: float = 0.0,
        end: float = 0.75,
        share: float = 0.5,
        initial_sparsity: float = 0.0,
    ) -> None:
        super().__init__(pattern, seed=seed, every=every, begin=begin, end=end)
        self.share, self.initial_sparsity = share, initial_sparsity

    def choose(self, target: Target) -> Tensor:
        rows = target.rows().abs()
        return largest(rows, count_kept(self.initial_sparsity, rows.numel()))

    def change(self, target: Target) -> None:
        assert target.mask is not None
        size = target.mask.numel()
        sparsity = cubic(self.initial_sparsity, removed_share(self.pattern), self.done)
        total = min(count_kept(sparsity, size), int(target.mask.sum()))
        moved = min(int(cosine(self.share, self.done) * total), size - total)
        self.regrow(target, largest(target.rows().abs() * target.mask, total - moved), moved)


class SRigL(_Regrowing):
    """RigL with as many weights in every row, where rows with few salient weights are given up.

    A weight is salient if it survives the pruning of the layer or would be grown by its gradient; a
    row with fewer than `least_salient` of the fan-in is ablated, and the others share its weights.
    """

    name = "srigl"
    paper = "Lasby et al., ICLR 2024 (arXiv 2305.02299)"
    patterns = (FanIn,)

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        every: int = 100,
        begin: float = 0.0,
        end: float = 0.75,
        share: float = 0.3,
        least_salient: float = 0.3,
    ) -> None:
        super().__init__(pattern, seed=seed, every=every, begin=begin, end=end)
        self.share, self.least_salient = share, least_salient

    def choose(self, target: Target) -> Tensor:
        return random_mask(self, target)

    def change(self, target: Target) -> None:
        assert target.mask is not None
        k = target.shape[1]
        budget, alive = int(target.mask.sum()), target.mask.any(1)
        before = budget // max(1, int(alive.sum()))
        moved = min(int(cosine(self.share, self.done) * budget), target.mask.numel() - budget)
        none = -torch.ones(()).to(target.weight)
        sizes = torch.where(target.mask, target.rows().abs(), none)
        kept = largest(sizes, budget - moved)
        gradient = torch.where(target.mask | ~alive[:, None], none, target.state["gradient"])
        salient = kept | (largest(gradient, moved) & (gradient >= 0))
        enough = alive & (salient.sum(1) >= self.least_salient * before)
        alive = enough if enough.any() else alive
        fan_in = min(k, max(1, budget // int(alive.sum())))
        own = torch.where(kept, target.rows().abs(), none)
        own_rank = own.argsort(stable=True, dim=1, descending=True).argsort(dim=1)
        kept = kept & (own_rank < fan_in) & alive[:, None]
        scores = torch.where(kept, torch.full_like(sizes, torch.inf), target.state["gradient"])
        rank = scores.argsort(stable=True, dim=1, descending=True).argsort(dim=1)
        wanted = (rank < fan_in) & alive[:, None]
        self.swap(target, kept, wanted & ~kept)

    def layer_pattern(self, target: Target) -> Pattern:
        assert target.mask is not None
        n, k = target.shape
        counts = target.mask.sum(1)
        return FanIn(1 - int(counts.max()) / k, int((counts == 0).sum()) / n)


class Blast(_Regrowing):
    """Blocks with the smallest norms leave along a cubic schedule, those with large gradients come.

    The share that comes back follows half a cosine from `share`.
    """

    name = "blast"
    paper = (
        "BLaST: High Performance Inference and Pretraining using BLock Sparse Transformers, 2025"
    )
    patterns = (Block,)

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        every: int = 100,
        begin: float = 0.0,
        end: float = 0.75,
        share: float = 0.1,
    ) -> None:
        super().__init__(pattern, seed=seed, every=every, begin=begin, end=end)
        self.share = share

    def choose(self, target: Target) -> Tensor:
        return torch.ones(target.shape, dtype=torch.bool, device=target.weight.device)

    def change(self, target: Target) -> None:
        assert isinstance(self.pattern, Block)
        assert target.mask is not None
        height, width = self.pattern.block_rows, self.pattern.block_cols
        norms = block_norms(target.rows() * target.mask, height, width)
        total = count_kept(cubic(0.0, self.pattern.sparsity, self.done), norms.numel())
        moved = min(int(cosine(self.share, self.done) * total), norms.numel() - total)
        kept = largest(norms, total - moved)
        gradient = block_norms(target.state["gradient"], height, width)
        grown = largest(torch.where(kept, -torch.ones(()).to(norms), gradient), moved)
        self.swap(target, *(spread_blocks(b, height, width, target.shape) for b in (kept, grown)))
