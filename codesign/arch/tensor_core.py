"""GPUs with tensor cores: thread blocks over multiprocessors, 2:4 products, streamed kernels.

A kernel is launched, its thread blocks are given to multiprocessors as these become free, and
DRAM moves its bytes beside them. How long a block takes is in `kernels.tensor_core`;
`docs/machines/gpu.md` derives it.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import numpy as np

from codesign.arch.base import Fidelity, Machine, Mapping, Sparse
from codesign.arch.gpu_kernels import (
    DENSE_FORM,
    SPLITS,
    Board,
    Float64,
    Form,
    KernelLibrary,
    Run,
    choices,
    constants_row,
    element_bytes,
    form_of,
    in_flight,
    laws,
)
from codesign.arch.gpu_spec import TensorCoreSpec
from codesign.arch.parts import Component
from codesign.kernels.tensor_core import (
    BLOCK,
    BLOCKS,
    CYCLES,
    DRAM_READ,
    L2_BYTES,
    SERVERS,
    TILE_M,
    TILE_N,
)
from codesign.kernels.tensor_core import SPLITS as SPLITS_COLUMN
from codesign.schedule.program import Int64, Order, Program, Steps, Unit
from codesign.schedule.streaming import DRAM, DRAM_WRITE, MAC
from codesign.schedule.streaming import DRAM_READ as READ_ACTION
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import ScaledGroups
from codesign.trace.op import Kind, Op
from codesign.trace.sparsify import effective_macs
from codesign.units import BITS_PER_BYTE, HZ_PER_MHZ, PJ_PER_J, DTypeName, dtype_bits

LAUNCH = Unit("launch")
MAC_16BIT = "mac_16bit"
"""MACs of 16 bits that draw as much as those issued: energy goes with the width of operands."""
_SPARSE_DTYPES = frozenset({"tf32", "fp16", "bf16", "fp8", "int8", "int4"})
"""Types with 2:4 instructions; fp32 is multiplied by scalar lanes."""
_UNPACKED = frozenset({"bitmap", "grouped"})
"""Forms that are stored compressed and multiplied dense."""
_MASKED = frozenset({"block"})
"""Forms whose thread blocks take as long as the mask says."""


class TensorCore(Machine[TensorCoreSpec]):
    """Lowers an operator to one kernel: a launch, its thread blocks, and its DRAM traffic."""

    spec_type = TensorCoreSpec
    sparse_can_lose = True
    acts_beyond_probes = (
        "dense", "sparse", "sparse_8bit", "power", "measured_as", "l2", "launch.stream_cycles",
        "dram.capacity_bytes",
    )  # fmt: skip
    actions: ClassVar[tuple[str, ...]] = (
        READ_ACTION, DRAM_WRITE, MAC, MAC_16BIT, "l2_read", "shared_read", "vector_alu",
        "vector_special",
    )  # fmt: skip

    def bound_by(
        self, op: Op, busy_cycles: MappingABC[str, int], span_cycles: int, executed_macs: int
    ) -> str:
        """The largest share of the time at peak rates; latency if all are small.

        Products whose sustained rate is under half of the peak are bound by that, not by compute.
        """
        if span_cycles == 0:
            return "latency"
        cycles = {
            "launch": float(busy_cycles.get(LAUNCH.name, 0)),
            "memory": float(busy_cycles.get(DRAM.name, 0)),
        }
        if op.is_matmul:
            held = self.sustained(op.a_dtype, self.form(op))  # type: ignore[arg-type]
            bound = "sustained rate" if 2 * held < 1 else "compute"
            cycles[bound] = executed_macs / (float(self.peak_macs_per_cycle(op)) * held)
        most = max(cycles, key=lambda name: cycles[name])
        return most if cycles[most] > laws().least_share * span_cycles else "latency"

    @property
    def processors(self) -> Unit:
        return Unit("multiprocessor", self.spec.sm.count, Order.ARRIVAL)

    @property
    def board(self) -> Board:
        spec = self.spec
        return Board(
            spec.sm.count, spec.l2.capacity_bytes // spec.l2.partitions, spec.l2.bytes_per_cycle,
            spec.dram.bytes_per_cycle, spec.dram.latency_cycles, spec.sm.shared_bytes,
            bool(spec.sm.warp_groups), spec.sm.tensor_memory,
        )  # fmt: skip

    @property
    def dram_bytes_per_cycle(self) -> float:
        return self.spec.dram.bytes_per_cycle

    @property
    def memory_bytes(self) -> int | None:
        return self.spec.dram.capacity_bytes

    def static_power_w(self) -> dict[str, float]:
        return {"idle": self.spec.power.idle_w}

    def supports(self, op: Op) -> bool:
        return not op.is_matmul or op.a_dtype in self.spec.mma

    def refusal(self, op: Op) -> str:
        return f"{super().refusal(op)} of {op.a_dtype}; it multiplies {', '.join(self.spec.mma)}"

    def form(self, op: Op) -> Form:
        """How the operator's B is stored and multiplied."""
        return form_of(
            op.b_pattern, op.a_dtype, op.b_dtype,
            sparse_mma=self.spec.sparse is not None and op.a_dtype in _SPARSE_DTYPES,
        )  # fmt: skip

    def exploits(self, op: Op) -> bool:
        return op.is_matmul and self.form(op) != DENSE_FORM

    def skips(self, op: Op) -> bool:
        return self.exploits(op) and self.form(op).name not in _UNPACKED

    def note(self, op: Op) -> str | None:
        if not op.is_matmul or op.b_pattern.is_dense or self.form(op).name != "grouped":
            return super().note(op)
        if isinstance(op.b_pattern, ScaledGroups):
            return f"{op.b_pattern} on {self.spec.name}: loads kept groups, multiplies all of them"
        return f"{op.b_pattern} runs dense on {self.spec.name}, which unpacks all of {op.b_dtype}"

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        return super().needs_mask(op, fidelity) and self.form(op).name in _MASKED

    def engine(self, op: Op) -> str:
        return LAUNCH.name

    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        return Fraction(self.spec.sm.count * self.spec.mma[op.a_dtype])  # type: ignore[index]

    def kernels(self, form: Form, dtype: DTypeName) -> KernelLibrary:
        """The library that runs a form of operands of a type."""
        if form.name != "2:4" or self.spec.sparse is None:
            return self.spec.dense
        if dtype_bits(dtype) <= BITS_PER_BYTE and self.spec.sparse_8bit is not None:
            return self.spec.sparse_8bit
        return self.spec.sparse

    def sustained(self, dtype: DTypeName, form: Form = DENSE_FORM) -> float:
        """Share of the peak rate in the long run: as measured, else by the law of `Power.share`.

        The law also says what a measured share becomes on a board that was changed since.
        """
        spec, power = self.spec, self.spec.power
        mac_pj = power.mac_pj(dtype, sparse=form.name == "2:4")
        by_law = power.share(mac_pj, spec.sm.count * spec.mma[dtype], spec.clock_mhz)
        known = self.kernels(form, dtype).sustained.get(dtype)
        if known is None or spec.measured_as is None:
            return by_law if known is None else known
        return min(1.0, known * (by_law / spec.measured_as.share(power, mac_pj, dtype)))

    def choose(
        self,
        sizes: Int64,
        dtype: DTypeName,
        form: Form = DENSE_FORM,
        *,
        c_bytes: float = 2.0,
        run: Run = Run(),  # noqa: B008
        tiles: tuple[tuple[int, ...], ...] | None = None,
        splits: tuple[int, ...] | None = None,
    ) -> Float64:
        """Tiles, splits and cycles (without the launch) of products: rows of groups, m, n, k."""
        kernels = self.kernels(form, dtype)
        rate = self.spec.mma[dtype]
        share = min(1.0, run.rate * self.sustained(dtype, form))
        if splits is None:
            splits = (1,) if form == DENSE_FORM and dtype in laws().unsplit else SPLITS
        cap = share * self.spec.sm.count * rate * form.rate
        return choices(
            sizes, self.board, constants_row(kernels, cap, run), form,
            a_bytes=element_bytes(dtype), c_bytes=c_bytes, macs_per_cycle=rate,
            kernels=kernels, tiles=tiles, splits=splits,
        )  # fmt: skip

    @property
    def fusion_rule(self) -> str:
        return (
            "runs kernel after kernel; only attention is fused, by its own rule (flash_attention)"
        )

    def is_fused(self, op: Op) -> bool:
        """Whether the operator's large matrix stays on the chip (flash attention)."""
        return self.spec.flash_attention and op.kind is Kind.ATTENTION

    def _choice(self, op: Op, mapping: Mapping | None = None) -> Float64:
        shape = in_flight(op) if self.is_fused(op) else op
        sizes = np.array([[op.groups, shape.m, shape.n, shape.k]], dtype=np.int64)
        tiles: tuple[tuple[int, ...], ...] | None = None
        splits: tuple[int, ...] | None = None
        if mapping is not None:
            tiles = ((mapping.tile_m, mapping.tile_n),)
            splits = (-(-shape.k // mapping.tile_k),)
        c_bytes = 0.0 if self.is_fused(op) else element_bytes(op.c_dtype)
        dtype: DTypeName = op.a_dtype  # type: ignore[assignment]
        found = self.choose(
            sizes, dtype, self.form(op), c_bytes=c_bytes, tiles=tiles, splits=splits
        )
        return np.asarray(found[0])

    def mappings(self, op: Op) -> Sequence[Mapping]:
        if not op.is_matmul:
            return (Mapping("stream", 0, 0, 0),)
        row = self._choice(op)
        k = in_flight(op).k if self.is_fused(op) else op.k
        tile_m, tile_n = int(row[TILE_M]), int(row[TILE_N])
        name = "vector" if tile_m == 1 else "tile"
        return (Mapping(name, tile_m, tile_n, -(-k // int(row[SPLITS_COLUMN]))),)

    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        steps = Steps((DRAM, LAUNCH, self.processors), self.actions)
        launch = self.spec.launch
        held = launch.kernel_cycles + (0 if launch.graphs else launch.stream_cycles)
        if self._continues(op):
            held = 0
        start = steps.add(LAUNCH.name, np.array([held]), at=0)
        steps.depend(np.repeat(start, 2), np.array([steps.inputs_ready, steps.engine_ready]))
        if op.is_matmul:
            work = self._emit_product(steps, start, op, mapping, sparse, fidelity)
        else:
            work = self._emit_stream(steps, start, op)
        return steps.build(release_after=work, done_after=work)

    def _continues(self, op: Op) -> bool:
        """Whether the operator is part of a kernel that an earlier one has launched."""
        if not self.spec.flash_attention:
            return False
        return op.kind is Kind.SOFTMAX or (op.kind is Kind.ATTENTION and op.k > op.n)

    def _emit_product(
        self,
        steps: Steps,
        start: Int64,
        op: Op,
        mapping: Mapping,
        sparse: Sparse,
        fidelity: Fidelity,
    ) -> Int64:
        row = self._choice(op, mapping)
        macs = self.executed_macs(op, sparse)
        busy = self._block_cycles(op, row, sparse.mask, fidelity)
        count = np.zeros(len(busy), dtype=np.int64)
        count[0] = macs
        blocks = steps.add(self.processors.name, busy, at=1, action=MAC, count=count)
        steps.depend(blocks, np.repeat(start, len(blocks)))
        written = 0 if self.is_fused(op) else op.c_bytes
        read = max(self.compulsory_bytes(op, sparse) - written, int(row[DRAM_READ]))
        if self.form(op).name in _MASKED or op.conv is not None:
            read = self.compulsory_bytes(op, sparse) - written
        moved = self._emit_traffic(steps, start, read, written)
        steps.tally(MAC_16BIT, macs * dtype_bits(op.a_dtype) // dtype_bits("fp16"))
        steps.tally("l2_read", int(row[L2_BYTES]))
        steps.tally("shared_read", 2 * int(row[L2_BYTES]))
        return np.concatenate([blocks, moved])

    def _block_cycles(self, op: Op, row: Float64, mask: Mask | None, fidelity: Fidelity) -> Int64:
        """Cycles of what each multiprocessor is given: all full waves at once, then the last."""
        slots = int(self.spec.sm.count)
        resident = max(1, int(row[SERVERS]) // slots)
        if row[TILE_M] == 1 or fidelity is Fidelity.TILE:
            return np.array([int(np.ceil(row[CYCLES]))], dtype=np.int64)
        given = -(-int(row[BLOCKS]) // resident)
        waves, rest = divmod(given, slots)
        block = int(np.ceil(row[BLOCK]))
        if mask is None:
            full = np.full(slots if waves else 0, waves * block, dtype=np.int64)
            return np.concatenate([full, np.full(rest, block, dtype=np.int64)])
        rows = mask.tile_counts(int(row[TILE_N]), mask.shape[1]).ravel()
        down = -(-op.m // int(row[TILE_M])) * int(row[SPLITS_COLUMN])
        shared = mask.shape[0] == op.n
        blocks = np.tile(rows / max(1.0, rows.mean()), down * (op.groups if shared else 1))
        at = np.arange(0, len(blocks), resident)
        beside = np.add.reduceat(blocks, at) / resident
        return np.maximum(1, np.ceil(beside * block)).astype(np.int64)

    def _emit_traffic(self, steps: Steps, start: Int64, read: int, written: int) -> Int64:
        amounts = np.array([read, written], dtype=np.int64)
        busy = np.floor(amounts / self.spec.dram.bytes_per_cycle).astype(np.int64)
        moved = [
            steps.add(DRAM.name, busy[i : i + 1], at=1, action=action, count=amounts[i : i + 1])
            for i, action in enumerate((READ_ACTION, DRAM_WRITE))
        ]
        both = np.concatenate(moved)
        steps.depend(both, np.repeat(start, 2))
        return both

    def stream_cycles(self, op: Op) -> int:
        """Cycles of a kernel that streams its operands once, without the launch.

        Bound by DRAM, by scalar or by special lanes, after the latency of a read and of a write;
        part of another kernel where it is fused. Passes over a row wait for each other, so that
        exponentials, which each pass after the first computes anew, add to the time.
        """
        spec, fused = self.spec, self._continues(op)
        moved = 0 if fused else op.read_bytes + op.write_bytes
        memory = moved / (spec.dram.bytes_per_cycle * spec.streams.dram_efficiency)
        simple = op.elements * max(op.alu_per_element, op.passes) / (spec.sm.count * spec.sm.lanes)
        special = op.elements * op.special_per_element / (spec.sm.count * spec.sm.special_lanes)
        once = 0 if fused else 2 * spec.dram.latency_cycles
        if op.passes > 1:
            memory += special * (op.passes - 1)
        return int(np.ceil(max(memory, simple, special) + once))

    def _emit_stream(self, steps: Steps, start: Int64, op: Op) -> Int64:
        spec, cycles = self.spec, self.stream_cycles(op)
        read, written = (0, 0) if self._continues(op) else (op.read_bytes, op.write_bytes)
        busy = np.full(spec.sm.count, cycles, dtype=np.int64)
        count = np.zeros(spec.sm.count, dtype=np.int64)
        count[0] = op.elements * op.alu_per_element
        blocks = steps.add(self.processors.name, busy, at=1, action="vector_alu", count=count)
        steps.depend(blocks, np.repeat(start, len(blocks)))
        steps.tally("vector_special", op.elements * op.special_per_element)
        steps.tally("l2_read", read)
        return np.concatenate([blocks, self._emit_traffic(steps, start, read, written)])

    def executed_macs(self, op: Op, sparse: Sparse) -> int:
        """Multiply-accumulates that one run issues: kernels that unpack B issue all of them."""
        if not self.skips(op):
            return op.groups * op.m * op.n * op.k
        return effective_macs(op, sparse.mask) // op.repeats

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        form = self.form(op)
        kept = form.kept
        if sparse.mask is not None and form.name in _MASKED:
            kept = sparse.mask.density
        elements = (1 if op.b_shared else op.groups) * op.n * op.k
        return int(elements * kept * form.b_share * element_bytes(op.a_dtype))

    def compulsory_bytes(self, op: Op, sparse: Sparse) -> int:
        if not op.is_matmul:
            return self.moved_bytes(op)
        if self.is_fused(op):
            shape = in_flight(op)
            near = op.groups * shape.m * shape.k * element_bytes(op.a_dtype)
            far = op.groups * shape.n * shape.k * element_bytes(op.a_dtype) * self.form(op).b_share
            return int(near + far)
        return op.a_bytes + self.stored_bytes(op, sparse) + op.c_bytes

    def moved_bytes(self, op: Op) -> int:
        return 0 if self._continues(op) else super().moved_bytes(op)

    def board_energy_pj(self, op: Op, counts: MappingABC[str, int], cycles: int) -> float | None:
        """Idle power, products at the clock that power allows, and bytes of DRAM at the board.

        Never more than the board's limit in the operator's share of the time.
        """
        spec = self.spec
        pj_per_w = PJ_PER_J * cycles / (spec.clock_mhz * HZ_PER_MHZ)
        idle = spec.power.idle_w * pj_per_w
        moved = counts.get(READ_ACTION, 0) + counts.get(DRAM_WRITE, 0)
        pj = idle + moved * spec.board_energy.dram_pj_per_byte
        if op.is_matmul:
            dtype: DTypeName = op.a_dtype  # type: ignore[assignment]
            form = self.form(op)
            mac_pj = spec.power.mac_pj(dtype, sparse=form.name == "2:4")
            clock_mhz = spec.clock_mhz * self.sustained(dtype, form)
            pj += counts.get(MAC, 0) * spec.power.mac_pj_at(mac_pj, clock_mhz)
        return min(pj, spec.power.limit_w * pj_per_w)

    def components(self) -> Sequence[Component]:
        spec = self.spec
        widest = max(spec.mma.values())
        dtype: DTypeName = "fp16" if "fp16" in spec.mma else next(iter(spec.mma))
        return (
            Component(
                name="tensor cores", kind="mac", actions=(MAC_16BIT,), dtype=dtype,
                instances=spec.sm.count * spec.mma.get(dtype, widest),
            ),
            Component(
                name="lanes", kind="vector", actions=("vector_alu", "vector_special"),
                instances=spec.sm.count * spec.sm.lanes, dtype="fp32",
            ),
            Component(
                name="shared memory", kind="sram", actions=("shared_read",), width_bytes=128,
                instances=spec.sm.count, capacity_bytes=spec.sm.shared_bytes,
            ),
            Component(
                name="l2", kind="sram", actions=("l2_read",), width_bytes=64,
                capacity_bytes=spec.l2.capacity_bytes,
            ),
            Component(
                name="dram", kind="dram", actions=(READ_ACTION, DRAM_WRITE),
                dram_kind=spec.dram.kind,
            ),
        )  # fmt: skip
