"""Points for designs from the runs of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import stdev

from codesign.accuracy.curves import Cell, cells, loss_points
from codesign.accuracy.lookup import AccuracyPoint
from codesign.accuracy.store import RunStore

_POINTS_PER_UNIT = 100
_METRIC = "accuracy %"


def own_points(source: str, model_name: str, store: Path) -> list[AccuracyPoint]:
    """The measured points of a model in a store, the dense one first; none without a file.

    A model is named as in its runs, or with its task before it: `mlp` or `digits_mlp`. Methods
    whose final model is dense are left out: their figures are not those of a sparse design.
    """
    if source != "measured" or not store.is_file():
        return []
    every = cells(RunStore(store).runs())
    here = [c for c in every if model_name in (c.model, f"{c.task}_{c.model}")]
    tasks = {c.task for c in here}
    if len(tasks) > 1:  # two tasks have a model of this name: it has to be said which
        return []
    kept = [c for c in here if c.pattern == "dense" or c.is_sparse]
    return sorted((_point(c, here) for c in kept), key=lambda p: p.pattern != "dense")


def _point(cell: Cell, here: Sequence[Cell]) -> AccuracyPoint:
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
        citation=f"measured here, {seeds} seeds",
        comparable_with=("measured", cell.task, cell.model),
    )
