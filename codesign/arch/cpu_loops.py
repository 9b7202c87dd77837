"""Inner loops of CPU kernels, priced by the ports that they keep busy.

A loop body is a register tile: so many fused multiply-adds, so many loads. It takes as long as the
busiest of the multiply-add ports, the load ports, the issue width and the cache that it loads from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from codesign.config import Spec
from codesign.schedule.program import Int64
from codesign.sparsity.mask import Mask

Kernel = Literal["dense", "depthwise", "items", "rows"]
"""`items`: a kept weight is broadcast to a vector of items (rows of A); `rows`: the kept weights of
a row of B are a vector, whose activations are gathered."""

_MOST_DENSE_VECTORS = 4
_QUAD = 4
"""8-bit products that an instruction adds up in one 32-bit lane."""


class Simd(Spec):
    """The vector units of one core."""

    width_bytes: int = Field(ge=8, le=256)
    multiply_ports: int = Field(ge=1, le=8, description="fused multiply-adds per cycle")
    load_ports: int = Field(ge=1, le=8, description="vector loads per cycle")
    issue_per_cycle: int = Field(ge=1, le=16)
    registers: int = Field(ge=8, le=128)
    dot_instructions: int = Field(
        ge=1, le=8, description="for 4 products of 8 bits in every 32-bit lane; 1 is VNNI"
    )
    gather_cycles: int = Field(ge=1, le=64, description="one vector of gathered values")
    special_cycles: int = Field(ge=1, description="a vector of exponentials, roots or divisions")

    @property
    def lanes(self) -> int:
        """Values of 32 bits in a vector; narrower floating-point types are widened."""
        return self.width_bytes // 4

    def body(self, multiplies: float, loads: float) -> float:
        """Cycles of a loop body."""
        return max(
            multiplies / self.multiply_ports,
            loads / self.load_ports,
            (multiplies + loads) / self.issue_per_cycle,
        )


class Cache(Spec):
    """A cache; `capacity_bytes` of one core, or of the whole chip where it is shared."""

    capacity_bytes: int = Field(ge=64)
    bytes_per_cycle: float = Field(gt=0, description="to one core")


class Caches(Spec):
    """The hierarchy; the last cache is shared."""

    l1: Cache
    l2: Cache
    last: Cache


class Engine(Spec):
    """The software: what it stores, and what its kernels lose to their surroundings."""

    dense_efficiency: float = Field(gt=0, le=1, description="of the rate that ports allow")
    sparse_efficiency: float = Field(gt=0, le=1, description="of the rate that ports allow")
    index_bytes: int = Field(ge=1, le=8, description="place of a kept unit of weights")
    row_cycles: int = Field(ge=0, description="begin and end of a row of kept weights")
    requantise_cycles: int = Field(
        ge=0, description="a vector of 32-bit values from or to 8 bits: scale, round, saturate"
    )
    launch_cycles: int = Field(ge=0, description="start of an operator on all cores")
    fuses_activations: bool
    """Whether element-wise work of one pass happens on results while they are in registers."""
    weights_stay: bool
    """Whether weights that fit into a cache are there from the run before: one layer in a loop."""


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
        return -(-self.k // _QUAD) if self.quads else self.k


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
            body = simd.body(high * wide * price, high + wide)
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
        loads = vectors * deep + unit.rows * deep + 1
        ports = simd.body(vectors * unit.rows * deep * price, loads)
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
    """Units of every row of units that keep anything."""
    if unit == Unit(1, 1):
        return mask.lane_counts(1)[:, 0]
    if unit.rows == 1:
        return np.asarray(np.count_nonzero(mask.group_counts(unit.cols), axis=1), dtype=np.int64)
    counts = mask.tile_counts(unit.rows, unit.cols)
    return np.asarray(np.count_nonzero(counts, axis=1), dtype=np.int64)
