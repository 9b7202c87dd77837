"""Points for designs from the runs of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev

from codesign.accuracy.code_version import code_version
from codesign.accuracy.curves import Cell, cells, loss_points
from codesign.accuracy.lookup import AccuracyPoint
from codesign.accuracy.store import RunStore
from codesign.accuracy.train import PROTOCOL, Run

_POINTS_PER_UNIT = 100
_METRIC = "accuracy %"


def own_points(source: str, model_name: str, store: Path) -> list[AccuracyPoint]:
    """The measured points of a model in a store, the dense one first; none without a file.

    A model is named as in its runs, or with its task before it: `mlp` or `digits_mlp`. Runs of code
    that has changed since are left out, and so are methods whose final model is dense: their
    figures are not those of a sparse design. Of several data sets or lengths of training those with
    the most runs count.
    """
    if source != "measured" or not store.is_file():
        return []
    runs = [
        run for run in RunStore(store).runs()
        if model_name in (run.recipe.model, f"{run.recipe.task}_{run.recipe.model}")
        and run.recipe.protocol == PROTOCOL
        and run.recipe.code == code_version(run.recipe.method)
    ]  # fmt: skip
    settings = Counter(_setting(run) for run in runs)
    if not settings:
        return []
    (chosen, _), *_ = settings.most_common(1)
    here = cells(run for run in runs if _setting(run) == chosen)
    kept = [c for c in here if c.pattern == "dense" or c.is_sparse]
    points = [_point(c, here, chosen) for c in kept]
    return sorted(points, key=lambda p: p.pattern != "dense")


def _setting(run: Run) -> tuple[str, ...]:
    what = run.recipe
    return what.task, what.model, what.data, f"{what.steps} steps"


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
