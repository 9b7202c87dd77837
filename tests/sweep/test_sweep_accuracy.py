"""Do the designs of a sweep carry published accuracies, and say so where there is none?"""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.accuracy.lookup import STORE
from codesign.accuracy.store import RunStore
from codesign.accuracy.tasks import task
from codesign.accuracy.train import Run, recipe
from codesign.arch import load_arch
from codesign.config import CodesignError
from codesign.sparsity.pattern import parse_pattern
from codesign.sweep.accuracy import accuracy_of, require_source
from codesign.sweep.check import find_sweep, read_study
from codesign.sweep.design import Designs
from codesign.sweep.engine import Engine
from codesign.sweep.run import prepare
from codesign.sweep.store import Store
from codesign.trace.workload import load_workload


def config(pattern: str, method: str | None = None) -> dict[str, object]:
    return {"sparsity": {"pattern": pattern, "where": "*", "method": method}}


def test_fractions_have_both_figures_and_perplexities_only_what_is_lost() -> None:
    machine = load_arch("dense_systolic")
    resnet = load_workload("resnet50")
    assert accuracy_of("published", resnet, machine, config("2:4")) == {
        "accuracy": pytest.approx(0.77), "accuracy_drop": pytest.approx(0.003),
    }  # fmt: skip
    assert accuracy_of("published", resnet, machine, config("2:4", "bimask")) == {
        "accuracy": pytest.approx(0.774)
    }
    gpt = load_workload("gpt2", phase="decode")
    assert accuracy_of("published", gpt, machine, config("2:4", "wanda")) == {
        "accuracy_drop": pytest.approx(115.64 - 29.95)
    }
    with pytest.raises(CodesignError, match="no figure for resnet50 with 1:8"):
        accuracy_of("published", resnet, machine, config("1:8"))
    with pytest.raises(CodesignError, match=r"no figure for resnet50 with monarch"):
        accuracy_of("published", resnet, machine, config("monarch(4)"))


def test_without_runs_a_sweep_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    require_source("published")
    with pytest.raises(CodesignError, match="codesign accuracy"):
        require_source("measured")


def test_the_shipped_tradeoff_gives_designs_their_accuracy() -> None:
    base = read_study(find_sweep("resnet50_tradeoff"), ["arch=sat", "sparsity=2:8"])
    point = Designs(base).point(0, {"arch": "sat", "sparsity": "2:8"})
    outcome = Engine(base).evaluate(point)
    assert outcome.error is None
    assert outcome.metrics["accuracy_drop"] == pytest.approx(0.009)


def test_a_sweep_of_a_measured_model_has_its_measured_accuracies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp.yaml").write_text(
        "name: digits_mlp\nlayers:\n  - {name: fc1, gemm: [1, 64, 64]}\n"
        "  - {name: fc2, gemm: [1, 64, 64]}\n  - {name: head, gemm: [1, 10, 64]}\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "name: small\nworkload: ./mlp.yaml\narch: sat\naccuracy: measured\nmethod: grid\n"
        "sparsity: {pattern: dense, method: bdwp}\n"
        "metrics: {latency_s: minimize, accuracy: maximize}\n"
        'parameters: {sparsity.pattern: {values: [dense, "2:4", "1:8"]}}\n'
    )
    on = task("digits")
    store = RunStore(STORE)
    for method, pattern, accuracy in (("dense", "dense", 0.9), ("bdwp", "2:4", 0.8)):
        for seed in range(2):
            what = recipe(on, "mlp", method, pattern, seed)
            density = parse_pattern(pattern).density
            store.add(Run(what, "training", accuracy + 0.02 * seed, 0.1, density, 1.0))
    base = read_study(tmp_path / "sweep.yaml")
    outcomes = [
        Engine(base).evaluate(Designs(base).point(0, {"sparsity.pattern": pattern}))
        for pattern in ("dense", "2:4", "1:8")
    ]
    assert [o.metrics.get("accuracy") for o in outcomes] == [
        pytest.approx(0.91), pytest.approx(0.81), None,
    ]  # fmt: skip
    assert outcomes[1].metrics["accuracy_drop"] == pytest.approx(0.1)
    assert "nothing is measured here" in str(outcomes[2].error)


def test_points_are_not_mixed_with_those_of_other_accuracies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    measured, on = RunStore(STORE), task("digits")
    measured.add(Run(recipe(on, "mlp", "dense", "dense", 0), "training", 0.9, 0.1, 1.0, 1.0))
    study = tmp_path / "sweep.yaml"
    bases, stores = {}, {}
    for kind in ("measured", "published"):
        study.write_text(
            "name: small\nworkload: resnet50\narch: sat\nmethod: grid\n"
            f"accuracy: {kind}\nmetrics: {{latency_s: minimize}}\n"
            'parameters: {sparsity.pattern: {values: [dense, "2:4"]}}\n'
        )
        bases[kind], stores[kind] = read_study(study), Store(tmp_path / f"{kind}.db")
        prepare(stores[kind], bases[kind], resume=False)
    measured.fail(recipe(on, "mlp", "bdwp", "1:16", 0), "no figures")
    prepare(stores["measured"], bases["measured"], resume=True)
    measured.add(Run(recipe(on, "mlp", "bdwp", "2:4", 0), "training", 0.8, 0.1, 0.5, 1.0))
    prepare(stores["published"], bases["published"], resume=True)
    with pytest.raises(CodesignError, match="measured accuracies"):
        prepare(stores["measured"], bases["measured"], resume=True)
