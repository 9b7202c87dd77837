"""Do the designs of a sweep carry published accuracies, and say so where there is none?"""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.arch import load_arch
from codesign.config import CodesignError
from codesign.sweep.accuracy import accuracy_of, require_source
from codesign.sweep.check import find_sweep, read_study
from codesign.sweep.design import Designs
from codesign.sweep.engine import Engine
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
