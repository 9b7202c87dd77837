"""Which numbers that nobody published would change the answer if they were wrong by a factor."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from codesign.arch.base import AnyMachine, Assumption, Fidelity
from codesign.config import CodesignError
from codesign.report.cases import Case
from codesign.sweep.analysis import kendall
from codesign.sweep.figures import Evaluator

FACTORS = (0.5, 2.0)
MOST_CASES = 6
"""Runs whose order is watched."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one doubtful number does, multiplied by a factor, to the order of runs in a metric."""

    factor: float
    metric: str
    best: int
    """The best run then; an index of the runs."""
    best_before: int
    rank_correlation: float
    """Kendall's tau between the orders before and after."""
    ratio: float
    """The headline: the first run's value over that of the best other run of before."""

    @property
    def best_changes(self) -> bool:
        return self.best != self.best_before


@dataclass(frozen=True, slots=True)
class Doubt:
    """A doubtful number of a machine and what it does; factors that no design allows are absent."""

    arch: str
    assumption: Assumption
    changes: tuple[Change, ...]

    @property
    def matters(self) -> bool:
        """Whether another run becomes the best one in some metric."""
        return any(change.best_changes for change in self.changes)

    def ratios(self, metric: str) -> tuple[float, ...]:
        """The headline with each factor."""
        return tuple(change.ratio for change in self.changes if change.metric == metric)


@dataclass(frozen=True)
class Doubts:
    """All doubtful numbers of some runs, those that change most first."""

    goals: Mapping[str, str]
    other: int
    """The best run beside the first one, in the first metric; an index of the runs."""
    ratio: float
    """The first run's value of the first metric over that of the other one."""
    rows: tuple[Doubt, ...]


def doubts(
    cases: Sequence[Case], goals: Mapping[str, str], *, left_out: Collection[str] = ()
) -> Doubts:
    """Halve and double each unverified or assumed number of the machines, one at a time.

    Every run is followed at tile fidelity, before and after; the first is what others are
    compared with. `goals` says for each metric whether it is minimised or maximised; paths in
    `left_out` are free parameters of the study and are no assumptions.
    """
    cases = cases[:MOST_CASES]
    evaluator = Evaluator()

    def table(machines: Sequence[AnyMachine]) -> np.ndarray:
        rows = [
            evaluator.figures(
                case.trace,
                machine,
                fidelity=Fidelity.TILE,
                seed=case.result.seed,
            )
            for case, machine in zip(cases, machines, strict=True)
        ]
        return np.array([[_cost(row, name, goal) for name, goal in goals.items()] for row in rows])

    machines = [case.machine for case in cases]
    before = table(machines)
    best = before.argmin(axis=0)
    others = before[1:] if len(before) > 1 else before
    rival = others.argmin(axis=0) + len(before) - len(others)
    rows = []
    for arch, assumption in _listed(machines, left_out):
        changes: list[Change] = []
        for factor in FACTORS:
            moved = [
                scaled(machine, assumption.path, factor) if machine.spec.name == arch else machine
                for machine in machines
            ]
            if any(machine is None for machine in moved):
                continue
            try:
                after = table([machine for machine in moved if machine is not None])
            except CodesignError:
                continue
            changes += [
                Change(
                    factor,
                    name,
                    _best(before[:, i], after[:, i]),
                    int(best[i]),
                    kendall(before[:, i], after[:, i]),
                    float(after[0, i] / after[rival[i], i]),
                )
                for i, name in enumerate(goals)
            ]
        if changes:
            rows.append(Doubt(arch, assumption, tuple(changes)))
    first = next(iter(goals))
    nominal = float(before[0, 0] / before[rival[0], 0])
    rows.sort(key=lambda doubt: (not doubt.matters, -_spread(doubt.ratios(first), nominal)))
    return Doubts(dict(goals), int(rival[0]), nominal, tuple(rows))


def _best(before: np.ndarray, after: np.ndarray) -> int:
    """The best run; the best one of before where it is as good as any."""
    old = int(before.argmin())
    return old if after[old] <= after.min() else int(after.argmin())


def _spread(ratios: Sequence[float], nominal: float) -> float:
    found = [abs(math.log(r / nominal)) for r in ratios if r > 0 and nominal > 0]
    return max(found, default=0.0)


def _cost(figures: Mapping[str, Any], name: str, goal: str) -> float:
    value = float(figures.get(name, math.nan))
    return value if goal == "minimize" else -value


def _listed(
    machines: Sequence[AnyMachine], left_out: Collection[str]
) -> Iterator[tuple[str, Assumption]]:
    seen: set[tuple[str, str]] = set()
    for machine in machines:
        for assumption in machine.assumptions():
            key = (machine.spec.name, assumption.path)
            if key not in seen and assumption.value and assumption.path not in left_out:
                seen.add(key)
                yield machine.spec.name, assumption


def scaled(machine: AnyMachine, path: str, factor: float) -> AnyMachine | None:
    """The machine with one number multiplied; None where no such machine can be."""
    data = json.loads(machine.spec.model_dump_json())
    *above, last = path.split(".")
    inner: Any = data
    try:
        for name in above:
            inner = inner[int(name)] if isinstance(inner, list) else inner[name]
        key: Any = int(last) if isinstance(inner, list) else last
        old = inner[key]
        inner[key] = int(old * factor) if isinstance(old, int) else old * factor
        if inner[key] == old:
            return None
        return type(machine)(type(machine.spec).model_validate_json(json.dumps(data)))
    except (ValidationError, CodesignError, KeyError, IndexError, TypeError, ValueError):
        return None
