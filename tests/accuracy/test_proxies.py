"""Do the proxies compute what they say, and is their error that of the measured runs?"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from codesign.accuracy import accuracy_of, grid
from codesign.accuracy.proxy import gather, output_errors, proxies, sensitivities
from codesign.accuracy.proxy_error import (
    Curve,
    Pair,
    curve_for,
    drop_error_near,
    errors,
    fit,
    pairs,
)
from codesign.accuracy.store import RunStore
from codesign.accuracy.tasks import Task
from codesign.accuracy.train import recipe
from codesign.config import CodesignError
from codesign.prune.target import Target
from codesign.report.accuracy_proxies import proxies_page
from tests.accuracy.conftest import halves

AT_ONCE = ("nm_magnitude", "random", "wanda", "sparsegpt")


def test_output_errors_are_those_of_the_products() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5))
    sparse = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Linear(128, 5))
    batches = [torch.randn(6, 3, 4, 4) for _ in range(2)]
    targets = {"0": Target("0", model[0]), "3": Target("3", model[3])}
    grams = gather(model, targets, batches)
    found = output_errors(
        targets, {"0": Target("0", sparse[0]), "3": Target("3", sparse[1])}, grams
    )
    for name, layer, other, inputs in (
        ("0", model[0], sparse[0], torch.cat(batches)),
        ("3", model[3], sparse[1], torch.cat([model[:3](x) for x in batches])),
    ):
        with torch.no_grad():
            before, after = (
                each(inputs) - each(torch.zeros_like(inputs)) for each in (layer, other)
            )
        assert found[name] == pytest.approx(
            float((after - before).norm() / before.norm()), rel=1e-4
        )


def test_the_scaling_fit_finds_the_curvature_of_a_quadratic_loss() -> None:
    """For the loss |x (w - w0)^T|^2 / |x w0^T|^2 times 3, a is 3 whatever the noise."""
    torch.manual_seed(1)
    layer = nn.Linear(12, 7, bias=False)
    x = torch.randn(50, 12)
    start = layer.weight.detach().clone()
    targets = {"": Target("", layer)}
    model = nn.Sequential(layer)
    grams = gather(model, targets, [x])

    def loss(_: nn.Module) -> float:
        change = x @ (layer.weight.detach() - start).t()
        return 3 * float(change.square().sum() / (x @ start.t()).square().sum())

    assert sensitivities(loss, model, targets, grams)[""] == pytest.approx(3.0, rel=1e-3)
    assert torch.equal(layer.weight.detach(), start)


def test_sparser_masks_have_larger_errors_and_sparsegpt_smaller_ones(task: Task) -> None:
    wanted = [
        recipe(task, "small", method, pattern, 0)
        for method in ("sparsegpt", "nm_magnitude")
        for pattern in ("2:4", "1:4", "1:8")
    ]
    found = [proxy.output_error for proxy in proxies(task, wanted)]
    assert found[:3] == sorted(found[:3])
    assert found[3:] == sorted(found[3:])
    assert all(a < b for a, b in zip(found[:3], found[3:], strict=True))
    with pytest.raises(CodesignError, match="not of ste"):
        list(proxies(task, [recipe(task, "small", "ste", "2:4", 0)]))


def made(model: str, error: float, lost: float, *, change: float = 0.1) -> Pair:
    return Pair(("t", model), "wanda", "2:4", error, change, 0.8, lost, 2 * change)


def test_a_curve_is_fitted_on_other_models_and_its_error_is_stated() -> None:
    law = Curve(0.7, 1.6)
    others = [made("a", e / 10, law.lost_share(e / 10)) for e in range(1, 9)]
    found = fit(others)
    assert (found.scale, found.power) == (
        pytest.approx(0.7, rel=1e-3),
        pytest.approx(1.6, rel=1e-3),
    )
    mine = [made("b", e / 10, law.lost_share(e / 10) + 0.05) for e in range(1, 9)]
    assert curve_for(("t", "b"), [*others, *mine]) == found
    of_b = next(e for e in errors([*others, *mine]) if e.model == ("t", "b"))
    assert of_b.drop_error == pytest.approx(0.05 * 0.8, rel=1e-2)
    assert of_b.drop_rank == pytest.approx(1.0)
    assert of_b.small == pytest.approx(0.1)
    assert of_b.large is None
    near = drop_error_near(("t", "b"), 0.2, [*others, *mine])
    assert near == pytest.approx(0.04, rel=1e-2)
    assert curve_for(("t", "b"), mine) is None
    assert drop_error_near(("t", "b"), 0.2, mine) is None


def test_estimates_become_points_once_other_models_are_measured(tmp_path: Path, task: Task) -> None:
    store = RunStore(tmp_path / "runs.db")
    other = halves(name="other")
    wanted = [
        (on, recipe(on, "small", method, pattern, seed))
        for on in (task, other)
        for seed in range(2)
        for method, pattern in (("dense", "dense"), *((m, "1:8") for m in AT_ONCE))
    ]
    runs = list(grid.measure(wanted, store))
    estimates = grid.estimate(grid.at_once(wanted), store)
    assert len(estimates) == 16
    assert grid.estimate(grid.at_once(wanted), store) == estimates
    assert len(pairs(estimates, runs)) == 16
    point = accuracy_of("proxy", "halves_small", "wanda", "1:8", store=store.path)
    dense = accuracy_of("proxy", "halves_small", store=store.path)
    assert point is not None
    assert dense is not None
    assert (point.kind, dense.kind) == ("proxy", "measured")
    assert point.error is not None
    assert point.value == pytest.approx(dense.value - point.drop)  # type: ignore[operator]
    assert "other_small" in point.citation
    assert accuracy_of("proxy", "halves_small", "ste", "1:8", store=store.path) is None
    page = proxies_page(pairs(estimates, runs))
    assert "| halves small | 8 |" in page
    assert math.isfinite(estimates[0].loss_change)
