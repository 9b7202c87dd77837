"""Closed forms of a systolic array's folds: how long each tile of a product holds the array.

The stepped array in kernels/pe_array.py is the definition; tests hold these forms equal to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.schedule.program import Int64
from codesign.schedule.tiling import TileTable


@dataclass(frozen=True, slots=True)
class Array:
    """A systolic array of rows x cols processing elements, as its timing needs it.

    A processing element is value-serial: it does one multiply-accumulate per cycle,
    `accumulate_latency` cycles deep, and holds `interleave` independent sums. `feed_slots`,
    `load_cycles_per_slot` and `drain_cycles_per_row` say how many cycles the scratchpads need for a
    group's activations, for one row of stationary values, and for one row of results.
    """

    rows: int
    cols: int
    accumulate_latency: int = 1
    interleave: int = 1
    feed_slots: int = 1
    load_cycles_per_slot: int = 1
    drain_cycles_per_row: int = 1


@dataclass(frozen=True)
class Lanes:
    """How many cycles each group of a product's reduction takes in each block of columns.

    The reduction is cut into groups of `group`; `slots[g, c, i]` is the largest number of kept
    values that a column of block c has in group i of product g (one product stands for all where
    they are alike). A uniform product has slots of shape (1, 1, 1).
    """

    group: int
    slots: Int64

    @property
    def uniform(self) -> bool:
        return self.slots.shape == (1, 1, 1)


@dataclass(frozen=True)
class TileCycles:
    """Cycles of each tile, in the order of a TileTable.

    `fill` loads the stationary values of the tile's first fold; `body` is every fold but the last,
    `tail` the last one; results are complete `latency` cycles after the tail. `stored` counts the
    values of B, padding included, that the tile's lanes hold.
    """

    fill: Int64
    body: Int64
    tail: Int64
    latency: Int64
    stored: Int64


def blocks(total: int, block: int) -> Int64:
    """Sizes of the consecutive blocks that `total` is cut into."""
    starts = np.arange(0, total, block, dtype=np.int64)
    return np.minimum(block, total - starts)


def _tile_sum(values: Int64, axis: int, per_tile: int) -> Int64:
    """Sum runs of `per_tile` neighbours along an axis; the last run may be short."""
    starts = np.arange(0, values.shape[axis], per_tile)
    return np.asarray(np.add.reduceat(values, starts, axis=axis))


def _per_tile(table: TileTable, grid: Int64) -> Int64:
    """Entry of a (products or 1, n tiles, k tiles) grid for every tile."""
    group = table.group if grid.shape[0] > 1 else np.zeros_like(table.group)
    return grid[group, table.n_index, table.k_index]


def joined(products: TileCycles, per_tile: int) -> TileCycles:
    """Tiles of `per_tile` whole products each, from the cycles of every product by itself.

    Within a tile the next product's stationary values load during the last fold of the one before.
    """
    first = np.arange(0, len(products.fill), per_tile)
    last = np.minimum(first + per_tile, len(products.fill)) - 1
    waits = np.maximum(0, products.fill[1:] - products.tail[:-1])
    waits = np.concatenate([[0], waits])
    waits[first] = 0
    held = np.add.reduceat(products.body + products.tail + waits, first)
    return TileCycles(
        fill=products.fill[first],
        body=held - products.tail[last],
        tail=products.tail[last],
        latency=products.latency[last],
        stored=np.add.reduceat(products.stored, first),
    )


def weight_stationary(table: TileTable, lanes: Lanes, array: Array) -> TileCycles:
    """Weights stay, rows of A stream: one fold is up to `rows` groups by up to `cols` columns.

    Every row of A takes as many cycles as the slowest lane of the fold. The next fold's weights are
    loaded into shadow registers during the stream of the current one.
    """
    op, tiling = table.op, table.tiling
    group_count = -(-op.k // lanes.group)
    tile_groups = -(-tiling.k // lanes.group)
    row_blocks, col_blocks = blocks(group_count, array.rows), blocks(op.n, array.cols)
    products = 1 if lanes.uniform else lanes.slots.shape[0]
    shape = (products, len(col_blocks), len(row_blocks))
    if lanes.uniform:
        slots = np.broadcast_to(lanes.slots, shape)
    else:
        starts = np.arange(0, group_count, array.rows)
        slots = np.maximum.reduceat(
            np.broadcast_to(lanes.slots, (*shape[:2], group_count)), starts, axis=2
        )
    folds_n = min(-(-tiling.n // array.cols), len(col_blocks))
    folds_k = min(-(-tile_groups // array.rows), len(row_blocks))
    if tiling.k < op.k and tile_groups % array.rows:
        raise ValueError("a tile's reduction must be whole rows of the array")
    if tiling.n < op.n and tiling.n % array.cols:
        raise ValueError("a tile's columns must be whole columns of the array")

    s = _fold_order(slots, folds_n, folds_k)
    rows = _fold_order(np.broadcast_to(row_blocks, shape), folds_n, folds_k)
    stored = _fold_order(slots * row_blocks * col_blocks[:, None], folds_n, folds_k).sum(axis=-1)
    paced = np.maximum(s, array.feed_slots) * (s > 0)
    load = rows * s * array.load_cycles_per_slot
    there = s > 0
    place = np.where(there, np.arange(s.shape[-1]), 0)
    last = place.max(axis=-1)
    previous = np.maximum.accumulate(place, axis=-1)
    previous = np.concatenate([np.zeros_like(previous[..., :1]), previous[..., :-1]], axis=-1)
    before = np.take_along_axis(paced, previous, axis=-1)
    last_slots = np.take_along_axis(paced, last[..., None], axis=-1)[..., 0]

    m = table.m
    body, tail = np.zeros_like(m), np.zeros_like(m)
    whole = np.minimum(table.groups, 1 if tiling.groups == 1 else table.groups)
    for size in {int(m.max()), int(m.min())}:
        stalls = np.where(there, np.maximum(0, load - size * before), 0)
        stalls[..., 0] = 0
        stream = size * paced.sum(axis=-1) + stalls.sum(axis=-1)
        chosen = m == size
        total = _per_tile(table, stream)[chosen]
        end = size * _per_tile(table, last_slots)[chosen]
        again = np.maximum(0, _per_tile(table, load[..., 0])[chosen] - end)
        repeats = whole[chosen]
        body[chosen] = repeats * total + (repeats - 1) * again - end
        tail[chosen] = end
    used_rows = np.take_along_axis(rows, last[..., None], axis=-1)[..., 0]
    used_cols = np.minimum(array.cols, table.n - (-(-table.n // array.cols) - 1) * array.cols)
    latency = _per_tile(table, used_rows) * array.accumulate_latency - 1 + used_cols - 1
    return TileCycles(
        fill=_per_tile(table, load[..., 0]),
        body=body,
        tail=tail,
        latency=latency,
        stored=_per_tile(table, stored) * whole,
    )


def _fold_order(grid: Int64, folds_n: int, folds_k: int) -> Int64:
    """Regroup a (product, column block, row block) grid by tile: (product, n tile, k tile, fold).

    Within a tile, row blocks run fastest; places beyond the edge hold 0.
    """
    products, cols, rows = grid.shape
    tiles_n, tiles_k = -(-cols // folds_n), -(-rows // folds_k)
    padded = np.zeros((products, tiles_n * folds_n, tiles_k * folds_k), dtype=np.int64)
    padded[:, :cols, :rows] = grid
    split = padded.reshape(products, tiles_n, folds_n, tiles_k, folds_k)
    return split.transpose(0, 1, 3, 2, 4).reshape(products, tiles_n, tiles_k, folds_n * folds_k)


def output_stationary(table: TileTable, lanes: Lanes, array: Array) -> TileCycles:
    """Sums stay, A and B stream: one fold is up to `rows` rows of A by up to `cols` columns.

    `interleave` folds, rows of A first, take turns in the processing elements, which hides the
    adder's latency; their results drain down the columns while the next ones run.
    """
    op, tiling = table.op, table.tiling
    group_count = -(-op.k // lanes.group)
    tile_groups = -(-tiling.k // lanes.group)
    if tiling.k < op.k and tiling.k % lanes.group:
        raise ValueError("a tile's reduction must be whole groups")
    col_blocks = blocks(op.n, array.cols)
    products = 1 if lanes.uniform else lanes.slots.shape[0]
    if lanes.uniform:
        groups = blocks(group_count, tile_groups)
        value = int(lanes.slots[0, 0, 0])
        shape = (1, len(col_blocks), len(groups))
        steps = np.broadcast_to(groups * max(value, array.feed_slots), shape)
        kept = np.broadcast_to(groups * value, shape)
    else:
        slots = np.broadcast_to(lanes.slots, (products, len(col_blocks), group_count))
        steps = _tile_sum(np.maximum(slots, array.feed_slots), 2, tile_groups)
        kept = _tile_sum(slots, 2, tile_groups)
    folds_n = min(-(-tiling.n // array.cols), len(col_blocks))
    stored = _tile_sum(kept * col_blocks[:, None], 1, folds_n)
    by_tile = _fold_order(steps, folds_n, 1)
    width = _fold_order(np.broadcast_to(col_blocks[:, None], steps.shape), folds_n, 1)

    m = table.m
    busy, tail, latency = np.zeros_like(m), np.zeros_like(m), np.zeros_like(m)
    for size in {int(m.max()), int(m.min())}:
        chosen = m == size
        period, last, after = _take_turns(by_tile, width, blocks(int(size), array.rows), array)
        busy[chosen] = _per_tile(table, period)[chosen]
        tail[chosen] = _per_tile(table, last)[chosen]
        latency[chosen] = _per_tile(table, after)[chosen]
    whole = table.groups if tiling.groups > 1 else np.ones_like(m)
    return TileCycles(
        fill=np.zeros_like(m),
        body=busy * whole - tail,
        tail=tail,
        latency=latency,
        stored=_per_tile(table, stored) * whole,
    )


def _take_turns(
    steps: Int64, width: Int64, row_blocks: Int64, array: Array
) -> tuple[Int64, Int64, Int64]:
    """Cycles of every tile's folds when `interleave` of them at a time share the adders.

    `steps` and `width` (product, n tile, k tile, column block) are the reduction and the used
    columns of a fold; each stands for one fold per row block. Returns the cycles that the tile
    holds the array, those of its last set of folds, and the cycles from then until the last result
    has drained.
    """
    folds = steps.shape[-1] * len(row_blocks)
    sets = -(-folds // array.interleave)
    pad = [(0, 0)] * 3 + [(0, sets * array.interleave - folds)]

    def in_sets(values: Int64) -> Int64:
        return np.pad(values, pad).reshape(*steps.shape[:3], sets, array.interleave)

    long = np.sort(in_sets(np.repeat(steps, len(row_blocks), axis=-1)), axis=-1)[..., ::-1]
    running = np.arange(1, array.interleave + 1)
    shorter = np.concatenate([long[..., 1:], np.zeros_like(long[..., :1])], axis=-1)
    issue = ((long - shorter) * np.maximum(array.accumulate_latency, running)).sum(axis=-1)
    longest = (long == long[..., :1]).sum(axis=-1)
    issue -= np.where(long[..., 0] > 0, np.maximum(0, array.accumulate_latency - longest), 0)
    tiles = (long > 0).sum(axis=-1)
    present = steps > 0
    rows = np.where(present[..., None], row_blocks, 0).reshape(*steps.shape[:3], folds)
    used_rows = in_sets(rows).max(axis=-1)
    used_cols = in_sets(np.repeat(np.where(present, width, 0), len(row_blocks), axis=-1)).max(
        axis=-1
    )
    drain = tiles * used_rows * array.drain_cycles_per_row
    return _issue_and_drain(issue, drain, used_rows, used_cols, array.accumulate_latency)


def _issue_and_drain(
    issue: Int64, drain: Int64, used_rows: Int64, used_cols: Int64, latency_cycles: int
) -> tuple[Int64, Int64, Int64]:
    """Two banks of sums: a set issues once the adder and a bank are free, and drains in order.

    Entries along the last axis are a tile's sets in order; empty ones (drain 0) stand at its end.
    """
    start = np.zeros_like(issue[..., 0])
    last_start, hold, end = start, start, start
    drained = start
    for f in range(issue.shape[-1]):
        there = drain[..., f] > 0
        done = start + issue[..., f]
        drains_from = np.maximum(done + used_rows[..., f] + latency_cycles - 2, drained)
        last_start = np.where(there, start, last_start)
        hold = np.where(there, np.maximum(done, drained), hold)
        end = np.where(there, drains_from + drain[..., f] + used_cols[..., f] - 1, end)
        start = np.maximum(done, drained)
        drained = np.where(there, drains_from + drain[..., f], drained)
    return hold, hold - last_start, end - hold
