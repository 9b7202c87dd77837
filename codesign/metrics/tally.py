"""What each operator of a simulated program did: actions, busy units, and its share of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from codesign.schedule.program import MARKER, NO_ACTION, Program
from codesign.sim import Spans

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


def tally(spans: Spans, programs: Sequence[Program], repeats: Sequence[int]) -> list[Tally]:
    """What every operator did: its program, run so many times, within its span."""
    known: dict[int, tuple[Mapping[str, int], Mapping[str, int]]] = {}
    out = []
    for program, times, start, end in zip(
        programs, repeats, spans.start.tolist(), spans.end.tolist(), strict=True
    ):
        own = known.get(id(program))
        if own is None:
            own = known[id(program)] = actions_of(program), _held(program)
        actions, held = ({name: n * times for name, n in one.items()} for one in own)
        out.append(Tally(actions, held, start, end))
    return out


def actions_of(program: Program) -> Mapping[str, int]:
    """Counts of a program's actions, timed ones first."""
    return {name: count for name, count in program.totals().items() if name != NO_ACTION}


def _held(program: Program) -> Mapping[str, int]:
    """Busy cycles of the units that a program holds."""
    return {
        unit.name: cycles
        for unit, cycles in zip(program.units, program.held_cycles().tolist(), strict=True)
        if cycles and unit is not MARKER
    }


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
