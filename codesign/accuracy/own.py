"""Points for designs from the runs of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from codesign.accuracy.code_version import code_version
from codesign.accuracy.curves import Cell, cells, loss_points
from codesign.accuracy.point import AccuracyPoint
from codesign.accuracy.proxy import Proxy
from codesign.accuracy.proxy_error import Pair, curve_for, drop_error_near, pairs
from codesign.accuracy.store import RunStore
from codesign.accuracy.train import PROTOCOL, Recipe

_POINTS_PER_UNIT = 100
_METRIC = "accuracy %"


def own_points(source: str, model_name: str, store: Path) -> list[AccuracyPoint]:
    """Measured or proxy points of a model in a store, the dense one first; none without a file.

    A model is named as in its runs, if those of one task alone have that name, or with its task
    before it: `mlp` or `digits_mlp`. Runs of code that has changed since are left out, and so are
    methods whose final model is dense: their figures are not those of a sparse design. Of several
    data sets or lengths of training those with the most runs count.
    """
    if not store.is_file():
        return []
    kept = RunStore(store)
    runs = [run for run in kept.runs() if _is_current(run.recipe)]
    mine = [run.recipe for run in runs if f"{run.recipe.task}_{run.recipe.model}" == model_name]
    mine = mine or [run.recipe for run in runs if run.recipe.model == model_name]
    settings = Counter(map(_setting, mine))
    if not settings or len({what.task for what in mine}) > 1:
        return []
    (chosen, _), *_ = settings.most_common(1)
    here = cells(run for run in runs if _setting(run.recipe) == chosen)
    sparse = [c for c in here if c.pattern == "dense" or c.is_sparse]
    points = sorted((_point(c, here, chosen) for c in sparse), key=lambda p: p.pattern != "dense")
    if source == "measured":
        return points
    if not points or points[0].pattern != "dense":
        return []
    estimates = [proxy for proxy in kept.proxies() if _is_current(proxy.recipe)]
    return _estimated(points[0], chosen, estimates, pairs(estimates, runs))


def _is_current(what: Recipe) -> bool:
    return what.protocol == PROTOCOL and what.code == code_version(what.method)


def _setting(what: Recipe) -> tuple[str, ...]:
    return what.task, what.model, what.data, f"{what.steps} steps"


def _estimated(
    dense: AccuracyPoint, setting: tuple[str, ...], of: Sequence[Proxy], known: Sequence[Pair]
) -> list[AccuracyPoint]:
    """Points from output errors, by the curve of other models, with the error that it had."""
    model = setting[0], setting[1]
    curve = curve_for(model, known)
    if dense.value is None or curve is None:
        return []
    groups: dict[tuple[str, str], list[float]] = {}
    for proxy in of:
        if _setting(proxy.recipe) == setting:
            key = proxy.recipe.method, proxy.recipe.pattern
            groups.setdefault(key, []).append(proxy.output_error)
    others = ", ".join(sorted({"_".join(pair.model) for pair in known} - {"_".join(model)}))
    found = []
    for (method, pattern), errors in groups.items():
        drop = dense.value * fmean(curve.lost_share(error) for error in errors)
        found.append(replace(
            dense, kind="proxy", method=method, pattern=pattern, value=dense.value - drop,
            drop=drop, error=drop_error_near(model, fmean(errors), known),
            citation=f"estimated from output errors of layers, by a curve of {others}",
            comparable_with=("proxy", *setting),
            note="± is the mean distance of such estimates from measured drops",
        ))  # fmt: skip
    return [replace(dense, comparable_with=("proxy", *setting)), *found]


def _point(cell: Cell, here: Sequence[Cell], setting: tuple[str, ...]) -> AccuracyPoint:
    loss = loss_points(here, cell)
    mean, deviation, seeds = loss if loss else (None, None, len(cell.by_seed))
    if cell.pattern == "dense" and len(cell.by_seed) > 1:
        deviation = _POINTS_PER_UNIT * stdev(cell.by_seed.values())
    return AccuracyPoint(
        kind="measured",
        model=f"{cell.task}_{cell.model}",
        method=cell.method,
        pattern=cell.pattern,
        value=cell.mean,
        drop=None if mean is None else mean / _POINTS_PER_UNIT,
        error=None if deviation is None else deviation / _POINTS_PER_UNIT,
        metric=f"{cell.task}, {_METRIC}",
        better="higher",
        citation=f"measured here, {seeds} seeds, {setting[-1]}",
        comparable_with=("measured", *setting),
    )
