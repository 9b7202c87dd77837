"""What the measured runs say: means with their spread, what is missing, and which orders hold."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from codesign.accuracy.train import Recipe, Run
from codesign.sparsity.pattern import parse_pattern

HIGH_SPARSITY = ("1:8", "1:16")
CONFIDENCE = 0.95
FEWEST_SEEDS = 3
"""Fewer equal seeds say nothing about noise."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Cell:
    """One method at one pattern over the seeds that have run; accuracies are fractions."""

    task: str
    model: str
    method: str
    pattern: str
    timing: str
    by_seed: Mapping[int, float]
    density: float
    """Mean density of the final model's pruned layers."""
    losses: Mapping[int, float]
    """Cross-entropy of held-out samples in nats, by seed."""

    @property
    def mean(self) -> float:
        """Mean accuracy over seeds."""
        return fmean(self.by_seed.values())

    @property
    def loss(self) -> float:
        """Mean cross-entropy over seeds."""
        return fmean(self.losses.values())

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds, None for one seed."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    @property
    def is_dense(self) -> bool:
        """Whether it is the dense model that others are compared with."""
        return self.pattern == "dense"

    @property
    def is_sparse(self) -> bool:
        """Whether the final model has the pattern's density, as methods with a dense end do not."""
        wanted = parse_pattern(self.pattern).density
        return not self.is_dense and self.density <= wanted * 1.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One order that papers report, and what the runs say; `verdict` is found, not found, within
    noise or not measured."""

    claim: str
    where: str
    verdict: str
    detail: str


def cells(runs: Iterable[Run]) -> list[Cell]:
    """Runs gathered over seeds, in order of model, density and method."""
    groups: dict[tuple[str, str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        what = run.recipe
        groups[what.task, what.model, what.method, what.pattern].append(run)
    found = [
        Cell(*key, of[0].timing, {r.recipe.seed: r.accuracy for r in of},
             fmean(r.density for r in of), {r.recipe.seed: r.loss for r in of})
        for key, of in groups.items()
    ]  # fmt: skip
    return sorted(
        found,
        key=lambda c: (c.task, c.model, -parse_pattern(c.pattern).density, c.pattern, c.method),
    )


def missing(wanted: Sequence[Recipe], runs: Iterable[Run]) -> dict[tuple[str, str], int]:
    """How many runs of each (task, model) the grid still lacks; models that lack none left out."""
    done = {run.recipe.key for run in runs}
    found: dict[tuple[str, str], int] = {}
    for what in wanted:
        if what.key not in done:
            key = what.task, what.model
            found[key] = found.get(key, 0) + 1
    return found


def loss_points(of: Sequence[Cell], sparse: Cell) -> tuple[float, float | None, int] | None:
    """Dense minus sparse accuracy in points: mean over the seeds of both, deviation, seeds."""
    dense = next(
        (c for c in of if (c.task, c.model, c.method) == (sparse.task, sparse.model, "dense")),
        None,
    )
    seeds = sorted(set(dense.by_seed) & set(sparse.by_seed)) if dense else []
    if dense is None or not seeds:
        return None
    losses = [100 * (dense.by_seed[s] - sparse.by_seed[s]) for s in seeds]
    return fmean(losses), stdev(losses) if len(losses) > 1 else None, len(losses)


_PAIRS = (
    ("BDWP within noise of SR-STE", "bdwp", "sr_ste", True),
    ("SR-STE above plain STE", "sr_ste", "ste", False),
    ("S-STE above plain STE", "s_ste", "ste", False),
)
"""Claims on two methods, and whether they are equal, or the first above where sparsity is high."""


def findings(
    of: Sequence[Cell], models: Sequence[tuple[str, str]], patterns: Sequence[str]
) -> list[Finding]:
    """The orders of the literature, for each model and pattern, found or not."""
    by_key = {(c.task, c.model, c.method, c.pattern): c for c in of}
    found = []
    for task, model in models:
        for pattern in patterns:
            here = [c for c in of if (c.task, c.model, c.pattern) == (task, model, pattern)]
            where = f"{task} {model} {pattern}"
            found.append(_trained_above_one_shot(here, where))
            for claim, first, second, equal in _PAIRS:
                if equal or pattern in HIGH_SPARSITY:
                    pair = [by_key.get((task, model, name, pattern)) for name in (first, second)]
                    found.append(_paired(claim, where, *pair, equal=equal))
    return found


def _trained_above_one_shot(here: Sequence[Cell], where: str) -> Finding:
    claim = "trained at least as good as one-shot"
    one_shot = [c for c in here if c.timing == "one_shot"]
    trained = [c for c in here if c.timing == "training" and c.is_sparse]
    if not one_shot or not trained:
        return Finding(claim, where, "not measured", "")
    best = max(one_shot, key=lambda c: c.mean)
    reaching = [c for c in trained if c.mean >= best.mean - _ROUNDING]
    apart = [(c, _difference(c, best)) for c in trained if c not in reaching]
    below = sorted(
        (c for c, found in apart if found is None or found[0] < -found[1]), key=lambda c: c.mean
    )
    detail = (
        f"{len(reaching)} of {len(trained)} trained methods reach the best one-shot "
        f"({best.method}, {100 * best.mean:.1f} %)"
    )
    if within := len(apart) - len(below):
        detail += f", {within} more are within noise of it"
    if below:
        detail += "; below: " + ", ".join(f"{c.method} {100 * c.mean:.1f} %" for c in below)
    return Finding(claim, where, "not found" if below else "found", detail)


def _difference(first: Cell, second: Cell) -> tuple[float, float, int] | None:
    """Mean of the differences of equal seeds in points, its noise, seeds; None for too few."""
    found = _mean_difference(first.by_seed, second.by_seed)
    return None if found is None else (100 * found[0], 100 * found[1], found[2])


def _mean_difference(
    first: Mapping[int, float], second: Mapping[int, float]
) -> tuple[float, float, int] | None:
    """As `_difference` of any figure by seed; noise is half of Student's interval of the mean."""
    from scipy.stats import t

    seeds = sorted(set(first) & set(second))
    if len(seeds) < FEWEST_SEEDS:
        return None
    differences = [first[s] - second[s] for s in seeds]
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1))
    return fmean(differences), quantile * stdev(differences) / math.sqrt(len(seeds)), len(seeds)


def _paired(
    claim: str, where: str, first: Cell | None, second: Cell | None, *, equal: bool
) -> Finding:
    found = _difference(first, second) if first and second else None
    if first is None or second is None or found is None:
        return Finding(claim, where, "not measured", "")
    mean, noise, seeds = found
    if equal:
        verdict = "found" if abs(mean) <= noise + _ROUNDING else "not found"
    else:
        verdict = "found" if mean > noise else "not found" if mean < -noise else "within noise"
    detail = f"{mean:+.2f} points, noise {noise:.2f}, {seeds} seeds"
    if (loss := _mean_difference(first.losses, second.losses)) is not None:
        detail += f"; loss {loss[0]:+.3f} nats, noise {loss[1]:.3f}"
    return Finding(claim, where, verdict, detail)
