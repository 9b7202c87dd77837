"""Operators' programs as a network: what runs after what, on units that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.schedule.program import (
    ENGINE_READY,
    ENGINE_RELEASED,
    INPUTS_READY,
    Int64,
    Program,
    joint_tallies,
)


@dataclass(frozen=True)
class Network:
    """Runs of programs in program order; a program that runs often is held once.

    Run r waits with its marker `m` (INPUTS_READY or ENGINE_READY) for the marker `e` (0:
    ENGINE_RELEASED, 1: DONE) of an earlier run s where `waiting` has 2 r + m and `awaited`, at the
    same place, 2 s + e. `waiting` ascends.
    """

    runs: tuple[Program, ...]
    last_run: Int64
    """The last run of each operator."""
    waiting: Int64
    awaited: Int64

    @cached_property
    def starts(self) -> Int64:
        """Run r owns the rows starts[r] to starts[r + 1] of all."""
        return np.concatenate([[0], np.cumsum([len(run) for run in self.runs])]).astype(np.int64)

    @property
    def first(self) -> Int64:
        """Operator i owns the rows first[i] to first[i + 1] of all."""
        runs = np.concatenate([[0], self.last_run + 1])
        return np.asarray(self.starts[runs])

    def programs(self) -> Iterator[tuple[Program, int]]:
        """The different programs, and how often each runs."""
        times: dict[int, int] = {}
        for run in self.runs:
            times[id(run)] = times.get(id(run), 0) + 1
        different = {id(run): run for run in self.runs}
        return ((run, times[key]) for key, run in different.items())

    def marker_rows(self, markers: Int64) -> Int64:
        """The rows of last markers, given as in `awaited`."""
        return np.asarray(self.starts[(markers >> 1) + 1] + ENGINE_RELEASED + (markers & 1))

    def last_awaited(self, pending: NDArray[np.bool_]) -> Int64:
        """For both first markers of each run: the last pending one of `awaited`, or -1."""
        last = np.full(2 * len(self.runs), -1, dtype=np.int64)
        np.maximum.at(last, self.waiting, np.where(pending[self.awaited], self.awaited, -1))
        return last

    def waits(self, begin: int, stop: int) -> tuple[Int64, Int64]:
        """Rows of the runs begin to stop - 1 that wait for other runs, and `awaited` of each."""
        edges = slice(*np.searchsorted(self.waiting, [2 * begin, 2 * stop]))
        waiting = self.waiting[edges]
        return self.starts[waiting >> 1] + (waiting & 1), self.awaited[edges]

    def join(self, begin: int = 0, stop: int | None = None) -> Program:
        """Runs begin to stop - 1 as one program; waits for runs before them are left out."""
        stop = len(self.runs) if stop is None else stop
        runs = self.runs[begin:stop]
        starts = self.starts[begin:stop] - self.starts[begin]
        rows, awaited = self.waits(begin, stop)
        inside = awaited >= 2 * begin
        rows = rows[inside] - self.starts[begin]
        targets = self.marker_rows(awaited[inside]) - self.starts[begin]
        counts = np.concatenate([np.diff(run.dep_ptr) for run in runs])
        np.add.at(counts, rows, 1)
        dep_ptr = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=dep_ptr[1:])
        # Outer dependencies go first in their row.
        nth = np.arange(len(rows)) - np.searchsorted(rows, rows)
        outer = np.zeros(dep_ptr[-1], dtype=bool)
        outer[dep_ptr[rows] + nth] = True
        dep_idx = np.empty(len(outer), dtype=np.int64)
        dep_idx[outer] = targets
        dep_idx[~outer] = np.concatenate(
            [run.dep_idx + at for run, at in zip(runs, starts, strict=True)]
        )
        return Program(
            units=runs[0].units,
            actions=runs[0].actions,
            unit=np.concatenate([run.unit for run in runs]),
            busy_cycles=np.concatenate([run.busy_cycles for run in runs]),
            latency_cycles=np.concatenate([run.latency_cycles for run in runs]),
            action=np.concatenate([run.action for run in runs]),
            count=np.concatenate([run.count for run in runs]),
            dep_ptr=dep_ptr,
            dep_idx=dep_idx,
            tallies=joint_tallies(runs),
        )


def network(
    programs: Sequence[Program],
    deps: Sequence[Sequence[int]],
    engines: Sequence[tuple[str, ...]],
    repeats: Sequence[int],
) -> Network:
    """The network of operators' programs, each run `repeats` times.

    Operator i begins to read its inputs when the operators `deps[i]`, all earlier, are done, and a
    repetition when the one before it is; it begins to fill the buffers of its engines when, for
    each name in `engines[i]`, the last earlier operator with the same name has begun to free them.
    Raises CodesignError when the programs do not name the same units and actions.
    """
    head = programs[0]
    if any(p.units != head.units or p.actions != head.actions for p in programs):
        raise CodesignError("programs of different machines cannot be linked")
    last_run = np.cumsum(repeats) - 1
    waiting: list[int] = []
    awaited: list[int] = []
    last_of_engine: dict[str, int] = {}
    for i, names in enumerate(engines):
        begun = int(last_run[i]) - repeats[i] + 1
        for run in range(begun, begun + repeats[i]):
            before = [int(last_run[dep]) for dep in deps[i]] if run == begun else [run - 1]
            waiting += [2 * run + INPUTS_READY] * len(before)
            awaited += [2 * other + 1 for other in before]
            freed = {last_of_engine[name] for name in names if name in last_of_engine}
            waiting += [2 * run + ENGINE_READY] * len(freed)
            awaited += [2 * other for other in sorted(freed)]
            last_of_engine.update(dict.fromkeys(names, run))
    return Network(
        runs=tuple(p for p, times in zip(programs, repeats, strict=True) for _ in range(times)),
        last_run=last_run,
        waiting=np.array(waiting, dtype=np.int64),
        awaited=np.array(awaited, dtype=np.int64),
    )
