"""One run: a model trained under a sparsifier, or trained dense and then pruned at once."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import nn

from codesign.accuracy.code_version import code_version
from codesign.accuracy.tasks import Task
from codesign.config import CodesignError, fingerprint, suggestion
from codesign.prune.base import Sparsifier
from codesign.prune.registry import SPARSIFIERS, sparsifier

PROTOCOL = 2
"""Goes up when a change of tasks or of training makes figures differ from earlier ones; changes of
methods are seen by `code_version`."""
_WARM_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a run's figures; a method that is not `training` prunes a trained model."""

    task: str
    model: str
    method: str
    pattern: str
    seed: int
    steps: int
    protocol: int = PROTOCOL
    data: str = ""
    code: str = ""

    @property
    def key(self) -> str:
        """Equal for runs that give equal figures."""
        return fingerprint(asdict(self))


@dataclass(frozen=True, slots=True)
class Run:
    """A recipe and what came of it; `accuracy` is a fraction, `density` that of pruned layers."""

    recipe: Recipe
    timing: str
    accuracy: float
    loss: float
    density: float
    cpu_s: float
    """Processor time; one-shot runs that share a trained model leave its training to the first."""


def recipe(
    task: Task, model: str, method: str, pattern: str, seed: int, steps: int | None = None
) -> Recipe:
    """The recipe of a run, every name and the pattern checked; raises CodesignError."""
    if model not in task.models:
        raise CodesignError(
            f"{task.name} has no model {model[:40]!r} (known: {', '.join(task.models)})"
            + suggestion(model, list(task.models))
        )
    found = sparsifier(method, pattern)
    length = task.steps if steps is None else steps
    if length < 0 or not 0 <= seed < 2**31:
        raise CodesignError(f"a run has 0 or more steps and a seed from 0, got {length}, {seed}")
    return Recipe(
        task.name, model, method, str(found.pattern), seed, length,
        data=task.fingerprint, code=code_version(method),
    )  # fmt: skip


def run(task: Task, what: Recipe, trained: dict[str, dict[str, torch.Tensor]] | None = None) -> Run:
    """Train, prune and evaluate one model on one thread.

    `trained` keeps dense weights by key, so that the dense run of a seed and one-shot methods share
    them. Raises CodesignError where the loss stops being finite or the method cannot prune the
    model.
    """
    began = time.process_time()
    method = method_of(what.method, what.pattern, what.seed)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(what.seed)
        model = task.models[what.model]()
        if method.timing == "training" and what.method != "dense":
            _fit(task, what, model, method)
        else:
            load_dense(task, what, model, {} if trained is None else trained)
            method.attach(model, skip=task.dense_layers.get(what.model, ()))
            if method.needs_data:
                method.calibrate(model, task.calibration())
        density = method.density()
        if method.timing == "activation":
            figures = task.evaluate(model)
            method.detach()
        else:
            method.finish()
            density = method.density()
            figures = task.evaluate(model)
    if not all(math.isfinite(figure) for figure in figures.values()):
        raise CodesignError(f"{what.method} {what.pattern} on {what.model}: the loss diverged")
    return Run(
        what, method.timing, figures["accuracy"], figures.get("loss", float("nan")), density,
        time.process_time() - began,
    )  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: figures are then the same on every machine, and jobs share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def method_of(name: str, pattern: str, seed: int) -> Sparsifier:
    """The sparsifier of a run, with the run's seed where it takes one."""
    takes_seed = "seed" in inspect.signature(SPARSIFIERS[name].__init__).parameters
    return sparsifier(name, pattern, **({"seed": seed} if takes_seed else {}))


def load_dense(
    task: Task, what: Recipe, model: nn.Module, trained: dict[str, dict[str, torch.Tensor]]
) -> None:
    """Give a fresh model the weights of the dense run of a recipe's seed, trained if need be."""
    dense = recipe(task, what.model, "dense", "dense", what.seed, what.steps)
    if dense.key not in trained:
        method = sparsifier("dense", "dense")
        _fit(task, dense, model, method)
        method.finish()
        trained[dense.key] = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(trained[dense.key])


def _fit(task: Task, what: Recipe, model: nn.Module, method: Sparsifier) -> None:
    """Adam with a linear warm-up and a cosine to zero; the sparsifier sees every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=task.learning_rate)
    method.attach(
        model, skip=task.dense_layers.get(what.model, ()), steps=what.steps, optimizer=optimizer
    )
    if method.needs_data:
        method.calibrate(model, task.calibration())
    model.train()
    for step, batch in enumerate(task.batches(what.seed, what.steps)):
        for group in optimizer.param_groups:
            group["lr"] = task.learning_rate * rate(step, what.steps)
        optimizer.zero_grad()
        task.loss(model, batch).backward()  # type: ignore[no-untyped-call]
        method.after_backward()
        optimizer.step()
        method.after_step()


def rate(step: int, steps: int) -> float:
    """The learning rate at a step over its peak: up for a twentieth of the run, then a cosine."""
    warm = max(1, int(_WARM_SHARE * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def as_row(done: Run) -> Mapping[str, object]:
    """A run as one flat JSON object."""
    return {**asdict(done.recipe), **{k: v for k, v in asdict(done).items() if k != "recipe"}}
