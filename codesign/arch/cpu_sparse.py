"""CPU engines that skip zero weights: DeepSparse, XNNPACK, condensed (constant fan-in) layers.

An operator runs on all cores together. Its cycles come from the ports of a core and from the kept
weights of the busiest one; its bytes from the caches that its operands fit into. A layer runs dense
where no sparse kernel would be faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from codesign.arch.base import ArchSpec, Fidelity, Machine, Mapping, Sparse
from codesign.arch.chunked import Chunks, edges, spread
from codesign.arch.cpu_loops import (
    Caches,
    Engine,
    Loop,
    Shape,
    Simd,
    Unit,
    busiest,
    dense_cycles,
    item_loops,
    kept_units,
    row_loop,
)
from codesign.arch.parts import Component, DramLink
from codesign.config import CodesignError
from codesign.schedule.program import COMPUTE, LOAD, STORE, Int64, Program, Steps
from codesign.schedule.program import Unit as Server
from codesign.schedule.streaming import DRAM, DRAM_READ, DRAM_WRITE, MAC, Link, share
from codesign.sparsity.pattern import NM, Block, Rows
from codesign.trace.op import Kind, Op, Phase, ceil_bytes
from codesign.trace.sparsify import effective_macs
from codesign.units import DTypeName

CORES = Server("cores")

_CHUNKS, _OUTLINE_CHUNKS = 32, 4
_PATCH_ROWS, _PATCH_SEED = 64, 0
_VECTORS, _PARTS = (1, 2, 4, 6, 8, 12, 16, 24), (1, 2, 4, 8, 16)
_QUAD, _LOOP, _SUM_BYTES = 4, 2, 4
"""8-bit products of a lane; instructions that step and close a loop; a sum between two parts."""


class CpuSpec(ArchSpec):
    """A machine file of family `cpu_sparse`."""

    machine: Literal["cpu_sparse"]
    cores: int = Field(ge=1, le=1024)
    simd: Simd
    caches: Caches
    dram: DramLink
    mac_dtype: DTypeName
    engine: Engine


class CpuSparse(Machine[CpuSpec]):
    """Dense, unstructured, blocked and constant fan-in kernels: for a layer, the fastest."""

    spec_type = CpuSpec
    actions: ClassVar[tuple[str, ...]] = (
        DRAM_READ, DRAM_WRITE, MAC, "l1_read", "l2_read", "last_read", "last_write", "simd_alu",
        "simd_special",
    )  # fmt: skip
    unit_labels: ClassVar[dict[str, str]] = {DRAM.name: "memory", CORES.name: "compute"}

    def units(self) -> tuple[Server, ...]:
        return (DRAM, CORES)

    def supports(self, op: Op) -> bool:
        return True

    def engine(self, op: Op) -> str:
        return CORES.name

    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        simd = self.spec.simd
        each = Fraction(_QUAD, simd.dot_instructions) if self.quads(op) else Fraction(1)
        each = max(each, Fraction(1)) if op.groups > 1 else each
        return self.spec.cores * simd.multiply_ports * simd.lanes * each

    @property
    def dram_bytes_per_cycle(self) -> float:
        return self.spec.dram.bytes_per_cycle

    def link(self) -> Link:
        return Link(self.spec.dram.bytes_per_cycle, self.spec.dram.latency_cycles)

    # Kernels

    def __init__(self, spec: CpuSpec) -> None:
        super().__init__(spec)
        self._mappings: dict[object, tuple[Mapping, ...]] = {}

    def quads(self, op: Op) -> bool:
        """Whether both operands have 8 bits, so that four products are added in one lane."""
        return ceil_bytes(8, op.a_dtype) == 8 == ceil_bytes(8, op.b_dtype)

    def shape(self, op: Op) -> Shape:
        groups, m = (1, op.m * op.groups) if op.b_shared else (op.groups, op.m)
        if isinstance(op.a_pattern, Rows):
            m = op.a_pattern.kept(m)
        return Shape(m, op.n, op.k, groups, self.quads(op))

    def unit(self, op: Op) -> Unit:
        """The block of weights that the sparse kernel treats as one."""
        rows, cols = 1, _QUAD if self.quads(op) else 1
        if isinstance(op.b_pattern, Block):
            rows = next(size for size in (4, 2, 1) if op.b_pattern.block_rows % size == 0)
            if op.b_pattern.block_cols % _QUAD == 0:
                cols = _QUAD
        return Unit(rows, cols)

    def exploits(self, op: Op) -> bool:
        if isinstance(op.a_pattern, Rows) and op.b_pattern.is_dense:
            return op.is_matmul
        weighted = op.is_matmul and op.weight is not None and op.phase is not Phase.BACKWARD_WEIGHT
        if not weighted or op.b_pattern.is_dense or (op.groups > 1 and not op.b_shared):
            return False
        return self.mappings(op)[0].dataflow != "dense"

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        skips = self.exploits(op) and not op.b_pattern.is_dense
        return skips and fidelity is not Fidelity.TILE

    def mappings(self, op: Op) -> Sequence[Mapping]:
        """The fastest kernel first: dense, or a sparse one on an expected pattern of units."""
        if not op.is_matmul:
            return (Mapping("vector", 0, 0, 0),)
        key = (op.shape_key, op.weight is None)
        if key not in self._mappings:
            self._mappings[key] = self._ranked(op)
        return self._mappings[key]

    def _ranked(self, op: Op) -> tuple[Mapping, ...]:
        shape = self.shape(op)
        cycles = max(self._dense_cycles(shape), self._supply_cycles(op.b_bytes, 1))
        found = [(cycles, Mapping("dense", shape.m, op.n, op.k))]
        if op.weight is not None and not op.b_pattern.is_dense and shape.groups == 1:
            units = self._expected_units(op)
            for loop in self.loops(op, shape):
                cycles = self._sparse_cycles(op, shape, loop, units)
                supply = self._supply_cycles(self._held_bytes(op, units), -(-shape.m // loop.items))
                found.append((max(cycles, supply), self._mapping(op, loop)))
        found.sort(key=lambda row: row[0])
        return tuple(mapping for _, mapping in found)

    def _mapping(self, op: Op, loop: Loop) -> Mapping:
        return Mapping(loop.kernel, loop.items, op.n, -(-op.k // loop.parts))

    def _supply_cycles(self, held_bytes: int, passes: int) -> float:
        """Cycles in which B comes from memory, or from the caches in the passes after that."""
        moved = 0 if self._stays(held_bytes) else held_bytes
        return max(self._weight_cycles(held_bytes, passes), moved / self.dram_bytes_per_cycle)

    def loops(self, op: Op, shape: Shape) -> list[Loop]:
        """Every sparse loop that the registers hold."""
        simd, unit = self.spec.simd, self.unit(op)
        width = op.k * simd.lanes * ceil_bytes(8, op.a_dtype) / 8
        most = -(-shape.m // simd.lanes)
        panels = (
            (vectors, parts, self._rate_of(vectors * width / parts))
            for vectors in _VECTORS
            for parts in _PARTS
            if vectors == 1 or vectors <= most
        )
        return [*item_loops(simd, shape, unit, panels), row_loop(simd, shape, unit)]

    def _rate_of(self, size_bytes: float) -> float:
        """Bytes per cycle that a core loads from the smallest cache that half holds so much."""
        for cache in (self.spec.caches.l1, self.spec.caches.l2):
            if 2 * size_bytes <= cache.capacity_bytes:
                return cache.bytes_per_cycle
        return self.spec.caches.last.bytes_per_cycle

    def _expected_units(self, op: Op) -> Int64:
        """Kept units of every row of units in a sampled patch, repeated."""
        unit = self.unit(op)
        if unit == Unit(1, 1):
            return np.full(op.n, max(1, round(op.b_pattern.density * op.k)))
        patch = op.b_pattern.sample(min(op.n, _PATCH_ROWS), op.k, _PATCH_SEED)
        mean = kept_units(patch, unit).mean()
        return np.full(-(-op.n // unit.rows), max(1, int(mean.round())))

    def kept_units(self, op: Op, sparse: Sparse) -> Int64:
        """Kept units of every row of units: of the mask, or as expected."""
        if sparse.mask is None:
            return self._expected_units(op)
        return kept_units(sparse.mask, self.unit(op))

    def _dense_cycles(self, shape: Shape) -> float:
        engine = self.spec.engine
        cycles = dense_cycles(self.spec.simd, shape, self.spec.cores, engine.row_cycles)
        return cycles / engine.dense_efficiency

    def _sparse_cycles(self, op: Op, shape: Shape, loop: Loop, units: Int64) -> float:
        """Cycles of the busiest core in one loop over the kept units."""
        engine, lanes = self.spec.engine, self.spec.simd.lanes
        if loop.kernel == "rows" and not isinstance(op.b_pattern, NM):
            units = -(-units // lanes) * lanes
        passes = -(-shape.m // loop.items)
        most, rows = busiest(units, passes, self.spec.cores)
        if loop.kernel == "rows":
            ends = rows / lanes if isinstance(op.b_pattern, NM) else rows
            return most * loop.cycles / engine.dense_efficiency + ends * engine.row_cycles
        sums = loop.items * _SUM_BYTES
        put_away = 2 * (loop.parts - 1) * sums / self._rate_of(len(units) * sums)
        ends = rows * (loop.parts * engine.row_cycles + put_away)
        return most * loop.cycles / engine.sparse_efficiency + ends

    # Bytes

    def resident(self, size_bytes: int) -> bool:
        """Whether feature maps of an operator stay in the shared cache."""
        return 2 * size_bytes <= self.spec.caches.last.capacity_bytes

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        if op.weight is None and self.resident(op.a_bytes + op.b_bytes + op.c_bytes):
            return 0
        held = op.b_bytes
        if self.exploits(op) and not op.b_pattern.is_dense:
            unit = self.unit(op)
            size = ceil_bytes(unit.rows * unit.cols, op.b_dtype) + self.spec.engine.index_bytes
            held = min(held, int(self.kept_units(op, sparse).sum()) * size)
        return 0 if self._stays(held) else held

    def _stays(self, size_bytes: int) -> bool:
        last = self.spec.caches.last
        return self.spec.engine.weights_stay and size_bytes <= last.capacity_bytes

    def _map_traffic(self, op: Op) -> tuple[int, int]:
        """Bytes of A read from DRAM and of C written to it."""
        maps = op.a_bytes + op.c_bytes + (op.b_bytes if op.weight is None else 0)
        return (0, 0) if self.resident(maps) else (op.a_bytes, op.c_bytes)

    def moved_bytes(self, op: Op) -> int:
        return sum(self._vector_traffic(op))

    def compulsory_bytes(self, op: Op, sparse: Sparse) -> int:
        if not op.is_matmul:
            return self.moved_bytes(op)
        return self.stored_bytes(op, sparse) + sum(self._map_traffic(op))

    def fused(self, op: Op) -> bool:
        return (
            self.spec.engine.fuses_activations
            and op.kind in (Kind.ELEMENTWISE, Kind.NORM)
            and op.passes <= 1
            and op.special_per_element == 0
        )

    def _vector_traffic(self, op: Op) -> tuple[int, int]:
        if self.fused(op) or self.resident(op.read_bytes + op.write_bytes):
            return 0, 0
        return op.read_bytes, op.write_bytes

    # Steps

    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        if fidelity is Fidelity.CYCLE:
            raise CodesignError(f"{self.spec.name} has no stepped model; use fidelity row or tile")
        steps = Steps(self.units(), self.actions)
        if op.is_matmul:
            release, done = self._emit_product(steps, op, mapping, sparse, fidelity)
        else:
            release, done = self._emit_vector(steps, op)
        return steps.build(release_after=release, done_after=done)

    def _emit_product(
        self, steps: Steps, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity
    ) -> tuple[Int64, Int64]:
        engine, shape = self.spec.engine, self.shape(op)
        skips = mapping.dataflow != "dense" and self.exploits(op)
        stored = self.stored_bytes(op, sparse)
        read, written = self._map_traffic(op)
        units = self.kept_units(op, sparse) if skips else np.ones(op.n, dtype=np.int64)
        passes = 1
        if skips:
            loop = next(one for one in self.loops(op, shape) if self._mapping(op, one) == mapping)
            cycles = self._sparse_cycles(op, shape, loop, units)
            passes = -(-shape.m // loop.items)
        else:
            cycles = self._dense_cycles(shape)
        held = self._held_bytes(op, units if skips else None)
        cycles = max(cycles, self._weight_cycles(held, passes)) + self._map_cycles(op)
        macs = effective_macs(op, sparse.mask) if self.exploits(op) else op.macs
        places = edges(len(units), _OUTLINE_CHUNKS if fidelity is Fidelity.TILE else _CHUNKS)
        running = np.concatenate([[0], np.cumsum(units)])[places]
        busy = spread(int(np.ceil(cycles)), running)
        busy[0] += engine.launch_cycles
        self._tally_product(steps, op, held, passes)
        return Chunks(
            unit=CORES.name,
            busy_cycles=busy,
            macs=spread(macs // op.repeats, running),
            loaded_bytes=spread(stored, running) + share(read, len(busy)),
            stored_bytes=share(written, len(busy)),
            loads_maps=read > 0 or op.weight is None,
        ).emit(steps, self.link())

    def _held_bytes(self, op: Op, units: Int64 | None) -> int:
        """Bytes of B as the kernel reads them, wherever they lie."""
        if units is None:
            return op.b_bytes
        unit = self.unit(op)
        size = ceil_bytes(unit.rows * unit.cols, op.b_dtype) + self.spec.engine.index_bytes
        return int(units.sum()) * size

    def _weight_cycles(self, held_bytes: int, passes: int) -> float:
        """Cycles in which a core loads its share of B from the cache that holds it."""
        share_bytes = held_bytes / self.spec.cores
        if held_bytes * 2 > self.spec.caches.last.capacity_bytes:
            passes = 1
        return share_bytes * max(1.0, passes / self.spec.cores) / self._rate_of(share_bytes)

    def _map_cycles(self, op: Op) -> float:
        """Cycles in which A is packed, C made narrow, and both move from and to the last cache."""
        moved = (op.a_bytes + op.c_bytes) / self.spec.caches.last.bytes_per_cycle
        return moved / self.spec.cores + self._requantise_cycles(op.c_elements, op.c_dtype)

    def _requantise_cycles(self, elements: int, dtype: str) -> float:
        if ceil_bytes(8, dtype) > 8:
            return 0.0
        vectors = elements / (self.spec.simd.lanes * self.spec.cores)
        return vectors * self.spec.engine.requantise_cycles

    def _tally_product(self, steps: Steps, op: Op, held_bytes: int, passes: int) -> None:
        steps.tally("last_read", op.a_bytes + held_bytes)
        steps.tally("last_write", op.c_bytes)
        steps.tally("l2_read", held_bytes * passes)
        macs = effective_macs(op) if self.exploits(op) else op.macs
        steps.tally("l1_read", macs // op.repeats * ceil_bytes(8, op.a_dtype) // 8)

    def _emit_vector(self, steps: Steps, op: Op) -> tuple[Int64, Int64]:
        """One step on the cores, and around it the transfers of what the caches do not hold."""
        read, written = self._vector_traffic(op)
        steps.tally("simd_special", op.elements * op.special_per_element)
        work = steps.add(
            CORES.name, np.array([self._vector_cycles(op)]), at=1, stage=COMPUTE,
            action="simd_alu", count=op.elements * op.alu_per_element,
        )  # fmt: skip
        steps.depend(work, steps.inputs_ready)
        steps.depend(work, steps.engine_ready)
        done = [work]
        if read:
            load = self._move(steps, read, DRAM_READ, LOAD)
            steps.depend(load, steps.inputs_ready)
            steps.depend(work, load[:1])
            done.append(load[1:])
        if written:
            store = self._move(steps, written, DRAM_WRITE, STORE)
            steps.depend(store[1:], work)
            steps.depend(store[:1], steps.inputs_ready)
            if read:
                steps.depend(store[:1], load[:1])
            done.append(store)
        if not self.fused(op):
            steps.tally("last_read", op.read_bytes)
            steps.tally("last_write", op.write_bytes)
        return work, np.concatenate(done)

    def _move(self, steps: Steps, amount: int, action: str, stage: int) -> Int64:
        """A transfer in two parts: the part before or after the work, and the one beside it."""
        first = -(-amount // _CHUNKS)
        size = np.array([first, amount - first] if stage == LOAD else [amount - first, first])
        return steps.add(
            DRAM.name, self.link().cycles(size), at=1, stage=stage,
            latency_cycles=self.link().delay, action=action, count=size,
        )  # fmt: skip

    def _vector_cycles(self, op: Op) -> int:
        simd, cores = self.spec.simd, self.spec.cores
        vectors = -(-op.elements // (simd.lanes * cores))
        memory = (op.reads + op.writes) * vectors / max(1, op.elements)
        cycles = vectors * op.alu_per_element / simd.multiply_ports
        cycles += vectors * op.special_per_element * simd.special_cycles
        if self.fused(op):
            return int(np.ceil(cycles))
        moved = (op.read_bytes + op.write_bytes) / cores
        issued = vectors * (op.alu_per_element + _LOOP) + memory
        cycles = max(
            cycles, issued / simd.issue_per_cycle, vectors * op.passes, moved / self._rate_of(moved)
        )
        cycles += self._requantise_cycles(op.elements, op.c_dtype)
        return int(np.ceil(cycles)) + self.spec.engine.launch_cycles

    def components(self) -> Sequence[Component]:
        spec, caches = self.spec, self.spec.caches
        lanes = spec.simd.lanes * spec.simd.multiply_ports
        return (
            Component(
                name="vector units", kind="mac", actions=(MAC,), instances=spec.cores * lanes,
                dtype=spec.mac_dtype,
            ),
            Component(
                name="vector functions", kind="vector", actions=("simd_alu", "simd_special"),
                instances=spec.cores * spec.simd.lanes, dtype=spec.mac_dtype,
            ),
            Component(
                name="l1", kind="sram", actions=("l1_read",), instances=spec.cores,
                capacity_bytes=caches.l1.capacity_bytes,
            ),
            Component(
                name="l2", kind="sram", actions=("l2_read",), instances=spec.cores,
                capacity_bytes=caches.l2.capacity_bytes,
            ),
            Component(
                name="last cache", kind="sram", actions=("last_read", "last_write"),
                capacity_bytes=caches.last.capacity_bytes,
            ),
            Component(
                name="dram", kind="dram", actions=(DRAM_READ, DRAM_WRITE), dram_kind=spec.dram.kind
            ),
        )  # fmt: skip
