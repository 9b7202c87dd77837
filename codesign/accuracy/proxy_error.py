"""How well proxies agree with measured runs, and the accuracy that follows from an output error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from codesign.accuracy.proxy import Proxy
from codesign.accuracy.train import Run

Model = tuple[str, str]
"""Task and model."""
SMALL_CHANGE_NATS = 0.3
"""Loss changes up to this are in reach of a local fit; larger ones are reported apart."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A proxy beside the run that it is about."""

    model: Model
    method: str
    pattern: str
    output_error: float
    predicted_loss_change: float
    dense_accuracy: float
    lost_share: float
    """Of the dense accuracy, measured."""
    loss_change: float
    """Measured on held-out samples, in nats."""

    @property
    def drop(self) -> float:
        """Measured, as a fraction."""
        return self.lost_share * self.dense_accuracy


@dataclass(frozen=True, slots=True)
class Curve:
    """Share of the dense accuracy that an output error e costs: 1 - exp(-(e / scale)^power)."""

    scale: float
    power: float

    def lost_share(self, output_error: float) -> float:
        return 1 - math.exp(-((output_error / self.scale) ** self.power))


@dataclass(frozen=True, slots=True)
class ProxyError:
    """What the proxies were off on the runs of one model.

    The curve is fitted on other models; `drop_error` is the mean distance of its accuracy drop from
    the measured one, as a fraction. `small` and `large` are medians of the distance of loss
    changes in nats, for measured changes up to and over SMALL_CHANGE_NATS.
    """

    model: Model
    runs: int
    curve: Curve | None
    drop_error: float | None
    drop_rank: float
    """Kendall's tau of output errors and measured drops."""
    small: float | None
    large: float | None
    loss_rank: float
    """Kendall's tau of predicted and measured loss changes."""


def pairs(proxies: Iterable[Proxy], runs: Iterable[Run]) -> list[Pair]:
    """Proxies with the measured run of their recipe and the dense run of its seed."""
    by_key = {run.recipe.key: run for run in runs}
    dense = {
        _dense_key(run): run for run in by_key.values() if run.recipe.method == "dense"
    }  # fmt: skip
    found = []
    for proxy in proxies:
        run = by_key.get(proxy.recipe.key)
        before = None if run is None else dense.get(_dense_key(run))
        if run is None or before is None:
            continue
        found.append(Pair(
            (run.recipe.task, run.recipe.model), run.recipe.method, run.recipe.pattern,
            proxy.output_error, proxy.loss_change, before.accuracy,
            (before.accuracy - run.accuracy) / before.accuracy, run.loss - before.loss,
        ))  # fmt: skip
    return found


def _dense_key(run: Run) -> tuple[object, ...]:
    what = run.recipe
    return what.task, what.model, what.seed, what.steps, what.protocol, what.data


def fit(of: Sequence[Pair]) -> Curve:
    """The curve of least squares of the lost share."""
    from scipy.optimize import least_squares

    def distances(log_parameters: Sequence[float]) -> list[float]:
        curve = Curve(*(math.exp(value) for value in log_parameters))
        return [curve.lost_share(pair.output_error) - pair.lost_share for pair in of]

    found = least_squares(distances, [0.0, 0.0], bounds=([-5.0, -2.0], [5.0, 3.0]))
    return Curve(*(math.exp(float(value)) for value in found.x))


def curve_for(model: Model, of: Sequence[Pair]) -> Curve | None:
    """The curve that no run of a model has had a part in; None without runs of others."""
    others = [pair for pair in of if pair.model != model]
    return fit(others) if others else None


def errors(of: Sequence[Pair]) -> list[ProxyError]:
    """What the proxies were off, model by model."""
    found = []
    for model in dict.fromkeys(pair.model for pair in of):
        here = [pair for pair in of if pair.model == model]
        curve = curve_for(model, of)
        off = None if curve is None else fmean(
            abs(curve.lost_share(p.output_error) * p.dense_accuracy - p.drop) for p in here
        )  # fmt: skip
        small, large = (
            [abs(p.predicted_loss_change - p.loss_change) for p in here if keep(p)]
            for keep in (_is_small, lambda p: not _is_small(p))
        )
        found.append(ProxyError(
            model, len(here), curve, off,
            _tau([(p.output_error, p.drop) for p in here]),
            median(small) if small else None, median(large) if large else None,
            _tau([(p.predicted_loss_change, p.loss_change) for p in here]),
        ))  # fmt: skip
    return found


def drop_error_near(model: Model, output_error: float, of: Sequence[Pair]) -> float | None:
    """Mean distance of predicted from measured drops, as a fraction, at output errors like this.

    It is over the nearest quarter of the model's own runs, or of all runs if it has none, each
    predicted by a curve that its model has had no part in; None where there is no such curve.
    """
    candidates = [pair for pair in of if pair.model == model] or list(of)
    nearest = sorted(candidates, key=lambda pair: abs(pair.output_error - output_error))
    nearest = nearest[: max(1, len(nearest) // 4)]
    curves = {name: curve_for(name, of) for name in {pair.model for pair in nearest}}
    distances = [
        abs(curve.lost_share(pair.output_error) * pair.dense_accuracy - pair.drop)
        for pair in nearest
        if (curve := curves[pair.model]) is not None
    ]
    return fmean(distances) if distances else None


def _is_small(pair: Pair) -> bool:
    return abs(pair.loss_change) <= SMALL_CHANGE_NATS


def _tau(of: Sequence[tuple[float, float]]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(*zip(*of, strict=True)).statistic) if len(of) > 1 else math.nan


def by_method(of: Sequence[Pair], curves: Mapping[Model, Curve]) -> dict[str, float]:
    """Mean of predicted minus measured drop by method, as fractions: where a curve errs and how."""
    found: dict[str, list[float]] = {}
    for pair in of:
        if pair.model in curves:
            predicted = curves[pair.model].lost_share(pair.output_error) * pair.dense_accuracy
            found.setdefault(pair.method, []).append(predicted - pair.drop)
    return {method: fmean(values) for method, values in found.items()}
