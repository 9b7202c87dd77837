"""Do measured runs resume, agree with a run by hand, and say honestly what they show?"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codesign.accuracy import curves, grid, tasks, train
from codesign.accuracy.store import RunStore
from codesign.accuracy.train import Recipe, Run, recipe
from codesign.cli import main
from codesign.config import CodesignError
from codesign.prune.registry import SPARSIFIERS
from codesign.report.accuracy import markdown, plot
from codesign.trace.sparsify import METHODS
from tests.accuracy.conftest import halves


def test_a_dense_run_is_adam_with_the_stated_schedule() -> None:
    task = halves()
    done = train.run(task, recipe(task, "small", "dense", "dense", 3))
    torch.manual_seed(3)
    model = task.models["small"]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step, batch in enumerate(task.batches(3, 40)):
        warm = 2
        share = (step + 1) / warm if step < warm else 0.5 * (
            1 + torch.cos(torch.tensor(torch.pi * (step - warm) / 38, dtype=torch.float64)).item()
        )  # fmt: skip
        optimizer.param_groups[0]["lr"] = 1e-2 * share
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
    assert done.loss == pytest.approx(task.evaluate(model)["loss"], rel=1e-4)
    assert done.density == 1.0


@pytest.mark.parametrize("method", grid.METHODS)
def test_every_method_of_the_grid_runs_on_a_users_task(method: str) -> None:
    task = halves()
    done = train.run(task, recipe(task, "small", method, "1:4", 0, 12))
    assert 0 <= done.accuracy <= 1
    dense_in_the_end = method in ("sdgp", "sdwp", "fst")
    assert done.density == (1.0 if dense_in_the_end else pytest.approx(0.25, abs=0.01))
    assert done.timing == SPARSIFIERS[method].timing
    assert method in METHODS or method == "dense"


def test_equal_recipes_give_equal_figures_and_leave_the_global_state_alone() -> None:
    task = halves()
    what = recipe(task, "small", "s_ste", "2:4", 5)
    torch.manual_seed(11)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = train.run(task, what)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    second = train.run(task, what)
    assert (first.accuracy, first.loss) == (second.accuracy, second.loss)


def test_one_shot_methods_prune_the_dense_model_of_their_seed() -> None:
    task = halves()
    trained: dict[str, dict[str, Tensor]] = {}
    alone = train.run(task, recipe(task, "small", "nm_magnitude", "1:4", 1))
    train.run(task, recipe(task, "small", "random", "1:4", 1), trained)
    shared = train.run(task, recipe(task, "small", "nm_magnitude", "1:4", 1), trained)
    assert list(trained) == [recipe(task, "small", "dense", "dense", 1).key]
    assert alone.loss == shared.loss
    (weights,) = trained.values()
    zeros = {trained.popitem()[0]: {name: 0 * value for name, value in weights.items()}}
    taken = train.run(task, recipe(task, "small", "nm_magnitude", "1:4", 1), zeros)
    assert taken.loss == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_what_is_stored_is_not_measured_again(tmp_path: Path) -> None:
    evaluated: list[int] = []
    task = halves(evaluated=evaluated)
    wanted = [(task, recipe(task, "small", "bdwp", "2:4", seed)) for seed in range(3)]
    path = tmp_path / "deep" / "runs.db"
    first = list(grid.measure(wanted[:2], RunStore(path)))
    assert len(evaluated) == 2
    again = list(grid.measure(wanted, RunStore(path)))
    assert len(evaluated) == 3
    assert again[:2] == first
    late = list(grid.measure(wanted, RunStore(tmp_path / "other.db"), until_s=0.0))
    assert late == []


@pytest.mark.slow
def test_processes_measure_what_one_does(tmp_path: Path) -> None:
    on = tasks.task("digits")
    wanted = [
        (on, recipe(on, "mlp", method, pattern, seed, 3))
        for seed in range(2)
        for method, pattern in (("dense", "dense"), ("wanda", "2:4"), ("s_ste", "2:4"))
    ]
    shown: list[tuple[int, int]] = []

    def note(_: str, done: int, total: int) -> None:
        shown.append((done, total))

    first = RunStore(tmp_path / "one.db")
    alone = {run.recipe.key: run for run in grid.measure(wanted, first)}
    both = RunStore(tmp_path / "two.db")
    together = {run.recipe.key: run for run in grid.measure(wanted, both, jobs=2, report=note)}
    assert {key: (run.accuracy, run.loss) for key, run in alone.items()} == {
        key: (run.accuracy, run.loss) for key, run in together.items()
    }
    assert shown == [(done, 6) for done in range(1, 7)]
    assert len(both.runs()) == 6


def test_every_part_of_a_recipe_makes_another_key() -> None:
    base = Recipe("t", "m", "x", "2:4", 0, 10)
    changed = [
        replace(base, **change)  # type: ignore[arg-type]
        for change in (
            {"task": "u"}, {"model": "n"}, {"method": "y"}, {"pattern": "1:4"}, {"seed": 1},
            {"steps": 11}, {"protocol": train.PROTOCOL + 1}, {"data": "d"}, {"code": "c"},
        )
    ]  # fmt: skip
    assert len({base.key, *(each.key for each in changed)}) == 10


def test_a_failure_is_kept_with_its_reason_and_tried_again(tmp_path: Path) -> None:
    task = halves()
    store = RunStore(tmp_path / "runs.db")
    what = recipe(task, "small", "ste", "2:4", 0)

    def broken(_: nn.Module) -> dict[str, float]:
        return {"accuracy": 0.5, "loss": float("nan")}

    assert list(grid.measure([(replace(task, evaluate=broken), what)], store)) == []
    assert [(w.key, "diverged" in reason) for w, reason in store.failures()] == [(what.key, True)]
    assert len(list(grid.measure([(task, what)], store))) == 1
    assert store.failures() == []
    assert [run.recipe for run in store.runs()] == [what]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and long enough to look at " * 40)
    with pytest.raises(CodesignError, match=r"notes\.txt"):
        RunStore(path)


def made(method: str, accuracies: list[float], *, pattern: str = "1:8", density: float = 0.125,
         timing: str = "training") -> list[Run]:  # fmt: skip
    return [
        Run(Recipe("digits", "mlp", method, pattern, seed, 300), timing, value, 0.1, density, 1.0)
        for seed, value in enumerate(accuracies)
    ]


def verdicts(runs: list[Run]) -> dict[str, curves.Finding]:
    found = curves.findings(curves.cells(runs), [("digits", "mlp")], ["1:8"])
    return {each.claim: each for each in found}


def test_orders_are_stated_as_found() -> None:
    runs = [
        *made("ste", [0.80, 0.82, 0.84]),
        *made("sr_ste", [0.85, 0.87, 0.89]),
        *made("s_ste", [0.70, 0.71, 0.72]),
        *made("pgf", [0.70, 0.74, 0.80]),
        *made("bdwp", [0.86, 0.86, 0.90]),
        *made("nm_magnitude", [0.75, 0.75, 0.75], timing="one_shot"),
        *made("sdwp", [0.10, 0.10, 0.10], density=1.0),
    ]
    found = verdicts(runs)
    assert found["SR-STE above plain STE"].verdict == "found"
    assert found["S-STE above plain STE"].verdict == "not found"
    assert found["BDWP within noise of SR-STE"].verdict == "found"
    trained = found["trained at least as good as one-shot"]
    assert trained.verdict == "not found"
    assert "3 of 5" in trained.detail
    assert "1 more are within noise" in trained.detail
    assert trained.detail.endswith("below: s_ste 71.0 %")
    page = markdown(
        [], list(found.values()), {}, wanted=0, models=[], patterns=["1:8"], speed_ups={}
    )
    assert "- trained at least as good as one-shot: 1 not found." in page
    assert "- SR-STE above plain STE: 1 found." in page
    noisy = verdicts([*made("ste", [0.8, 0.9, 0.85]), *made("sr_ste", [0.9, 0.81, 0.85])])
    assert noisy["SR-STE above plain STE"].verdict == "within noise"
    assert noisy["BDWP within noise of SR-STE"].verdict == "not measured"


def test_a_mean_and_its_noise_by_hand() -> None:
    runs = [*made("ste", [0.5, 0.5, 0.5]), *made("sr_ste", [0.51, 0.53, 0.52])]
    detail = verdicts(runs)["SR-STE above plain STE"].detail
    assert detail == (  # 4.303 * 1 / sqrt(3); all losses are equal
        "+2.00 points, noise 2.48, 3 seeds; loss +0.000 nats, noise 0.000"
    )
    two = [*made("ste", [0.5, 0.5]), *made("sr_ste", [0.6, 0.6])]
    assert verdicts(two)["SR-STE above plain STE"].verdict == "not measured"
    (cell,) = curves.cells(made("ste", [0.5, 0.7]))
    assert cell.mean == pytest.approx(0.6)
    assert cell.deviation == pytest.approx(0.02**0.5)


def test_the_page_counts_what_is_missing() -> None:
    wanted = [run.recipe for run in made("ste", [0.0] * 5)]
    runs = made("ste", [0.5, 0.7])
    lacking = curves.missing(wanted, runs)
    assert lacking == {("digits", "mlp"): 3}
    cells = curves.cells(runs)
    models = [("digits", "mlp"), ("charlm", "transformer")]
    page = markdown(cells, [], lacking, wanted=5, models=models, patterns=["1:8"], speed_ups={})
    assert "2 of 5 runs" in page
    assert "Missing: 3 of digits mlp." in page
    assert "| ste | 60.0 ± 14.1 (2) |" in page
    assert "Not measured." in page
    drawn = plot(cells, models, ["1:8"]).standalone()
    assert drawn.count("<title>") == 1
    assert "ste 1:8: 60.0 %" in drawn


def test_loss_is_against_the_dense_run_of_the_same_seed() -> None:
    dense = made("dense", [0.9, 0.8], pattern="dense", density=1.0)
    cells = curves.cells([*dense, *made("bdwp", [0.88, 0.74, 0.1])])
    sparse = next(c for c in cells if c.method == "bdwp")
    mean, deviation, seeds = curves.loss_points(cells, sparse) or (0.0, None, 0)
    assert (mean, deviation, seeds) == (pytest.approx(4.0), pytest.approx(8**0.5), 2)
    page = markdown(
        cells, [], {}, wanted=5, models=[("digits", "mlp")], patterns=["1:8"],
        speed_ups={"1:8": [1.4, 1.6], "1:16": [2.0]},
    )  # fmt: skip
    assert "| 1:8 | 1.50 x (1.40 to 1.60) | - | 4.00 ± 2.83 (2) | 4.00 | - |" in page
    assert "| 1:16 | 2.00 x (2.00 to 2.00) | - | - | - | - |" in page


def test_the_grid_is_the_one_asked_for() -> None:
    keys = [what for _, what in grid.full_grid()]
    assert len({what.key for what in keys}) == len(keys) == 3 * 5 * (1 + 16 * 5 + 1)
    assert len(grid.METHODS) >= 12


def test_digits_are_split_once_and_wide_models_learn_them() -> None:
    task = tasks.task("digits")
    assert task is tasks.task("digits")
    done = train.run(task, recipe(task, "mlp", "bdwp", "2:8", 0, 100))
    assert done.accuracy > 0.75
    sparse = train.run(task, recipe(task, "cnn", "sr_ste", "1:16", 0, 2))
    assert sparse.density == 1 / 16


def test_the_character_model_sees_no_later_character() -> None:
    task = tasks.task("charlm")
    model = task.models["transformer"]().eval()
    codes = next(task.batches(0, 1))[0][:2]
    changed = codes.clone()
    changed[:, 40] = (changed[:, 40] + 1) % 20
    with torch.no_grad():
        first, second = model(codes), model(changed)
    assert torch.allclose(first[:, :40], second[:, :40], atol=1e-6)
    assert not torch.allclose(first[:, 40:], second[:, 40:], atol=1e-3)
    x, y = next(task.batches(1, 1))
    assert torch.equal(x[:, 1:], y[:, :-1])


@pytest.mark.parametrize(
    ("name", "model", "method", "pattern", "said"),
    [
        ("digit", "mlp", "ste", "2:4", "did you mean 'digits'"),
        ("digits", "mpl", "ste", "2:4", "did you mean 'mlp'"),
        ("digits", "mlp", "sr_st", "2:4", "did you mean"),
        ("digits", "mlp", "ste", "unstructured(0.5)", "reaches patterns"),
    ],
)
def test_wrong_names_are_answered(
    name: str, model: str, method: str, pattern: str, said: str
) -> None:
    with pytest.raises(CodesignError, match=said):
        recipe(tasks.task(name), model, method, pattern, 0)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["accuracy", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_verb_runs_and_keeps_its_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "runs.db"
    run = ("run", "digits", "--model", "mlp", "--method", "ste", "--sparsity", "2:4",
           "--seeds", "2", "--steps", "5", "--store", str(store))  # fmt: skip
    first = asked(capsys, *run)
    assert first["kind"] == "measured"
    assert first["seeds"] == 2
    assert asked(capsys, *run) == first
    with sqlite3.connect(store) as db:
        assert db.execute("SELECT count(*) FROM measured_runs").fetchone() == (2,)
    listed = asked(capsys, "list")
    assert [task["name"] for task in listed["tasks"]] == ["digits", "charlm"]
    assert {method["name"] for method in listed["methods"]} == set(SPARSIFIERS)
    report = asked(
        capsys, "report", "--minutes", "0", "--store", str(store), "--out", str(tmp_path / "out")
    )
    assert report["runs"] == 0
    assert sum(report["missing"].values()) == report["wanted"]
    assert (tmp_path / "out" / "accuracy.md").is_file()


@pytest.mark.parametrize("number", [1, 2])
def test_the_examples_of_the_page_run(number: int) -> None:
    page = Path(__file__).parents[2] / "docs" / "accuracy.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[number].split("```")[0]
    assert "\nassert " in code, "the example says what comes out"
    exec(compile(code, str(page), "exec"), {})
