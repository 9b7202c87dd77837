"""CPU engines that skip zero weights: DeepSparse, XNNPACK, condensed (constant fan-in) layers.

An operator runs on all cores together. Its cycles come from the ports of a core and from the kept
weights of the busiest one; its bytes from the caches that its operands fit into. A layer runs dense
where no sparse kernel would be faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import numpy as np

from codesign.arch.base import Fidelity, Machine, Mapping, Sparse
from codesign.arch.chunked import Chunks, edges, spread
from codesign.arch.cpu_kernels import Kernels
from codesign.arch.cpu_loops import QUAD
from codesign.arch.cpu_spec import CpuSpec
from codesign.arch.parts import Component, mac_action, macs_by_width
from codesign.config import CodesignError
from codesign.schedule.program import COMPUTE, LOAD, STORE, Int64, Program, Steps
from codesign.schedule.program import Unit as Server
from codesign.schedule.streaming import DRAM, DRAM_READ, DRAM_WRITE, MAC, Link, share
from codesign.sparsity.pattern import Rows
from codesign.trace.op import Kind, Op, Phase, ceil_bytes
from codesign.trace.sparsify import effective_macs

CORES = Server("cores")

_CHUNKS, _OUTLINE_CHUNKS = 32, 4
_LANE_BITS = (8, 16, 32)
"""Widths of operands with vector instructions of their own."""
_LOOP = 2
"""Instructions that step and close a loop."""


class CpuSparse(Machine[CpuSpec]):
    """Dense, unstructured, blocked and constant fan-in kernels: for a layer, the fastest."""

    spec_type = CpuSpec
    actions: ClassVar[tuple[str, ...]] = (
        DRAM_READ, DRAM_WRITE, MAC, "mac_8bit", "mac_16bit", "mac_32bit", "l1_read", "l2_read",
        "last_read", "last_write", "simd_alu", "simd_special",
    )  # fmt: skip
    acts_beyond_probes = (
        "simd.expand_cycles", "simd.vector_loads", "caches.l2.capacity_bytes",
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
        each = Fraction(QUAD, simd.dot_instructions) if self.kernels.quads(op) else Fraction(1)
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
        self.kernels = Kernels(spec)

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
        if not op.is_matmul:
            return (Mapping("vector", 0, 0, 0),)
        return self.kernels.ranked(op)

    # Bytes

    def resident(self, size_bytes: int) -> bool:
        """Whether feature maps of an operator stay in the shared cache."""
        return 2 * size_bytes <= self.spec.caches.last.capacity_bytes

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        return self._loaded_bytes(op, self.mappings(op)[0], sparse)

    def _loaded_bytes(self, op: Op, mapping: Mapping, sparse: Sparse) -> int:
        """Bytes of B from DRAM: none of what an operator before it left in the last cache."""
        made_here = op.weight is None and not op.reads_cache
        if made_here and self.resident(op.a_bytes + op.b_bytes + op.c_bytes):
            return 0
        held = op.b_bytes
        if mapping.dataflow != "dense" and self.exploits(op):
            loop = self.kernels.loop(op, mapping)
            units = self.kernels.kept_units(op, sparse.mask, loop)
            held = self.kernels.held_bytes(op, loop, units)
        return 0 if self.kernels.stays(held) else held

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

    @property
    def fusion_rule(self) -> str:
        return "fuses element-wise work of one pass by its own rule (engine.fuses_activations)"

    def fused(self, op: Op) -> bool:
        return (
            self.spec.engine.fuses_activations
            and op.kind in (Kind.ELEMENTWISE, Kind.NORM)
            and op.passes <= 1
            and op.special_per_element == 0
        )

    def _vector_traffic(self, op: Op) -> tuple[int, int]:
        if op.function == "kv_cache_write":
            return 0, op.write_bytes
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
        kernels = self.kernels
        skips = mapping.dataflow != "dense" and self.exploits(op)
        loop = kernels.loop(op, mapping) if skips else None
        stored = self._loaded_bytes(op, mapping, sparse)
        read, written = self._map_traffic(op)
        units = np.ones(op.n, dtype=np.int64)
        if skips:
            units = kernels.kept_units(op, sparse.mask, loop)
        passes = 1 if loop is None else -(-kernels.shape(op).m // loop.items)
        held = kernels.held_bytes(op, loop, units)
        cycles = kernels.cycles(op, loop, units) + self._map_cycles(op)
        macs = effective_macs(op, sparse.mask) if self.exploits(op) else op.macs
        places = edges(len(units), _OUTLINE_CHUNKS if fidelity is Fidelity.TILE else _CHUNKS)
        running = np.concatenate([[0], np.cumsum(units)])[places]
        busy = spread(int(np.ceil(cycles)), running)
        busy[0] += self.spec.engine.launch_cycles
        self._tally_product(steps, op, held, passes)
        steps.tally(mac_action((op.a_dtype, op.b_dtype), _LANE_BITS), macs // op.repeats)
        return Chunks(
            unit=CORES.name,
            busy_cycles=busy,
            macs=spread(macs // op.repeats, running),
            loaded_bytes=spread(stored, running) + share(read, len(busy)),
            stored_bytes=share(written, len(busy)),
            loads_maps=read > 0 or op.weight is None,
        ).emit(steps, self.link())

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
            cycles,
            issued / simd.issue_per_cycle,
            vectors * op.passes,
            moved / self.kernels.rate_of(moved),
        )
        cycles += self._requantise_cycles(op.elements, op.c_dtype)
        return int(np.ceil(cycles)) + self.spec.engine.launch_cycles

    def components(self) -> Sequence[Component]:
        spec, caches = self.spec, self.spec.caches
        lanes = spec.simd.lanes * spec.simd.multiply_ports
        return (
            *macs_by_width(
                Component(
                    name="vector units", kind="mac", actions=(), instances=spec.cores * lanes,
                    dtype=spec.mac_dtype,
                ),
                _LANE_BITS,
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
