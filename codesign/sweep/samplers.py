"""Which designs a sweep looks at next: grids, random and quasi-random points, Optuna's searches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from codesign.config import CodesignError
from codesign.sweep.study import Parameter, Scalar, Study

Assignment = dict[str, Scalar]
Score = tuple[Mapping[str, float] | None, float]
"""Metrics of a design, None where it failed, and by how much it breaks the constraints."""

_MOST_GRID = 10**12


class Sampler(ABC):
    """Proposes designs in batches. The same answers to the same sampler give the same proposals."""

    total: int
    """How many designs it proposes in all."""

    @abstractmethod
    def ask(self, most: int) -> list[Assignment]:
        """The next designs, at most so many; none when there are no more.

        A search proposes whole batches, whatever `most` is, and then needs their scores.
        """

    def tell(self, assignments: Sequence[Assignment], scores: Sequence[Score]) -> None:  # noqa: B027
        """Scores of the designs of the last batch, in its order; only searches listen."""

    needs_scores = False


class Grid(Sampler):
    """Every combination, the last parameter fastest; a sample without replacement if capped."""

    def __init__(self, study: Study) -> None:
        lists = {path: _listed(path, p) for path, p in study.parameters.items()}
        self._strides = list[tuple[str, tuple[Scalar, ...], int]]()
        self.size = 1
        for path, values in reversed(lists.items()):
            self._strides.insert(0, (path, values, self.size))
            self.size *= len(values)
        cap = self.size if study.run_cap is None else min(self.size, study.run_cap)
        if cap > _MOST_GRID:
            raise CodesignError(f"the grid has {cap:.3g} points; set run_cap")
        self.total = cap
        self._next = 0
        self._chosen: Sequence[int] = range(self.size)
        if cap < self.size:
            self._chosen = _sample(self.size, cap, study.seed)

    def ask(self, most: int) -> list[Assignment]:
        start, self._next = self._next, min(self.total, self._next + most)
        return [self._at(int(self._chosen[i])) for i in range(start, self._next)]

    def _at(self, index: int) -> Assignment:
        return {
            path: values[index // stride % len(values)] for path, values, stride in self._strides
        }


def _sample(size: int, cap: int, seed: int) -> list[int]:
    """`cap` different numbers below `size`, in order."""
    rng = np.random.default_rng(seed)
    if size <= 10_000_000:
        return sorted(rng.choice(size, cap, replace=False).tolist())
    seen: dict[int, None] = {}
    while len(seen) < cap:
        seen |= dict.fromkeys(rng.integers(size, size=cap - len(seen)).tolist())
    return sorted(seen)


def _listed(path: str, parameter: Parameter) -> tuple[Scalar, ...]:
    if parameter.values is None:
        raise CodesignError(f"parameters.{path}: a grid needs values, not a range")
    return parameter.values


class Random(Sampler):
    """Independent draws from every parameter's values or range."""

    def __init__(self, study: Study) -> None:
        self._parameters = study.parameters
        self._rng = np.random.default_rng(study.seed)
        self.total = _capped(study)
        self._left = self.total

    def ask(self, most: int) -> list[Assignment]:
        many = min(most, self._left)
        self._left -= many
        return [
            {path: at_share(p, float(self._rng.random())) for path, p in self._parameters.items()}
            for _ in range(many)
        ]


class QuasiRandom(Sampler):
    """Points of a scrambled Sobol sequence, which fill the space more evenly than chance."""

    def __init__(self, study: Study) -> None:
        from scipy.stats import qmc

        self._parameters = study.parameters
        self._points = qmc.Sobol(len(study.parameters), scramble=True, seed=study.seed)
        self.total = _capped(study)
        self._left = self.total

    def ask(self, most: int) -> list[Assignment]:
        many = min(most, self._left)
        self._left -= many
        shares = [self._points.random(1)[0] for _ in range(many)]
        return [
            {
                path: at_share(parameter, float(share))
                for (path, parameter), share in zip(self._parameters.items(), row, strict=True)
            }
            for row in shares
        ]


def at_share(parameter: Parameter, share: float) -> Scalar:
    """The value at a share in [0, 1) of a parameter's values or range."""
    if parameter.values is not None:
        return parameter.values[int(share * len(parameter.values))]
    assert parameter.min is not None
    assert parameter.max is not None
    low, high = parameter.min, parameter.max
    match parameter.shape:
        case "uniform":
            return float(low + share * (high - low))
        case "log_uniform":
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        case "int_uniform":
            return int(low + math.floor(share * (high - low + 1)))
        case _:
            edges = math.log(low - 0.5), math.log(high + 0.5)
            drawn = round(math.exp(edges[0] + share * (edges[1] - edges[0])))
            return int(min(max(drawn, low), high))


class Search(Sampler):
    """Optuna's TPE, NSGA-II and CMA-ES: batches of fixed size, told in order, so runs repeat.

    Failed designs count as worst. Raises CodesignError without Optuna.
    """

    needs_scores = True

    def __init__(self, study: Study) -> None:
        try:
            import optuna
        except ImportError:
            raise CodesignError(
                f"method {study.method} needs Optuna: pip install 'codesign[opt]'"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._goals = study.metrics
        self._batch = study.population
        self.total = _capped(study)
        self._left = self.total
        self._constrained = bool(study.constraints)
        self._trials: list[Any] = []
        self._space = {
            path: _distribution(optuna.distributions, parameter)
            for path, parameter in study.parameters.items()
        }
        self._lists = {path: p.values for path, p in study.parameters.items()}
        self._study = optuna.create_study(
            directions=list(study.metrics.values()), sampler=self._sampler(study)
        )

    def _sampler(self, study: Study) -> Any:
        import warnings

        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            match study.method:
                case "tpe":
                    return optuna.samplers.TPESampler(
                        seed=study.seed, constant_liar=True, multivariate=True
                    )
                case "nsga2":
                    return optuna.samplers.NSGAIISampler(
                        seed=study.seed, population_size=study.population
                    )
                case _:
                    try:
                        import cmaes  # noqa: F401
                    except ImportError:
                        raise CodesignError(
                            "method cmaes needs the package cmaes: pip install 'codesign[opt]'"
                        ) from None
                    return optuna.samplers.CmaEsSampler(seed=study.seed, popsize=study.population)

    def ask(self, most: int) -> list[Assignment]:
        many = min(self._batch, self._left)
        self._left -= many
        self._trials = [self._study.ask(self._space) for _ in range(many)]
        return [
            {
                path: trial.params[path] if listed is None else listed[int(trial.params[path])]
                for path, listed in self._lists.items()
            }
            for trial in self._trials
        ]

    def tell(self, assignments: Sequence[Assignment], scores: Sequence[Score]) -> None:
        for trial, (metrics, violation) in zip(self._trials, scores, strict=True):
            worst = {"minimize": 1e300, "maximize": -1e300}
            found = [
                worst[goal] if metrics is None else metrics.get(name, worst[goal])
                for name, goal in self._goals.items()
            ]
            if self._constrained:
                trial.set_constraint("limits", min(violation, 1e300))
            self._study.tell(trial, found)


def _distribution(distributions: Any, parameter: Parameter) -> Any:
    """Optuna's form of a parameter; listed values by place, in order where they are numbers."""
    if parameter.values is not None:
        last = len(parameter.values) - 1
        ordered = all(isinstance(v, int | float) for v in parameter.values)
        if ordered and list(parameter.values) == sorted(parameter.values) and last:
            return distributions.IntDistribution(0, last)
        return distributions.CategoricalDistribution(tuple(range(last + 1)))
    low, high, log = parameter.min, parameter.max, parameter.shape.endswith("log_uniform")
    if parameter.shape.startswith("int"):
        return distributions.IntDistribution(low, high, log=log)
    return distributions.FloatDistribution(low, high, log=log)


def _capped(study: Study) -> int:
    if study.run_cap is None:
        raise CodesignError(f"method {study.method} needs run_cap: how many points")
    return study.run_cap


def make_sampler(study: Study) -> Sampler:
    """The sampler of a sweep's method."""
    match study.method:
        case "grid":
            return Grid(study)
        case "random":
            return Random(study)
        case "quasi_random":
            return QuasiRandom(study)
        case _:
            return Search(study)
