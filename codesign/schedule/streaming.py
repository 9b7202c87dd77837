"""Steps of tiled work on double-buffered scratchpads: load, compute, store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.schedule.program import LOAD, SELECT, Int64, Order, Steps, Unit
from codesign.trace.op import ceil_bytes

DRAM = Unit("dram", order=Order.ARRIVAL)
ARRAY = Unit("array")
STATIONARY_LOAD = Unit("stationary_load")

DRAM_READ, DRAM_WRITE, MAC = "dram_read", "dram_write", "mac"

_MOST_CYCLES = 1 << 62
PIECES = 1 << 20
"""A tile's result leaves in fewer pieces."""


def place_of(tile: Int64, piece: Int64 | int = 0) -> Int64:
    """Where a step of a tile, or of a piece of its result, stands in the order of a program."""
    return tile * PIECES + piece


@dataclass(frozen=True, slots=True)
class Link:
    """Off-chip bandwidth and latency; `bytes_per_cycle` None moves everything in no time."""

    unit: ClassVar[str] = DRAM.name
    read_action: ClassVar[str] = DRAM_READ
    write_action: ClassVar[str] = DRAM_WRITE

    bytes_per_cycle: float | None
    latency_cycles: int = 0

    def move(
        self, steps: Steps, size_bytes: Int64, at: Int64, *, stage: int, write: bool = False
    ) -> Int64:
        """Append a transfer for each size, count it, and return its step."""
        self.tally(steps, size_bytes, write=write)
        return steps.add(
            self.unit, self.cycles(size_bytes, write=write), at=at, stage=stage,
            latency_cycles=self.delay, count=size_bytes,
            action=self.write_action if write else self.read_action,
        )  # fmt: skip

    def cycles(self, amount: Int64, *, write: bool = False) -> Int64:
        """Cycles that transfers of `amount` bytes hold the link.

        Raises CodesignError for more than 64 bits count.
        """
        if self.bytes_per_cycle is None:
            return np.zeros_like(amount)
        held = np.ceil(amount / self.bytes_per_cycle)
        if len(held) and held.max() > _MOST_CYCLES:
            raise CodesignError(
                f"a transfer of {int(amount.max()):,} bytes at {self.bytes_per_cycle:g} bytes per "
                "cycle takes more cycles than can be counted in 64 bits"
            )
        return held.astype(np.int64)

    def tally(self, steps: Steps, amount: Int64, *, write: bool) -> None:
        """Count what transfers cost beyond their bytes: nothing on a plain link."""

    @property
    def delay(self) -> int:
        return 0 if self.bytes_per_cycle is None else self.latency_cycles

    def turns(
        self, size_bytes: float, count: int, busy_cycles: float, result_cycles: float
    ) -> float:
        """Cycles that a double buffer takes for `count` transfers and the work on what they bring.

        Transfer j + 2 waits for the results of work j, which come `result_cycles` after it.
        """
        if self.bytes_per_cycle is None or count <= 2:
            return 0.0
        waits = (count - 2) * (self.latency_cycles + result_cycles)
        return (size_bytes / self.bytes_per_cycle + waits + busy_cycles) / 2


def bytes_of(elements: Int64, dtype: str) -> Int64:
    """Whole bytes of each entry's packed values."""
    one = ceil_bytes(8, dtype)
    return -(-elements * one // 8)


def share(total: int, parts: int) -> Int64:
    """Cut a whole number into `parts` whole numbers that differ by at most one."""
    edges = np.arange(parts + 1, dtype=np.int64) * total // parts
    return np.diff(edges)


@dataclass(frozen=True)
class Selection:
    """A unit that data passes on its way: its cycles and what it counts, tile by tile."""

    unit: str
    action: str
    busy_cycles: Int64
    count: Int64


@dataclass(frozen=True)
class Operand:
    """What a product loads: at which tiles, how many bytes of each tile, and after what."""

    loads: NDArray[np.bool_]
    size_bytes: Int64
    is_activation: bool
    """Whether another operator produces it."""
    selection: Selection | None = None
    kept: Link | None = None
    """The way from the scratchpads where it is kept, if it does not come from off the chip."""

    @property
    def loaded_bytes(self) -> Int64:
        """Bytes of each load from off the chip."""
        size = self.size_bytes[self.loads]
        return size if self.kept is None else np.zeros_like(size)

    def emit(self, steps: Steps, link: Link, last_use: Int64) -> Int64:
        """Append the loads and return, for every tile, the step after which its data is there.

        The load j + 2 of the double buffer waits for the last use of load j.
        """
        tile = np.flatnonzero(self.loads)
        at = place_of(tile)
        load = (self.kept or link).move(steps, self.size_bytes[tile], at, stage=LOAD)
        if self.is_activation:
            steps.depend(load, steps.inputs_ready)
        steps.depend(load[:2], steps.engine_ready)
        if len(load) > 2:
            steps.depend(load[2:], last_use[tile[1:-1] - 1])
        there = load
        if self.selection is not None:
            there = steps.add(
                self.selection.unit, self.selection.busy_cycles[tile], at=at, stage=SELECT,
                action=self.selection.action, count=self.selection.count[tile],
            )  # fmt: skip
            steps.depend(there, load)
        per_tile: Int64 = there[np.cumsum(self.loads) - 1]
        return per_tile


@dataclass(frozen=True, slots=True)
class KeptTransfer:
    """Bytes that go to scratchpads or come from them, where they would have left the chip."""

    link: Link
    size_bytes: int
    write: bool


@dataclass(frozen=True, slots=True)
class LastWork:
    """Work of a unit on results as they are computed, in two parts.

    The first begins `first_cycles` after the operator; the last waits for all that is computed, and
    what leaves last waits for it.
    """

    unit: str
    action: str
    busy_cycles: int
    count: int
    last_cycles: int
    last_count: int
    first_cycles: int
    latency_cycles: int


@dataclass(frozen=True, slots=True)
class Outline:
    """An operator in a few numbers, for the tile fidelity.

    `head_bytes` must come before anything is computed, `tail_bytes` leave after everything is; the
    rest of the traffic passes beside the computation, which takes `compute_cycles` and
    `latency_cycles` more. What is `kept` on the chip passes in no time. `finish` works on what is
    computed.
    """

    unit: str
    action: str
    count: int
    compute_cycles: int
    latency_cycles: int
    head_bytes: int
    read_bytes: int
    write_bytes: int
    tail_bytes: int
    selections: tuple[Selection, ...] = ()
    kept: tuple[KeptTransfer, ...] = ()
    finish: LastWork | None = None


def emit_outline(steps: Steps, link: Link, outline: Outline) -> tuple[Int64, Int64]:
    """Append the few steps of an outline; return those that free the buffers, those that end it."""

    def move(amount: int, action: str, at: int) -> Int64:
        size = np.array([amount], dtype=np.int64)
        write = action == DRAM_WRITE
        link.tally(steps, size, write=write)
        delay = link.delay if amount or not outline.kept else 0
        return steps.add(
            DRAM.name, link.cycles(size, write=write), at=at, latency_cycles=delay,
            action=action, count=size,
        )  # fmt: skip

    for kept in outline.kept:
        kept.link.tally(steps, np.array([kept.size_bytes]), write=kept.write)

    head = move(outline.head_bytes, DRAM_READ, 0)
    steps.depend(np.repeat(head, 2), np.array([steps.inputs_ready, steps.engine_ready]))
    compute = steps.add(
        outline.unit, np.array([outline.compute_cycles]), at=1,
        latency_cycles=outline.latency_cycles, action=outline.action, count=outline.count,
    )  # fmt: skip
    beside = [
        move(outline.read_bytes - outline.head_bytes, DRAM_READ, 1),
        move(outline.write_bytes - outline.tail_bytes, DRAM_WRITE, 1),
    ]
    beside += [
        steps.add(
            chosen.unit, np.array([chosen.busy_cycles.sum()]), at=1,
            action=chosen.action, count=int(chosen.count.sum()),
        )
        for chosen in outline.selections
    ]  # fmt: skip
    finish = outline.finish
    if finish is not None:
        beside.append(
            steps.add(
                finish.unit, np.array([finish.busy_cycles]), at=1, action=finish.action,
                latency_cycles=finish.first_cycles, count=finish.count,
            )
        )  # fmt: skip
    before = np.concatenate([compute, *beside])
    steps.depend(before, np.repeat(head, len(before)))
    if finish is not None:
        last = steps.add(
            finish.unit, np.array([finish.last_cycles]), at=1, action=finish.action,
            latency_cycles=finish.latency_cycles, count=finish.last_count,
        )  # fmt: skip
        steps.depend(np.repeat(last, len(before)), before)
        before = last
    tail = move(outline.tail_bytes, DRAM_WRITE, 2)
    steps.depend(np.repeat(tail, len(before)), before)
    return compute, tail
