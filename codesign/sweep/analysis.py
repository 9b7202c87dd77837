"""What the points of a study say: fronts, importance, normalised comparison, doubtful numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.arch.base import Sparse
from codesign.config import CodesignError, Document, did_you_mean
from codesign.metrics.notes import run_notes
from codesign.sweep.design import Base, Designs
from codesign.sweep.engine import Engine
from codesign.sweep.limits import parse_limit
from codesign.sweep.pareto import costs, hypervolume, knee
from codesign.sweep.run import front_of
from codesign.sweep.store import Row, Store, columns
from codesign.sweep.study import Study

_BINS = 8
_FEWEST = 4
"""Points of a bin, at the least, where there are enough for two bins."""
_FACTORS = (0.5, 2.0)
_MOST_POINTS = 10


def chosen(
    rows: Sequence[Row], wheres: Sequence[str], sort: str | None, *, failed: bool = False
) -> list[Row]:
    """The rows that keep the limits `wheres`, sorted by a figure or parameter.

    Raises CodesignError for a name that no row has.
    """
    parameters, metrics = columns(rows)
    known = [*metrics, *parameters, "number", "duration_s"]
    limits = [parse_limit(text) for text in wheres]
    for name in [limit.figure for limit in limits] + ([sort.lstrip("-")] if sort else []):
        if name not in known:
            near = did_you_mean(name, known)
            hint = f"; did you mean {near!r}?" if near else f" (there are {', '.join(known)})"
            raise CodesignError(f"no figure or parameter {name!r}{hint}")
    found = [
        row
        for row in rows
        if (row.error is not None) == failed
        and all(limit.violation(row.numbers) == 0 for limit in limits)
    ]
    if sort:
        name = sort.lstrip("-")
        having = [row for row in found if _value(row, name) is not None]
        having.sort(key=lambda row: _order(_value(row, name)), reverse=sort.startswith("-"))
        found = having + [row for row in found if _value(row, name) is None]
    return found


def _value(row: Row, name: str) -> Any:
    return row.numbers.get(name, row.values.get(name))


def _order(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def finest(some: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """Those of some rows that were followed as closely as any of `rows`, if there are any.

    A front is one of points at the same fidelity: where some were promoted, of these.
    """
    order = ("tile", "row", "cycle")
    held = {row.fidelity for row in rows if row.error is None}
    best = max(held, key=order.index, default=None)
    return [row for row in some if row.fidelity == best] or list(some)


def fronts(rows: Sequence[Row], study: Study, by: str | None = None) -> list[list[Row]]:
    """The front of some rows, or one for each value of a parameter, in the order of the file.

    Raises CodesignError for a path that is no parameter.
    """
    if by is None:
        return [front_of(rows, study)]
    _require_parameter(study, by)
    own: dict[object, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.number):
        own.setdefault(row.values.get(by), []).append(row)
    return [front_of(some, study) for some in own.values()]


def _require_parameter(study: Study, path: str) -> None:
    if path not in study.parameters:
        near = did_you_mean(path, list(study.parameters))
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(study.parameters)}"
        raise CodesignError(f"{path[:60]!r} is no parameter of the study; {hint}")


def knee_of(rows: Sequence[Row], study: Study) -> Row | None:
    """The row of a front that gives up least of every metric at once."""
    place = knee(costs([row.metrics for row in rows], study.metrics), list(range(len(rows))))
    return None if place is None else rows[place]


def relative_hypervolume(front: Sequence[Row], rows: Sequence[Row], study: Study) -> float:
    """Share of the box between each metric's best and worst value that a front dominates."""
    everything = costs([row.metrics for row in rows if row.error is None], study.metrics)
    everything = everything[np.isfinite(everything).all(axis=1)]
    low, high = everything.min(axis=0), everything.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    own = (costs([row.metrics for row in front], study.metrics) - low) / width
    return hypervolume(own, np.ones(len(study.metrics)))


def importance(rows: Sequence[Row], study: Study) -> dict[str, dict[str, float]]:
    """Share of each metric's variance that each parameter explains by itself (a first-order index).

    The variance of the means over the parameter's values, ranges cut into bins, over the variance
    of all; of the metric's logarithm where it is positive. Shares need not add up to 1: what is
    left is interaction.
    """
    good = [row for row in rows if row.error is None and row.fidelity == study.fidelity]
    shares: dict[str, dict[str, float]] = {}
    for path in study.parameters:
        group = _groups([row.values.get(path) for row in good])
        shares[path] = {}
        for name in study.metrics:
            values = np.array([row.metrics.get(name, np.nan) for row in good], dtype=np.float64)
            shares[path][name] = _explained(values, group)
    return shares


def _groups(values: Sequence[Any]) -> NDArray[np.int64]:
    different = sorted(set(values), key=_order_or_none)
    recurring = len(different) <= min(4 * _BINS, len(values) // 2)
    if recurring or not all(isinstance(v, int | float) for v in different):
        place = {value: i for i, value in enumerate(different)}
        return np.array([place[value] for value in values], dtype=np.int64)
    table = np.array(values, dtype=np.float64)
    bins = min(_BINS, max(2, len(values) // _FEWEST))
    edges = np.quantile(table, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, table, side="right").astype(np.int64)


def _order_or_none(value: Any) -> tuple[int, Any]:
    return (2, "") if value is None else _order(value)


def _explained(values: NDArray[np.float64], group: NDArray[np.int64]) -> float:
    there = np.isfinite(values)
    values, group = values[there], group[there]
    if len(values) and (values > 0).all():
        values = np.log(values)
    total = float(values.var()) if len(values) else 0.0
    if total == 0:
        return 0.0
    counts = np.bincount(group)
    sums = np.bincount(group, weights=values)
    full = counts > 0
    means = sums[full] / counts[full]
    between = float((counts[full] * (means - values.mean()) ** 2).sum() / len(values))
    return between / total


def normalised(rows: Sequence[Row], study: Study, budget: str) -> list[dict[str, Any]]:
    """Machines as if each had the same area or power: runs per second over what they take of it.

    As many copies of a machine as the budget holds are assumed to run side by side, each on its own
    items, with all of their memories and links. Only points that keep the constraints count; the
    best of each machine stands for it.
    """
    figure = "area_mm2" if budget == "area" else "power_w"
    limits = tuple(map(parse_limit, study.constraints))
    best: dict[str, tuple[float, Row]] = {}
    many: dict[str, int] = {}
    for row in rows:
        if row.error is not None or any(limit.violation(row.metrics) for limit in limits):
            continue
        latency_s, taken = row.metrics.get("latency_s", 0.0), row.metrics.get(figure, 0.0)
        if not latency_s or not taken:
            continue
        name = str(row.config["arch"]["name"])
        many[name] = many.get(name, 0) + 1
        batch = int(row.config["workload"].get("batch") or 1)
        density = batch / latency_s / taken
        if name not in best or density > best[name][0]:
            best[name] = (density, row)
    ranked = sorted(best.items(), key=lambda item: -item[1][0])
    first = ranked[0][1][0] if ranked else 1.0
    return [
        {
            "arch": name,
            "points": many[name],
            "runs_per_s": density,
            "ratio": density / first,
            "best": row.number,
        }
        for name, (density, row) in ranked
    ]


def against(rows: Sequence[Row], study: Study, choice: str) -> list[dict[str, Any]]:
    """Designs over those that differ from them in one parameter only, and have `PATH=VALUE` there.

    Each has its values, and for each metric how many times better it is than its other half: above
    1 it is better, whether the metric is minimised or maximised. Raises CodesignError for a path
    that is no parameter and for a value that no design has.
    """
    path, _, value = choice.partition("=")
    _require_parameter(study, path)
    good = [row for row in rows if row.error is None and path in row.values]
    base: dict[tuple[object, ...], Row] = {}
    for row in good:
        if str(row.values[path]) == value:
            base[_rest(row, path)] = row
    if not base:
        there = sorted({str(row.values[path]) for row in good})
        raise CodesignError(f"no design has {path}={value[:60]}; there are {', '.join(there[:20])}")
    out = []
    for row in good:
        other = base.get(_rest(row, path))
        if other is None or other is row:
            continue
        better = {}
        for name, goal in study.metrics.items():
            ours, theirs = row.metrics.get(name), other.metrics.get(name)
            if ours and theirs:
                better[name] = theirs / ours if goal == "minimize" else ours / theirs
        out.append({"number": row.number, "values": dict(row.values), "times_better": better})
    return out


def _rest(row: Row, path: str) -> tuple[object, ...]:
    others = ((name, value) for name, value in row.values.items() if name != path)
    return (row.fidelity, *others)


def sensitivity(store: Store, study: Study) -> list[dict[str, Any]]:
    """What halving and doubling each doubtful number does to the order of the points.

    The front and the best other points are evaluated again with one unverified or assumed number of
    a machine changed in all of them. Returns, for each number, factor and metric, Kendall's tau
    between the orders and whether the best point is another; those that change most first.
    """
    base = stored_base(store, study)
    good = [row for row in store.rows(study.fidelity) if row.error is None]
    rows = _best(good, study)
    if len(rows) < 2:
        raise CodesignError("sensitivity compares points, and fewer than two keep the constraints")
    engine, designs = Engine(base), Designs(base)
    changes: list[dict[str, Any]] = []
    swept = {each for path, p in study.parameters.items() for each in (path, *p.also)}
    for name in base.machines:
        machine = engine.machine({"name": name, "set": study.base_arch.set})
        for doubt in machine.assumptions():
            if f"arch.{doubt.path}" in swept or not doubt.value:
                continue
            for factor in _FACTORS:
                kind = int if isinstance(doubt.value, int) else float
                value = kind(doubt.value * factor)
                moved = _moved(engine, designs, rows, name, doubt.path, value)
                if moved is None:
                    continue
                for metric, goal in study.metrics.items():
                    before = np.array([row.metrics[metric] for row in rows])
                    after = np.array([found[metric] for found in moved])
                    sign = 1.0 if goal == "minimize" else -1.0
                    changes.append(
                        {
                            "arch": name,
                            "path": doubt.path,
                            "status": doubt.status,
                            "value": doubt.value,
                            "factor": factor,
                            "metric": metric,
                            "rank_correlation": kendall(before, after),
                            "best_changes": int((sign * before).argmin())
                            != int((sign * after).argmin()),
                            "largest_change": float(np.abs(after / before - 1).max())
                            if (before != 0).all()
                            else 0.0,
                        }
                    )
    changes.sort(key=lambda c: (not c["best_changes"], c["rank_correlation"]))
    return changes


def _best(rows: Sequence[Row], study: Study) -> list[Row]:
    """The front, then the front of what is left, and so on, up to _MOST_POINTS."""
    left, best = list(rows), list[Row]()
    while len(best) < _MOST_POINTS and (front := front_of(left, study)):
        best += front
        taken = {row.key for row in front}
        left = [row for row in left if row.key not in taken]
    return best[:_MOST_POINTS]


def _moved(
    engine: Engine, designs: Designs, rows: Sequence[Row], name: str, path: str, value: int | float
) -> list[Mapping[str, float]] | None:
    """The rows' metrics with one number of a machine changed; None where that is not allowed."""
    out: list[Mapping[str, float]] = []
    for row in rows:
        if row.config["arch"]["name"] != name:
            out.append(row.metrics)
            continue
        point = designs.point(row.number, row.values)
        arch = {**point.config["arch"], "set": {**point.config["arch"]["set"], path: value}}
        outcome = engine.evaluate(replace(point, config={**point.config, "arch": arch}))
        if outcome.error is not None:
            return None
        out.append(outcome.metrics)
    return out


def kendall(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Kendall's tau-b of two rankings; 1 where both are constant.

    >>> kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    0.3333333333333333
    """
    upper = np.triu_indices(len(before), 1)
    a = np.sign(before[:, None] - before)[upper]
    b = np.sign(after[:, None] - after)[upper]
    scale = float(np.sqrt((a != 0).sum() * (b != 0).sum()))
    return float((a * b).sum()) / scale if scale else 1.0


def notes(store: Store, study: Study, rows: Sequence[Row]) -> dict[str, list[int]]:
    """What the figures of some points do not mean: lines, and the numbers of the points of each.

    Those of `evaluate` but for how operators lie, with memory by the patterns' own counts. A point
    whose machine or workload this version reads no more has none.
    """
    engine = Engine(stored_base(store, study))
    found: dict[str, list[int]] = {}
    for row in rows:
        try:
            machine = engine.machine(row.config["arch"])
            trace = engine.trace(row.config["workload"], row.config["sparsity"])
            zeros = {op.name: Sparse(trace.masks.get(op.name)) for op in trace}
            told = run_notes(trace, machine, zeros)
        except CodesignError:
            continue
        for note in told:
            found.setdefault(note, []).append(row.number)
    return found


def stored_base(store: Store, study: Study) -> Base:
    """The files of a study as they were when it began."""
    machines = json.loads(store.note("machines") or "{}")
    workloads = json.loads(store.note("workloads") or "{}")
    return Base(
        study, {name: Document(data, name=name) for name, data in machines.items()}, workloads
    )
