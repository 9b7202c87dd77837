"""Error tables of predicted against measured times, and of the decision between two ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from codesign.measure.gpu_rows import Float64, Rows
from codesign.measure.gpu_standings import BUCKETS, bucket_name
from codesign.measure.suite import TableRow


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of predictions; `bias` is signed, `tau` is Kendall's rank correlation."""

    rows: int
    mape: float
    median: float
    p90: float
    bias: float
    tau: float | None


def errors(predicted: Float64, measured: Float64) -> Errors:
    """How far predictions are from measurements, both in any one unit, at least one row.

    >>> import numpy as np
    >>> errors(np.array([1.0, 3.0]), np.array([2.0, 3.0])).mape
    0.25
    """
    relative = predicted / measured - 1.0
    apart = np.abs(relative)
    tau = float(kendalltau(predicted, measured).statistic) if len(measured) > 1 else None
    return Errors(
        rows=len(measured),
        mape=float(apart.mean()),
        median=float(np.median(apart)),
        p90=float(np.quantile(apart, 0.9)),
        bias=float(relative.mean()),
        tau=None if tau is None or np.isnan(tau) else tau,
    )


def error_rows(
    section: str, rows: Rows, predicted: Float64, baseline: Float64, where: np.ndarray
) -> Iterator[TableRow]:
    """Printable errors of the rows at `where`, together and by batch, with those of a baseline."""
    m = rows.sizes[:, 1]
    cuts = [("all", where)]
    cuts += [(bucket_name(*b), where & (m >= b[0]) & (m <= b[1])) for b in BUCKETS]
    for name, chosen in cuts:
        if not chosen.any():
            continue
        ours = errors(predicted[chosen], rows.latency_us[chosen])
        theirs = errors(baseline[chosen], rows.latency_us[chosen])
        yield {
            "section": section,
            "case": f"{rows.gpu} {rows.dtype} {rows.pattern}, {rows.origin}",
            "batch": name,
            "rows": ours.rows,
            "mape": ours.mape,
            "median": ours.median,
            "p90": ours.p90,
            "bias": ours.bias,
            "tau": ours.tau,
            "roofline-3 mape": theirs.mape,
        }


def weight_rows(
    section: str, rows: Rows, predicted: Float64, where: np.ndarray
) -> Iterator[TableRow]:
    """One printable row: mean errors of the single weight shapes (n, k) among the rows at
    `where`, their median and their worst."""
    shapes = rows.sizes[where][:, 2:]
    if not len(shapes):
        return
    apart = np.abs(predicted[where] / rows.latency_us[where] - 1.0)
    distinct, place = np.unique(shapes, axis=0, return_inverse=True)
    means = np.array([apart[place.ravel() == i].mean() for i in range(len(distinct))])
    worst = int(means.argmax())
    yield {
        "section": section,
        "case": f"{rows.gpu} {rows.dtype} {rows.pattern}, {rows.origin}",
        "(n, k)": len(distinct),
        "median of them": float(np.median(means)),
        "worst of them": float(means[worst]),
        "at n, k": f"{distinct[worst][0]}, {distinct[worst][1]}",
    }


@dataclass(frozen=True, slots=True)
class Decision:
    """Is one way quicker than the other, as predicted and as measured, on shapes of both."""

    shapes: int
    right: int
    baseline_right: int
    contested: int
    """Shapes where the measured times differ by no more than the noise of a label."""
    contested_right: int

    @property
    def accuracy(self) -> float:
        return self.right / self.shapes


LABEL_NOISE = 0.05


def decide(
    first: tuple[Float64, Float64, Float64], second: tuple[Float64, Float64, Float64]
) -> Decision:
    """Compare two ways, each (predicted, measured, baseline) times of the same shapes in order."""
    truth = second[1] < first[1]
    right = (second[0] < first[0]) == truth
    near = np.abs(np.log(second[1] / first[1])) <= np.log1p(LABEL_NOISE)
    return Decision(
        shapes=len(truth),
        right=int(right.sum()),
        baseline_right=int(((second[2] < first[2]) == truth).sum()),
        contested=int(near.sum()),
        contested_right=int((right & near).sum()),
    )


def paired(first: Rows, second: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rows of two groups that are of the same shape, in the same order."""
    place = {tuple(size): i for i, size in enumerate(first.sizes.tolist())}
    both = [
        (place[key], j)
        for j, size in enumerate(second.sizes.tolist())
        if (key := tuple(size)) in place
    ]
    left = np.array([i for i, _ in both], dtype=np.int64)
    return left, np.array([j for _, j in both], dtype=np.int64)


def mean_error(parts: Sequence[tuple[Float64, Float64]]) -> float:
    """Mean relative error over several sets of (predicted, measured)."""
    apart = np.concatenate([np.abs(p / m - 1.0) for p, m in parts])
    return float(apart.mean())
