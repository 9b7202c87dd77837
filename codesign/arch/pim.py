"""What PIM machines share: products run in DRAM banks, all else in a logic chip beside them."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, TypeVar

import numpy as np

from codesign.arch.base import Assumption, Fidelity, Mapping, Sparse
from codesign.arch.parts import DOUBTFUL, Component
from codesign.arch.pim_channel import Transfer, Work, scattered_write, transfer
from codesign.arch.pim_products import CHANNEL, LOGIC, PINS, BankProducts, Plan
from codesign.arch.pim_spec import PimSpec
from codesign.config import CodesignError
from codesign.memory import command_prices, refresh_pj_per_cycle
from codesign.schedule.bank_rows import Layout, channel_cells
from codesign.schedule.program import COMPUTE, FINISH, LOAD, STORE, Int64, Program, Steps
from codesign.schedule.streaming import share
from codesign.trace.op import GENERATING, Kind, Op, Phase, ceil_bytes
from codesign.trace.sparsify import effective_macs
from codesign.units import PS_PER_NS

MAC, BANK_READ, PIN_READ, PIN_WRITE = "mac", "bank_read", "pin_read", "pin_write"
ACTIVATE, ROW_HIT, ROW_MISS = "activate", "row_hit", "row_miss"
REFRESH_CYCLES = "refresh_cycles"

_BLOCKS = 16
"""Equal runs of a product are told to the scoreboard in at most so many steps."""

S = TypeVar("S", bound=PimSpec)


class PimMachine(BankProducts[S]):
    """Lowers products to command streams of DRAM channels, the rest to lanes of a logic chip."""

    unit_labels: ClassVar[dict[str, str]] = {CHANNEL: "bank rows", LOGIC: "logic"}
    actions: ClassVar[tuple[str, ...]] = (
        MAC, BANK_READ, PIN_READ, PIN_WRITE, ACTIVATE, ROW_HIT, ROW_MISS, REFRESH_CYCLES,
        "mac_columns", "register",
        "logic_alu", "logic_special", "logic_buffer_read", "logic_buffer_write",
    )  # fmt: skip

    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        if fidelity is Fidelity.CYCLE:
            raise CodesignError(
                f"{self.spec.name}: fidelity cycle would compute the numbers of products, which no "
                "bank does here; fidelity row already gives every DRAM command its clock"
            )
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
            whole = replace(layout, tokens=tokens)
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
        summing = self._sum_cycles(op, layout, vectors // times) * times
        late = self.spec.logic.latency_cycles if adds and self.spec.overlap else 0
        reduce = steps.add(
            LOGIC, np.array([summing]), at=at, stage=FINISH, action="logic_alu", count=adds,
            latency_cycles=late,
        )  # fmt: skip
        steps.depend(reduce, got)
        return run, reduce

    def _in_banks(self, op: Op) -> bool:
        """Whether B lies in the banks before the operator begins: weights, keys and values."""
        if op.phase is Phase.BACKWARD_WEIGHT:
            return False
        return op.weight is not None or op.phase in GENERATING

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
        kept = max(1, spec.units.result_bytes // ceil_bytes(1, spec.mac_dtype))
        sums = spec.units.accumulators * ceil_bytes(kept, spec.accumulate_dtype)
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
        refresh_mw = refresh_pj_per_cycle(self.dram) / tck_ns
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
