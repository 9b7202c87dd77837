"""Kernels of a CPU engine for one product: which there are, their cycles and bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from codesign.arch.base import Mapping
from codesign.arch.cpu_loops import (
    QUAD,
    Loop,
    Shape,
    Unit,
    busiest,
    dense_cycles,
    expand_loops,
    item_loops,
    kept_units,
    row_loop,
)
from codesign.arch.cpu_spec import CpuSpec
from codesign.schedule.program import Int64
from codesign.sparsity.fan_in import FanIn
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import NM, Block, Rows
from codesign.trace.op import Op, ceil_bytes

_VECTORS, _PARTS = (1, 2, 4, 6, 8, 12, 16, 24), (1, 2, 4, 8, 16)
_PATCH_ROWS, _PATCH_SEED = 64, 0
_EQUAL_ROWS = (NM, FanIn)
"""Patterns whose rows keep equally many weights: vectors of several rows need no padding."""
_MOST_COUNTED = 1024
"""Masks whose counts are remembered, so that an operator's is counted once."""
_SUM_BYTES = 4
"""Of a sum that is put away between two parts of the reduction."""


class Kernels:
    """All loops that an engine has for a product; `None` stands for the dense one."""

    def __init__(self, spec: CpuSpec) -> None:
        self.spec = spec
        self._ranked: dict[object, tuple[Mapping, ...]] = {}
        self._counted: dict[object, Int64] = {}

    def quads(self, op: Op) -> bool:
        """Whether both operands have 8 bits, so that four products are added in one lane."""
        return ceil_bytes(8, op.a_dtype) == 8 == ceil_bytes(8, op.b_dtype)

    def shape(self, op: Op) -> Shape:
        groups, m = (1, op.m * op.groups) if op.b_shared else (op.groups, op.m)
        if isinstance(op.a_pattern, Rows):
            m = op.a_pattern.kept(m)
        return Shape(m, op.n, op.k, groups, self.quads(op))

    def unit(self, op: Op, loop: Loop | None = None) -> Unit:
        """The block of weights that a sparse kernel treats as one; single ones are expanded."""
        if loop is not None and loop.kernel == "expand":
            return Unit(1, 1)
        rows, cols = 1, QUAD if self.quads(op) else 1
        if isinstance(op.b_pattern, Block):
            rows = next(size for size in (4, 2, 1) if op.b_pattern.block_rows % size == 0)
            if op.b_pattern.block_cols % QUAD == 0:
                cols = QUAD
        return Unit(rows, cols)

    def ranked(self, op: Op) -> tuple[Mapping, ...]:
        """The fastest kernel first: dense, or a sparse one on an expected pattern of units."""
        key = (op.shape_key, op.weight is None)
        if key not in self._ranked:
            self._ranked[key] = self._by_cycles(op)
        return self._ranked[key]

    def _by_cycles(self, op: Op) -> tuple[Mapping, ...]:
        loops: list[Loop | None] = [None]
        if op.weight is not None and not op.b_pattern.is_dense and self.shape(op).groups == 1:
            loops += self._loops(op)

        def cycles(loop: Loop | None) -> float:
            units = self.kept_units(op, None, loop)
            held = self.held_bytes(op, loop, units)
            moved = 0 if self.stays(held) else held
            supply = moved / self.spec.dram.bytes_per_cycle
            return max(self.cycles(op, loop, units), supply)

        loops.sort(key=cycles)
        return tuple(self._mapping(op, loop) for loop in loops)

    def _mapping(self, op: Op, loop: Loop | None) -> Mapping:
        if loop is None:
            return Mapping("dense", self.shape(op).m, op.n, op.k)
        return Mapping(loop.kernel, loop.items, op.n, -(-op.k // loop.parts))

    def loop(self, op: Op, mapping: Mapping) -> Loop | None:
        """The loop that a mapping stands for."""
        if mapping.dataflow == "dense":
            return None
        return next(one for one in self._loops(op) if self._mapping(op, one) == mapping)

    def _loops(self, op: Op) -> Iterator[Loop]:
        """Every sparse loop that the registers hold."""
        simd, unit, shape = self.spec.simd, self.unit(op), self.shape(op)
        width = op.k * simd.lanes * ceil_bytes(8, op.a_dtype) / 8
        most = -(-shape.m // simd.lanes)
        panels = (
            (vectors, parts, self.rate_of(vectors * width / parts))
            for vectors in _VECTORS
            for parts in _PARTS
            if vectors == 1 or vectors <= most
        )
        yield from item_loops(simd, shape, unit, panels)
        yield row_loop(simd, shape, unit)
        yield from expand_loops(simd, shape)

    def _expected_units(self, op: Op, unit: Unit) -> Int64:
        """Kept units of every row of units in a sampled patch, repeated."""
        if unit == Unit(1, 1):
            return np.full(op.n, max(1, round(op.b_pattern.density * op.k)))
        patch = op.b_pattern.sample(min(op.n, _PATCH_ROWS), op.k, _PATCH_SEED)
        mean = kept_units(patch, unit).mean()
        return np.full(-(-op.n // unit.rows), max(1, int(mean.round())))

    def kept_units(self, op: Op, mask: Mask | None, loop: Loop | None) -> Int64:
        """Kept units of every row of units: of the mask, or as the pattern lets expect."""
        unit = self.unit(op, loop)
        key = (mask.fingerprint if mask is not None else op.shape_key, unit)
        if key not in self._counted:
            if len(self._counted) >= _MOST_COUNTED:
                self._counted.clear()
            self._counted[key] = (
                self._expected_units(op, unit) if mask is None else kept_units(mask, unit)
            )
        return self._counted[key]

    # Cycles

    def cycles(self, op: Op, loop: Loop | None, units: Int64) -> float:
        """Cycles of the busiest core: its loops, or its weights where they take longer."""
        shape, engine = self.shape(op), self.spec.engine
        if loop is None:
            dense = dense_cycles(self.spec.simd, shape, self.spec.cores, engine.row_cycles)
            return max(dense / engine.dense_efficiency, self._weight_cycles(op.b_bytes, 1))
        passes = -(-shape.m // loop.items)
        weights = self._weight_cycles(self.held_bytes(op, loop, units), passes)
        working = self._loop_cycles(op, loop, units, passes)
        return max(working, weights) + self._convert_cycles(op, loop, units)

    def _loop_cycles(self, op: Op, loop: Loop, units: Int64, passes: int) -> float:
        engine, lanes = self.spec.engine, self.spec.simd.lanes
        if loop.kernel == "expand":
            units = np.full(op.n, self.shape(op).depth, dtype=np.int64)
        elif loop.kernel == "rows" and not isinstance(op.b_pattern, _EQUAL_ROWS):
            units = -(-units // lanes) * lanes
        most, rows = busiest(units, passes, self.spec.cores)
        if loop.kernel == "rows":
            ends = rows / lanes if isinstance(op.b_pattern, _EQUAL_ROWS) else rows
            return most * loop.cycles / engine.dense_efficiency + ends * engine.row_cycles
        sums = loop.items * _SUM_BYTES
        put_away = 2 * (loop.parts - 1) * sums / self.rate_of(len(units) * sums)
        ends = rows * (loop.parts * engine.row_cycles + put_away)
        return most * loop.cycles / engine.sparse_efficiency + ends

    def _convert_cycles(self, op: Op, loop: Loop, units: Int64) -> float:
        """A library's call first copies indices that are wider than it takes."""
        stored, read = self.spec.engine.stored_index_bytes, self.spec.engine.index_bytes
        if stored <= read or self._index_bytes(op, loop) != read:
            return 0.0
        moved = int(units.sum()) * (stored + read) / self.spec.cores
        return moved / self.rate_of(moved)

    def _weight_cycles(self, held_bytes: int, passes: int) -> float:
        """Cycles in which a core loads its share of B from the cache that holds it."""
        share_bytes = held_bytes / self.spec.cores
        if held_bytes * 2 > self.spec.caches.last.capacity_bytes:
            passes = 1
        return share_bytes * max(1.0, passes / self.spec.cores) / self.rate_of(share_bytes)

    # Bytes

    def rate_of(self, size_bytes: float) -> float:
        """Bytes per cycle that a core loads from the smallest cache that half holds so much."""
        for cache in (self.spec.caches.l1, self.spec.caches.l2):
            if 2 * size_bytes <= cache.capacity_bytes:
                return cache.bytes_per_cycle
        return self.spec.caches.last.bytes_per_cycle

    def held_bytes(self, op: Op, loop: Loop | None, units: Int64) -> int:
        """Bytes of B as a kernel reads them, wherever they lie."""
        if loop is None:
            return op.b_bytes
        unit, kept = self.unit(op, loop), int(units.sum())
        if loop.kernel == "expand":
            return ceil_bytes(kept, op.b_dtype) + -(-op.n * op.k // 8)
        return kept * (ceil_bytes(unit.rows * unit.cols, op.b_dtype) + self._index_bytes(op, loop))

    def _index_bytes(self, op: Op, loop: Loop) -> int:
        """Rows of equal counts are plain tensors that compiled code reads; the rest is a format."""
        engine = self.spec.engine
        plain = loop.kernel == "rows" and isinstance(op.b_pattern, _EQUAL_ROWS)
        return engine.stored_index_bytes if plain else engine.index_bytes

    def stays(self, size_bytes: int) -> bool:
        """Whether weights of so many bytes are still in the last cache from the run before."""
        last = self.spec.caches.last
        return self.spec.engine.weights_stay and size_bytes <= last.capacity_bytes
