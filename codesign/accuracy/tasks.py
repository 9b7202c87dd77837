"""Small tasks on data that needs no download, and what a task of the user's own has to give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from codesign.accuracy.models import CharTransformer, digits_cnn, digits_mlp
from codesign.config import CodesignError, fingerprint, suggestion

TEXT = Path(__file__).with_name("charlm.txt")
CONTEXT = 64
_SCORED = 1024
"""Samples that are evaluated at once."""
_SPLIT_SEED = 20240229
_DIGITS_TRAINED = 1197
_TEXT_TRAINED = 0.9


@dataclass(frozen=True)
class Task:
    """What a measurement needs to know; build one around your own model to measure that.

    `models` makes a fresh model by name. `batches(seed, steps)` yields one batch per step, `loss`
    is what training lowers, `evaluate` gives at least `accuracy`, a fraction of held-out samples.
    `calibration` yields inputs for methods that look at activations. `dense_layers` are globs, by
    model, of layers that no method prunes. `fingerprint` tells data of one name apart.
    """

    name: str
    models: Mapping[str, Callable[[], nn.Module]]
    batches: Callable[[int, int], Iterator[Any]]
    loss: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module], dict[str, float]]
    calibration: Callable[[], list[Any]]
    dense_layers: Mapping[str, tuple[str, ...]]
    steps: int
    learning_rate: float
    sample: str
    """What one of the samples is that accuracy counts."""
    fingerprint: str = ""


def tasks() -> dict[str, Callable[[], Task]]:
    """The shipped tasks by name; making one reads its data."""
    return {"digits": digits, "charlm": charlm}


@cache
def task(name: str) -> Task:
    """The task of a name, or of KIND:PLACE for what is on disk (`codesign accuracy list`).

    Raises CodesignError for an unknown one, and where the data is not there.
    """
    kind, colon, place = name.partition(":")
    if colon:
        from codesign.accuracy.disk_tasks import KINDS

        if kind not in KINDS:
            raise CodesignError(
                f"no kind of task {kind[:40]!r} (known: {', '.join(KINDS)})"
                + suggestion(kind, list(KINDS))
            )
        return KINDS[kind][1](place)
    known = tasks()
    if name not in known:
        raise CodesignError(
            f"no task {name[:40]!r} (known: {', '.join(known)})" + suggestion(name, list(known))
        )
    return known[name]()


def classify(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy in nats of (inputs, labels); the model's last axis holds the classes."""
    inputs, labels = batch
    logits = model(inputs)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def score(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, float]:
    """The fraction of labels that the model ranks first, and the mean cross-entropy in nats."""
    return mean_score(
        model, zip(*(torch.split(each, _SCORED) for each in (inputs, labels)), strict=True)
    )


def mean_score(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """As `score` for samples that come in batches."""
    was_training = model.training
    model.eval()
    seen, right, loss = 0, 0, 0.0
    with torch.no_grad():
        for inputs, labels in batches:
            logits = model(inputs)
            flat, wanted = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
            seen += len(wanted)
            right += int((flat.argmax(1) == wanted).sum())
            loss += float(functional.cross_entropy(flat, wanted)) * len(wanted)
    model.train(was_training)
    return {"accuracy": right / seen, "loss": loss / seen}


@cache
def digits() -> Task:
    """Images of 8 x 8 handwritten digits: 1197 to train on, 600 held out, the split fixed.

    Data: scikit-learn's copy of the UCI optical recognition of handwritten digits (CC BY 4.0).
    """
    if find_spec("sklearn") is None:
        raise CodesignError("the task digits needs scikit-learn: pip install 'codesign[bench]'")
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(found.data).float() / 16
    labels = torch.from_numpy(found.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    images, labels = images[order], labels[order]
    train_x, train_y = images[:_DIGITS_TRAINED], labels[:_DIGITS_TRAINED]
    test_x, test_y = images[_DIGITS_TRAINED:], labels[_DIGITS_TRAINED:]
    size = 64

    def batches(seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            if len(order) < size:
                order = torch.randperm(_DIGITS_TRAINED, generator=generator)
            chosen, order = order[:size], order[size:]
            yield train_x[chosen], train_y[chosen]

    return Task(
        name="digits",
        models={"mlp": digits_mlp, "cnn": digits_cnn},
        batches=batches,
        loss=classify,
        evaluate=lambda model: score(model, test_x, test_y),
        calibration=lambda: [train_x[:256]],
        dense_layers={"mlp": ("head",), "cnn": ("stem", "head")},
        steps=300,
        learning_rate=3e-3,
        sample="held-out images",
    )


@cache
def charlm() -> Task:
    """Next characters of English prose, the last tenth of the text held out.

    Text: the Declaration of Independence (1776) but for three of its charges and the names of the
    signers, the preamble and first ten amendments of the Constitution of the United States, the
    Gettysburg Address (1863); all in the public domain, typed for this task, no critical edition.
    """
    text = TEXT.read_text(encoding="utf-8")
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(c) for c in text])
    cut = int(_TEXT_TRAINED * len(codes))
    return next_code(
        "charlm",
        {"transformer": lambda: CharTransformer(len(letters), CONTEXT)},
        codes[:cut],
        codes[cut:],
        steps=200,
        sample="held-out characters",
        fingerprint=fingerprint(text),
    )


def next_code(
    name: str,
    models: Mapping[str, Callable[[], nn.Module]],
    train: Tensor,
    held_out: Tensor,
    *,
    steps: int,
    sample: str,
    fingerprint: str,
    context: int = CONTEXT,
    size: int = 16,
    learning_rate: float = 3e-3,
) -> Task:
    """The task of predicting each next code of a text; `size` windows of `context` in a batch.

    `train` and `held_out` are int64 vectors. A model takes codes [batch, context] and gives logits
    [batch, context, codes]. Raises CodesignError for texts of less than a window.
    """
    if min(len(train), len(held_out)) <= context:
        raise CodesignError(f"{name}: a text has to be longer than the context, {context}")
    windows = held_out[: (len(held_out) - 1) // context * context + 1]
    test_x, test_y = windows[:-1].reshape(-1, context), windows[1:].reshape(-1, context)

    def batches(seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            begin = torch.randint(len(train) - context, (size, 1), generator=generator)
            places = begin + torch.arange(context)
            yield train[places], train[places + 1]

    return Task(
        name=name,
        models=models,
        batches=batches,
        loss=classify,
        evaluate=lambda model: score(model, test_x, test_y),
        calibration=lambda: [next(batches(0, 1))[0]],
        dense_layers=dict.fromkeys(models, ("head",)),
        steps=steps,
        learning_rate=learning_rate,
        sample=sample,
        fingerprint=fingerprint,
    )
