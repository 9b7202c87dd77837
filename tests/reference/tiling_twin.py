"""What a tiling would cost, one at a time: the definition of the estimates of many at once."""

from __future__ import annotations

from codesign.schedule.tiling import Tiling, passes
from codesign.schedule.tilings import Layout
from codesign.trace.op import Op


def estimate(op: Op, tiling: Tiling, layout: Layout) -> tuple[float, float]:
    """Cycles and off-chip bytes of a tiling, each tile's work and traffic taken as equal.

    The first tile's loads and the last tile's store overlap with nothing. Between them the run
    takes as long as the slowest of the array, the link, and the busiest double buffer.
    """
    compute = _held_cycles(op, tiling, layout)
    tiles_m, tiles_n = -(-op.m // tiling.m), -(-op.n // tiling.n)
    tiles_k, tiles_g = -(-op.k // tiling.k), -(-op.groups // tiling.groups)
    times_a, times_b = passes(op, tiles_m, tiles_n, tiles_k, tiling.order == "mn")
    a_loads = tiles_g * tiles_m * tiles_k * times_a
    b_loads = (1 if op.b_shared else tiles_g) * tiles_n * tiles_k * times_b
    c_stores = tiles_g * tiles_m * tiles_n
    a_bytes, b_bytes, c_bytes = layout.a_bytes * times_a, layout.b_bytes * times_b, layout.c_bytes
    traffic = a_bytes + b_bytes + c_bytes
    bandwidth, latency = layout.link.bytes_per_cycle, layout.link.delay
    if bandwidth is None:
        return compute, traffic
    ends = a_bytes / a_loads + b_bytes / b_loads + c_bytes / c_stores
    result = _result_cycles(op, tiling, layout)
    turns = layout.link.turns(traffic, max(a_loads, b_loads, c_stores), compute, result)
    middle = max(compute, (traffic - ends) / bandwidth, turns)
    return middle + ends / bandwidth + 2 * latency + result, traffic


def _held_cycles(op: Op, tiling: Tiling, layout: Layout) -> float:
    """Cycles for which the tiles hold the array."""
    array, group = layout.array, layout.group
    groups, slots = -(-op.k // group), max(layout.slots, array.feed_slots)
    rows = _edges(op.m, tiling.m)
    if not layout.holds_sums:
        folds = _folds(op.n, tiling.n, array.cols)
        folds *= _folds(groups, -(-tiling.k // group), array.rows)
        load = min(array.rows, groups) * layout.slots * array.load_cycles_per_slot
        return op.groups * folds * sum(many * max(size * slots, load) for size, many in rows)
    tile_groups = -(-tiling.k // group)
    total = 0.0
    for m, many_m in rows:
        for n, many_n in _edges(op.n, tiling.n):
            folds = -(-m // array.rows) * -(-n // array.cols)
            full, rest = divmod(folds, array.interleave)
            turns = full * max(array.interleave, array.accumulate_latency)
            turns += max(rest, array.accumulate_latency) if rest else 0
            drain = folds * min(m, array.rows) * array.drain_cycles_per_row
            for part, many_k in _edges(groups, tile_groups):
                total += many_m * many_n * many_k * max(turns * part * slots, drain)
    return op.groups * total


def _result_cycles(op: Op, tiling: Tiling, layout: Layout) -> int:
    """Cycles from the end of a tile's work to its last result."""
    array = layout.array
    cols = min(op.n, array.cols)
    if not layout.holds_sums:
        return min(array.rows, -(-tiling.k // layout.group)) * array.accumulate_latency + cols - 2
    rows = min(tiling.m, array.rows)
    folds = -(-tiling.m // array.rows) * -(-tiling.n // array.cols)
    drained = min(folds, array.interleave) * rows * array.drain_cycles_per_row
    return rows + cols + array.accumulate_latency - 3 + drained


def _edges(size: int, tile: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sizes of the whole tiles and of the last one along an axis, each with how many there are."""
    tiles = -(-size // tile)
    return (tile, tiles - 1), (size - (tiles - 1) * tile, 1)


def _folds(size: int, tile: int, block: int) -> int:
    """Folds along an axis when every tile starts a new one."""
    return sum(many * -(-part // block) for part, many in _edges(size, tile))
