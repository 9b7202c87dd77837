"""Estimates that need no evaluation of the sparse model: errors of layers, and what they cost.

Two proxies of a model pruned at once. The relative error of each layer's output on calibration
data, all layers together as a root mean square. And the change of the loss (the logarithm of the
perplexity) as a sum over layers of a_l * error_l^2, each a_l fitted locally, by small noise in that
layer alone; the form is that of the linearity theorem of HIGGS (Malinovskii et al., arXiv
2411.17525), here with errors of outputs in place of errors of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codesign.accuracy.tasks import Task
from codesign.accuracy.train import Recipe, load_dense, method_of, one_thread
from codesign.config import CodesignError
from codesign.prune.base import Sparsifier
from codesign.prune.calibrated import add_tokens, gram
from codesign.prune.registry import SPARSIFIERS, sparsifier
from codesign.prune.target import Target

NOISE_LEVELS = (0.05, 0.1, 0.2)
"""Relative output errors at which the loss is watched: small, so that the fit is local."""
NOISE_DRAWS = 2
LOSS_BATCHES = 8
_LOSS_SEED = 20240311

Grams = Mapping[str, Tensor]
"""Sum of x x^T over calibration tokens, by the name of a layer."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What the proxies say of one run that prunes a dense model at once."""

    recipe: Recipe
    output_error: float
    """Root mean square over layers of the relative output error."""
    loss_change: float
    """Predicted, in nats."""
    layer_errors: Mapping[str, float]


def proxies(
    task: Task, of: Sequence[Recipe], trained: dict[str, dict[str, Tensor]] | None = None
) -> Iterator[Proxy]:
    """The proxies of recipes of one model and one seed, whose methods prune at once.

    `trained` keeps dense weights by key. Raises CodesignError for methods that train.
    """
    first = of[0]
    for what in of:
        if SPARSIFIERS[what.method].timing != "one_shot":
            raise CodesignError(f"proxies are of methods that prune at once, not of {what.method}")
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(first.seed)
        dense = task.models[first.model]()
        load_dense(task, first, dense, {} if trained is None else trained)
        dense.eval()
        skip = task.dense_layers.get(first.model, ())
        layers = sparsifier("dense", "dense").attach(dense, skip=skip)
        layers.detach()
        targets = {target.name: target for target in layers.targets}
        grams = gather(dense, targets, task.calibration())
        batches = list(task.batches(_LOSS_SEED, LOSS_BATCHES))
        costs = sensitivities(lambda model: _loss(task, model, batches), dense, targets, grams)
        for what in of:
            method = method_of(what.method, what.pattern, what.seed)
            sparse = deepcopy(dense)
            _prune(method, sparse, skip, task.calibration())
            errors = output_errors(targets, {t.name: t for t in method.targets}, grams)
            yield Proxy(
                what,
                math.sqrt(sum(e * e for e in errors.values()) / len(errors)),
                sum(costs[name] * e * e for name, e in errors.items()),
                errors,
            )


def gather(model: nn.Module, targets: Mapping[str, Target], batches: Iterable[Any]) -> Grams:
    """Sum x x^T of the layers' inputs while the model runs on calibration batches."""
    states: dict[str, dict[str, Tensor]] = {name: {} for name in targets}
    handles = [
        target.layer.register_forward_pre_hook(
            lambda _layer, args, target=target: add_tokens(
                states[target.name], target.inputs(args[0].detach())
            )
        )
        for target in targets.values()
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                if isinstance(batch, dict):
                    model(**batch)
                else:
                    model(*batch) if isinstance(batch, tuple) else model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if unseen := [name for name, state in states.items() if "gram" not in state]:
        raise CodesignError(f"{unseen[0]}: no calibration input reached the layer")
    return {name: gram(state) for name, state in states.items()}


def output_errors(
    dense: Mapping[str, Target], sparse: Mapping[str, Target], grams: Grams
) -> dict[str, float]:
    """|x (w - w0)^T| / |x w0^T| in Frobenius norms, by layer, x the tokens of the Gram matrices."""
    found = {}
    for name, target in sparse.items():
        before = dense[name].rows().float()
        found[name] = math.sqrt(
            _energy(target.rows().float() - before, grams[name])
            / max(_energy(before, grams[name]), torch.finfo(torch.float32).tiny)
        )
    return found


def sensitivities(
    loss: Callable[[nn.Module], float],
    model: nn.Module,
    targets: Mapping[str, Target],
    grams: Grams,
    seed: int = 0,
) -> dict[str, float]:
    """a_l of each layer: least squares through the origin of loss changes on squared errors.

    Gaussian noise of a few small sizes goes into one layer at a time; the model is left as it was.
    """
    random = torch.Generator().manual_seed(seed)
    base = loss(model)
    found = {}
    with torch.no_grad():
        for name, target in targets.items():
            rows, kept = target.rows().clone(), target.weight.detach().clone()
            scale = math.sqrt(_energy(rows.float(), grams[name]))
            products = squares = 0.0
            for level in NOISE_LEVELS:
                for _ in range(NOISE_DRAWS):
                    noise = torch.randn(rows.shape, generator=random).to(rows)
                    size = level * scale / math.sqrt(_energy(noise.float(), grams[name]))
                    target.weight.copy_(target.shaped(rows + size * noise))
                    products += (loss(model) - base) * level**2
                    squares += level**4
            target.weight.copy_(kept)
            found[name] = products / squares
    return found


def _energy(rows: Tensor, gram: Tensor) -> float:
    return max(0.0, float(((rows @ gram) * rows).sum()))


def _loss(task: Task, model: nn.Module, batches: Sequence[Any]) -> float:
    with torch.no_grad():
        return sum(float(task.loss(model, batch)) for batch in batches) / len(batches)


def _prune(
    method: Sparsifier, model: nn.Module, skip: Sequence[str], batches: Iterable[Any]
) -> None:
    method.attach(model, skip=skip)
    if method.needs_data:
        method.calibrate(model, batches)
    method.finish()
