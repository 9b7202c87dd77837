"""Steps of tiled products on cores that keep feature maps in their memories while they fit.

The run of one core stands for all cores of a chip, which do the same at the same time: what each of
them moves on its own passes the chip's link as often as there are cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from codesign.schedule.banks import BankArray
from codesign.schedule.program import COMPUTE, FINISH, LOAD, SELECT, STORE, Int64, Steps, Unit
from codesign.schedule.sharing import Part
from codesign.schedule.streaming import (
    DRAM,
    DRAM_READ,
    DRAM_WRITE,
    MAC,
    Link,
    Operand,
    bytes_of,
)
from codesign.schedule.tiling import TileTable, Tiling, passes
from codesign.schedule.vector_stream import Stream
from codesign.trace.op import Kind, Op, ceil_bytes

SPU, VPU, RING, HOST = Unit("spu"), Unit("vpu"), Unit("ring"), Unit("host")
SUM_BYTES = 4
"""Of a partial sum."""
_STEP_CYCLES = 4
"""What a tile costs in the estimate, so that equal tilings of fewer tiles win."""


@dataclass(frozen=True, slots=True)
class Chip:
    """What moves data to and between the cores, and each core's memory for feature maps."""

    link: Link
    ring: Link
    host: Link
    maps_bytes: int
    launch_cycles: int

    def resident(self, size_bytes: int) -> bool:
        """Whether a core's share of a feature map stays in its memory, beside the next one."""
        return 2 * size_bytes <= self.maps_bytes

    def holds_b(self, op: Op) -> bool:
        """Whether a core's B is a feature map that an operator before it left in the core."""
        made_here = op.weight is None and not op.reads_cache
        return made_here and self.resident(op.b_bytes)

    def launch(self, steps: Steps, unit: Unit, ready: int) -> int:
        """The step with which a core begins an operator whose inputs are there."""
        step = steps.add(unit.name, np.array([self.launch_cycles]), at=-1)
        steps.depend(step, ready)
        return int(step[0])

    def from_host(self, steps: Steps, size_bytes: int) -> int:
        """The copy of an input from the host, for all chips of a card."""
        copy = steps.add(
            HOST.name, self.host.cycles(np.array([size_bytes])), at=-1,
            latency_cycles=self.host.latency_cycles,
        )  # fmt: skip
        steps.depend(copy, steps.inputs_ready)
        return int(copy[0])

    def pass_on(self, steps: Steps, size_bytes: Int64, at: Int64, stage: int) -> Int64:
        """Transfers that every link of the ring hands on."""
        return steps.add(
            RING.name, self.ring.cycles(size_bytes), at=at, stage=stage,
            latency_cycles=self.ring.latency_cycles,
        )  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What ranks the tilings of a product; `density` is stored bytes of B over dense ones."""

    part: Part
    chip: Chip
    array: BankArray
    density: float
    image: bool
    shares_weights: bool

    def cost(self, op: Op, tiling: Tiling) -> tuple[float, float]:
        """Estimated cycles of a core and bytes on its chip's link."""
        array, part, bandwidth = self.array, self.part, self.chip.link.bytes_per_cycle or math.inf
        tiles_m, tiles_n, tiles_k = -(-op.m // tiling.m), -(-op.n // tiling.n), -(-op.k // tiling.k)
        times_a, times_b = passes(op, tiles_m, tiles_n, tiles_k, tiling.order == "mn")
        a = 0 if self.image or self.chip.resident(op.a_bytes) else op.a_bytes * part.cores
        b = op.b_bytes * self.density * (1 if self.shares_weights else part.cores)
        if self.chip.holds_b(op):
            b = 0.0
        sets = -(-op.k // array.set_size)
        blocks = -(-op.m // array.rows) * -(-op.n // array.cols) * op.groups
        kept = min(1.0, self.density) * array.bank_size
        compute = blocks * sets * max(array.gather_cycles, kept)
        moved = a * times_a + b * times_b
        first = a / (tiles_m * tiles_k) + b / (tiles_n * tiles_k)
        sums = tiles_m * tiles_n * (tiles_k - 1) * tiling.m * tiling.n / array.cols
        steps = tiles_m * tiles_n * tiles_k * -(-op.groups // tiling.groups)
        cycles = max(compute, moved / bandwidth) + first / bandwidth + sums
        return cycles + _STEP_CYCLES * steps, moved


@dataclass(frozen=True)
class Product:
    """A product as one core runs it; arrays have one entry for each tile.

    With `shares_weights` each tile of B crosses the link once and goes round the ring; with
    `shares_inputs` A does not multiply with the cores, and their results are passed round.
    """

    op: Op
    part: Part
    table: TileTable
    busy_cycles: Int64
    latency_cycles: Int64
    stored_bytes: Int64
    """Of B, as a core loads it."""
    macs: Int64
    """Of all cores of all chips."""
    image: bool
    """Whether A comes from the host."""
    shares_weights: bool
    shares_inputs: bool

    def emit(self, steps: Steps, chip: Chip) -> tuple[Int64, Int64]:
        """Append the steps; return those that free the weight memory and those that end all."""
        launch = chip.launch(steps, SPU, steps.inputs_ready)
        compute = steps.add(
            SPU.name, self.busy_cycles, at=np.arange(len(self.table)), stage=COMPUTE,
            latency_cycles=self.latency_cycles, action=MAC, count=self.macs,
        )  # fmt: skip
        steps.depend(compute[:1], launch)
        freed = self._weights(steps, chip, compute, launch)
        self._inputs(steps, chip, compute)
        return freed, self._results(steps, chip, compute)

    @property
    def _ring_serves(self) -> bool:
        return self.part.cores > 1

    def _weights(self, steps: Steps, chip: Chip, compute: Int64, launch: int) -> Int64:
        """Loads of B; the next product may begin its own when one half of the memory is free.

        That is when this one has begun to use its last load.
        """
        if chip.holds_b(self.part.op):
            return np.array([launch])
        at = np.flatnonzero(self.table.loads_b)
        moved = self.stored_bytes[at] * (1 if self.shares_weights else self.part.cores)
        load = steps.add(
            DRAM.name, chip.link.cycles(moved), at=at, stage=LOAD, latency_cycles=chip.link.delay,
            action=DRAM_READ, count=moved,
        )  # fmt: skip
        self._on_other_chips(steps, DRAM_READ, moved)
        if self.op.weight is None:
            steps.depend(load, steps.inputs_ready)
        last_use = compute[at[1:] - 1]
        steps.depend(load[:1], steps.engine_ready)
        steps.depend(load[1:2], launch)
        steps.depend(load[2:], last_use[:-1])
        there = load
        if self.shares_weights and self._ring_serves:
            there = chip.pass_on(steps, self.stored_bytes[at], at, SELECT)
            steps.depend(there, load)
        steps.depend(compute, there[np.cumsum(self.table.loads_b) - 1])
        return last_use[-1:] if len(at) > 1 else np.array([launch])

    def _inputs(self, steps: Steps, chip: Chip, compute: Int64) -> None:
        if self.image:
            steps.depend(compute[:1], chip.from_host(steps, self.op.a_bytes))
        elif not chip.resident(self.part.op.a_bytes):
            size = bytes_of(self.table.a_elements, self.op.a_dtype)
            size = size * (1 if self.shares_inputs else self.part.cores)
            a = Operand(self.table.loads_a, size, is_activation=True)
            self._on_other_chips(steps, DRAM_READ, size[self.table.loads_a])
            steps.depend(compute, a.emit(steps, chip.link, compute))

    def _results(self, steps: Steps, chip: Chip, compute: Int64) -> Int64:
        at = np.flatnonzero(self.table.last_k)
        size = bytes_of(self.table.c_elements[at], self.op.c_dtype)
        away = compute[at]
        if self.shares_inputs and self._ring_serves:
            passed = chip.pass_on(steps, size * (self.part.cores - 1), at, FINISH)
            steps.depend(passed, away)
            away = passed
        if chip.resident(self.part.op.c_bytes):
            return away
        size = size * self.part.cores
        store = steps.add(
            DRAM.name, chip.link.cycles(size), at=at, stage=STORE, latency_cycles=chip.link.delay,
            action=DRAM_WRITE, count=size,
        )  # fmt: skip
        self._on_other_chips(steps, DRAM_WRITE, size)
        steps.depend(store, away)
        steps.depend(compute[np.flatnonzero(self.table.first_k)[2:]], store[:-2])
        return store

    def tally_accesses(self, steps: Steps, rows: int, cols: int) -> None:
        """Count bytes at the memories of all cores, whose lanes take blocks of `rows` x `cols`."""
        table, cores, weights = self.table, self.part.cores * self.part.chips, self.stored_bytes
        steps.tally("weight_write", cores * int(weights[table.loads_b].sum()))
        steps.tally("weight_read", cores * int((weights * -(-table.m // rows)).sum()))
        read = table.groups * table.m * table.k * -(-table.n // cols)
        steps.tally("map_read", cores * ceil_bytes(int(read.sum()), self.op.a_dtype))
        steps.tally("map_write", cores * ceil_bytes(self.part.op.c_elements, self.op.c_dtype))
        sums = int((table.groups * table.m * table.n)[~table.last_k].sum()) * SUM_BYTES
        steps.tally("sum_write", cores * sums)
        steps.tally("sum_read", cores * sums)

    def _on_other_chips(self, steps: Steps, action: str, size_bytes: Int64) -> None:
        steps.tally(action, int(size_bytes.sum()) * (self.part.chips - 1))


@dataclass(frozen=True)
class VectorWork:
    """An operator on the vector units; `fused`, it works on results as they leave the lanes."""

    op: Op
    part: Part
    fused: bool

    def traffic(self, chip: Chip) -> tuple[int, int]:
        """Bytes that the whole card reads from DRAM and writes to it: parameters, and what spills.

        Fused work reads a second operand at most; an embedding reads rows of its table. What is
        kept for later steps, keys and values, is written out even where it would fit.
        """
        op, one = self.op, self.part.op
        looks_up = op.kind is Kind.EMBEDDING
        parameters = 0 if looks_up else ceil_bytes(op.b_reads, op.b_dtype)
        tensor = one.reads if op.kind is Kind.REDUCTION else one.elements
        spilled = not chip.resident(ceil_bytes(tensor, op.a_dtype))
        if self.fused:
            second = ceil_bytes(max(0, op.reads - op.elements), op.a_dtype)
            return parameters + (second if spilled else 0), 0
        kept_for_later = op.function == "kv_cache_write"
        stays = chip.resident(ceil_bytes(one.writes, op.c_dtype)) and not kept_for_later
        reads = ceil_bytes(op.reads, op.a_dtype) if spilled or looks_up else 0
        return parameters + reads, 0 if stays else op.write_bytes

    def moved(self, chip: Chip) -> Op:
        """One core's share of the work with one chip's share of the traffic, in bytes."""
        read, write = (-(-size // self.part.chips) for size in self.traffic(chip))
        return replace(
            self.part.op, reads=read, writes=write, b_reads=0, b_writes=0, a_dtype="int8",
            c_dtype="int8",
        )  # fmt: skip

    def emit(self, steps: Steps, chip: Chip, stream: Stream) -> tuple[Int64, Int64]:
        """Append the steps of `moved` as a stream; return those that end the work."""
        one, op = stream.op, self.op
        ready = steps.inputs_ready
        if op.kind is Kind.EMBEDDING:
            ready = chip.from_host(steps, ceil_bytes(op.b_reads, op.b_dtype))
        if self.fused:
            stream = replace(stream, cycles_per_element=0, latency_cycles=0)
        else:
            ready = chip.launch(steps, VPU, ready)
        work = one.elements * one.alu_per_element
        steps.tally(stream.action, op.elements * op.alu_per_element - work)
        steps.tally(stream.special_action, op.elements * op.special_per_element)
        steps.tally(DRAM_READ, one.reads * (self.part.chips - 1))
        steps.tally(DRAM_WRITE, one.writes * (self.part.chips - 1))
        if one.reads + one.writes:
            return stream.emit(steps, chip.link)
        done = steps.add(
            VPU.name, np.array([stream.work_cycles]), at=0, stage=COMPUTE,
            latency_cycles=stream.latency_cycles, action=stream.action, count=work,
        )  # fmt: skip
        steps.depend(done, ready)
        return done, done


def spread(table: TileTable, total: int) -> Int64:
    """A whole number of multiply-accumulates, dealt to tiles by their dense work."""
    dense = np.cumsum(table.groups * table.m * table.n * table.k)
    edges = [0, *(int(part) * total // int(dense[-1]) for part in dense)]
    return np.diff(edges).astype(np.int64)
