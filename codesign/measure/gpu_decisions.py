"""Is 2:4 faster than dense: how often the simulator is right over shapes that both ran."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.arch.gpu_kernels import Float64
from codesign.measure.compare import LABEL_NOISE, Decision, decide, paired
from codesign.measure.gpu_scores import Scored
from codesign.measure.suite import Group, TableRow

DECISION_BOUND = 0.95


def decisions(scored: Sequence[Scored]) -> tuple[Group | None, list[TableRow]]:
    """Is 2:4 faster than dense, over the shapes of which both were measured and none was fitted."""
    rows: list[TableRow] = []
    found: list[Decision] = []
    for dense in scored:
        for sparse in scored:
            same = ("gpu", "dtype", "origin")
            if dense.rows.pattern != "dense" or sparse.rows.pattern != "2:4":
                continue
            if any(getattr(dense.rows, f) != getattr(sparse.rows, f) for f in same):
                continue
            at_dense, at_sparse = paired(dense.rows, sparse.rows)
            keep = dense.held[at_dense]
            if not keep.any():
                continue
            one = decide(_times(dense, at_dense[keep]), _times(sparse, at_sparse[keep]))
            found.append(one)
            rows.append(
                {
                    "section": "is 2:4 faster than dense",
                    "case": f"{dense.rows.gpu} {dense.rows.dtype}, {dense.rows.origin}",
                    "shapes": one.shapes,
                    "right": one.accuracy,
                    "roofline-3 right": one.baseline_right / one.shapes,
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
    note = (
        f"{right} of {shapes} right ({right / shapes:.1%}); roofline-3 {baseline / shapes:.1%}; "
        f"of {contested} shapes within {LABEL_NOISE:.0%} {contested_right}, of the others "
        f"{(right - contested_right) / max(1, shapes - contested):.1%}"
    )
    group = Group(
        name="decision: is 2:4 faster than dense", rows=shapes, exact_rows=right, max_abs_diff=0,
        mape=None, bound=f"at least {DECISION_BOUND:.0%} right",
        passed=right >= DECISION_BOUND * shapes, note=note,
    )  # fmt: skip
    return group, rows


def _times(one: Scored, at: np.ndarray) -> tuple[Float64, Float64, Float64]:
    return one.predicted[at], one.rows.latency_us[at], one.baseline[at]
