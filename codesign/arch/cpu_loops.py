"""Inner loops of CPU kernels, priced by the ports that they keep busy.

A loop body is a register tile: so many fused multiply-adds, so many loads. It takes as long as the
busiest of the multiply-add ports, the load ports, the issue width and the cache that it loads from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codesign.arch.cpu_spec import Simd
from codesign.schedule.program import Int64
from codesign.sparsity.mask import Mask

Kernel = Literal["items", "rows", "expand"]
"""`items`: a kept weight is broadcast to a vector of items (rows of A); `rows`: the kept weights of
a row of B are a vector, whose activations are gathered; `expand`: a vector of kept weights is put
in its places beside zeros, and multiplied as a dense one."""

_MOST_DENSE_VECTORS = 4
QUAD = 4
"""8-bit products that an instruction adds up in one 32-bit lane."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A product as loops see it; `quads` where 8-bit values are multiplied four at a time."""

    m: int
    n: int
    k: int
    groups: int
    quads: bool

    @property
    def depth(self) -> int:
        """Steps of the reduction."""
        return -(-self.k // QUAD) if self.quads else self.k


@dataclass(frozen=True, slots=True)
class Unit:
    """What a sparse kernel keeps or drops as one: outputs by neighbours of the reduction."""

    rows: int
    cols: int


def dense_cycles(simd: Simd, shape: Shape, cores: int, tile_cycles: int) -> float:
    """Cycles of the busiest core: the best of vectors along n, along m, and along the groups."""
    price = simd.dot_instructions if shape.quads else 1
    best = float("inf")
    for down, across in ((shape.m, shape.n), (shape.n, shape.m)):
        vectors = -(-across // simd.lanes)
        for wide in range(1, min(_MOST_DENSE_VECTORS, vectors) + 1):
            high = min(down, (simd.registers - 1 - wide) // wide)
            tiles = shape.groups * -(-down // high) * -(-vectors // wide)
            body = simd.body(high * wide * price, wide, high)
            best = min(best, -(-tiles // cores) * (shape.depth * body + tile_cycles))
    if shape.groups > 1:
        body = simd.body(1, 2)
        outputs = -(-shape.groups // simd.lanes) * shape.m * shape.n
        best = min(best, -(-outputs // cores) * (shape.k * body))
    return best


@dataclass(frozen=True, slots=True)
class Loop:
    """A sparse kernel's loop over one unit: cycles, and the items that one pass covers."""

    kernel: Kernel
    items: int
    cycles: float
    parts: int = 1
    """Runs of the reduction, after each of which the sums are put away."""


def item_loops(
    simd: Simd, shape: Shape, unit: Unit, panel: Iterator[tuple[int, int, float]]
) -> Iterator[Loop]:
    """Loops that broadcast weights to some vectors of items; `panel` has (vectors, parts, rate).

    Every unit loads its activations once for all its rows, its weights and their index.
    """
    deep = 1 if shape.quads else unit.cols
    price = simd.dot_instructions if shape.quads else 1
    for vectors, parts, rate in panel:
        if vectors * unit.rows + vectors + 1 > simd.registers:
            continue
        scalars = unit.rows * deep + 1
        ports = simd.body(vectors * unit.rows * deep * price, vectors * deep, scalars)
        cycles = max(ports, vectors * deep * simd.width_bytes / rate)
        yield Loop("items", vectors * simd.lanes, cycles, parts)


def row_loop(simd: Simd, shape: Shape, unit: Unit) -> Loop:
    """The loop over a vector of kept weights of one row: weights, indices, gathered activations.

    Neighbours that are kept together are gathered together.
    """
    price = simd.dot_instructions if shape.quads else 1
    together = 1 if shape.quads else min(unit.cols, simd.lanes)
    gathered = max(1.0, simd.gather_cycles / together)
    cycles = max(simd.body(price * unit.rows, 1 + unit.rows), gathered)
    return Loop(
        "rows", 1, cycles * unit.cols / simd.lanes if not shape.quads else cycles / simd.lanes
    )


def expand_loops(simd: Simd, shape: Shape) -> Iterator[Loop]:
    """Loops that put kept weights in their places for some items; cycles of one place.

    A vector of places takes its kept weights and its bitmap once, and activations for each item.
    With 8-bit operands a lane has four places.
    """
    if simd.expand_cycles is None:
        return
    price = simd.dot_instructions if shape.quads else 1
    items = 1
    while items <= shape.m and items + 2 < simd.registers:
        body = simd.body(items * price, 1 + items, 1)
        yield Loop("expand", items, max(body, float(simd.expand_cycles)) / simd.lanes)
        items *= 2


def busiest(units: Int64, passes: int, cores: int) -> tuple[int, int]:
    """Units that the busiest core works off, over rows and over passes, as (units x passes, rows).

    `units` counts those of every row; cores share rows in equal runs, or passes, or both.
    """
    best: tuple[int, int] | None = None
    for slices in range(1, min(cores, len(units)) + 1):
        beside = cores // slices
        if cores % slices and slices != min(cores, len(units)):
            continue
        starts = np.arange(slices) * len(units) // slices
        most = int(np.add.reduceat(units, starts).max())
        each = -(-passes // max(1, beside))
        found = (most * each, -(-len(units) // slices) * each)
        best = found if best is None or found < best else best
    assert best is not None
    return best


def kept_units(mask: Mask, unit: Unit) -> Int64:
    """Units of every row of units that keep anything; int64 [ceil(rows / unit.rows)]."""
    rows = mask.packed
    if unit.rows > 1:
        rows = np.bitwise_or.reduceat(rows, np.arange(0, mask.rows, unit.rows), axis=0)
    if unit.cols in (1, 2, 4, 8):
        counts = _kept_in_byte(unit.cols)[rows].sum(axis=1, dtype=np.int64)
    else:
        counts = np.count_nonzero(Mask(len(rows), mask.cols, rows).group_counts(unit.cols), axis=1)
    return np.asarray(counts, dtype=np.int64)


@lru_cache(maxsize=8)
def _kept_in_byte(cols: int) -> NDArray[np.uint8]:
    """Groups of `cols` bits that are not empty, for every byte."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.asarray(bits.reshape(256, -1, cols).any(axis=2).sum(axis=1), dtype=np.uint8)
