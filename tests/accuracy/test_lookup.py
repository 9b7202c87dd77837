"""Does a design get the accuracy that holds for it, of the kind that was asked for, or none?"""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from codesign.accuracy import accuracy_of, code_version, grid, tasks, why_none
from codesign.accuracy.store import RunStore
from codesign.accuracy.tasks import Task
from codesign.accuracy.train import recipe
from codesign.config import CodesignError
from codesign.prune.registry import sparsifier
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.extract import extract
from tests.accuracy.conftest import halves


def test_published_points_of_a_workload_come_from_one_source_and_protocol() -> None:
    found = [accuracy_of("published", "resnet50", None, p) for p in ("dense", "2:4", "1:4", "2:8")]
    assert len({p.comparable_with for p in found if p is not None}) == 1
    assert [p.drop for p in found if p is not None] == [
        0.0, pytest.approx(0.003), pytest.approx(0.014), pytest.approx(0.009),
    ]  # fmt: skip
    named = accuracy_of("published", "llama2_7b", "wanda", "2:4")
    assert named is not None
    assert (named.value, named.is_share, named.better) == (11.02, False, "lower")


def test_of_several_protocols_one_is_taken_and_named() -> None:
    found = [
        accuracy_of("published", "resnet50", "rigl", f"unstructured({s})") for s in (0.8, 0.95)
    ]
    assert [p.citation.endswith("5x schedule") for p in found if p is not None] == [True, True]
    gradual = accuracy_of("published", "resnet50", "gradual", "unstructured(0.8)")
    assert gradual is not None
    assert gradual.drop == pytest.approx(0.0016)  # a source that knows its dense model comes first


def test_a_design_takes_points_whose_masks_it_allows() -> None:
    looser = accuracy_of("published", "resnet50", None, "unstructured(0.5)")
    assert looser is not None
    assert looser.pattern == "4:8"
    stricter = accuracy_of("published", "resnet50", None, "4:8", "2:4")
    assert stricter is not None
    assert stricter.pattern == "2:4"
    assert accuracy_of("published", "resnet50", None, "4:8", "1:4") == (
        accuracy_of("published", "resnet50", None, "1:4")
    )
    assert accuracy_of("published", "resnet50", None, "2:4", parse_pattern("4:8")) is not None
    assert accuracy_of("published", "resnet50", None, "1:16") is None
    assert accuracy_of("published", "resnet50", None, "monarch(4)") is None
    assert accuracy_of("published", "no_such_model", None, "2:4") is None


def test_what_is_lacking_is_said() -> None:
    assert "it has 2:4, 4:8, 1:4, 2:8" in why_none("published", "resnet50", None, "1:16")
    assert "methods of ResNet-50" in why_none("published", "resnet50", "pgf", "2:4")
    assert "codesign accuracy run" in why_none("measured", "mlp", None, "2:4")
    with pytest.raises(CodesignError, match="did you mean 'measured'"):
        accuracy_of("mesured", "resnet50")


def measured(store: RunStore, task: Task, methods: dict[str, str], seeds: int = 2) -> None:
    wanted = [
        (task, recipe(task, "small", method, pattern, seed))
        for method, pattern in methods.items()
        for seed in range(seeds)
    ]
    assert len(list(grid.measure(wanted, store))) == len(wanted)


def test_measured_points_are_those_of_the_store(tmp_path: Path, task: Task) -> None:
    path = tmp_path / "runs.db"
    assert accuracy_of("measured", "small", store=path) is None
    measured(RunStore(path), task, {"dense": "dense", "bdwp": "2:4", "ste": "1:4", "sdwp": "2:4"})
    dense = accuracy_of("measured", "small", store=path)
    sparse = accuracy_of("measured", "halves_small", "bdwp", "2:4", store=path)
    assert dense is not None
    assert sparse is not None
    assert sparse.drop == pytest.approx(dense.value - sparse.value)  # type: ignore[operator]
    assert sparse.citation == "measured here, 2 seeds, 40 steps"
    assert accuracy_of("measured", "small", "sdwp", "2:4", store=path) is None  # dense in the end
    looser = accuracy_of("measured", "small", None, "unstructured(0.5)", store=path)
    assert looser is not None
    assert looser.method in ("bdwp", "ste")
    assert accuracy_of("measured", "small", "bdwp", "1:8", store=path) is None


def test_runs_of_other_code_are_not_offered(tmp_path: Path, task: Task) -> None:
    store = RunStore(tmp_path / "runs.db")
    what = recipe(task, "small", "ste", "2:4", 0)
    (run,) = grid.measure([(task, replace(what, code="older"))], store)
    assert run.recipe.code == "older"
    assert accuracy_of("measured", "small", "ste", "2:4", store=store.path) is None


def test_a_method_has_the_version_of_the_code_that_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = code_version.code_version.__wrapped__
    before = {name: version(name) for name in ("s_ste", "ste", "sparsegpt")}
    sources = {
        "codesign.prune.s_ste": "x = 1  # other code\n",
        "codesign.prune.registry": "x = 1\n",
    }
    real = code_version.inspect.getsource

    def source(module: types.ModuleType) -> str:
        return sources.get(module.__name__) or '"""Another sentence."""\n' + real(module)

    monkeypatch.setattr(code_version.inspect, "getsource", source)
    monkeypatch.setattr(code_version, "_meaning", code_version._meaning.__wrapped__)
    assert version("s_ste") != before["s_ste"]
    assert version("ste") == before["ste"]
    assert version("sparsegpt") == before["sparsegpt"]
    sources["codesign.kernels.nm_select"] = "x = 2\n"
    assert version("ste") != before["ste"]
    assert "codesign.prune.products" in sys.modules


def test_tasks_of_the_users_own_run_in_one_process(tmp_path: Path) -> None:
    task = halves()
    wanted = [(task, recipe(task, "small", "ste", "2:4", seed)) for seed in range(2)]
    with pytest.raises(CodesignError, match="jobs=1"):
        list(grid.measure(wanted, RunStore(tmp_path / "runs.db"), jobs=2))


@pytest.mark.parametrize(
    ("task_name", "model"), [("digits", "mlp"), ("digits", "cnn"), ("charlm", "transformer")]
)
def test_the_models_of_the_tasks_are_traced_under_the_name_of_their_runs(
    task_name: str, model: str
) -> None:
    trace = extract(f"torch:codesign.accuracy.traced:{task_name}_{model}")
    assert trace.name == f"{task_name}_{model}"
    on = tasks.task(task_name)
    method = sparsifier("nm_magnitude", "2:4").attach(
        on.models[model](), skip=on.dense_layers[model]
    )
    sparse = method.sparsify(trace)
    assert sum(not op.b_pattern.is_dense for op in sparse) == len(method.targets)
