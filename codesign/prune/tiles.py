"""PATCH: which tiles stay dense and which become N:M is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codesign.prune.base import Sparsifier
from codesign.prune.products import differentiable
from codesign.prune.schedule import progress
from codesign.prune.select import largest_of_groups
from codesign.prune.target import Target
from codesign.sparsity.pattern import Pattern, Tiles


class Patch(Sparsifier):
    """Each tile has a logit; its weights are w * (p + (1 - p) * mask), p = Gumbel-sigmoid(logit).

    The N:M mask inside tiles is by magnitude and fixed. Logits also get the gradient of
    `penalty` * (density - wanted)^2 per layer; the temperature falls from `warm` to `cold`.
    `finish` keeps as many tiles N:M as the pattern says, those of the smallest logits. With
    `frozen` (default, as in the paper) weights do not learn.
    """

    name = "patch"
    paper = "PATCH: Learnable Tile-level Hybrid Sparsity for LLMs, its abstract"
    patterns = (Tiles,)
    needs_optimizer = True

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        penalty: float = 10.0,
        warm: float = 2.0,
        cold: float = 0.1,
        frozen: bool = True,
    ) -> None:
        super().__init__(pattern, seed=seed)
        assert isinstance(self.pattern, Tiles)
        self.tiles = self.pattern
        self.penalty, self.warm, self.cold, self.frozen = penalty, warm, cold, frozen
        self.logits: dict[str, nn.Parameter] = {}
        self._random = torch.Generator().manual_seed(seed)

    def start(self) -> None:
        for target in self.targets:
            rows = target.rows()
            target.state["inside"] = largest_of_groups(rows, self.tiles.n, self.tiles.m)
            height, width = self.tiles.tile(*target.shape)
            grid = (-(-target.shape[0] // height), -(-target.shape[1] // width))
            self.logits[target.key] = nn.Parameter(torch.zeros(grid).to(rows))
        self.advance()

    def parameters(self) -> list[nn.Parameter]:
        return list(self.logits.values())

    @property
    def temperature(self) -> float:
        done = progress(self.step, 0, self.steps) if self.steps else 1.0
        return float(self.warm * (self.cold / self.warm) ** done)

    def output(self, target: Target, x: Tensor) -> Tensor:
        logits = self.logits[target.key]
        uniform = torch.rand(logits.shape, generator=self._random).to(logits).clamp(1e-6, 1 - 1e-6)
        noise = torch.log(uniform) - torch.log1p(-uniform)
        dense = torch.sigmoid((logits + noise) / self.temperature)
        inside = target.state["inside"]
        soft = inside + self._spread(target, dense) * ~inside
        weight = target.weight.detach() if self.frozen else target.layer.weight
        return differentiable(x, target.layer, weight * target.shaped(soft))

    def after_backward(self) -> None:
        super().after_backward()
        for target in self.targets:
            logits = self.logits[target.key]
            with torch.enable_grad():
                share = torch.sigmoid(logits / self.temperature).mean()
                density = self.tiles.n / self.tiles.m
                density_now = share + (1 - share) * density
                loss = self.penalty * (density_now - self.tiles.density) ** 2
            (extra,) = torch.autograd.grad(loss, logits)
            logits.grad = extra if logits.grad is None else logits.grad + extra

    def advance(self) -> None:
        for target in self.targets:
            logits = self.logits[target.key].detach()
            sparse = self.tiles.sparse_tiles(*target.shape)
            order = logits.reshape(-1).argsort(stable=True)
            dense = torch.ones(logits.numel(), dtype=torch.bool, device=logits.device)
            dense[order[:sparse]] = False
            wide = self._spread(target, dense.reshape(logits.shape))
            target.mask = target.state["inside"] | wide

    def _spread(self, target: Target, tiles: Tensor) -> Tensor:
        height, width = self.tiles.tile(*target.shape)
        wide = tiles.repeat_interleave(height, 0).repeat_interleave(width, 1)
        return wide[: target.shape[0], : target.shape[1]]
