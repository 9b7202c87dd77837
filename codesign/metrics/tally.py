"""What each operator of a simulated program did: actions, busy units, and its share of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from codesign.schedule.program import MARKER, NO_ACTION, Int64, Program
from codesign.sim import Timeline

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Tally:
    """One operator's actions (counts), its units' busy cycles, and the span of its steps."""

    actions: Mapping[str, int]
    busy_cycles: Mapping[str, int]
    start_cycle: int
    end_cycle: int

    def of(self, action: str) -> int:
        return self.actions.get(action, 0)


def tally(
    timeline: Timeline, first: Int64, programs: Sequence[Program], repeats: Sequence[int]
) -> list[Tally]:
    """Sum the steps of every operator; operator i owns steps first[i] to first[i + 1]."""
    program = timeline.program
    owners = len(first) - 1
    owner = np.repeat(np.arange(owners), np.diff(first))
    counts = _sums(owner, program.action, program.count, owners, len(program.actions))
    busy = _sums(owner, program.unit, program.busy_cycles, owners, len(program.units))
    worked = program.unit != 0
    start = np.full(owners, np.iinfo(np.int64).max)
    np.minimum.at(start, owner[worked], timeline.start[worked])
    end = timeline.end[first[1:] - 1]
    out = []
    for i, (one, times) in enumerate(zip(programs, repeats, strict=True)):
        actions = {
            name: int(count)
            for name, count in zip(program.actions, counts[i], strict=True)
            if count and name != NO_ACTION
        }
        for name, amount in one.tallies.items():
            actions[name] = actions.get(name, 0) + amount * times
        units = {
            unit.name: int(cycles)
            for unit, cycles in zip(program.units, busy[i], strict=True)
            if cycles and unit is not MARKER
        }
        out.append(Tally(actions, units, int(min(start[i], end[i])), int(end[i])))
    return out


def _sums(owner: Int64, kind: np.ndarray, amount: Int64, owners: int, kinds: int) -> Int64:
    sums = np.zeros(owners * kinds, dtype=np.int64)
    np.add.at(sums, owner * kinds + kind, amount)
    return sums.reshape(owners, kinds)


def shares_of_time(tallies: Sequence[Tally]) -> list[int]:
    """Cycles by which each operator, in order, moves the end of the run; their sum is the run's."""
    reached = 0
    out = []
    for one in tallies:
        out.append(max(0, one.end_cycle - reached))
        reached = max(reached, one.end_cycle)
    return out


def summed(rows: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    """Sums by key, in the order of the rows and of the keys' first appearance.

    >>> summed([{"a": 1}, {"b": 2, "a": 3}])
    {'a': 4, 'b': 2}
    """
    sums: dict[str, Number] = {}
    for row in rows:
        for key, number in row.items():
            sums[key] = sums[key] + number if key in sums else number
    return sums
