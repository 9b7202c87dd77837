"""Tiles of a product on the stepped array: every processing element and cycle, real numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.kernels.pe_array import run_output_stationary, run_weight_stationary
from codesign.schedule.folds import Array, TileCycles
from codesign.schedule.program import Int64
from codesign.schedule.tiling import TileTable
from codesign.sparsity.mask import Mask

_LARGEST_VALUE = 7
MOST_ELEMENT_CYCLES = 10**11
"""Processing elements times cycles that are stepped at most: some minutes of work."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """B of a tile in groups along k: kept values first, n rows of (k / group) groups of lanes."""

    values: Int64
    index: Int64
    kept: Int64


def step_tiles(
    table: TileTable,
    closed: TileCycles,
    array: Array,
    dataflow: str,
    group: int,
    mask: Mask | None,
) -> TileCycles:
    """Cycles of every tile as the stepped array takes them, in place of the closed forms `closed`.

    Operands are small random integers, B zero outside `mask` (n rows, times groups, of k). Raises
    CodesignError where scratchpads are too narrow for the stepped array or the work is too large,
    and ArithmeticError when the array's product is not A . B.
    """
    if array.load_cycles_per_slot > 1 or array.drain_cycles_per_row > 1:
        raise CodesignError(
            "fidelity cycle steps an array that its scratchpads keep up with; widen "
            "buffers.weight.width_bytes and buffers.output.width_bytes, or use row"
        )
    work = int(closed.body.sum() + closed.tail.sum()) * array.rows * array.cols
    if work > MOST_ELEMENT_CYCLES:
        raise CodesignError(
            f"{table.op.name}: fidelity cycle would step {work:.1e} element-cycles "
            f"(at most {MOST_ELEMENT_CYCLES:.0e}); use row, or a smaller workload"
        )
    known: dict[tuple[int, ...], tuple[int, int, int]] = {}
    fill, body, tail = closed.fill.copy(), closed.body.copy(), closed.tail.copy()
    for t in range(len(table)):
        place = (int(table.group[t]), int(table.n_index[t]), int(table.k_index[t]))
        sizes = (int(table.m[t]), int(table.n[t]), int(table.k[t]), int(closed.latency[t]))
        key = sizes if mask is None else (*place, *sizes)
        if key not in known:
            known[key] = _step(table, t, closed, array, dataflow, group, mask)
        first, before, last = known[key]
        whole = int(table.groups[t]) if table.tiling.groups > 1 else 1
        again = max(0, first - last)
        fill[t], tail[t] = first, last
        body[t] = whole * (before + last) + (whole - 1) * again - last
    return TileCycles(fill, body, tail, closed.latency, closed.stored)


def _step(
    table: TileTable,
    t: int,
    closed: TileCycles,
    array: Array,
    dataflow: str,
    group: int,
    mask: Mask | None,
) -> tuple[int, int, int]:
    """Cycles of one tile before its first fold, of its folds but the last, and of the last."""
    op, tiling = table.op, table.tiling
    rng = np.random.default_rng(t)
    m, n, k = int(table.m[t]), int(table.n[t]), int(table.k[t])
    a = rng.integers(-_LARGEST_VALUE, _LARGEST_VALUE + 1, (m, k))
    b = rng.integers(1, _LARGEST_VALUE + 1, (n, k)) * rng.choice([-1, 1], (n, k))
    kept = np.ones((n, k), dtype=bool)
    if mask is not None:
        row = int(table.group[t]) * op.n + int(table.n_index[t]) * tiling.n
        column = int(table.k_index[t]) * tiling.k
        kept = mask[row : row + n, column : column + k].to_dense()
    b *= kept
    packed = compress(b, kept, group, array.feed_slots)
    operands = (a, packed.values, packed.index, packed.kept, group, array.rows, array.cols)
    if dataflow == "os":
        c, start, end, _ = run_output_stationary(
            *operands, array.accumulate_latency, array.interleave, True, False, True
        )
    else:
        c, start, end, _ = run_weight_stationary(*operands, array.accumulate_latency, True, False)
    if not np.array_equal(c, a @ b.T):
        raise ArithmeticError(f"{op.name}: the stepped array's product of tile {t} is wrong")
    last = int(end[-1] - start[-1]) - int(closed.latency[t])
    return int(start[0]), int(start[-1] - start[0]), last


def compress(b: Int64, kept: NDArray[np.bool_], group: int, least_slots: int = 1) -> Compressed:
    """B (n rows of k) in groups along k, kept values first, each of at least `least_slots`."""
    n, k = b.shape
    groups = -(-k // group)
    pad = ((0, 0), (0, groups * group - k))
    values = np.pad(b, pad).reshape(n, groups, group)
    there = np.pad(kept, pad).reshape(n, groups, group)
    order = np.argsort(~there, axis=-1, kind="stable")
    lanes = max(group, least_slots)
    out_values = np.zeros((n, groups, lanes), dtype=np.int64)
    out_index = np.zeros((n, groups, lanes), dtype=np.int64)
    out_values[..., :group] = np.take_along_axis(values * there, order, axis=-1)
    out_index[..., :group] = order
    out_values[np.arange(lanes) >= there.sum(axis=-1, keepdims=True)] = 0
    counts = np.maximum(there.sum(axis=-1), least_slots)
    return Compressed(out_values, out_index, counts.astype(np.int64))
