"""Streams of tiles through a DRAM: cycles and commands, simulated once per shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codesign.config import CodesignError
from codesign.memory.requests import Int64, Refresh, RequestTimeline, simulate_requests
from codesign.memory.spec import DramSpec

STREAM_MAPPING = "RoBaCoRaBgCh"
"""Consecutive bursts go to other channels and bank groups, then along the row."""

SIMULATED_BURSTS = 1 << 16
"""Longer streams are simulated up to here, and go on at the rate of the second half."""

REFRESHES_SEEN = 4
"""Refresh intervals of the long stream that says what refresh costs."""


@dataclass(frozen=True)
class Stream:
    """What moving a run of bytes costs; cycles are DRAM clocks, commands those of all channels."""

    cycles: int
    commands: Mapping[str, int]
    row_hit_rate: float
    moved_bytes: int
    """Whole bursts, so at least the bytes that were asked for."""


def stream_cycles(
    spec: DramSpec,
    size_bytes: int,
    *,
    write: bool = False,
    offset_bytes: int = 0,
    pieces: int = 1,
    stride_bytes: int = 0,
) -> Stream:
    """Cycles until `pieces` runs of `size_bytes`, `stride_bytes` apart, have been read or written.

    Only the offset within a row of all channels and banks matters, so equal tiles at equal
    alignment are simulated once. Raises CodesignError on negative sizes.
    """
    if size_bytes < 0 or offset_bytes < 0 or pieces < 0 or stride_bytes < 0:
        raise CodesignError("a stream's size, offset, stride and pieces must not be negative")
    shape = spec.organisation
    page_bytes = shape.channels * shape.banks * shape.columns * shape.burst_bytes
    return _stream(_Key(spec), size_bytes, write, offset_bytes % page_bytes, pieces, stride_bytes)


@dataclass(frozen=True, eq=False)
class _Key:
    """A DRAM compared by content."""

    spec: DramSpec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.spec.key == other.spec.key

    def __hash__(self) -> int:
        return hash(self.spec.key)


@lru_cache(maxsize=4096)
def _stream(
    key: _Key,
    size_bytes: int,
    write: bool,
    offset_bytes: int,
    pieces: int,
    stride_bytes: int,
) -> Stream:
    spec = key.spec
    burst = spec.organisation.burst_bytes
    starts = offset_bytes + stride_bytes * np.arange(pieces, dtype=np.int64)
    first, last = starts // burst, -(-(starts + size_bytes) // burst)
    bursts = np.where(size_bytes > 0, last - first, 0)
    total = int(bursts.sum())
    if total == 0:
        return Stream(0, {}, 0.0, 0)
    run = _simulate(spec, first, bursts, write, refresh="off")
    simulated = len(run.done)
    cycles, commands = run.cycles, dict(run.commands)
    if total > simulated:
        half = simulated // 2
        rate = (cycles - int(run.done[:half].max())) / (simulated - half)
        cycles += round(rate * (total - simulated))
        commands = {name: round(n * total / simulated) for name, n in commands.items()}
    if spec.refresh != "off":
        share, reopened = _refresh_shares(key, write)
        channels, ranks = spec.organisation.channels, spec.organisation.ranks
        commands["ACT"] += round(reopened * cycles * channels)
        cycles += math.ceil(cycles * share)
        kind, interval = ("REFB", "nREFIpb") if spec.refresh == "per_bank" else ("REFA", "nREFI")
        commands[kind] = round(cycles / spec.cycles[interval] * ranks * channels)
    return Stream(cycles, commands, run.row_hit_rate, total * burst)


@lru_cache(maxsize=256)
def _refresh_shares(key: _Key, write: bool) -> tuple[float, float]:
    """Cycles and activates that refresh adds to each cycle of a long stream of one channel.

    Most streams are shorter than the interval between refreshes; each carries its share.
    """
    spec, shape = key.spec, key.spec.organisation
    alone = spec.model_copy(update={"organisation": shape.model_copy(update={"channels": 1})})
    interval = spec.cycles["nREFIpb" if spec.refresh == "per_bank" else "nREFI"]
    bursts = np.array([REFRESHES_SEEN * interval * shape.ranks // spec.cycles["nBL"]])
    first = np.zeros(1, dtype=np.int64)
    refreshes: tuple[Refresh, Refresh] = (spec.refresh, "off")
    on, off = (_simulate(alone, first, bursts, write, refresh=refresh) for refresh in refreshes)
    reopened = on.commands["ACT"] - off.commands["ACT"]
    return max(0, on.cycles - off.cycles) / off.cycles, max(0, reopened) / off.cycles


def _simulate(
    spec: DramSpec, first: Int64, bursts: Int64, write: bool, *, refresh: Refresh
) -> RequestTimeline:
    """Serve runs of bursts from numbers `first` on, up to SIMULATED_BURSTS of them."""
    burst = spec.organisation.burst_bytes
    ends = np.cumsum(bursts)
    number = np.arange(min(int(ends[-1]), SIMULATED_BURSTS))
    piece = np.searchsorted(ends, number, side="right")
    index = first[piece] + number - (ends[piece] - bursts[piece])
    capacity = spec.organisation.channels * spec.organisation.channel_bytes // burst
    return simulate_requests(
        spec, index % capacity * burst, write, mapping=STREAM_MAPPING, refresh=refresh
    )
