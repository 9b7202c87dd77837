"""What PIM machines share: products run in DRAM banks, all else in a logic chip beside them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from codesign.arch.base import ArchSpec, Assumption, Fidelity, Machine, Mapping, Sparse
from codesign.arch.parts import DOUBTFUL, Component, EnergyOverrides, VectorUnit
from codesign.arch.pim_channel import Channel, Transfer, Work, scattered_write, transfer
from codesign.config import CodesignError, Spec
from codesign.memory import DramSpec, command_prices, dram
from codesign.memory.spec import Timing
from codesign.schedule.bank_rows import (
    INPUT_HELD,
    OUTPUT_HELD,
    BankArray,
    Layout,
    channel_cells,
    split_reduction,
)
from codesign.schedule.program import COMPUTE, FINISH, LOAD, STORE, Int64, Program, Steps, Unit
from codesign.schedule.streaming import share
from codesign.sparsity.storage import Extent
from codesign.trace.op import Kind, Op, Phase, ceil_bytes
from codesign.trace.sparsify import effective_macs
from codesign.units import BITS_PER_BYTE, PS_PER_NS, DTypeName

CHANNEL, LOGIC, PINS = "channel", "logic", "pins"
MAC, BANK_READ, PIN_READ, PIN_WRITE = "mac", "bank_read", "pin_read", "pin_write"
ACTIVATE, ROW_HIT, ROW_MISS = "activate", "row_hit", "row_miss"
REFRESH_CYCLES = "refresh_cycles"

_BLOCKS = 16
"""Equal runs of a product are told to the scoreboard in at most so many steps."""
_MEASURED, _NEAR = 4, 1.5
"""Mappings whose commands are run before one is chosen: so many, within this factor of the best."""
_GENERATING = (Phase.PREFILL, Phase.DECODE)


class MacUnits(Spec):
    """The arithmetic at the banks and the registers around it."""

    banks_per_unit: int = Field(ge=1, le=16)
    accumulators: int = Field(ge=1, le=64, description="sums that a unit holds")
    input_buffer_bytes: int = Field(ge=32, description="inputs that all units of a channel hear")
    result_bytes: int = Field(
        ge=1, description="of one sum at the pins; of all lanes without adders"
    )
    activates: Literal["all_banks", "one_bank"]
    """Whether one command opens a row in all banks of a channel."""
    writes_bias: bool
    """Whether every sum starts from a value that is written first."""
    packs_rows: bool
    """Whether weights of the next output follow in the same row, or begin a new one."""
    select_window: int = Field(
        ge=1, le=4096, description="inputs that a lane chooses from; 1: its own alone"
    )


class PimEnergy(EnergyOverrides):
    """Energies that replace the reference table; `dram_pj_per_byte` is that of the pins."""

    bank_read_pj_per_byte: float = Field(gt=0, description="of a column that stays at its bank")


class KvCache(Spec):
    """How new keys and values are written into their reserved rows."""

    key_run_bytes: int = Field(ge=2, description="of one key that lie together: one head's")


class PimSpec(ArchSpec):
    """The parts of a file that every PIM machine has; the clock is that of DRAM commands."""

    dram: str
    channels: int = Field(ge=1, le=1024)
    timings: dict[str, int] = Field(
        default_factory=dict, description="cycles that replace those of the DRAM"
    )
    refresh: bool
    mac_dtype: DTypeName
    accumulate_dtype: DTypeName
    units: MacUnits
    logic: VectorUnit
    overlap: bool
    """Whether banks and logic may work at the same time."""
    kv_cache: KvCache
    pin_kind: Literal["gddr6", "hbm2", "hbm2e", "hbm3"]
    """Kind of DRAM whose energy per bit the pins cost."""
    energy: PimEnergy

    @model_validator(mode="after")
    def _fits(self) -> PimSpec:
        preset = dram(self.dram)
        for name in self.timings:
            if name not in preset.timings:
                raise CodesignError(f"timings: {self.dram} has no timing {name!r}")
        if preset.organisation.banks % self.units.banks_per_unit:
            raise CodesignError(
                "units.banks_per_unit: the banks of a channel are no multiple of it"
            )
        width = ceil_bytes(self.units.select_window, self.mac_dtype)
        if self.units.input_buffer_bytes < width:
            raise CodesignError(f"units.input_buffer_bytes: at least the {width} of select_window")
        return self


S = TypeVar("S", bound=PimSpec)


@dataclass(frozen=True)
class Plan:
    """A product in the banks: its layout, the vectors in all, and how full lanes are of it."""

    layout: Layout
    vectors: int
    index_share: float


class PimMachine(Machine[S]):
    """Lowers products to command streams of DRAM channels, the rest to lanes of a logic chip."""

    unit_labels: ClassVar[dict[str, str]] = {CHANNEL: "bank rows", LOGIC: "logic"}
    actions: ClassVar[tuple[str, ...]] = (
        MAC, BANK_READ, PIN_READ, PIN_WRITE, ACTIVATE, ROW_HIT, ROW_MISS, REFRESH_CYCLES,
        "mac_columns", "register",
        "logic_alu", "logic_special", "logic_buffer_read", "logic_buffer_write",
    )  # fmt: skip

    @cached_property
    def dram(self) -> DramSpec:
        """The memory, with the channels, timings and refresh of the machine file."""
        preset = dram(self.spec.dram)
        given = preset.timings["nRCDMAC"].source
        timings = {
            name: Timing(cycles=cycles, source=given) for name, cycles in self.spec.timings.items()
        }
        shape = preset.organisation.model_copy(update={"channels": self.spec.channels})
        return preset.model_copy(
            update={
                "organisation": shape,
                "timings": {**preset.timings, **timings},
                "refresh": "all_bank" if self.spec.refresh else "off",
            }
        )

    def units(self) -> tuple[Unit, ...]:
        return (Unit(CHANNEL, servers=self.spec.channels), Unit(LOGIC), Unit(PINS, servers=0))

    def channel(self, op: Op) -> Channel:
        """A channel as it works for an operator's data types."""
        units, shape = self.spec.units, self.dram.organisation
        value_bytes = max(ceil_bytes(1, op.b_dtype), ceil_bytes(1, self.spec.mac_dtype))
        input_bytes = max(1, ceil_bytes(1, op.a_dtype))
        per_channel = shape.banks // units.banks_per_unit
        result = max(units.result_bytes, ceil_bytes(1, op.c_dtype))
        array = BankArray(
            channels=self.spec.channels,
            units=per_channel,
            lanes=shape.burst_bytes // value_bytes,
            row_columns=shape.columns * units.banks_per_unit,
            accumulators=units.accumulators,
            buffer_values=units.input_buffer_bytes // input_bytes,
            values_per_burst=shape.burst_bytes // input_bytes,
            result_bursts=-(-per_channel * result // shape.burst_bytes),
            packs_rows=units.packs_rows,
        )
        return Channel(self.dram, array, units.activates == "all_banks", units.writes_bias)

    def supports(self, op: Op) -> bool:
        return True

    @property
    @abstractmethod
    def mac_cycles(self) -> int:
        """Cycles between two columns multiplied in all banks."""

    @property
    @abstractmethod
    def burst_cycles(self) -> int:
        """Cycles between two bursts at the pins."""

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Bandwidth inside the banks, which products are bound by; the pins have less."""
        shape = self.dram.organisation
        units = shape.banks // self.spec.units.banks_per_unit
        return self.spec.channels * units * shape.burst_bytes / self.mac_cycles

    @property
    def pin_bytes_per_cycle(self) -> float:
        """Peak bandwidth of the pins of all channels."""
        return self.spec.channels * self.dram.organisation.burst_bytes / self.burst_cycles

    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        array = self.channel(op).array
        return Fraction(array.channels * array.units * array.lanes, self.mac_cycles)

    # zeros

    def window(self, op: Op) -> int:
        """Inputs that lanes choose from: no more than the lanes where they cannot choose."""
        lanes = self.channel(op).array.lanes
        return max(lanes, self.spec.units.select_window // lanes * lanes)

    def index_bits(self, op: Op) -> float:
        """Bits that say where kept values are, for each element of B; 0 if lanes cannot choose."""
        window = self.window(op)
        if op.b_pattern.is_dense or window == self.channel(op).array.lanes:
            return 0.0
        rows = op.n if op.b_shared else op.groups * op.n
        extent = Extent(rows, op.k, op.b_pattern.stored_units(rows, op.k))
        return sum(op.b_pattern.format.contents(extent).metadata_bits) / (rows * op.k)

    def exploits(self, op: Op) -> bool:
        if not op.is_matmul or op.b_pattern.is_dense:
            return False
        lanes, window = self.channel(op).array.lanes, self.window(op)
        if window == lanes:
            return True
        width = BITS_PER_BYTE * ceil_bytes(1, op.b_dtype)
        share_read = -(-window * op.b_pattern.density // lanes) * lanes / window
        return share_read + self.index_bits(op) / width < 1.0

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        exact = op.b_pattern.exact_group_count(self.window(op)) is not None
        return fidelity is not Fidelity.TILE and self.exploits(op) and not exact

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        if not self.exploits(op):
            return op.b_bytes
        kept = effective_macs(op, sparse.mask) // (op.m * op.repeats)
        if op.b_shared:
            kept //= op.groups
        index = int(self.index_bits(op) * op.b_elements) // BITS_PER_BYTE
        return ceil_bytes(kept, op.b_dtype) + index

    # products in banks

    def engine(self, op: Op) -> str:
        return LOGIC if self.spec.overlap and not op.is_matmul else CHANNEL

    def mappings(self, op: Op) -> Sequence[Mapping]:
        if not op.is_matmul:
            return (Mapping(LOGIC, 0, 0, 0),)
        array = self.channel(op).array
        options: list[tuple[float, int, Plan]] = []
        cuts = 1
        while cuts <= min(array.channels, -(-op.k // array.lanes)):
            for order in (INPUT_HELD, OUTPUT_HELD):
                plan = self.plan(op, order, cuts, None)
                options.append((self._estimate(op, plan), len(options), plan))
            cuts *= 2
        options.sort(key=lambda row: row[:2])
        near = [row for row in options[:_MEASURED] if row[0] < _NEAR * options[0][0]]
        if len(near) > 1:
            options = [(self._measure(op, plan), at, plan) for _, at, plan in near]
            options.sort(key=lambda row: row[:2])
        return tuple(
            Mapping(
                plan.layout.order,
                plan.layout.tokens,
                array.units,
                int(plan.layout.lengths.max()),
                plan.layout.slices,
                "nm" if plan.layout.order == OUTPUT_HELD else "mn",
            )
            for _, _, plan in options
        )

    def plan(self, op: Op, order: str, cuts: int, window_counts: Int64 | None) -> Plan:
        """The layout of a product whose reduction is cut into `cuts` sums.

        `window_counts` [group, window] are the most kept values of an output of the group; None
        takes the pattern's density everywhere.
        """
        array, skips = self.channel(op).array, self.exploits(op)
        window = self.window(op) if skips else array.lanes
        lengths = split_reduction(op.k, cuts, array.buffer_values, window)
        windows = -(-lengths // window)
        if window_counts is None:
            kept = op.b_pattern.density if skips else 1.0
            exact = op.b_pattern.exact_group_count(window) if skips else None
            count = exact if exact is not None else int(np.ceil(window * kept))
            full, rest = np.divmod(lengths, window)
            columns = full * -(-count // array.lanes)
            columns = columns + -(-np.minimum(rest, count) // array.lanes)
            columns = columns[None]
        else:
            per_window = -(-window_counts // array.lanes)
            columns = np.zeros((len(window_counts), *lengths.shape), dtype=np.int64)
            edges = np.cumsum(windows.reshape(-1)) - windows.reshape(-1)
            columns.reshape(len(window_counts), -1)[:] = np.add.reduceat(
                np.pad(per_window, ((0, 0), (0, 1))), edges, axis=1
            ) * (windows.reshape(-1) > 0)
        bits = self.index_bits(op) if skips else 0.0
        width = array.lanes * BITS_PER_BYTE * ceil_bytes(1, op.b_dtype)
        index = np.ceil(lengths * bits / width).astype(np.int64)
        columns = np.where(columns > 0, columns + index, 0) if bits else columns
        vectors = op.m * (op.groups if op.b_shared else 1)
        tokens = 1
        if lengths.size == 1 and order == INPUT_HELD:
            padded = -(-int(lengths[0, 0]) // array.values_per_burst) * array.values_per_burst
            tokens = max(1, min(vectors, array.buffer_values // padded))
        products = 1 if op.b_shared else op.groups
        layout = Layout(order, products, -(-op.n // array.units), tokens, lengths, columns)
        return Plan(layout, vectors, bits)

    def _estimate(self, op: Op, plan: Plan) -> float:
        """Cycles of the busiest channel by counts of commands, to leave most mappings out."""
        array, cycles, layout = self.channel(op).array, self.dram.cycles, plan.layout
        units, tokens = -(-layout.work_units // array.channels), layout.tokens
        pieces = min(units, -(-units // layout.groups) + 1)
        held = layout.order == OUTPUT_HELD
        batches = -(-min(units, layout.groups) // array.accumulators) if held else 1
        chunks = 1 if held else int((layout.lengths > 0).sum(axis=1).max())
        columns = float(layout.columns.mean(axis=0).sum(axis=1).max()) * units
        bursts = int((-(-layout.lengths // array.values_per_burst)).sum(axis=1).max())
        sums = units * chunks
        rows = columns / array.row_columns if array.packs_rows else float(sums)
        turn = cycles["nRCDMAC"] + cycles["nRP"] + cycles["nRTP"]
        wait = cycles.get("nMACRES", 0) + 2 * cycles["nMODCH"]
        visits = sums * tokens / array.accumulators + pieces * batches
        one = columns * tokens * self.mac_cycles + rows * turn + visits * wait
        one += (bursts * pieces * batches + sums * array.result_bursts) * tokens * self.burst_cycles
        return (one + self._sum_cycles(op, layout, tokens)) * -(-plan.vectors // tokens)

    def _adds(self, op: Op, layout: Layout, vectors: int) -> int:
        """Additions of partial sums, and of the lanes of a unit without adders, in the logic."""
        width = max(1, ceil_bytes(1, op.c_dtype))
        lanes = max(1, self.spec.units.result_bytes // width)
        return vectors * layout.products * op.n * (layout.partial_sums * lanes - 1)

    def _sum_cycles(self, op: Op, layout: Layout, vectors: int) -> int:
        logic = self.spec.logic
        adds = self._adds(op, layout, vectors)
        cycles = -(-adds // (logic.lanes * logic.alu_per_lane))
        return cycles + (logic.latency_cycles if adds else 0)

    def _measure(self, op: Op, plan: Plan) -> float:
        """Cycles of a mapping with the commands of the first, the middle and the last channel."""
        channel, layout = self.channel(op), plan.layout
        last = channel.array.channels - 1
        tried = (channel_cells(layout, channel.array, at) for at in {0, last // 2, last})
        busy = max(channel.work(cells).busy_cycles(1) for cells in tried if cells is not None)
        cycles = busy + self._sum_cycles(op, layout, layout.tokens)
        return float(cycles * -(-plan.vectors // layout.tokens))

    def _window_counts(self, op: Op, sparse: Sparse) -> Int64 | None:
        """Kept values of the fullest output of every group of units that wait for each other."""
        if sparse.mask is None or not self.exploits(op):
            return None
        window, units = self.window(op), self.channel(op).array.units
        products = 1 if op.b_shared else op.groups
        rows = [
            sparse.mask[g * op.n : (g + 1) * op.n, :].slowest_lane(window, units)
            for g in range(products)
        ]
        return np.concatenate(rows)

    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        steps = Steps(self.units(), self.actions)
        if op.is_matmul:
            counts = None if fidelity is Fidelity.TILE else self._window_counts(op, sparse)
            plan = self.plan(op, mapping.dataflow, mapping.tile_groups, counts)
            done = self._emit_product(steps, op, plan, sparse)
        else:
            done = self._emit_vector(steps, op)
        return steps.build(release_after=done, done_after=done)

    def _emit_product(self, steps: Steps, op: Op, plan: Plan, sparse: Sparse) -> Int64:
        """Append moves of spilled operands, the channels' work and the addition of partial sums."""
        channel, layout = self.channel(op), plan.layout
        loaded, stored = self.moved(op)
        begin = self._emit_moves(steps, op, loaded, PIN_READ, at=0, stage=LOAD)
        if not self._in_banks(op):
            begin = self._emit_moves(
                steps, op, op.b_bytes, PIN_WRITE, at=0, stage=LOAD, after=begin
            )
        passes, rest = divmod(plan.vectors, layout.tokens)
        runs = [(layout.tokens, passes)] if passes else []
        runs += [(rest, 1)] if rest else []
        macs = effective_macs(op, sparse.mask) if self.exploits(op) else op.macs
        executed = share(macs // op.repeats, plan.vectors)
        ends, done, done_vectors, at = begin, begin, 0, 1
        for tokens, times in runs:
            whole = Layout(
                layout.order, layout.products, layout.groups, tokens, layout.lengths, layout.columns
            )
            work = [
                channel.work(cells)
                for number in range(channel.array.channels)
                if (cells := channel_cells(whole, channel.array, number)) is not None
            ]
            for some in share(times, min(times, _BLOCKS)):
                vectors = int(some) * tokens
                issued = int(executed[done_vectors : done_vectors + vectors].sum())
                run, done = self._emit_block(
                    steps, op, whole, work, int(some), vectors, issued, at, after=ends
                )
                ends = run if self.spec.overlap else done
                done_vectors += vectors
                at += 1
        return self._emit_moves(steps, op, stored, PIN_WRITE, at=at, stage=STORE, after=done)

    def _emit_block(
        self, steps: Steps, op: Op, layout: Layout, work: Sequence[Work], times: int,
        vectors: int, macs: int, at: int, *, after: Int64,
    ) -> tuple[Int64, Int64]:  # fmt: skip
        """Append so many runs of the channels' programs and what the logic adds up behind them."""
        array, burst = self.channel(op).array, self.dram.organisation.burst_bytes
        busy = np.array([one.busy_cycles(times) for one in work], dtype=np.int64)
        read = np.array([one.columns * times * array.units * burst for one in work])
        run = steps.add(CHANNEL, busy, at=at, stage=COMPUTE, action=BANK_READ, count=read)
        columns, activates = sum(w.columns for w in work), sum(w.activates for w in work)
        writes, reads = sum(w.writes for w in work), sum(w.reads for w in work)
        none = np.zeros(1, dtype=np.int64)
        sent = steps.add(
            PINS, none, at=at, stage=COMPUTE, action=PIN_WRITE, count=writes * times * burst
        )
        got = steps.add(
            PINS, none, at=at, stage=FINISH, action=PIN_READ, count=reads * times * burst
        )
        for one in after:
            steps.depend(np.concatenate([run, sent]), int(one))
        steps.depend(np.repeat(got, len(run)), run)
        misses = activates // self.dram.organisation.banks
        steps.tally("mac_columns", columns * times)
        steps.tally(MAC, macs)
        input_bytes = ceil_bytes(array.lanes, op.a_dtype)
        sum_bytes = 2 * ceil_bytes(1, self.spec.accumulate_dtype)
        steps.tally("register", columns * times * array.units * (input_bytes + sum_bytes))
        steps.tally(ACTIVATE, activates * times)
        steps.tally(ROW_MISS, misses * times)
        steps.tally(ROW_HIT, (columns - misses) * times)
        steps.tally("logic_buffer_read", writes * times * burst)
        steps.tally("logic_buffer_write", reads * times * burst)
        steps.tally(REFRESH_CYCLES, sum(w.busy_cycles(times) - w.cycles * times for w in work))
        adds = self._adds(op, layout, vectors)
        lanes = self.spec.logic.lanes * self.spec.logic.alu_per_lane
        reduce = steps.add(
            LOGIC, np.array([-(-adds // lanes)]), at=at, stage=FINISH, action="logic_alu",
            count=adds, latency_cycles=self.spec.logic.latency_cycles if adds else 0,
        )  # fmt: skip
        steps.depend(reduce, got)
        return run, reduce

    def _in_banks(self, op: Op) -> bool:
        """Whether B lies in the banks before the operator begins: weights, keys and values."""
        if op.phase is Phase.BACKWARD_WEIGHT:
            return False
        return op.weight is not None or op.phase in _GENERATING

    # work of the logic

    def spills(self, size_bytes: int) -> bool:
        """Whether an activation is too large for the logic's buffer and lives in DRAM."""
        return size_bytes > self.spec.logic.buffer_bytes

    def moved(self, op: Op) -> tuple[int, int]:
        """Bytes that an operator reads from ordinary rows and writes to them."""
        if op.is_matmul:
            loaded = op.a_bytes if self.spills(op.a_bytes) else 0
            if not self._in_banks(op) and self.spills(op.b_bytes):
                loaded += op.b_bytes
            return loaded, op.c_bytes if self.spills(op.c_bytes) else 0
        table = ceil_bytes(op.b_reads, op.b_dtype)
        own = ceil_bytes(op.reads, op.a_dtype)
        if op.kind is Kind.UPDATE or self.spills(op.read_bytes + op.write_bytes):
            return op.read_bytes, op.write_bytes
        if op.function == "kv_cache_write":
            return 0, op.write_bytes
        return table + (own if op.kind is Kind.EMBEDDING else 0), 0

    def moved_bytes(self, op: Op) -> int:
        return sum(self.moved(op))

    def _emit_vector(self, steps: Steps, op: Op) -> Int64:
        logic = self.spec.logic
        loaded, stored = self.moved(op)
        begin = self._emit_moves(steps, op, loaded, PIN_READ, at=0, stage=LOAD)
        simple = max(op.passes, -(-op.alu_per_element // logic.alu_per_lane))
        each = max(1, simple + op.special_per_element * logic.special_cycles)
        work = steps.add(
            LOGIC, np.array([-(-op.elements // logic.lanes) * each]), at=0, stage=COMPUTE,
            action="logic_alu", count=op.elements * op.alu_per_element,
            latency_cycles=logic.latency_cycles,
        )  # fmt: skip
        steps.depend(np.repeat(work, len(begin)), begin)
        steps.tally("logic_special", op.elements * op.special_per_element)
        steps.tally("logic_buffer_read", op.read_bytes)
        steps.tally("logic_buffer_write", op.write_bytes)
        if op.function == "kv_cache_write":
            return self._emit_cache_write(steps, op, after=work)
        return self._emit_moves(steps, op, stored, PIN_WRITE, at=0, stage=STORE, after=work)

    def _emit_moves(
        self, steps: Steps, op: Op, amount: int, action: str, *, at: int, stage: int,
        after: Int64 | None = None,
    ) -> Int64:  # fmt: skip
        """Append a move of bytes between ordinary rows and the logic; no bytes take no time."""
        before = np.array([steps.inputs_ready, steps.engine_ready]) if after is None else after
        if amount == 0:
            return before
        moved = transfer(self.channel(op), amount, action == PIN_WRITE)
        return self._emit_transfer(steps, moved, action, at=at, stage=stage, after=before)

    def _emit_transfer(
        self, steps: Steps, moved: Transfer, action: str, *, at: int, stage: int, after: Int64
    ) -> Int64:
        channels = self.spec.channels
        move = steps.add(
            CHANNEL, np.full(channels, moved.cycles), at=at, stage=stage, action=action,
            count=share(moved.moved_bytes, channels),
        )  # fmt: skip
        for one in after:
            steps.depend(move, int(one))
        steps.tally(ACTIVATE, moved.activates)
        steps.tally(ROW_MISS, moved.activates)
        steps.tally(ROW_HIT, max(0, moved.accesses - moved.activates))
        return move

    def _emit_cache_write(self, steps: Steps, op: Op, *, after: Int64) -> Int64:
        """Append the writes of new keys, row by row, and values, one element in each of their rows.

        Values lie transposed, so that a product over positions reads them along rows; a prompt's
        values are turned in the logic and written in whole bursts.
        """
        channel, burst = self.channel(op), self.dram.organisation.burst_bytes
        width = max(1, ceil_bytes(1, op.c_dtype))
        half = op.write_bytes // 2
        run = min(self.spec.kv_cache.key_run_bytes, max(1, half))
        keys = scattered_write(channel, -(-half // run), -(-run // burst))
        step = self._emit_transfer(steps, keys, PIN_WRITE, at=0, stage=STORE, after=after)
        if op.phase is Phase.DECODE:
            values = scattered_write(channel, -(-half // width), 1)
        else:
            values = transfer(channel, half, True)
        return self._emit_transfer(steps, values, PIN_WRITE, at=1, stage=STORE, after=step)

    # what it costs

    def bound_by(
        self, op: Op, busy_cycles: MappingABC[str, int], span_cycles: int, executed_macs: int
    ) -> str:
        alike = {
            name: -(-busy // self.spec.channels) if name == CHANNEL else busy
            for name, busy in busy_cycles.items()
        }
        return super().bound_by(op, alike, span_cycles, executed_macs)

    def components(self) -> Sequence[Component]:
        spec, prices = self.spec, command_prices(self.dram)
        shape = self.dram.organisation
        units = spec.channels * (shape.banks // spec.units.banks_per_unit)
        lanes = shape.burst_bytes // ceil_bytes(1, spec.mac_dtype)
        sums = spec.units.accumulators * ceil_bytes(lanes, spec.accumulate_dtype)
        return (
            Component(
                name="bank MACs", kind="mac", actions=(MAC,), instances=units * lanes,
                dtype=spec.mac_dtype, accumulate_dtype=spec.accumulate_dtype,
            ),
            Component(
                name="bank registers", kind="register", actions=("register",), instances=units,
                capacity_bytes=sums,
            ),
            Component(
                name="bank columns", kind="dram", actions=(BANK_READ,),
                stated_pj={BANK_READ: spec.energy.bank_read_pj_per_byte},
            ),
            Component(
                name="activates", kind="command", actions=(ACTIVATE,),
                stated_pj={ACTIVATE: prices.activate_pj},
            ),
            Component(
                name="pins", kind="dram", actions=(PIN_READ, PIN_WRITE), dram_kind=spec.pin_kind
            ),
            Component(
                name="logic lanes", kind="vector", actions=("logic_alu", "logic_special"),
                instances=spec.logic.lanes * spec.logic.alu_per_lane, dtype=spec.mac_dtype,
            ),
            Component(
                name="logic buffer", kind="sram",
                actions=("logic_buffer_read", "logic_buffer_write"),
                capacity_bytes=spec.logic.buffer_bytes,
            ),
        )  # fmt: skip

    def static_power_w(self) -> dict[str, float]:
        """Standby of all channels with rows open, an upper bound, and refresh."""
        prices, tck_ns = command_prices(self.dram), self.dram.tck_ps / PS_PER_NS
        standby_mw = prices.open_pj_per_cycle / tck_ns
        refresh_mw = prices.refresh_pj / (self.dram.cycles["nREFI"] * tck_ns)
        if not self.spec.refresh:
            refresh_mw = 0.0
        channels = self.spec.channels / 1000
        return {"standby": standby_mw * channels, "refresh": refresh_mw * channels}

    def assumptions(self) -> tuple[Assumption, ...]:
        """Those of the machine file, and of the DRAM it names."""
        rows = list(super().assumptions())
        for name, timing in self.dram.timings.items():
            cited = self.dram.sources[timing.source]
            if cited.status in DOUBTFUL and name not in self.spec.timings:
                path = f"{self.spec.dram}.{name}"
                rows.append(Assumption(path, timing.cycles, cited.status, cited.text))
        return tuple(rows)
