"""A sweep from its first point to its last: ask, evaluate what is not stored, store, tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codesign import __version__
from codesign.config import CodesignError, fingerprint
from codesign.sweep.accuracy import source_mark
from codesign.sweep.design import Base, Designs, Point
from codesign.sweep.engine import Engine, Outcome
from codesign.sweep.executors import Executor, make_executor
from codesign.sweep.limits import Limit, parse_limit, total_violation
from codesign.sweep.pareto import beaten, costs, front
from codesign.sweep.samplers import Sampler, make_sampler
from codesign.sweep.store import Row, Store, compact_json
from codesign.sweep.study import Study

_FLUSH_S = 0.25
_FLUSH_ROWS = 1024
_WAIT_S = 0.1


@dataclass
class Progress:
    """How far a sweep is."""

    total: int
    evaluated: int = 0
    answered: int = 0
    """Points that were in the store already, or came twice."""
    failed: int = 0
    seconds: float = 0.0
    stage: str = "sweep"
    front: list[Row] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.evaluated + self.answered

    @property
    def points_per_s(self) -> float:
        return self.evaluated / self.seconds if self.seconds else 0.0


Report = Callable[[Progress], None]


class Sweep:
    """One run of a study into its store."""

    def __init__(
        self,
        base: Base,
        store: Store,
        *,
        report: Report = lambda _: None,
        retry_failed: bool = False,
        engine: type[Engine] = Engine,
    ) -> None:
        self._base, self._store, self._report = base, store, report
        self._study = base.study
        self._retry_failed = retry_failed
        self._engine = engine
        self._designs = Designs(base)
        self._limits = tuple(parse_limit(text) for text in self._study.constraints)
        self._points: dict[str, Point] = {}
        """Points that are being evaluated, by key."""
        self._rows: list[Row] = []
        self._flushed_at = time.monotonic()
        self._number = 0

    def run(self) -> Progress:
        """Evaluate what is not stored; return counts and the front.

        Interrupted, it saves what it has.
        """
        sampler = make_sampler(self._study)
        self.progress = Progress(sampler.total)
        self._began = time.monotonic()
        executor = make_executor(self._base, self._engine)
        try:
            if sampler.needs_scores:
                self._search(sampler, executor)
            else:
                self._stream(sampler, executor)
            if self._study.promote is not None:
                self._promote(executor)
        finally:
            try:
                self._flush()
            finally:
                executor.close()
        self._tick()
        return self.progress

    def _stream(self, sampler: Sampler, executor: Executor) -> None:
        left = True
        while left or executor.pending:
            if left and executor.room:
                asked = sampler.ask(executor.room)
                left = bool(asked)
                points = [self._next(values) for values in asked]
                executor.submit(self._unanswered(points))
            if executor.pending:
                self._take(executor.wait(_WAIT_S))
            self._tick()

    def _search(self, sampler: Sampler, executor: Executor) -> None:
        while asked := sampler.ask(executor.room):
            points = [self._next(values) for values in asked]
            found = self._evaluate(points, executor)
            sampler.tell(asked, [self._score(found[point.key]) for point in points])

    def _evaluate(self, points: Sequence[Point], executor: Executor) -> dict[str, Row]:
        """The rows of some points, from the store or evaluated now."""
        executor.submit(self._unanswered(points))
        while executor.pending:
            self._take(executor.wait(_WAIT_S))
            self._tick()
        self._flush()
        return self._store.find([point.key for point in points])

    def _next(self, values: Mapping[str, Any]) -> Point:
        point = self._designs.point(self._number, values)
        self._number += 1
        return point

    def _unanswered(self, points: Sequence[Point]) -> list[Point]:
        """The points that must be evaluated: not stored, not in work, not twice among these."""
        known = self._store.find(list({point.key for point in points}))
        pending = {row.key for row in self._rows}
        fresh = []
        for point in points:
            row = known.get(point.key)
            if point.key in self._points or point.key in pending:
                self.progress.answered += 1
            elif row is not None and not (row.error is not None and self._retry_failed):
                self.progress.answered += 1
                self._count(row)
            else:
                self._points[point.key] = point
                fresh.append(point)
        self._keep_front([row for row in known.values() if row.fidelity == self._fidelity])
        return fresh

    @property
    def _fidelity(self) -> str:
        promote = self._study.promote
        promoting = promote is not None and self.progress.stage == "promote"
        return promote.fidelity if promote is not None and promoting else self._study.fidelity

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            point = self._points.pop(outcome.key, None)
            if point is None:
                continue
            row = row_of(point, outcome)
            self._rows.append(row)
            self.progress.evaluated += 1
            self._count(row)
        late = time.monotonic() - self._flushed_at > _FLUSH_S
        if len(self._rows) >= _FLUSH_ROWS or (self._rows and late):
            self._flush()

    def _count(self, row: Row) -> None:
        self.progress.failed += row.error is not None

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._flushed_at = time.monotonic()
        self._store.add(rows)
        self._keep_front(rows)

    def _keep_front(self, rows: Sequence[Row]) -> None:
        feasible = [row for row in rows if row.error is None and not self._violation(row)]
        if not feasible:
            return
        table = costs([row.metrics for row in feasible], self._study.metrics)
        held = costs([row.metrics for row in self.progress.front], self._study.metrics)
        new = [feasible[i] for i in np.flatnonzero(~beaten(table, held))]
        if new:
            known = {row.key: row for row in [*self.progress.front, *new]}
            self.progress.front = front_of(list(known.values()), self._study, ())

    def _violation(self, row: Row) -> float:
        return total_violation(self._limits, row.metrics)

    def _score(self, row: Row) -> tuple[Mapping[str, float] | None, float]:
        return (None if row.error is not None else row.metrics), self._violation(row)

    def _promote(self, executor: Executor) -> None:
        promote = self._study.promote
        assert promote is not None
        self._flush()
        chosen = self.progress.front[: promote.top]
        self.progress.stage = "promote"
        self.progress.total += len(chosen)
        self.progress.front = []
        points = [self._designs.point(row.number, row.values, promote.fidelity) for row in chosen]
        self._evaluate(points, executor)

    def _tick(self) -> None:
        self.progress.seconds = time.monotonic() - self._began
        self._report(self.progress)


def row_of(point: Point, outcome: Outcome) -> Row:
    """The stored form of a point and its outcome."""
    values, metrics = outcome.texts or map(compact_json, (point.values, outcome.metrics))
    return Row(
        key=point.key,
        number=point.number,
        fidelity=point.config["fidelity"],
        values=point.values,
        config=point.config,
        metrics=outcome.metrics,
        error=outcome.error,
        seed=point.config["seed"],
        duration_s=outcome.duration_s,
        arch_fingerprint=outcome.arch_fingerprint,
        trace_fingerprint=outcome.trace_fingerprint,
        version=outcome.version,
        texts=(values, point.text, metrics),
    )


def front_of(rows: Sequence[Row], study: Study, limits: Sequence[Limit] | None = None) -> list[Row]:
    """The rows that keep the constraints and that no other such row beats."""
    held = tuple(map(parse_limit, study.constraints)) if limits is None else tuple(limits)
    feasible = [row for row in rows if row.error is None and not total_violation(held, row.metrics)]
    feasible.sort(key=lambda row: row.key)
    table = costs([row.metrics for row in feasible], study.metrics)
    return [feasible[i] for i in front(table)]


def nearest(rows: Sequence[Row], constraints: Sequence[str]) -> tuple[Row, list[Limit]] | None:
    """The row that breaks the constraints least, and those that it breaks.

    What it breaks them by is relative to their numbers. None where no row has metrics.
    """
    limits = tuple(map(parse_limit, constraints))
    good = [row for row in rows if row.error is None]
    if not good:
        return None
    best = min(good, key=lambda row: (total_violation(limits, row.numbers), row.number))
    return best, [limit for limit in limits if limit.violation(best.numbers)]


def prepare(store: Store, base: Base, *, resume: bool) -> None:
    """Write what a study is into its store, or make sure that it is the same one.

    Raises CodesignError for a store of another study, and without `resume` for one with points.
    """
    mark = definition(base)
    held = store.note("definition")
    if held is not None and held != mark:
        raise CodesignError(
            f"{store.path} holds another study ({store.note('name')}), or this one with other "
            "parameters, files or measured accuracies; give another output"
        )
    if held is not None and not resume and (there := store.count()):
        raise CodesignError(
            f"{store.path} holds {there:,} points of this study: --resume goes on with it, "
            "--output starts another"
        )
    store.keep("name", base.study.name)
    store.keep("study", json.dumps(base.study.model_dump(mode="json")))
    store.keep("machines", json.dumps({n: d.data for n, d in base.machines.items()}))
    store.keep("workloads", json.dumps(dict(base.workloads)))
    store.keep("version", __version__)
    store.keep("definition", mark)


_FREE = ("execution", "output", "description", "run_cap", "promote", "metrics", "constraints")
"""What may differ between the runs of one study: its points stay the same points."""


def definition(base: Base) -> str:
    """Fingerprint of what decides a study's points."""
    content = base.study.model_dump(mode="json", exclude=set(_FREE))
    accuracy = [mark] if (mark := source_mark(base.study.accuracy)) else []
    return fingerprint([content, base.marks, base.workload_marks, *accuracy])


def stored_study(store: Store) -> Study:
    """The study that a store is of."""
    text = store.note("study")
    if text is None:
        raise CodesignError(f"{store.path}: the study was never begun")
    return Study.model_validate_json(text)
