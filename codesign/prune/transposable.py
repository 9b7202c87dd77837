"""One mask for both directions: T-mask and FST."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations, product
from typing import Literal

import networkx
import numpy as np
import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.prune.mvue import along_batch
from codesign.prune.nm_training import NMTraining, plus_pruned
from codesign.prune.oneshot import as_tensor
from codesign.prune.products import product as layer_product
from codesign.prune.target import Target
from codesign.sparsity.pattern import Pattern, Transposable

Solver = Literal["auto", "exact", "flow", "greedy"]
_SCALE = 10**6
_LISTED = 4


class TMask(NMTraining):
    """At most N in every row and column of each M x M block, with the largest sum of magnitudes.

    `solver` "exact" compares all blocks up to M = 4 and solves a linear program beyond, "flow" is
    a minimum-cost flow, "greedy" the 2-approximation; "auto" (default) is exact up to M = 4 and
    greedy beyond. Convolutions have blocks of outputs x input channels at each kernel position.
    """

    name = "tmask"
    paper = "Hubara et al., NeurIPS 2021 (arXiv 2102.08124)"

    def __init__(
        self, pattern: Pattern | str, *, seed: int = 0, every: int = 40, solver: Solver = "auto"
    ) -> None:
        super().__init__(pattern, seed=seed, every=every)
        if solver not in ("auto", "exact", "flow", "greedy"):
            raise CodesignError(f"solvers are auto, exact, flow and greedy, not {solver!r}")
        self.solver = solver

    def choose(self, target: Target) -> Tensor:
        return transposable(target.rows(), self.n, self.m, self.solver)


class Fst(TMask):
    """T-masks, an unbiased N:M estimate of the output gradient for the weight gradient, and decay.

    gradient + decay * (1 - mask) * weight; the last `dense_share` of the run is dense.
    """

    name = "fst"
    paper = "Hu et al., ICML 2024 (arXiv 2404.01847)"

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        every: int = 40,
        decay: float = 6e-5,
        dense_share: float = 1 / 6,
    ) -> None:
        super().__init__(pattern, seed=seed, every=every)
        if self.n > 2:
            raise CodesignError(f"the unbiased estimate of fst keeps 1 or 2 of m, not {pattern}")
        self.decay, self.dense_share = decay, dense_share
        self._random = torch.Generator().manual_seed(seed)

    @property
    def tuning(self) -> bool:
        """Whether the run is in its dense end."""
        return bool(self.steps) and self.step >= (1 - self.dense_share) * self.steps

    def output(self, target: Target, x: Tensor) -> Tensor:
        if self.tuning:
            return layer_product(x, target.layer, target.weight.detach())
        return layer_product(
            x, target.layer, self.weight(target),
            weight_rule=lambda dy: along_batch(dy, self.n, self.m, self._random),
        )  # fmt: skip

    def gradient(self, target: Target, gradient: Tensor) -> Tensor:
        return gradient if self.tuning else plus_pruned(gradient, target, self.decay)

    def finish(self) -> None:
        if not self.tuning:
            super().finish()
            return
        for target in self.targets:
            target.mask = None
        self.detach()


def transposable(rows: Tensor, n: int, m: int, solver: Solver = "auto") -> Tensor:
    """The transposable N:M mask of a matrix, boolean and of its shape."""
    if solver == "greedy" or (solver == "auto" and m > _LISTED):
        return _by_blocks(rows, m, lambda blocks: greedy_blocks(blocks, n))
    if solver == "flow":
        return _by_blocks(rows, m, lambda blocks: torch.stack([flow_block(b, n) for b in blocks]))
    if m <= _LISTED and rows.shape[0] % m == 0 and rows.shape[1] % m == 0:
        return _by_blocks(rows, m, lambda blocks: _best_of_all(blocks, n, m))
    found = Transposable(n, m).project(rows.detach().float().cpu().numpy())
    return as_tensor(found, rows)


def greedy_blocks(blocks: Tensor, n: int) -> Tensor:
    """The 2-approximation: largest first, kept while its row and its column hold fewer than n.

    [blocks, m, m] of magnitudes; rows and columns may end below n (the safe one of the two
    published rules: the other prunes too much).
    """
    count, m, _ = blocks.shape
    order = torch.sort(blocks.reshape(count, -1), dim=1, descending=True, stable=True).indices
    in_row = torch.zeros(count, m, dtype=torch.int32, device=blocks.device)
    in_col = torch.zeros_like(in_row)
    kept = torch.zeros(count, m * m, dtype=torch.bool, device=blocks.device)
    for place in order.t():
        row, col = (place // m)[:, None], (place % m)[:, None]
        free = (in_row.gather(1, row) < n) & (in_col.gather(1, col) < n)
        kept.scatter_(1, place[:, None], free)
        in_row.scatter_add_(1, row, free.int())
        in_col.scatter_add_(1, col, free.int())
    return kept.reshape(blocks.shape)


def flow_block(block: Tensor, n: int) -> Tensor:
    """The exact mask of one m x m block of magnitudes, by minimum-cost flow.

    Source to each row and each column to the sink with capacity n, row to column with capacity 1 at
    the negative magnitude, in millionths of the largest.
    """
    m = block.shape[0]
    scale = _SCALE / max(float(block.max()), np.finfo(np.float64).tiny)
    graph = networkx.DiGraph()
    graph.add_node("from", demand=-n * m)
    graph.add_node("to", demand=n * m)
    for i in range(m):
        graph.add_edge("from", ("row", i), capacity=n, weight=0)
        graph.add_edge(("col", i), "to", capacity=n, weight=0)
        for j in range(m):
            cost = -round(float(block[i, j]) * scale)
            graph.add_edge(("row", i), ("col", j), capacity=1, weight=cost)
    flow = networkx.min_cost_flow(graph)
    return torch.tensor(
        [[flow["row", i]["col", j] == 1 for j in range(m)] for i in range(m)]
    )  # fmt: skip


@cache
def all_masks(n: int, m: int) -> Tensor:
    """Every m x m block with n in each row and column, boolean [masks, m, m]; 90 for 2:4."""
    lines = [[i in kept for i in range(m)] for kept in combinations(range(m), n)]
    square = torch.tensor(list(product(lines, repeat=m)))
    return square[(square.sum(1) == n).all(1)]


def _best_of_all(blocks: Tensor, n: int, m: int) -> Tensor:
    table = all_masks(n, m).to(blocks.device)
    sums = blocks.reshape(len(blocks), -1) @ table.reshape(len(table), -1).t().to(blocks)
    return table[sums.argmax(1)]


def _by_blocks(rows: Tensor, m: int, solve: Callable[[Tensor], Tensor]) -> Tensor:
    n, k = rows.shape
    padded = torch.nn.functional.pad(rows.abs(), (0, -k % m, 0, -n % m))
    tall, wide = padded.shape[0] // m, padded.shape[1] // m
    blocks = padded.reshape(tall, m, wide, m).transpose(1, 2).reshape(-1, m, m)
    kept = solve(blocks).reshape(tall, wide, m, m).transpose(1, 2)
    found: Tensor = kept.reshape(padded.shape)[:n, :k].contiguous()
    return found
