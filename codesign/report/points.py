"""The points of a sweep put in order: which do the same work, which of them form fronts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codesign.config import CodesignError
from codesign.report import quantities as q
from codesign.sweep.analysis import finest, importance, knee_of
from codesign.sweep.limits import parse_limit, total_violation
from codesign.sweep.run import front_of
from codesign.sweep.store import Row
from codesign.sweep.study import Study

MOST_POINTS = 20_000
"""Points that a page holds; of more, the fronts and evenly chosen others."""

MOST_COLOURS = 8


@dataclass(frozen=True)
class Group:
    """Points that do the same work: the only ones that are compared with each other."""

    title: str
    rows: tuple[Row, ...]
    front: tuple[Row, ...]
    """By the first metric, the best first; empty where no point keeps the limits."""
    baseline: Row
    knee: Row | None

    def best(self, metric: str, goal: str) -> Row:
        """The point of the front with the best value of a metric; the first of equal ones."""
        sign = 1.0 if goal == "minimize" else -1.0
        return min(self.front or (self.baseline,), key=lambda row: sign * value(row, metric))


@dataclass(frozen=True)
class Points:
    """All points of one study."""

    study: Study
    name: str
    """The store's file, as commands name it."""
    rows: tuple[Row, ...]
    """Those that have figures."""
    failed: tuple[Row, ...]
    groups: tuple[Group, ...]
    shares: Mapping[str, Mapping[str, float]]
    """What each parameter explains of each metric by itself."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The figures that were wanted, then those that were limited."""
        limited = [parse_limit(text).figure for text in self.study.constraints]
        return tuple(dict.fromkeys([*self.study.metrics, *limited]))

    @property
    def design_parameters(self) -> tuple[str, ...]:
        """Parameters that change the design and not the work."""
        return tuple(path for path in self.study.parameters if path.partition(".")[0] != "workload")


def points(study: Study, name: str, rows: Sequence[Row], baseline: int | None = None) -> Points:
    """Put the rows of a study in order; `baseline` is the number of the point to compare with.

    Without it a group's first point is its baseline; in other groups than its own it is the point
    with the same design. Raises CodesignError when no point has figures or none has the number.
    """
    good = [row for row in rows if row.error is None]
    if not good:
        raise CodesignError(f"{name}: no point of this study has figures")
    chosen = None
    if baseline is not None:
        chosen = next((row for row in good if row.number == baseline), None)
        if chosen is None:
            raise CodesignError(f"{name} has no point {baseline} with figures")
    together: dict[str, list[Row]] = {}
    for row in good:
        together.setdefault(json.dumps(row.config["workload"], sort_keys=True), []).append(row)
    titles = _titles([group[0].config["workload"] for group in together.values()])
    groups = tuple(
        _group(study, title, members, chosen)
        for title, members in zip(titles, together.values(), strict=True)
    )
    failed = tuple(row for row in rows if row.error is not None)
    return Points(study, name, tuple(good), failed, groups, _shares(study, groups))


def _shares(study: Study, groups: Sequence[Group]) -> dict[str, dict[str, float]]:
    """Importance of the parameters for designs that do the same work: the mean over groups."""
    if len(groups) == 1:
        return importance(groups[0].rows, study)
    each = [importance(group.rows, study) for group in groups]
    return {
        path: {name: sum(one[path][name] for one in each) / len(each) for name in study.metrics}
        for path in study.parameters
        if path.partition(".")[0] != "workload"
    }


def _group(study: Study, title: str, rows: Sequence[Row], chosen: Row | None) -> Group:
    close = finest(rows, rows)
    front = sorted(front_of(close, study), key=lambda row: _order(row, study))
    own = min(close, key=lambda row: row.number)
    if chosen is not None:
        like = [row for row in close if design(row) == design(chosen)]
        own = like[0] if like else own
    return Group(title, tuple(rows), tuple(front), own, knee_of(front, study) if front else None)


def _order(row: Row, study: Study) -> tuple[float, ...]:
    return tuple(
        value(row, name) * (1.0 if goal == "minimize" else -1.0)
        for name, goal in study.metrics.items()
    )


def value(row: Row, metric: str) -> float:
    """A figure of a point; NaN where it has none."""
    found = row.metrics.get(metric)
    return math.nan if found is None else float(found)


def design(row: Row) -> tuple[tuple[str, Any], ...]:
    """The values of the parameters that make the design, without those of the work."""
    return tuple(
        (path, given) for path, given in row.values.items() if path.partition(".")[0] != "workload"
    )


def design_text(row: Row, most: int = 160) -> str:
    """The design in words, parameter by parameter."""
    told = ", ".join(f"{short(path)} {shown(given)}" for path, given in design(row))
    return q.one_line(told or str(row.config["arch"]["name"]), most)


def difference_text(row: Row, other: Row, most: int = 300) -> str:
    """In which parameters a design differs from another one."""
    theirs = dict(design(other))
    told = [
        f"{short(path)} {shown(given)} instead of {shown(theirs.get(path))}"
        for path, given in design(row)
        if given != theirs.get(path)
    ]
    return q.one_line(", ".join(told) or "the same design", most)


def short(path: str) -> str:
    """A parameter's path without the section that people know it by."""
    return q.one_line(path.removeprefix("arch."), 60)


def shown(given: object) -> str:
    """A parameter's value as text: whole numbers with separators, others with four digits."""
    if isinstance(given, bool) or given is None:
        return str(given)
    if isinstance(given, int):
        return f"{given:,}"
    return f"{given:.4g}" if isinstance(given, float) else q.one_line(str(given), 60)


def telling_parameter(found: Points) -> str | None:
    """The parameter that gives points their colour, if any.

    Of those with few values it is the one that explains most of the first metric.
    """
    metric = next(iter(found.study.metrics))
    few = [
        path
        for path in found.study.parameters
        if 1 < len({shown(row.values.get(path)) for row in found.rows}) <= MOST_COLOURS
    ]
    return max(few, key=lambda path: found.shares.get(path, {}).get(metric, 0.0), default=None)


def keeps_limits(row: Row, study: Study) -> bool:
    """Whether a point keeps every constraint of its study."""
    return not total_violation(tuple(map(parse_limit, study.constraints)), row.metrics)


def _titles(workloads: Sequence[Mapping[str, Any]]) -> list[str]:
    """The name, the phase, and all else that says what the work is or tells groups apart."""
    keys = [key for key in workloads[0] if key not in ("name", "phase")]
    varying = {key for key in keys if len({json.dumps(w[key]) for w in workloads}) > 1}
    titles = []
    for work in workloads:
        parts = [q.one_line(str(work["name"]), 60), str(work["phase"] or "inference")]
        parts += [
            f"{key} {q.one_line(str(work[key]), 60)}"
            for key in keys
            if work[key] and (key in varying or (key, work[key]) != ("batch", 1))
        ]
        titles.append(", ".join(parts))
    return titles
