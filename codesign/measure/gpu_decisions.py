"""Is 2:4 faster than dense: how often the simulator is right over shapes that both ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt

import numpy as np

from codesign.arch.gpu_kernels import Float64
from codesign.measure.compare import LABEL_NOISE, Decision, decide, paired
from codesign.measure.gpu_scores import Scored
from codesign.measure.gpu_standings import TWINS
from codesign.measure.suite import Group, TableRow

DECISION_BOUND = 0.95
_NORMAL_95 = 1.96


def interval(right: int, shapes: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, from counts.

    >>> [round(end, 3) for end in interval(95, 100)]
    [0.888, 0.978]
    """
    square = _NORMAL_95**2
    centre = (right + square / 2) / (shapes + square)
    half = _NORMAL_95 / (shapes + square) * sqrt(right * (shapes - right) / shapes + square / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def decisions(scored: Sequence[Scored]) -> tuple[Group | None, list[TableRow]]:
    """Is 2:4 faster than dense, over the shapes of which both were measured and none was fitted."""
    rows: list[TableRow] = []
    found: list[Decision] = []
    measured: dict[tuple[str, str, str, tuple[int, ...]], bool] = {}
    for dense, sparse, at_dense, at_sparse in both_ways(scored):
        one = decide(_times(dense, at_dense), _times(sparse, at_sparse))
        simulated, faster = speedups(dense, sparse, at_dense, at_sparse)
        found.append(one)
        kind = (dense.rows.origin, dense.rows.gpu, dense.rows.dtype)
        sizes = [tuple(size) for size in dense.rows.sizes[at_dense].tolist()]
        measured.update({(*kind, size): bool(f > 1) for size, f in zip(sizes, faster, strict=True)})
        low, high = interval(one.right, one.shapes)
        rows.append(
            {
                "section": "is 2:4 faster than dense",
                "case": f"{dense.rows.gpu} {dense.rows.dtype}, {dense.rows.origin}",
                "shapes": one.shapes,
                "right": one.accuracy,
                "at least": low,
                "at most": high,
                "roofline-3 right": one.baseline_right / one.shapes,
                "speed-up error": float(np.abs(simulated / faster - 1).mean()),
                "within 5 %": one.contested,
                "of them right": one.contested_right,
            }
        )
    if not found:
        return None, rows
    shapes, right = sum(d.shapes for d in found), sum(d.right for d in found)
    baseline = sum(d.baseline_right for d in found)
    contested = sum(d.contested for d in found)
    contested_right = sum(d.contested_right for d in found)
    low, high = interval(right, shapes)
    note = (
        f"{right} of {shapes} right ({right / shapes:.1%}, 95 % interval {low:.1%} to {high:.1%}); "
        f"roofline-3 {baseline / shapes:.1%}; "
        f"of {contested} shapes within {LABEL_NOISE:.0%} {contested_right}, of the others "
        f"{(right - contested_right) / max(1, shapes - contested):.1%}"
        f"{_agreement(measured)}"
    )
    group = Group(
        name="decision: is 2:4 faster than dense", rows=shapes, exact_rows=right, max_abs_diff=0,
        mape=None, bound=f"at least {DECISION_BOUND:.0%} right",
        passed=right >= DECISION_BOUND * shapes, note=note,
    )  # fmt: skip
    return group, rows


def both_ways(scored: Sequence[Scored]) -> Iterator[tuple[Scored, Scored, np.ndarray, np.ndarray]]:
    """Dense and 2:4 groups of one board, type and origin, and where their common shapes are."""
    same = ("gpu", "dtype", "origin")
    for dense in scored:
        for sparse in scored:
            if dense.rows.pattern != "dense" or sparse.rows.pattern != "2:4":
                continue
            if any(getattr(dense.rows, f) != getattr(sparse.rows, f) for f in same):
                continue
            at_dense, at_sparse = paired(dense.rows, sparse.rows)
            keep = dense.held[at_dense]
            if keep.any():
                yield dense, sparse, at_dense[keep], at_sparse[keep]


def speedups(
    dense: Scored, sparse: Scored, at_dense: np.ndarray, at_sparse: np.ndarray
) -> tuple[Float64, Float64]:
    """Speed-ups of 2:4 over dense, simulated and measured, of rows that `both_ways` pairs."""
    return (
        dense.predicted[at_dense] / sparse.predicted[at_sparse],
        dense.rows.latency_us[at_dense] / sparse.rows.latency_us[at_sparse],
    )


def _agreement(measured: Mapping[tuple[str, str, str, tuple[int, ...]], bool]) -> str:
    """How often two measurements of one decision agree: what noise leaves of any model."""
    first, second = TWINS
    twice = [
        (wins, measured[origin, gpu, second, size])
        for (origin, gpu, dtype, size), wins in measured.items()
        if dtype == first and (origin, gpu, second, size) in measured
    ]
    if not twice:
        return ""
    same = sum(a == b for a, b in twice)
    return (
        f"; {first} and {second} as measured agree in "
        f"{same} of {len(twice)} ({same / len(twice):.1%})"
    )


def _times(one: Scored, at: np.ndarray) -> tuple[Float64, Float64, Float64]:
    return one.predicted[at], one.rows.latency_us[at], one.baseline[at]
