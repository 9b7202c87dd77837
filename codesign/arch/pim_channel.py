"""A channel of a PIM memory at work: command streams on the DRAM engine, refresh included."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codesign.memory import (
    DramSpec,
    Location,
    RequestTimeline,
    command_ids,
    simulate_commands,
    simulate_located,
    stream_cycles,
)
from codesign.memory.requests import Refresh
from codesign.schedule.bank_rows import (
    SLOT_COMMANDS,
    BankArray,
    Cells,
    CommandStream,
    command_stream,
)
from codesign.schedule.program import Int64

REFRESHES_SEEN = 4
"""Refresh intervals over which short work is repeated to find what refresh costs it."""

MOST_COMMANDS = 1 << 20
"""Longest program that is repeated for that purpose."""


@dataclass(frozen=True, slots=True)
class Work:
    """A program on a channel: its cycles without refresh, and what that adds in the long run."""

    cycles: int
    refresh_cycles: int
    """Of `refresh_runs` runs together."""
    refresh_runs: int
    columns: int
    activates: int
    writes: int
    reads: int

    def busy_cycles(self, times: int) -> int:
        """Cycles of so many runs in succession."""
        return self.cycles * times + -(-self.refresh_cycles * times // self.refresh_runs)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bursts over the pins of all channels: cycles, accesses, and rows that had to be opened."""

    cycles: int
    moved_bytes: int
    activates: int
    accesses: int


@dataclass(frozen=True, eq=False)
class Channel:
    """A DRAM with its MAC units; equal where the memory and the units are."""

    dram: DramSpec
    array: BankArray
    activates_all: bool
    has_bias: bool

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.dram.key, self.array, self.activates_all, self.has_bias

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Channel) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def banks(self) -> int:
        return self.dram.organisation.banks

    def work(self, cells: Cells) -> Work:
        """What one run of the cells takes; equal work is simulated once."""
        return _work(
            self, *(c.tobytes() for c in (cells.columns, cells.writes, cells.reads, cells.start))
        )

    def stream(self, cells: Cells, refreshes: Int64 | None = None) -> CommandStream:
        return command_stream(
            cells,
            row_columns=self.array.row_columns,
            banks_to_activate=1 if self.activates_all else self.banks,
            has_bias=self.has_bias,
            has_modes=self.dram.cycles["nMODCH"] > 0,
            refreshes=refreshes,
        )

    def clocks(self, stream: CommandStream) -> Int64:
        """Issue clock of every command, the first at 1 or later."""
        ids = command_ids(self.dram)
        names = ["ACT16" if n == "ACT" and self.activates_all else n for n in SLOT_COMMANDS]
        code = np.array([ids[name] for name in names])
        return simulate_commands(self.dram, code[stream.command], stream.bank, stream.row, 1)

    def cycles(self, clocks: Int64) -> int:
        """Cycles until the last results have arrived."""
        return int(clocks[-1]) + self.dram.cycles["nREG"] + 1


@lru_cache(maxsize=1 << 14)
def _work(channel: Channel, columns: bytes, writes: bytes, reads: bytes, start: bytes) -> Work:
    cells = Cells(*(np.frombuffer(b, dtype=np.int64) for b in (columns, writes, reads, start)))
    stream = channel.stream(cells)
    clocks = channel.clocks(stream)
    cycles = channel.cycles(clocks)
    extra, runs = refresh_cost(channel, cells, stream, clocks)
    return Work(
        cycles=cycles,
        refresh_cycles=extra,
        refresh_runs=runs,
        columns=int(cells.columns.sum()),
        activates=len(stream.safe) * channel.banks,
        writes=int(cells.writes.sum()),
        reads=int(cells.reads.sum()),
    )


def refresh_cost(
    channel: Channel, cells: Cells, free: CommandStream, clocks: Int64
) -> tuple[int, int]:
    """Cycles that refresh adds to a number of runs of the same work, and that number.

    `free` and `clocks` are one run without refresh.

    The work is repeated until some refreshes fall due. Each is sent at the first change of a row
    after it is due, so that none is early and none breaks into a row.
    """
    timing = channel.dram.cycles
    interval = timing["nREFI"]
    if channel.dram.refresh == "off":
        return 0, 1
    cycles = channel.cycles(clocks)
    runs = max(1, min(-(-REFRESHES_SEEN * interval // cycles), MOST_COMMANDS // len(clocks)))
    looped = cells
    if runs > 1:
        looped = cells.looped(runs, channel.array.row_columns)
        free = channel.stream(looped)
        clocks = channel.clocks(free)
    rows = clocks[free.safe]
    due = np.zeros(len(rows), dtype=np.int64)
    sent = 0
    while True:
        place = int(np.searchsorted(rows, (sent + 1) * interval - sent * timing["nRFC"]))
        if place == len(rows):
            break
        due[place] += 1
        sent += 1
    if sent == 0:
        return _share(channel, cycles, runs)
    held = channel.cycles(channel.clocks(channel.stream(looped, due)))
    return max(0, held - channel.cycles(clocks)), runs


def _share(channel: Channel, cycles: int, runs: int) -> tuple[int, int]:
    """Refresh of work that fits between two refreshes and cannot be repeated often enough."""
    timing = channel.dram.cycles
    return -(-cycles * runs * timing["nRFC"] // timing["nREFI"]), runs


@lru_cache(maxsize=1 << 12)
def transfer(channel: Channel, size_bytes: int, write: bool) -> Transfer:
    """Bytes in long runs between the pins and rows of all channels and banks."""
    run = stream_cycles(channel.dram, size_bytes, write=write)
    commands = run.commands
    accesses = commands.get("RD", 0) + commands.get("WR", 0)
    return Transfer(run.cycles, run.moved_bytes, commands.get("ACT", 0), accesses)


@lru_cache(maxsize=1 << 12)
def scattered_write(channel: Channel, runs: int, bursts: int) -> Transfer:
    """`runs` of `bursts` written to rows of their own, dealt to channels, then banks.

    It carries its share of the refreshes of long writing, whether or not one falls due in it.
    """
    run = _scatter(channel.dram, runs, bursts, "off")
    share = _scattered_share(channel, bursts) if channel.dram.refresh != "off" else 0.0
    return Transfer(
        run.cycles + math.ceil(run.cycles * share),
        runs * bursts * channel.dram.organisation.burst_bytes,
        run.commands["ACT"],
        runs * bursts,
    )


@lru_cache(maxsize=256)
def _scattered_share(channel: Channel, bursts: int) -> float:
    """Cycles that refresh adds to each cycle of a long write of such runs on one channel."""
    spec, shape = channel.dram, channel.dram.organisation
    alone = spec.model_copy(update={"organisation": shape.model_copy(update={"channels": 1})})
    interval = spec.cycles["nREFIpb" if spec.refresh == "per_bank" else "nREFI"]
    wanted = REFRESHES_SEEN * interval
    runs = shape.banks
    while (off := _scatter(alone, runs, bursts, "off").cycles) < wanted:
        runs *= 2
    on = _scatter(alone, runs, bursts, spec.refresh).cycles
    return max(0, on - off) / off


def _scatter(spec: DramSpec, runs: int, bursts: int, refresh: Refresh) -> RequestTimeline:
    """Serve runs of bursts, each in a row of its own."""
    shape = spec.organisation
    number = np.repeat(np.arange(runs, dtype=np.int64), bursts)
    spread = number // shape.channels
    where = Location(
        channel=number % shape.channels,
        bank=spread % shape.banks,
        row=spread // shape.banks % shape.rows,
        column=np.tile(np.arange(bursts, dtype=np.int64), runs) % shape.columns,
    )
    return simulate_located(spec, where, True, refresh=refresh)


def forget() -> None:
    """Drop all remembered work, so that the next run simulates its commands anew."""
    for known in (_work, transfer, scattered_write, _scattered_share):
        known.cache_clear()
