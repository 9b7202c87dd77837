"""Tiles of a product on lanes that take their kept weights bank by bank, in step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.kernels.bank_group import pace_blocks, run_bank_groups
from codesign.schedule.program import Int64
from codesign.schedule.tiling import TileTable
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import Pattern

_LARGEST_VALUE = 7
_PATCH_BLOCKS, _PATCH_SETS, _PATCH_SEED = 2, 32, 0
MOST_STEPPED_MACS = 10**9
"""Dense multiply-accumulates of one tile that are stepped at most: about a minute of work."""


@dataclass(frozen=True, slots=True)
class BankArray:
    """`cols` lanes that share `rows` rows of activations and serve `banks` banks at once.

    In a cycle every bank of a lane multiplies one kept weight with all rows. The activations of a
    set of banks are gathered in `gather_cycles`, beside the work on the set before it.
    """

    rows: int
    cols: int
    banks: int
    bank_size: int
    gather_cycles: int
    drain_values_per_cycle: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.rows, self.cols, self.banks, self.bank_size

    @property
    def set_size(self) -> int:
        return self.banks * self.bank_size


@dataclass(frozen=True)
class BankCycles:
    """Of each tile: cycles that it holds the lanes, then until its last result; stored weights."""

    busy: Int64
    latency: Int64
    stored: Int64


def bank_sizes(k: int, array: BankArray) -> Int64:
    """Values of every bank of a reduction of k; the last may be short."""
    starts = np.arange(0, k, array.bank_size, dtype=np.int64)
    return np.minimum(array.bank_size, k - starts)


def stored_slots(count: int, bank_size: int, max_ratio: int) -> int:
    """Places that a balanced format has for `count` weights: a half, a quarter ... of the bank.

    >>> stored_slots(3, 32, 32), stored_slots(1, 32, 16)
    (4, 2)
    """
    ratio = 1
    while ratio * 2 <= max_ratio and count * ratio * 2 <= bank_size:
        ratio *= 2
    return max(count, bank_size // ratio)


def expected_slots(pattern: Pattern, n: int, k: int, array: BankArray) -> int:
    """Mean of the slowest bank of a set, rounded up, in a sampled patch of an n x k mask."""
    rows, cols = min(n, _PATCH_BLOCKS * array.cols), min(k, _PATCH_SETS * array.set_size)
    patch = pattern.sample(rows, cols, _PATCH_SEED).slowest_lane(array.bank_size, array.cols)
    mean = float(slowest_of_sets(patch[None], len(patch), array).mean())
    return max(1, math.ceil(mean))


def slowest_banks(masks: Sequence[Mask], array: BankArray, *, alike: bool) -> Int64:
    """Kept weights of the slowest lane in every bank, int64 [masks, blocks of lanes, banks].

    With `alike` the slowest block of all stands for each: int64 [1, 1, banks].
    """
    found = [mask.slowest_lane(array.bank_size, array.cols) for mask in masks]
    blocks = max(len(counts) for counts in found)
    padded = np.stack([np.pad(one, ((0, blocks - len(one)), (0, 0))) for one in found])
    return np.asarray(padded.max(axis=(0, 1), keepdims=True) if alike else padded)


def slowest_of_sets(counts: Int64, blocks: int, array: BankArray) -> Int64:
    """Largest entry of each set of banks; a single block of lanes stands for all `blocks`.

    `counts` is int64 [parts, blocks or 1, banks], kept weights of the slowest lane; the result is
    int64 [parts, blocks, sets].
    """
    starts = np.arange(0, counts.shape[2], array.banks)
    slowest = np.maximum.reduceat(counts, starts, axis=2)
    shape = (counts.shape[0], blocks, len(starts))
    return np.ascontiguousarray(np.broadcast_to(slowest, shape), dtype=np.int64)


def pace_tiles(
    table: TileTable, slots: Int64, array: BankArray, masks: tuple[Mask, ...] | None = None
) -> BankCycles:
    """How long each tile holds the lanes, if several cores do their `parts` of it in step.

    `slots` is int64 [parts, blocks of lanes, sets]. With `masks`, one for each part, the lanes are
    stepped cycle by cycle on small random numbers instead. Raises CodesignError where that is too
    much work, and ArithmeticError when a product comes out wrong.
    """
    tiling = table.tiling
    blocks = -(-tiling.n // array.cols)
    sets = max(1, -(-tiling.k // array.set_size))
    known: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    out = np.zeros((3, len(table)), dtype=np.int64)
    columns = (table.n_index, table.k_index, table.m, table.n, table.k, table.groups)
    for t, (j, i, m, n, k, many) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        if (j, i, m) not in known:
            window = slots[:, j * blocks : (j + 1) * blocks, i * sets : (i + 1) * sets]
            if masks is None:
                runs = [_paced(np.ascontiguousarray(one), m, n, array) for one in window]
            else:
                runs = [
                    _stepped(mask, j * tiling.n, i * tiling.k, (m, n, k), array) for mask in masks
                ]
            clock, drain = (max(run[part] for run in runs) for part in range(2))
            filled = int(window[0].sum()) * min(array.cols, n) * array.banks
            known[j, i, m] = max(clock, drain), drain, min(filled, n * k)
        busy, drain, stored = known[j, i, m]
        out[:, t] = busy * many, drain, stored * many
    return BankCycles(out[0], out[1], out[2])


def _paced(slots: Int64, m: int, n: int, array: BankArray) -> tuple[int, int]:
    clock, drain = pace_blocks(
        slots, m, n, array.shape, array.gather_cycles, array.drain_values_per_cycle
    )
    return int(clock), int(drain)


def _stepped(
    mask: Mask, row: int, col: int, size: tuple[int, int, int], array: BankArray
) -> tuple[int, int]:
    m, n, k = size
    if m * n * k > MOST_STEPPED_MACS:
        raise CodesignError(
            f"fidelity cycle would step {m * n * k:.1e} multiply-accumulates of one tile "
            f"(at most {MOST_STEPPED_MACS:.0e}); use row, or a smaller workload"
        )
    keep: NDArray[np.bool_] = np.zeros((n, k), np.bool_)
    if row < mask.rows:
        kept = mask[row : row + n, col : col + k].to_dense()
        keep[: len(kept)] = kept
    rng = np.random.default_rng(0)
    a = rng.integers(-_LARGEST_VALUE, _LARGEST_VALUE + 1, (m, k))
    w = rng.integers(1, _LARGEST_VALUE + 1, (n, k)) * keep
    c, clock, drain, _ = run_bank_groups(
        a, w, keep, array.shape, array.gather_cycles, array.drain_values_per_cycle
    )
    if not np.array_equal(c, a @ w.T):
        raise ArithmeticError("the product of the stepped lanes is not A . B")
    return int(clock), int(drain)
