"""Fronts: which designs no other beats, which of them is the knee, and how much they dominate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def costs(rows: Sequence[Mapping[str, float]], goals: Mapping[str, str]) -> Float:
    """Metrics of which less is better, a row for each design; those that it lacks are infinite."""
    table = np.empty((len(rows), len(goals)))
    for column, (name, goal) in enumerate(goals.items()):
        found = np.array([row.get(name) for row in rows], dtype=np.float64)
        table[:, column] = np.where(
            np.isnan(found), np.inf, found if goal == "minimize" else -found
        )
    return table


def beaten(points: Float, others: Float) -> NDArray[np.bool_]:
    """Which rows some other row beats: it is nowhere worse and somewhere better.

    >>> beaten(np.array([[1.0, 3.0], [2.0, 3.0]]), np.array([[1.0, 3.0]]))
    array([False,  True])
    """
    none_worse = np.ones((len(points), len(others)), dtype=np.bool_)
    some_better = np.zeros_like(none_worse)
    for own, other in zip(points.T, others.T, strict=True):
        none_worse &= other <= own[:, None]
        some_better |= other < own[:, None]
    found: NDArray[np.bool_] = np.any(none_worse & some_better, axis=1)
    return found


def front(points: Float) -> list[int]:
    """Places of the rows that no other row beats, in the order of the first column.

    A row beats another if it is nowhere worse and somewhere better; of equal rows the first stays.
    Rows with an infinite entry are never on a front.

    >>> front(np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0]]))
    [0, 1, 3]
    """
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    order = finite[np.lexsort((finite, *points[finite].T[::-1]))]
    kept: list[int] = []
    if points.shape[1] == 2:
        best = np.inf
        for i in order:
            if points[i, 1] < best:
                best = points[i, 1]
                kept.append(int(i))
        return kept
    left = points[order]
    while len(order):
        # The first in this order beats others, and no later one beats it.
        kept.append(int(order[0]))
        stays = (left < left[0]).any(axis=1)
        order, left = order[stays], left[stays]
    return kept


def hypervolume(points: Float, reference: Float) -> float:
    """Volume that a set of points dominates below a reference point; less is better everywhere.

    Exact for any number of columns, by slices along the last one.
    """
    inside = points[(points < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    inside = inside[front(inside)]
    if inside.shape[1] == 1:
        return float(reference[0] - inside[:, 0].min())
    if inside.shape[1] == 2:
        edges = np.concatenate([inside[1:, 0], reference[:1]])
        return float(((edges - inside[:, 0]) * (reference[1] - inside[:, 1])).sum())
    ordered = inside[np.argsort(inside[:, -1], kind="stable")]
    depths = np.diff(np.concatenate([ordered[:, -1], reference[-1:]]))
    return sum(
        float(depth) * hypervolume(ordered[: i + 1, :-1], reference[:-1])
        for i, depth in enumerate(depths)
        if depth > 0
    )


def knee(points: Float, places: Sequence[int]) -> int | None:
    """The point of a front that lies farthest below the plane through its extremes, or None.

    Each column is scaled to its range on the front first; a front of one point is its own knee.
    """
    if not places:
        return None
    own = points[list(places)]
    low, high = own.min(axis=0), own.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    return places[int(((own - low) / width).sum(axis=1).argmin())]
