"""Many tilings of one product at once: which fit, what they would cost, what they cannot beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.kernels import tilings as kernel
from codesign.schedule.fitting import (
    SLACK,
    Budget,
    a_fits,
    groups_that_fit,
    row_granule,
)
from codesign.schedule.folds import Array
from codesign.schedule.program import Int64
from codesign.schedule.streaming import Link
from codesign.schedule.tiling import Tiling, passes
from codesign.trace.op import Op, Phase, ceil_bytes
from codesign.trace.window import Axis
from codesign.units import DTYPE_BYTES

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a product lies on an array: `slots` is the expected cycles of a group of `group` values.

    `holds_sums` is output-stationary, else B stays. Bytes are those of one pass over the operand.
    """

    array: Array
    link: Link
    group: int
    slots: float
    a_bytes: int
    b_bytes: float
    c_bytes: int
    holds_sums: bool


@dataclass(frozen=True)
class Tilings:
    """Columns of tile sizes in elements; `mn` says which are of order "mn"."""

    m: Int64
    n: Int64
    k: Int64
    groups: Int64
    mn: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.m)

    def at(self, place: int) -> Tiling:
        """One of them."""
        return Tiling(
            int(self.m[place]), int(self.n[place]), int(self.k[place]), int(self.groups[place]),
            "mn" if self.mn[place] else "nm",
        )  # fmt: skip


def product_integers(op: Op) -> tuple[int, ...]:
    """The integers of the search for tilings that describe a product alone."""
    numerator, denominator = DTYPE_BYTES[op.a_dtype]
    window: tuple[int, ...] = (kernel.NO_WINDOW,) * (kernel.A_BYTES - kernel.WINDOW)
    conv = op.conv
    if conv is not None:
        depths = op.phase is Phase.BACKWARD_WEIGHT
        window = (
            kernel.ROWS_ARE_DEPTHS if depths else kernel.ROWS_ARE_PIXELS,
            conv.batch, conv.in_w, conv.in_channels // conv.groups, conv.out_w,
            *_axis(conv.depth), *_axis(conv.height),
        )  # fmt: skip
    return (
        op.m, op.n, op.k, op.groups, op.b_shared, row_granule(op), numerator, denominator, *window,
        op.a_bytes, op.c_bytes,
    )  # fmt: skip


def _axis(axis: Axis) -> tuple[int, ...]:
    return axis.size, axis.out, axis.kernel, axis.stride, axis.dilation, axis.spread


def stored_width(op: Op, density: float) -> float:
    """Bytes that a value of B takes in a scratchpad, over all of its dense values."""
    return ceil_bytes(8, op.b_dtype) / 8 * density


def quickest_tiling(op: Op, budget: Budget, layout: Layout) -> tuple[float, Tiling] | None:
    """What `fitting.best_tiling` finds with the costs of `estimates`, in less time."""
    array, link = layout.array, layout.link
    integers = np.array(
        (
            *product_integers(op), layout.group, layout.holds_sums, budget.n_granule,
            budget.k_granule, budget.a_bytes, budget.b_bytes, budget.c_bytes, budget.sum_bytes,
            array.rows, array.cols, array.accumulate_latency, array.interleave, array.feed_slots,
            array.load_cycles_per_slot, array.drain_cycles_per_row, link.latency_cycles,
        ),
        dtype=np.int64,
    )  # fmt: skip
    integers[kernel.A_BYTES], integers[kernel.C_BYTES] = layout.a_bytes, layout.c_bytes
    cycles, sizes = kernel.cheapest_tiling(
        integers,
        stored_width(op, budget.b_density),
        float(layout.slots),
        float(layout.b_bytes),
        float(link.bytes_per_cycle or 0.0),
        SLACK,
    )
    return None if cycles < 0 else (float(cycles), tiling_of(sizes))


def tiling_of(sizes: Int64) -> Tiling:
    """The tiling of a kernel's row (m, n, k, groups, is "mn")."""
    m, n, k, groups, mn = sizes.tolist()
    return Tiling(m, n, k, groups, "mn" if mn else "nm")


def estimates(op: Op, t: Tilings, layout: Layout) -> tuple[Float, Float]:
    """Cycles and off-chip bytes of every tiling, each tile's work and traffic taken as equal.

    The first tile's loads and the last tile's store overlap with nothing. Between them the run
    takes as long as the slowest of the array, the link, and the busiest double buffer.
    """
    compute = _held_cycles(op, t, layout)
    tiles_m, tiles_n = -(-op.m // t.m), -(-op.n // t.n)
    tiles_k, tiles_g = -(-op.k // t.k), -(-op.groups // t.groups)
    times_a, times_b = passes(op, tiles_m, tiles_n, tiles_k, t.mn)
    a_loads = tiles_g * tiles_m * tiles_k * times_a
    b_loads = (1 if op.b_shared else tiles_g) * tiles_n * tiles_k * times_b
    c_stores = tiles_g * tiles_m * tiles_n
    a_bytes, b_bytes, c_bytes = layout.a_bytes * times_a, layout.b_bytes * times_b, layout.c_bytes
    traffic = a_bytes + b_bytes + c_bytes
    bandwidth, latency = layout.link.bytes_per_cycle, layout.link.delay
    if bandwidth is None:
        return compute, traffic.astype(np.float64)
    ends = a_bytes / a_loads + b_bytes / b_loads + c_bytes / c_stores
    result = _result_cycles(op, t, layout)
    transfers = np.maximum(np.maximum(a_loads, b_loads), c_stores)
    waits = (transfers - 2) * (layout.link.latency_cycles + result)
    turns = np.where(transfers > 2, (traffic / bandwidth + waits + compute) / 2, 0.0)
    middle = np.maximum(np.maximum(compute, (traffic - ends) / bandwidth), turns)
    return middle + ends / bandwidth + 2 * latency + result, traffic.astype(np.float64)


def _held_cycles(op: Op, t: Tilings, layout: Layout) -> Float:
    """Cycles for which the tiles hold the array."""
    array, group = layout.array, layout.group
    groups, slots = -(-op.k // group), max(layout.slots, array.feed_slots)
    rows = _edges(op.m, t.m)
    if not layout.holds_sums:
        folds = _folds(op.n, t.n, array.cols) * _folds(groups, -(-t.k // group), array.rows)
        load = min(array.rows, groups) * layout.slots * array.load_cycles_per_slot
        (first, many), (last, one) = rows
        streams = many * np.maximum(first * slots, load) + one * np.maximum(last * slots, load)
        return np.asarray(op.groups * folds * streams, dtype=np.float64)
    total = np.zeros(len(t))
    for m, many_m in rows:
        for n, many_n in _edges(op.n, t.n):
            folds = -(-m // array.rows) * -(-n // array.cols)
            full, rest = np.divmod(folds, array.interleave)
            turns = full * max(array.interleave, array.accumulate_latency)
            turns = turns + np.where(rest > 0, np.maximum(rest, array.accumulate_latency), 0)
            drain = folds * np.minimum(m, array.rows) * array.drain_cycles_per_row
            for part, many_k in _edges(groups, -(-t.k // group)):
                held = np.maximum(turns * part * slots, drain)
                total = total + many_m * many_n * many_k * held
    return np.asarray(op.groups * total, dtype=np.float64)


def _result_cycles(op: Op, t: Tilings, layout: Layout) -> Int64:
    """Cycles from the end of a tile's work to its last result."""
    array = layout.array
    cols = min(op.n, array.cols)
    if not layout.holds_sums:
        rows = np.minimum(array.rows, -(-t.k // layout.group))
        return np.asarray(rows * array.accumulate_latency + cols - 2)
    rows = np.minimum(t.m, array.rows)
    folds = -(-t.m // array.rows) * -(-t.n // array.cols)
    drained = np.minimum(folds, array.interleave) * rows * array.drain_cycles_per_row
    return np.asarray(rows + cols + array.accumulate_latency - 3 + drained)


def _edges(size: int, tile: Int64) -> tuple[tuple[Int64, Int64], tuple[Int64, Int64]]:
    """Sizes of the whole tiles and of the last one along an axis, each with how many there are."""
    tiles = -(-size // tile)
    return (tile, tiles - 1), (size - (tiles - 1) * tile, np.ones_like(tiles))


def _folds(size: int, tile: Int64, block: int) -> Int64:
    """Folds along an axis when every tile starts a new one."""
    (first, many), (last, _) = _edges(size, tile)
    return np.asarray(many * -(-first // block) + -(-last // block))


def least_cycles(op: Op, t: Tilings, layout: Layout, least_slots: int) -> Float:
    """Cycles that no run of a tiling can beat: its folds on the array, its traffic on the link.

    `least_slots` is the smallest number of cycles that any group of the reduction takes; the bytes
    of `layout` are those that one pass must move.
    """
    array, group = layout.array, layout.group
    groups, slots = -(-op.k // group), max(least_slots, array.feed_slots)
    across = _folds(op.n, t.n, array.cols)
    if layout.holds_sums:
        held = op.groups * _folds(op.m, t.m, array.rows) * across * groups * slots
    else:
        held = op.groups * across * _folds(groups, -(-t.k // group), array.rows) * op.m * slots
    bandwidth = layout.link.bytes_per_cycle
    if bandwidth is None:
        return np.asarray(held, dtype=np.float64)
    return np.asarray(np.maximum(held, least_bytes(op, t, layout) / bandwidth))


def least_bytes(op: Op, t: Tilings, layout: Layout) -> Float:
    """Bytes that a tiling must move: every pass over an operand reads all of it."""
    a, b = passes(op, -(-op.m // t.m), -(-op.n // t.n), -(-op.k // t.k), t.mn)
    return np.asarray(layout.a_bytes * a + layout.b_bytes * b + layout.c_bytes, dtype=np.float64)


MOST_LISTED = 1_000_000
"""Combinations of tile sizes that are listed when every one is asked for."""
_PARTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 256)


def all_tilings(op: Op, budget: Budget, *, every: bool = False) -> Tilings:
    """Tilings that fit: sizes that cut each axis into few equal parts, or `every` whole granule."""
    b_width = ceil_bytes(8, op.b_dtype) / 8 * budget.b_density
    found: list[tuple[int, int, int, int, bool]] = []
    rows = _sizes(op.m, row_granule(op), every)
    if op.m > 1 and row_granule(op) > 1:
        rows = sorted({*rows, *_sizes(min(op.m, row_granule(op)), 1, every)}, reverse=True)
    columns_n, depths = _sizes(op.n, budget.n_granule, every), _sizes(op.k, budget.k_granule, every)
    if every and len(rows) * len(columns_n) * len(depths) > MOST_LISTED:
        raise CodesignError(
            f"{op.name}: more than {MOST_LISTED:,} tile sizes to try; use the mapper search"
        )
    for k in depths:
        fitting = [m for m in rows if a_fits(op, m, k, budget)]
        for n in columns_n:
            if n * k * b_width > budget.b_bytes:
                continue
            for m in fitting:
                if m * n * budget.sum_bytes > budget.c_bytes:
                    continue
                groups = groups_that_fit(op, m, n, k, budget, b_width)
                found.append((m, n, k, groups, True))
                if m < op.m and n < op.n:
                    found.append((m, n, k, groups, False))
    table = np.array(found, dtype=np.int64).reshape(-1, 5)
    return Tilings(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4] == 1)


def _sizes(size: int, granule: int, every: bool) -> list[int]:
    """Tile sizes along an axis, the whole first, the others whole granules."""
    inner = list(range(granule, size, granule))
    if not every:
        inner = [-(-size // (parts * granule)) * granule for parts in _PARTS[1:]]
    return sorted({size, *(s for s in inner if 0 < s < size)}, reverse=True)
