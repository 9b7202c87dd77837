"""The grid of runs that the curves are made of, measured as far as time allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, stdev

import torch

from codesign.accuracy.store import RunStore
from codesign.accuracy.tasks import Task, task
from codesign.accuracy.train import Recipe, Run, recipe, run
from codesign.config import CodesignError

MODELS = (("digits", "mlp"), ("digits", "cnn"), ("charlm", "transformer"))
METHODS = (
    "nm_magnitude", "random", "wanda", "sparsegpt", "ste", "sr_ste", "s_ste", "sdgp", "sdwp",
    "bdwp", "bimask", "slope", "tmask", "fst", "step", "pgf",
)  # fmt: skip
PATTERNS = ("2:4", "1:4", "2:8", "1:8", "1:16")
EXTRA = (("bdwp", "2:16"),)
"""Pairs of method and pattern beyond the grid, for the table of training speed against loss."""
SEEDS = 5
Report = Callable[[str, int, int], None]


def full_grid(names: Sequence[tuple[str, str]] = MODELS) -> list[tuple[Task, Recipe]]:
    """Every run of the grid: model by model, seed by seed, the dense one first."""
    found: list[tuple[Task, Recipe]] = []
    for task_name, model in names:
        on = task(task_name)
        for seed in range(SEEDS):
            found.append((on, recipe(on, model, "dense", "dense", seed)))
            found += [
                (on, recipe(on, model, method, pattern, seed))
                for pattern in PATTERNS
                for method in METHODS
            ]
            found += [(on, recipe(on, model, *pair, seed)) for pair in EXTRA]
    return found


def measure(
    wanted: Sequence[tuple[Task, Recipe]],
    store: RunStore,
    *,
    until_s: float = float("inf"),
    report: Report = lambda _name, _done, _total: None,
) -> Iterator[Run]:
    """Yield the run of each recipe, measured unless the store has it; stop at `until_s`.

    `until_s` is a time of the monotonic clock, looked at between runs. A run that fails is kept as
    a failure, with its reason, and yields nothing.
    """
    trained: dict[str, dict[str, torch.Tensor]] = {}
    for number, (on, what) in enumerate(wanted):
        report(f"{what.model} {what.method} {what.pattern}", number, len(wanted))
        done = store.get(what)
        if done is None:
            if time.monotonic() >= until_s:
                continue
            try:
                done = run(on, what, trained)
            except CodesignError as error:
                store.fail(what, str(error))
                continue
            store.add(done)
        yield done


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for a single value.

    >>> spread([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    return fmean(values), stdev(values) if len(values) > 1 else None
