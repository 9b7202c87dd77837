"""Tile sizes that fit double-buffered scratchpads, ranked by what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from codesign.schedule.tiling import Tiling
from codesign.trace.op import Op, Phase, ceil_bytes
from codesign.trace.window import Axis, Conv


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that one tile may take of each scratchpad, and the sizes that tiles are multiples of.

    `b_density` is stored bytes of B over its dense bytes; `sum_bytes` the width of a partial sum.
    """

    a_bytes: int
    b_bytes: int
    c_bytes: int
    n_granule: int
    k_granule: int
    b_density: float
    sum_bytes: int


Cost = Callable[[Op, Tiling], tuple[float, float]]
"""Estimated cycles and off-chip bytes of a tiling."""
SLACK = 1.01
"""Tilings within this factor of the fastest count as equal; the one with least traffic wins."""
_SHORTER = 2


def best_tiling(op: Op, budget: Budget, cost: Cost) -> tuple[float, Tiling] | None:
    """Cycles and tiling of the best that fits, or None when not even the smallest tile does."""
    rated = [(*cost(op, tiling), tiling) for tiling in fitting_tilings(op, budget)]
    if not rated:
        return None
    limit = min(cycles for cycles, _, _ in rated) * SLACK
    cycles, _, tiling = min(
        (row for row in rated if row[0] <= limit), key=lambda row: (row[1], row[0])
    )
    return cycles, tiling


def fitting_tilings(op: Op, budget: Budget) -> Iterator[Tiling]:
    """For each n tile (the whole, or halves of it), the longest reductions and most rows that fit.

    A shorter reduction leaves room for more rows, fewer rows start sooner: both are halved up to
    `_SHORTER` times, and both orders of the outer loops are tried.
    """
    b_width = ceil_bytes(8, op.b_dtype) / 8 * budget.b_density
    for n in _halvings(op.n, budget.n_granule):
        tried = 0
        for k in _halvings(op.k, budget.k_granule):
            if n * k * b_width > budget.b_bytes:
                continue
            most = _largest_m(op, n, k, budget)
            if most is None:
                continue
            for m in islice(_halvings(most, min(most, row_granule(op))), 1 + _SHORTER):
                groups = groups_that_fit(op, m, n, k, budget, b_width)
                yield Tiling(m, n, k, groups, "mn")
                if m < op.m and n < op.n:
                    yield Tiling(m, n, k, groups, "nm")
            tried += 1
            if most == op.m or tried > _SHORTER:
                break


def _halvings(size: int, granule: int) -> Iterator[int]:
    """The whole size, then halves rounded up to the granule, down to one granule."""
    value = size
    while True:
        yield value
        smaller = _half(value, granule)
        if smaller >= value:
            return
        value = smaller


def _half(value: int, granule: int) -> int:
    return -(-value // (2 * granule)) * granule


def _largest_m(op: Op, n: int, k: int, budget: Budget) -> int | None:
    """Rows of a tile whose operand A and partial sums fit, or None."""
    granule = row_granule(op)
    for m in _halvings(op.m, granule):
        if rows_fit(op, m, n, k, budget):
            return m
    for m in _halvings(min(op.m, granule), 1):
        if rows_fit(op, m, n, k, budget):
            return m
    return None


def rows_fit(op: Op, m: int, n: int, k: int, budget: Budget) -> bool:
    """Whether a tile's part of A and its partial sums fit their scratchpads."""
    return m * n * budget.sum_bytes <= budget.c_bytes and a_fits(op, m, k, budget)


def a_fits(op: Op, m: int, k: int, budget: Budget) -> bool:
    """Whether a tile's part of A fits its scratchpad."""
    return ceil_bytes(_a_bound(op, m, k), op.a_dtype) <= budget.a_bytes


def row_granule(op: Op) -> int:
    """Whole rows of the output map where m runs over pixels, whole channels where over windows."""
    if op.conv is None:
        return 1
    if op.phase is Phase.BACKWARD_WEIGHT:
        return op.conv.in_channels // op.conv.groups
    return op.conv.out_w


def _a_bound(op: Op, m: int, k: int) -> int:
    """Upper bound of the elements of A in any m x k tile."""
    if op.conv is None:
        return m * k
    if op.phase is Phase.BACKWARD_WEIGHT:
        return min(m * k, _window_bound(op.conv, k, m, tiled=True))
    pixels = op.conv.out_pixels
    tiled = pixels == op.m
    return min(m * k, _window_bound(op.conv, -(-m * pixels // op.m) + (not tiled), k, tiled=tiled))


def _window_bound(conv: Conv, pixels: int, depth: int, *, tiled: bool) -> int:
    """Upper bound of `window_elements` for any run of so many pixels.

    Runs that are `tiled` begin at whole multiples of their length.
    """
    aligned = tiled and pixels % conv.out_w == 0
    rows = pixels // conv.out_w if aligned else (pixels - 2) // conv.out_w + 2
    planes = max(1, min(_blocks(rows, conv.out_h, aligned), conv.batch * conv.out_d))
    aligned = aligned and rows % conv.out_h == 0
    images = max(1, min(_blocks(planes, conv.out_d, aligned), conv.batch))
    in_rows = min(conv.kernel_d, conv.in_d) * _bound(conv.height, rows, planes)
    in_planes = min(_bound(conv.depth, planes, images), images * conv.in_d)
    return (
        min(in_rows, in_planes * conv.in_h)
        * conv.in_w
        * min(depth, conv.in_channels // conv.groups)
    )


def _blocks(count: int, size: int, aligned: bool) -> int:
    """Blocks of `size` that a run of `count` meets; one of whole blocks may be aligned to them."""
    return count // size if aligned and count % size == 0 else 1 + (count - 2) // size + 1


def _bound(axis: Axis, outputs: int, runs: int) -> int:
    """Upper bound of the positions that so many outputs read in so many runs of neighbours."""
    positions = outputs * axis.stride // axis.spread + runs * (-(-axis.reach // axis.spread) + 1)
    return positions if axis.is_gapless else min(positions, outputs * axis.kernel)


def groups_that_fit(op: Op, m: int, n: int, k: int, budget: Budget, b_width: float) -> int:
    """How many whole products share a tile; `b_width` is the bytes of a stored value of B."""
    if op.b_shared or m < op.m or n < op.n or k < op.k:
        return 1
    per_group = (
        budget.a_bytes // max(1, ceil_bytes(_a_bound(op, m, k), op.a_dtype)),
        int(budget.b_bytes // max(1e-9, n * k * b_width)),
        budget.c_bytes // (m * n * budget.sum_bytes),
    )
    return max(1, min(op.groups, *per_group))
