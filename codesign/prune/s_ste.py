"""S-STE: continuous pruning, so that a small step of the weights is a small step of the product."""

from __future__ import annotations

import torch
from torch import Tensor

from codesign.config import CodesignError
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
            soft = continuous(target.rows(), self.n, self.m)
            if "beta" not in target.state:
                size = soft.square().sum()
                inner = (target.rows() * soft).sum()
                target.state["beta"] = torch.where(size > 0, inner / size, torch.ones_like(size))
            target.mask = soft != 0
            target.state["weight"] = target.shaped(soft.mul_(target.state["beta"]))

    def weight(self, target: Target) -> Tensor:
        return target.state["weight"]

    def output(self, target: Target, x: Tensor) -> Tensor:
        if not self.estimate:
            return product(x, target.layer, self.weight(target))
        return product(
            x, target.layer, self.weight(target),
            weight_rule=lambda dy: along_batch(dy, self.n, self.m, self._random),
        )  # fmt: skip


def continuous(rows: Tensor, n: int, m: int) -> Tensor:
    """sign(w) * max(|w| - t, 0), t the largest magnitude that N:M pruning drops in the group.

    Equal to hard pruning shifted by t, hence continuous where two weights change places.
    """
    count, k = rows.shape
    if k % m:
        return continuous(torch.nn.functional.pad(rows, (0, -k % m)), n, m)[:, :k]
    dropped = rows.abs().masked_fill_(largest_of_groups(rows, n, m), 0.0)
    t = dropped.reshape(count, -1, m).amax(2, keepdim=True)
    groups = rows.reshape(count, -1, m)
    return (groups - groups.clamp(-t, t)).reshape(count, k)
