"""A small task of a user's own, for tests that train."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from codesign.accuracy import tasks


def halves(*, evaluated: list[int] | None = None, name: str = "halves") -> tasks.Task:
    """Which of two halves of 16 numbers has the larger sum; counts its evaluations."""
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(7))
    y = (x[:, :8].sum(1) > x[:, 8:].sum(1)).long()

    def batches(seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randint(192, (32,), generator=generator)
            yield x[chosen], y[chosen]

    def evaluate(model: nn.Module) -> dict[str, float]:
        if evaluated is not None:
            evaluated.append(1)
        return tasks.score(model, x[192:], y[192:])

    return tasks.Task(
        name=name,
        models={"small": lambda: nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))},
        batches=batches,
        loss=tasks.classify,
        evaluate=evaluate,
        calibration=lambda: [x[:64]],
        dense_layers={"small": ("2",)},
        steps=40,
        learning_rate=1e-2,
        sample="held-out rows",
    )


@pytest.fixture
def task() -> tasks.Task:
    """The small task."""
    return halves()
