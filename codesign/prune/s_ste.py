"""S-STE: continuous pruning, so that a small step of the weights is a small step of the product."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.kernels.nm_select import shrink_along_rows
from codesign.prune.mvue import along_batch
from codesign.prune.nm_training import NMTraining
from codesign.prune.products import product
from codesign.prune.select import largest_of_groups
from codesign.prune.target import Target
from codesign.sparsity.pattern import Pattern


class SSte(NMTraining):
    """The weight is beta * S(w), S soft-thresholding each group at its largest pruned magnitude.

    beta = <w, S(w)> / |S(w)|^2 is computed once per layer, at the first step. The gradient passes
    straight through and nothing decays; the weight gradient reads an unbiased N:M estimate of the
    output gradient unless `estimate` is False.
    """

    name = "s_ste"
    paper = "Hu et al., NeurIPS 2024 (arXiv 2409.09099)"

    def __init__(self, pattern: Pattern | str, *, seed: int = 0, estimate: bool = True) -> None:
        super().__init__(pattern, seed=seed)
        if estimate and self.n > 2:
            raise CodesignError(
                f"the unbiased estimate of s_ste keeps 1 or 2 of m, not {self.pattern}"
            )
        self.estimate = estimate
        self._random = torch.Generator().manual_seed(seed)

    def start(self) -> None:
        for target in self.targets:
            rows = target.rows()
            if "beta" not in target.state:
                soft, _ = continuous(rows, self.n, self.m)
                size, inner = soft.square().sum(), (rows * soft).sum()
                target.state["beta"] = torch.where(size > 0, inner / size, torch.ones_like(size))
            soft, target.mask = continuous(rows, self.n, self.m, target.state["beta"])
            target.state["weight"] = target.shaped(soft)

    def weight(self, target: Target) -> Tensor:
        return target.state["weight"]

    def output(self, target: Target, x: Tensor) -> Tensor:
        if not self.estimate:
            return product(x, target.layer, self.weight(target))
        return product(
            x, target.layer, self.weight(target),
            weight_rule=lambda dy: along_batch(dy, self.n, self.m, self._random),
        )  # fmt: skip


def continuous(rows: Tensor, n: int, m: int, scale: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """scale * sign(w) * max(|w| - t, 0) and where it is not 0, [n, k] each.

    t is the largest magnitude that N:M pruning drops in a group: hard pruning shifted by t, hence
    continuous where two weights change places.
    """
    if rows.device.type == "cpu" and rows.dtype == torch.float32:
        values = rows.contiguous()
        soft, kept = torch.empty_like(values), torch.empty(values.shape, dtype=torch.bool)
        shrink_along_rows(
            values.numpy(), n, m, np.float32(float(scale)), soft.numpy(), kept.numpy()
        )
    else:
        soft = _continuous(rows, n, m) * scale
        kept = soft != 0
    return soft, kept


def _continuous(rows: Tensor, n: int, m: int) -> Tensor:
    """The same with scale 1 on any device and type."""
    count, k = rows.shape
    groups = torch.nn.functional.pad(rows, (0, -k % m))
    dropped = groups.abs().masked_fill_(largest_of_groups(groups, n, m), 0.0)
    t = dropped.reshape(count, -1, m).amax(2, keepdim=True)
    groups = groups.reshape(count, -1, m)
    return (groups - groups.clamp(-t, t)).reshape(count, -1)[:, :k]
