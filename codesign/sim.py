"""Programs become timelines: the one place where a machine's steps are run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codesign.config import CodesignError
from codesign.kernels.scoreboard import run_steps
from codesign.schedule.program import (
    DONE,
    ENGINE_READY,
    ENGINE_RELEASED,
    INPUTS_READY,
    Int64,
    Program,
)

MOST_CYCLES = 1 << 62
"""Steps one after the other may take so many cycles; beyond them 64-bit sums could overflow."""


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
        held = np.bincount(
            self.program.unit, weights=self.program.busy_cycles, minlength=len(self.program.units)
        )
        return {unit.name: int(held[i]) for i, unit in enumerate(self.program.units)}

    def stall_cycles(self) -> dict[str, int]:
        """Cycles that ready steps waited for each unit, summed over its steps."""
        waited = np.bincount(
            self.program.unit, weights=self.start - self.ready, minlength=len(self.program.units)
        )
        return {unit.name: int(waited[i]) for i, unit in enumerate(self.program.units)}


def simulate(program: Program) -> Timeline:
    """Run every step of a program at the earliest cycle that its dependencies and units allow.

    Raises CodesignError when the run may take more cycles than 64 bits count.
    """
    most = sum(
        float(column.sum(dtype=np.float64))
        for column in (program.busy_cycles, program.latency_cycles)
    )
    if most > MOST_CYCLES:
        raise CodesignError(f"{most:.2g} cycles are more than can be counted in 64 bits")
    ready, start, end = run_steps(
        program.unit,
        program.busy_cycles,
        program.latency_cycles,
        program.dep_ptr,
        program.dep_idx,
        np.array([unit.servers for unit in program.units], dtype=np.int64),
        np.array([int(unit.order) for unit in program.units], dtype=np.int8),
    )
    return Timeline(program, ready, start, end)


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
    """Join operators' programs, each run `repeats` times, into one that shares the machine's units.

    Operator i begins to read its inputs when the operators `deps[i]`, all earlier, are done, and a
    repetition when the one before it is; it begins to fill the buffers of its engines when, for
    each name in `engines[i]`, the last earlier operator with the same name has begun to free them.
    Raises CodesignError when the programs do not name the same units and actions.
    """
    head = programs[0]
    if any(p.units != head.units or p.actions != head.actions for p in programs):
        raise CodesignError("programs of different machines cannot be linked")
    runs = [program for program, times in zip(programs, repeats, strict=True) for _ in range(times)]
    starts = np.concatenate([[0], np.cumsum([len(run) for run in runs])]).astype(np.int64)
    last_run = np.cumsum(repeats) - 1
    rows: list[int] = []
    targets: list[int] = []
    last_of_engine: dict[str, int] = {}
    for i, names in enumerate(engines):
        begun = int(last_run[i]) - repeats[i] + 1
        for run in range(begun, begun + repeats[i]):
            before = [int(last_run[dep]) for dep in deps[i]] if run == begun else [run - 1]
            rows += [int(starts[run]) + INPUTS_READY] * len(before)
            targets += [int(starts[other + 1]) + DONE for other in before]
            freed = {last_of_engine[name] for name in names if name in last_of_engine}
            rows += [int(starts[run]) + ENGINE_READY] * len(freed)
            targets += [int(starts[other + 1]) + ENGINE_RELEASED for other in sorted(freed)]
            last_of_engine.update(dict.fromkeys(names, run))
    inner = np.concatenate([p.dep_idx + at for p, at in zip(runs, starts[:-1], strict=True)])
    counts = np.concatenate([np.diff(p.dep_ptr) for p in runs])
    outer = np.bincount(np.array(rows, dtype=np.int64), minlength=len(counts))
    dep_ptr = np.concatenate([[0], np.cumsum(counts + outer)])
    dep_idx = np.empty(len(inner) + len(rows), dtype=np.int64)
    # Outer dependencies go first in their row: each inner one moves up by the outer ones so far.
    moved = np.arange(len(inner)) + np.repeat(np.cumsum(outer), counts)
    dep_idx[moved] = inner
    gaps = np.ones(len(dep_idx), dtype=bool)
    gaps[moved] = False
    dep_idx[gaps] = np.array(targets, dtype=np.int64)[np.argsort(rows, kind="stable")]
    tallies: dict[str, int] = {}
    for program in runs:
        for action, amount in program.tallies.items():
            tallies[action] = tallies.get(action, 0) + amount
    joined = Program(
        units=head.units,
        actions=head.actions,
        unit=np.concatenate([p.unit for p in runs]),
        busy_cycles=np.concatenate([p.busy_cycles for p in runs]),
        latency_cycles=np.concatenate([p.latency_cycles for p in runs]),
        action=np.concatenate([p.action for p in runs]),
        count=np.concatenate([p.count for p in runs]),
        dep_ptr=dep_ptr,
        dep_idx=dep_idx,
        tallies=tallies,
    )
    return Linked(joined, starts[np.concatenate([[0], last_run + 1])])
