"""Programs become timelines: the one place where a machine's steps are run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.kernels.scoreboard import run_steps, sum_parts
from codesign.schedule.network import network
from codesign.schedule.program import Int64, Program, Unit

MOST_CYCLES = 1 << 62
"""Steps one after the other may take so many cycles; beyond them 64-bit sums could overflow."""


@dataclass(frozen=True)
class Spans:
    """When each operator runs, and how long units are held and waited for.

    An operator starts with its first step that does something and ends with its last marker.
    """

    cycles: int
    """From 0 until the last step has ended."""
    start: Int64
    end: Int64
    busy_cycles: Mapping[str, int]
    """Server-cycles during which each unit was held."""
    stall_cycles: Mapping[str, int]
    """Cycles that ready steps waited for each unit, summed over its steps."""


@dataclass(frozen=True)
class Timeline:
    """Start and end cycle of every step of a program.

    A step is ready when the steps it depends on have ended; it waits until its unit serves it,
    holds the unit for its busy cycles, and ends `latency_cycles` after that.
    """

    program: Program
    ready: Int64
    start: Int64
    end: Int64

    @property
    def cycles(self) -> int:
        """Cycles from 0 until the last step has ended."""
        return int(self.end.max()) if len(self.end) else 0

    def busy_cycles(self) -> dict[str, int]:
        """Server-cycles during which each unit was held."""
        return by_unit(self.program.units, [self.program.held_cycles().tolist()])

    def spans(self, first: Int64) -> Spans:
        """Sums over operators; operator i owns the steps first[i] to first[i + 1]."""
        program = self.program
        begun, waited = sum_parts(program.unit, self.ready, self.start, first, len(program.units))
        end = self.end[first[1:] - 1]
        return Spans(
            cycles=self.cycles,
            start=np.minimum(begun, end),
            end=end,
            busy_cycles=self.busy_cycles(),
            stall_cycles=by_unit(program.units, waited.tolist()),
        )


def by_unit(units: Sequence[Unit], rows: Iterable[Sequence[int]]) -> dict[str, int]:
    """Sums of columns, one for each unit, as whole numbers of any size."""
    return {unit.name: sum(own) for unit, own in zip(units, zip(*rows, strict=True), strict=True)}


def simulate(program: Program) -> Timeline:
    """Run every step of a program at the earliest cycle that its dependencies and units allow.

    Raises CodesignError when the run may take more cycles than 64 bits count.
    """
    refuse_uncountable([(program, 1)])
    servers, order = servers_and_orders(program)
    ready, start, end = run_steps(
        program.unit,
        program.busy_cycles,
        program.latency_cycles,
        program.dep_ptr,
        program.dep_idx,
        servers,
        order,
    )
    return Timeline(program, ready, start, end)


def servers_and_orders(program: Program) -> tuple[Int64, NDArray[np.int8]]:
    """The units of a program as the kernel takes them."""
    return (
        np.array([unit.servers for unit in program.units], dtype=np.int64),
        np.array([int(unit.order) for unit in program.units], dtype=np.int8),
    )


def refuse_uncountable(programs: Iterable[tuple[Program, int]]) -> None:
    """Raise CodesignError where programs, each so many times, may take more than 64 bits count."""
    most = sum(
        times * float(column.sum(dtype=np.float64))
        for program, times in programs
        for column in (program.busy_cycles, program.latency_cycles)
    )
    if most > MOST_CYCLES:
        raise CodesignError(f"{most:.2g} cycles are more than can be counted in 64 bits")


@dataclass(frozen=True)
class Linked:
    """The programs of several operators as one, and where each operator's steps lie in it."""

    program: Program
    first: Int64
    """Operator i owns steps first[i] to first[i + 1]."""


def link(
    programs: Sequence[Program],
    deps: Sequence[Sequence[int]],
    engines: Sequence[tuple[str, ...]],
    repeats: Sequence[int],
) -> Linked:
    """Join operators' programs into one; they wait for each other as `network` says."""
    joined = network(programs, deps, engines, repeats)
    return Linked(joined.join(), joined.first)
