"""The grid of runs that the curves are made of, measured as far as time allows."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean, stdev

import torch

from codesign.accuracy.proxy import Proxy, proxies
from codesign.accuracy.store import RunStore
from codesign.accuracy.tasks import Task, task
from codesign.accuracy.train import Recipe, Run, recipe, run
from codesign.config import CodesignError
from codesign.prune.registry import SPARSIFIERS

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


def full_grid() -> list[tuple[Task, Recipe]]:
    """Every run of the grid: model by model, seed by seed, the dense one first."""
    found: list[tuple[Task, Recipe]] = []
    for task_name, model in MODELS:
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
    jobs: int = 1,
    until_s: float = float("inf"),
    report: Report = lambda _name, _done, _total: None,
) -> Iterator[Run]:
    """Yield the run of each recipe, measured unless the store has it; stop at `until_s`.

    With several `jobs` processes share the runs, which come in any order; that goes for tasks with
    a name (`tasks.task`) only. `until_s` is a time of the monotonic clock, looked at between runs.
    A run that fails is kept as a failure, with its reason, and yields nothing.
    """
    done = 0
    lacking: list[tuple[Task, Recipe]] = []
    for on, what in wanted:
        known = store.get(what)
        if known is None:
            lacking.append((on, what))
            continue
        done += 1
        report(_title(what), done, len(wanted))
        yield known
    parts = _parts(lacking)
    for finished in _alone(parts, store, until_s) if jobs == 1 else (
        _together(parts, store, until_s, jobs)
    ):  # fmt: skip
        done += 1
        report(_title(finished.recipe), done, len(wanted))
        yield finished


def _title(what: Recipe) -> str:
    return f"{what.model} {what.method} {what.pattern}"


Part = Sequence[tuple[Task, Recipe]]


def _parts(lacking: Sequence[tuple[Task, Recipe]]) -> list[Part]:
    """Runs that share a trained dense model together, every other run alone."""
    shared: dict[tuple[str, str, int, int], list[tuple[Task, Recipe]]] = {}
    parts: list[Part] = []
    for on, what in lacking:
        if what.method != "dense" and SPARSIFIERS[what.method].timing == "training":
            parts.append([(on, what)])
            continue
        key = what.task, what.model, what.seed, what.steps
        if key not in shared:
            shared[key] = []
            parts.append(shared[key])
        shared[key].append((on, what))
    return parts


def _alone(parts: Iterable[Part], store: RunStore, until_s: float) -> Iterator[Run]:
    for part in parts:
        yield from _runs_of(part, store, until_s)


def _runs_of(part: Part, store: RunStore, until_s: float) -> Iterator[Run]:
    trained: dict[str, dict[str, torch.Tensor]] = {}
    for on, what in part:
        if time.monotonic() >= until_s:
            return
        try:
            done = run(on, what, trained)
        except CodesignError as error:
            store.fail(what, str(error))
            continue
        store.add(done)
        yield done


def _together(parts: Iterable[Part], store: RunStore, until_s: float, jobs: int) -> Iterator[Run]:
    """Parts in processes of their own, the next one as soon as a process is free."""
    for part in parts:
        for on, _ in part:
            if not _is_known(on):
                raise CodesignError(f"{on.name} is a task of your own: measure it with jobs=1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _end_with_the_parent) as pool:
        waiting = [
            pool.submit(_in_a_process, [what for _, what in part], store.path, until_s)
            for part in parts
        ]
        try:
            for finished in as_completed(waiting):
                yield from finished.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_known(on: Task) -> bool:
    """Whether another process can make the task from its name."""
    try:
        return on is task(on.name)
    except CodesignError:
        return False


def _end_with_the_parent() -> None:
    """Watch the process that started this one: however it ends, this one does not outlive it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_a_process(of: Sequence[Recipe], store: Path, until_s: float) -> list[Run]:
    part = [(task(what.task), what) for what in of]
    return list(_runs_of(part, RunStore(store), until_s))


def estimate(
    wanted: Sequence[tuple[Task, Recipe]], store: RunStore, *, until_s: float = float("inf")
) -> list[Proxy]:
    """The proxies of recipes whose methods prune at once, made unless the store has them.

    `until_s` is as in `measure`. Raises CodesignError for methods that train.
    """
    known = {proxy.recipe.key: proxy for proxy in store.proxies()}
    groups: dict[tuple[str, str, int, int], list[tuple[Task, Recipe]]] = {}
    for on, what in wanted:
        if what.key not in known:
            key = what.task, what.model, what.seed, what.steps
            groups.setdefault(key, []).append((on, what))
    for lacking in groups.values():
        if time.monotonic() >= until_s:
            break
        for found in proxies(lacking[0][0], [what for _, what in lacking]):
            store.add_proxy(found)
            known[found.recipe.key] = found
    return [known[what.key] for _, what in wanted if what.key in known]


def at_once(of: Sequence[tuple[Task, Recipe]]) -> list[tuple[Task, Recipe]]:
    """Those recipes whose methods prune a trained model at once."""
    return [(on, what) for on, what in of if SPARSIFIERS[what.method].timing == "one_shot"]


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for a single value.

    >>> spread([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    return fmean(values), stdev(values) if len(values) > 1 else None
