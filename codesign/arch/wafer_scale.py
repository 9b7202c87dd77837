"""Wafer-scale engine (Cerebras CS-2, CS-3): unstructured zeros of streamed weights cost nothing.

Activations stay in the cores: the inputs of a layer lie across the columns, its items across the
rows. Weights come from outside, row by row; zeros are dropped at the sender, and every kept weight
makes its column do one AXPY. A row of weights ends with a command that starts the reduction of its
sums.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from fractions import Fraction
from math import log, sqrt
from typing import ClassVar

import numpy as np

from codesign.arch.base import Fidelity, Machine, Mapping, Sparse
from codesign.arch.chunked import Chunks, edges, spread
from codesign.arch.parts import Component
from codesign.arch.wafer_parts import Layout, WaferSpec, cut, wafer_components
from codesign.config import CodesignError
from codesign.kernels.axpy import pace_rows, step_rows
from codesign.schedule.program import COMPUTE, LOAD, STORE, Int64, Program, Steps, Unit
from codesign.schedule.streaming import DRAM, DRAM_READ, DRAM_WRITE, MAC, Link, share
from codesign.sparsity.pattern import NM
from codesign.trace.op import Kind, Op, Phase, ceil_bytes
from codesign.trace.sparsify import effective_macs

WAFER, OPTIMIZER = Unit("wafer"), Unit("optimizer")

_CHUNKS, _OUTLINE_CHUNKS = 64, 4
"""Steps that a product's rows of weights are cut into, by fidelity."""
_PATCH_ROWS, _PATCH_SEED = 64, 0
_BESIDE = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 256, 512)
"""How many copies of a reduction are tried side by side."""
_MOST_STEPPED = 10**7


class WaferScale(Machine[WaferSpec]):
    """Zeros of weights are skipped where they stream in; all else runs dense on the wafer."""

    spec_type = WaferSpec
    actions: ClassVar[tuple[str, ...]] = (
        DRAM_READ, DRAM_WRITE, MAC, "sram_read", "sram_write", "fabric", "core_alu", "core_special",
    )  # fmt: skip
    unit_labels: ClassVar[dict[str, str]] = {
        DRAM.name: "memory", WAFER.name: "compute", OPTIMIZER.name: "update",
    }  # fmt: skip

    def units(self) -> tuple[Unit, ...]:
        return (DRAM, WAFER, OPTIMIZER)

    def supports(self, op: Op) -> bool:
        return True

    def exploits(self, op: Op) -> bool:
        return self.streams(op) and not op.b_pattern.is_dense

    def streams(self, op: Op) -> bool:
        """Whether B is weights that come from outside."""
        return op.is_matmul and op.weight is not None and op.phase is not Phase.BACKWARD_WEIGHT

    def engine(self, op: Op) -> str:
        return OPTIMIZER.name if op.kind is Kind.UPDATE else WAFER.name

    def bound_by(
        self, op: Op, busy_cycles: MappingABC[str, int], span_cycles: int, executed_macs: int
    ) -> str:
        label = super().bound_by(op, busy_cycles, span_cycles, executed_macs)
        capacity = busy_cycles.get(WAFER.name, 0) * self.peak_macs_per_cycle(op)
        if label == "compute" and op.is_matmul and 2 * executed_macs < capacity:
            return "imbalance" if self.exploits(op) else "underfilled"
        return label

    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        fabric = self.spec.fabric
        return Fraction(fabric.rows * fabric.cols * self.spec.core.lanes)

    @property
    def cores(self) -> int:
        return self.spec.fabric.rows * self.spec.fabric.cols

    @property
    def dram_bytes_per_cycle(self) -> float:
        return max(self.spec.storage.link.bytes_per_cycle, self.spec.storage.update_bytes_per_cycle)

    def link(self) -> Link:
        link = self.spec.storage.link
        return Link(link.bytes_per_cycle, link.latency_cycles)

    # Bytes

    def resident(self, op: Op) -> bool:
        """Whether what an operator reads and writes fits into the cores' memories together."""
        if op.is_matmul:
            maps = op.a_bytes + op.c_bytes + (0 if self.streams(op) else op.b_bytes)
        else:
            maps = op.read_bytes + op.write_bytes
        return maps <= self.cores * self.spec.core.sram_bytes

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        """Kept weights and an index for each or a bitmap, or all of them: whichever is least."""
        if not self.streams(op):
            return 0 if self.resident(op) else op.b_bytes
        if op.b_pattern.is_dense:
            return op.b_bytes
        kept = effective_macs(op, sparse.mask) // (op.m * op.repeats)
        kept //= op.groups if op.b_shared else 1
        places = min(kept * self.spec.storage.index_bits, op.b_elements)
        return min(op.b_bytes, -(-(kept * ceil_bytes(8, op.b_dtype) + places) // 8))

    def moved_bytes(self, op: Op) -> int:
        return sum(self._vector_traffic(op))

    def compulsory_bytes(self, op: Op, sparse: Sparse) -> int:
        if not op.is_matmul:
            return self.moved_bytes(op)
        read, written = self._map_traffic(op)
        return self.stored_bytes(op, sparse) + read + written

    def _map_traffic(self, op: Op) -> tuple[int, int]:
        """Bytes of A and C that cross the link; the gradients of weights leave the wafer."""
        spilled = not self.resident(op)
        leaves = spilled or (op.phase is Phase.BACKWARD_WEIGHT and op.weight is not None)
        return (op.a_bytes if spilled else 0), (op.c_bytes if leaves else 0)

    def _vector_traffic(self, op: Op) -> tuple[int, int]:
        """Bytes read and written outside; embeddings and masters live there."""
        if op.kind is Kind.UPDATE:
            kept = op.b_pattern.density
            return round(op.read_bytes * kept), round(op.write_bytes * kept)
        if self.resident(op):
            if op.kind is not Kind.EMBEDDING:
                return 0, 0
            if op.phase is Phase.BACKWARD_WEIGHT:
                return 0, op.write_bytes
            return op.read_bytes, 0
        return op.read_bytes, op.write_bytes

    # Layout

    def roles(self, op: Op) -> tuple[int, int, int, int]:
        """Groups, items (across rows), inputs (across columns), outputs (a row of weights each)."""
        if op.phase is Phase.BACKWARD_WEIGHT:
            return op.groups, op.k, op.m, op.n
        if op.b_shared:
            return 1, op.m * op.groups, op.k, op.n
        return op.groups, op.m, op.k, op.n

    def mappings(self, op: Op) -> Sequence[Mapping]:
        if not op.is_matmul:
            return (Mapping("vector", 0, 0, 0),)
        layouts = self.layouts(op)
        if not layouts:
            raise CodesignError(
                f"{self.spec.name}: the memory of a core is too small for {op.name} "
                f"({op.m}x{op.n}x{op.k}); enlarge core.sram_bytes"
            )
        layouts.sort(key=lambda layout: self._estimate(op, layout))
        return tuple(
            Mapping("axpy", one.items, self.roles(op)[3], one.depth, one.waves) for one in layouts
        )

    def layouts(self, op: Op) -> list[Layout]:
        """Reductions over all columns, or over fewer with more items beside each other."""
        fabric = self.spec.fabric
        groups, items, inputs, outputs = self.roles(op)
        found = []
        spans = {fabric.cols // beside for beside in _BESIDE if beside <= fabric.cols} | {1}
        for depth in sorted({-(-inputs // span) for span in spans}):
            columns = -(-inputs // depth)
            slots = fabric.rows * (fabric.cols // columns)
            wanted = -(-items // max(1, slots // groups))
            most = self._items_that_fit(op, depth, -(-outputs // columns))
            if most > 0:
                held = min(wanted, most)
                waves = -(-groups // slots) * -(-wanted // held)
                found.append(Layout(columns, depth, held, waves))
        return found

    def _items_that_fit(self, op: Op, depth: int, outputs: int) -> int:
        core = self.spec.core
        out = 0 if op.phase is Phase.BACKWARD_WEIGHT else outputs * ceil_bytes(8, op.c_dtype) / 8
        item = depth * ceil_bytes(8, op.a_dtype) / 8 + out + core.sums * self.sum_bytes
        return int(core.sram_bytes // item)

    @property
    def sum_bytes(self) -> int:
        return ceil_bytes(1, self.spec.accumulate_dtype)

    def times(self, op: Op, items: int) -> tuple[int, int, int, int, int, int]:
        """Cycles of an AXPY, a command, a hop and a send, and the depths of the buffers."""
        core, fabric = self.spec.core, self.spec.fabric
        read = items * (ceil_bytes(8, op.a_dtype) / 8 + self.sum_bytes)
        written = items * self.sum_bytes
        add = max(
            -(-items // core.lanes),
            int(np.ceil(read / core.read_bytes_per_cycle)),
            -(-written // core.write_bytes_per_cycle),
        )
        send = -(-written // fabric.packet_bytes)
        return (
            core.handler_cycles + add, core.command_cycles + add, fabric.hop_cycles, send,
            core.sums, fabric.window_rows,
        )  # fmt: skip

    def _estimate(self, op: Op, layout: Layout) -> float:
        axpy, command, hop, send, _, _ = self.times(op, layout.items)
        kept = op.b_pattern.density if self.exploits(op) else 1.0
        mean = kept * layout.depth
        spread = 0.0
        if kept < 1 and not isinstance(op.b_pattern, NM):
            beside = min(self.spec.core.sums, self.spec.fabric.window_rows)
            spread = sqrt(2 * log(max(2, layout.columns)) * mean * (1 - kept) / beside)
        packets = min(float(layout.depth), mean + spread)
        turn = layout.columns * hop / (self.spec.core.sums + self.spec.fabric.window_rows)
        row = max(packets * axpy + command, send, turn)
        compute = layout.waves * self.roles(op)[3] * row
        moved = op.b_bytes * self._passes(op, layout) if self.streams(op) else 0
        streamed = moved / self.spec.storage.link.bytes_per_cycle
        return max(compute, streamed) + compute / _CHUNKS + layout.columns * hop

    # Steps

    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        steps = Steps(self.units(), self.actions)
        if op.is_matmul:
            columns = -(-self.roles(op)[2] // mapping.tile_k)
            layout = Layout(columns, mapping.tile_k, mapping.tile_m, mapping.tile_groups)
            release, done = self._emit_product(steps, op, layout, sparse, fidelity)
        else:
            release, done = self._emit_vector(steps, op)
        return steps.build(release_after=release, done_after=done)

    def packets(self, op: Op, layout: Layout, sparse: Sparse) -> Int64:
        """Kept weights of every row and column; groups that share a wave keep step."""
        _, _, inputs, outputs = self.roles(op)
        depth, columns = layout.depth, layout.columns
        sizes = np.minimum(depth, inputs - depth * np.arange(columns, dtype=np.int64))
        if not self.exploits(op):
            return np.ascontiguousarray(np.broadcast_to(sizes, (outputs, columns)))
        mask = sparse.mask
        if mask is None:
            rows = min(outputs, _PATCH_ROWS)
            patch = op.b_pattern.sample(rows, inputs, _PATCH_SEED).tile_counts(1, depth)
            return np.resize(patch, (outputs, columns))
        counts = mask.tile_counts(1, depth)
        return np.ascontiguousarray(counts.reshape(-1, outputs, columns).max(axis=0))

    def _emit_product(
        self, steps: Steps, op: Op, layout: Layout, sparse: Sparse, fidelity: Fidelity
    ) -> tuple[Int64, Int64]:
        packets = self.packets(op, layout, sparse)
        times = self.times(op, layout.items)
        if fidelity is Fidelity.CYCLE:
            ended, complete = self._stepped(op, layout, times, sparse)
        else:
            ended, complete = pace_rows(packets, *times)
        places = edges(
            len(ended) * layout.waves, _OUTLINE_CHUNKS if fidelity is Fidelity.TILE else _CHUNKS
        )
        sent = cut(np.cumsum(packets.sum(axis=1)), places)
        macs = effective_macs(op, sparse.mask) if self.exploits(op) else op.macs
        read, written = self._map_traffic(op)
        stored = self.stored_bytes(op, sparse)
        weights = spread(
            stored * self._passes(op, layout), places if stored == op.b_bytes else sent
        )
        chunks = len(weights)
        self._tally_product(steps, op, layout, int(sent[-1]), macs // op.repeats)
        return Chunks(
            unit=WAFER.name,
            busy_cycles=np.diff(cut(ended, places)),
            macs=spread(macs // op.repeats, sent),
            loaded_bytes=weights + share(read, chunks),
            stored_bytes=share(written, chunks),
            latency_cycles=int(complete[-1] - ended[-1]),
            loads_maps=read > 0,
        ).emit(steps, self.link())

    def _passes(self, op: Op, layout: Layout) -> int:
        """How often the weights cross the link: once for every wave of items."""
        groups, _, _, _ = self.roles(op)
        slots = self.spec.fabric.rows * (self.spec.fabric.cols // layout.columns)
        return max(1, layout.waves // max(1, -(-groups // slots)))

    def _stepped(
        self, op: Op, layout: Layout, times: tuple[int, ...], sparse: Sparse
    ) -> tuple[Int64, Int64]:
        """Cycles of stepped cores on random numbers; ArithmeticError if their product is wrong."""
        groups, _, inputs, outputs = self.roles(op)
        work = groups * outputs * inputs * layout.items * times[0]
        if work > _MOST_STEPPED:
            raise CodesignError(
                f"{op.name}: fidelity cycle would step {work:.1e} cycles of cores "
                f"(at most {_MOST_STEPPED:.0e}); use row, or a smaller workload"
            )
        rng = np.random.default_rng(0)
        act = rng.integers(-7, 8, (layout.items, inputs))
        keep = np.ones((outputs, inputs), dtype=np.bool_)
        runs = (
            [keep] if sparse.mask is None else sparse.mask.to_dense().reshape(-1, outputs, inputs)
        )
        found = []
        for kept in runs:
            w = rng.integers(1, 8, (outputs, inputs)) * kept
            out, ended, complete, axpys = step_rows(
                act, w, np.ascontiguousarray(kept), layout.depth, *times
            )
            if not np.array_equal(out, act @ w.T) or axpys != kept.sum():
                raise ArithmeticError(f"{op.name}: the stepped cores' product is not A . B")
            found.append((ended, complete))
        return found[np.argmax([complete[-1] for _, complete in found])]

    def _tally_product(self, steps: Steps, op: Op, layout: Layout, sent: int, macs: int) -> None:
        fabric = self.spec.fabric
        a_bytes = ceil_bytes(8, op.a_dtype) / 8
        steps.tally("sram_read", int(macs * (a_bytes + self.sum_bytes)))
        steps.tally("sram_write", macs * self.sum_bytes)
        rows = layout.waves * self.roles(op)[3]
        sums = rows * layout.columns * layout.items * self.sum_bytes
        across = fabric.cols // layout.columns
        steps.tally("fabric", sent * fabric.packet_bytes * fabric.rows * across)
        steps.tally("fabric", sums * fabric.rows * across * fabric.hop_cycles)

    def _emit_vector(self, steps: Steps, op: Op) -> tuple[Int64, Int64]:
        """One step on the wafer, and around it the transfers of what lies outside."""
        read, written = self._vector_traffic(op)
        if op.kind is Kind.UPDATE:
            return self._emit_update(steps, op, read, written)
        latency = 0
        if op.kind in (Kind.NORM, Kind.SOFTMAX, Kind.REDUCTION):
            latency = op.passes * self.spec.fabric.cols * self.spec.fabric.hop_cycles
        work = steps.add(
            WAFER.name, np.array([self._vector_cycles(op)]), at=1, stage=COMPUTE,
            latency_cycles=latency, action="core_alu", count=op.elements * op.alu_per_element,
        )  # fmt: skip
        steps.depend(work, steps.inputs_ready)
        steps.depend(work, steps.engine_ready)
        steps.tally("core_special", op.elements * op.special_per_element)
        steps.tally("sram_read", op.read_bytes)
        steps.tally("sram_write", op.write_bytes)
        done = work
        if read:
            load = self._move(steps, read, DRAM_READ, LOAD)
            steps.depend(load, steps.inputs_ready)
            steps.depend(work, load)
        if written:
            done = self._move(steps, written, DRAM_WRITE, STORE)
            steps.depend(done, work)
        return work, done

    def _emit_update(self, steps: Steps, op: Op, read: int, written: int) -> tuple[Int64, Int64]:
        """Masters and optimiser state pass the processors beside the store, pruned ones do not."""
        rate = self.spec.storage.update_bytes_per_cycle
        passing = [
            steps.add(
                OPTIMIZER.name, np.array([int(np.ceil(amount / rate))]), at=1, stage=stage,
                action=action, count=amount,
            )
            for amount, action, stage in ((read, DRAM_READ, LOAD), (written, DRAM_WRITE, STORE))
        ]  # fmt: skip
        steps.depend(passing[0], steps.inputs_ready)
        steps.depend(passing[0], steps.engine_ready)
        steps.depend(passing[1], passing[0])
        return passing[0], passing[1]

    def _move(self, steps: Steps, amount: int, action: str, stage: int) -> Int64:
        size = np.array([amount])
        return steps.add(
            DRAM.name, self.link().cycles(size), at=1, stage=stage,
            latency_cycles=self.link().delay, action=action, count=size,
        )  # fmt: skip

    def _vector_cycles(self, op: Op) -> int:
        core = self.spec.core
        each = -(-op.elements // self.cores)
        simple = -(-each * max(op.passes, op.alu_per_element) // core.lanes)
        return max(1, simple + each * op.special_per_element * core.special_cycles)

    def components(self) -> Sequence[Component]:
        return wafer_components(self.spec)
