"""Do fronts, importance, iso budgets and doubtful numbers say what the stored points hold?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from codesign import evaluate, load_arch, load_workload, sparsify
from codesign.cli import main
from codesign.cli.points import nothing_kept
from codesign.config import CodesignError
from codesign.sweep import analysis
from codesign.sweep.check import read_study
from codesign.sweep.pareto import costs, front
from codesign.sweep.run import Sweep, front_of, nearest, prepare, stored_study
from codesign.sweep.store import Row, Store

TWO_MACHINES = """\
name: two
workload: "gemm:64,64,64"
arch: sat
method: grid
metrics: {latency_s: minimize, area_mm2: minimize}
parameters:
  arch: {values: [sat, dense_systolic]}
  arch.array.rows: {values: [4, 8, 16]}
  arch.clock_mhz: {values: [100, 400]}
promote: {fidelity: row}
execution: {executor: serial}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Twelve designs, those of the front at row fidelity as well."""
    folder = tmp_path_factory.mktemp("analysis")
    path = folder / "two.yaml"
    path.write_text(TWO_MACHINES, encoding="utf-8")
    base = read_study(path)
    with Store(folder / "two.db") as made:
        prepare(made, base, resume=False)
        Sweep(base, made).run()
        yield made


def _shown(store: Store, *words: str) -> dict[str, Any]:
    with redirect_stdout(StringIO()) as out:
        assert main(["show", str(store.path), *words, "--json"]) == 0
    shown: dict[str, Any] = json.loads(out.getvalue())
    return shown


def _printed(store: Store, *words: str) -> str:
    with redirect_stdout(StringIO()) as out:
        assert main(["show", str(store.path), *words]) == 0
    return out.getvalue()


def _good(store: Store, fidelity: str | None = None) -> list[Row]:
    return [row for row in store.rows(fidelity) if row.error is None]


def test_the_front_is_one_of_the_promoted_points(store: Store) -> None:
    """All points of the front at tile fidelity were promoted, and only such are compared."""
    tile, row = _good(store, "tile"), _good(store, "row")
    goals = {"latency_s": "minimize", "area_mm2": "minimize"}
    expected = [tile[i].key for i in front(costs([one.metrics for one in tile], goals))]
    by_number = {one.number: one.key for one in tile}
    assert {by_number[one.number] for one in row} == set(expected)
    points = _shown(store, "--pareto")["points"]
    best = front(costs([one.metrics for one in row], goals))
    assert [point["number"] for point in points] == [row[i].number for i in best]
    assert {point["fidelity"] for point in points} == {"row"}


def test_a_front_for_each_machine(store: Store) -> None:
    """Each of its own points alone, in the order of the file."""
    tile = _good(store, "tile")
    points = _shown(store, "--pareto", "--by", "arch", "--fidelity", "tile")["points"]
    expected = [
        row.key
        for name in ("sat", "dense_systolic")
        for row in front_of([r for r in tile if r.values["arch"] == name], stored_study(store))
    ]
    assert [point["key"] for point in points] == expected
    with pytest.raises(CodesignError, match="did you mean 'arch'"):
        analysis.fronts(tile, stored_study(store), "arc")


def test_importance_is_a_share_of_variance(store: Store) -> None:
    """Area does not depend on the clock at all, and everything on something."""
    shares = _shown(store, "--importance")["importance"]
    assert shares["arch.clock_mhz"]["area_mm2"] == pytest.approx(0, abs=1e-12)
    for name in ("latency_s", "area_mm2"):
        own = [shares[path][name] for path in shares]
        assert all(0 <= share <= 1 for share in own)
        assert 0.5 < sum(own) <= 1 + 1e-9


def test_a_range_is_cut_into_bins_of_several_points(store: Store) -> None:
    """Twelve values of a range are three bins; what swings within them explains nothing."""
    study = stored_study(store)
    (row, *_) = _good(store, "tile")

    def explained(latencies: list[float]) -> float:
        rows = [
            replace(row, values={"arch.clock_mhz": i + 0.5}, metrics={"latency_s": latency})
            for i, latency in enumerate(latencies)
        ]
        return analysis.importance(rows, study)["arch.clock_mhz"]["latency_s"]

    assert explained([1.0, 2.0] * 6) == pytest.approx(0, abs=1e-12)
    assert explained([1.0] * 4 + [2.0] * 4 + [4.0] * 4) == pytest.approx(1)


@pytest.mark.parametrize("budget", ["area", "power"])
def test_machines_are_compared_at_one_budget(store: Store, budget: str) -> None:
    """The best of each machine by runs per second over what a copy takes."""
    figure = {"area": "area_mm2", "power": "power_w"}[budget]
    rows = _shown(store, "--iso", budget)["rows"]
    assert [row["arch"] for row in rows] == sorted(
        ("sat", "dense_systolic"),
        key=lambda name: (
            -max(
                1 / row.metrics["latency_s"] / row.metrics[figure]
                for row in _good(store)
                if row.config["arch"]["name"] == name
            )
        ),
    )
    assert rows[0]["ratio"] == 1.0
    assert 0 < float(str(rows[1]["ratio"])) <= 1


def test_a_batch_counts_as_so_many_runs(store: Store) -> None:
    rows = _good(store, "tile")
    four = [
        replace(row, config={**row.config, "workload": {**row.config["workload"], "batch": 4}})
        for row in rows
    ]
    one, many = (analysis.normalised(some, stored_study(store), "area") for some in (rows, four))
    assert [row["runs_per_s"] for row in many] == [4 * row["runs_per_s"] for row in one]


def test_designs_are_compared_with_their_other_half(store: Store) -> None:
    """A quarter of the clock: four times the latency on compute, and the same area."""
    rows = _shown(store, "--against", "arch.clock_mhz=100", "--fidelity", "tile")["rows"]
    tile = {row.number: row for row in _good(store, "tile")}
    assert len(rows) == len(tile) // 2
    for row in rows:
        own = tile[row["number"]]
        (half,) = [
            other for other in tile.values()
            if other.values == {**own.values, "arch.clock_mhz": 100}
        ]  # fmt: skip
        expected = half.metrics["latency_s"] / own.metrics["latency_s"]
        assert row["times_better"] == {"latency_s": expected, "area_mm2": 1.0}
        assert 1 < expected <= 4
    for wrong, said in (("arch.clock=1", "arch.clock_mhz"), ("arch.clock_mhz=7", "100, 400")):
        with pytest.raises(CodesignError, match=said):
            analysis.against(list(tile.values()), stored_study(store), wrong)


def test_a_doubtful_number_that_decides_is_told_first(store: Store) -> None:
    """Numbers that nobody published, halved and doubled; those that change the best come first."""
    changes = _shown(store, "--sensitivity")["sensitivity"]
    assert changes
    flags = [bool(change["best_changes"]) for change in changes]
    assert flags == sorted(flags, reverse=True)
    assert {change["status"] for change in changes} <= {"assumed", "unverified"}
    assert {change["factor"] for change in changes} == {0.5, 2.0}
    assert not any("array.rows" in str(change["path"]) for change in changes), "it is swept"


def test_the_best_points_are_fronts_of_fronts(store: Store) -> None:
    """First the front, then the front of what is left."""
    study = stored_study(store)
    tile = _good(store, "tile")
    best = analysis._best(tile, study)
    first = front_of(tile, study)
    assert best[: len(first)] == first
    assert len(best) == 10
    rest = [row for row in tile if row not in first]
    second = front_of(rest, study)
    assert best[len(first) : len(first) + len(second)] == second[: 10 - len(first)]


def test_sensitivity_prints_one_line_for_each_number(store: Store) -> None:
    """Whole paths, within 80 columns, below the name of their machine."""
    lines = _printed(store, "--sensitivity").splitlines()
    changes = _shown(store, "--sensitivity")["sensitivity"]
    for change in changes:
        own = [line for line in lines if line.split()[:1] == [change["path"]]]
        assert 1 <= len(own) <= 2
    assert {"sat", "dense_systolic"} <= {line.split()[0] for line in lines}
    assert len(lines) < len(changes)
    assert max(map(len, lines)) <= 80


def test_where_nothing_keeps_the_limits_the_nearest_is_named(store: Store) -> None:
    """The least broken, relative to the limits, with what it breaks and by how much."""
    study = stored_study(store)
    rows = _good(store)
    least = min(row.metrics["area_mm2"] for row in rows)
    tight = study.model_copy(update={"constraints": (f"area_mm2 <= {least / 2}", "latency_s <= 1")})
    found = nearest(rows, tight.constraints)
    assert found is not None
    assert found[0].metrics["area_mm2"] == least
    assert [limit.figure for limit in found[1]] == ["area_mm2"]
    said = nothing_kept(rows, tight.constraints)
    assert f"nearest is point {found[0].number} (" in said
    assert f"area_mm2 is {least:.4g}, not <= {least / 2:g}" in said
    assert "latency_s is" not in said
    assert nearest([], tight.constraints) is None
    failed = [replace(row, error="broken", metrics={}) for row in rows]
    assert "--failed says why" in nothing_kept(failed, tight.constraints)


def test_a_front_says_what_its_figures_do_not_mean(tmp_path: Path) -> None:
    """The notes that evaluate() gives each of its points, with the points that have them."""
    path = tmp_path / "noted.yaml"
    path.write_text(f"{TWO_MACHINES}sparsity: unstructured(0.5)\n", encoding="utf-8")
    base = read_study(path, ["promote=null"])
    with Store(tmp_path / "noted.db") as own:
        prepare(own, base, resume=False)
        Sweep(base, own).run()
        noted = _shown(own, "--pareto")["notes"]
        printed = " ".join(_printed(own, "--pareto").split())
        by_number = {row.number: row for row in own.rows()}
    assert noted
    trace = sparsify(load_workload("gemm:64,64,64"), "unstructured(0.5)", where="gemm")
    for found in noted:
        assert found["note"].startswith("unstructured(0.5) runs dense on ")
        assert found["note"] in printed
        for number in found["points"]:
            arch = by_number[number].config["arch"]
            assert evaluate(trace, load_arch(arch["name"], arch["set"])).notes == (found["note"],)


def test_a_front_that_where_leaves_empty_has_a_nearest_point_too(store: Store) -> None:
    """What --where asks counts as a limit, of parameters as of figures, in print and in JSON."""
    words = ("--pareto", "--where", "arch.array.rows <= 3", "--where", "latency_s <= 1")
    near = _shown(store, *words)["nearest"]
    assert near["values"]["arch.array.rows"] == 4
    assert near["breaks"] == [
        {"limit": "arch.array.rows <= 3", "figure": "arch.array.rows", "value": 4}
    ]
    printed = _printed(store, *words)
    assert f"nearest is point {near['number']} (" in printed
    assert printed.splitlines()[-1] == "  arch.array.rows is 4, not <= 3"
    assert "nearest" not in _shown(store, "--pareto")


def test_files_hold_all_points_or_as_many_as_asked(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "points.csv"
    said = _printed(store, "--csv", str(out), "--top", "3")
    assert said.split() == ["3", "points", "in", str(out)]
    assert len(out.read_text().splitlines()) == 4
    _printed(store, "--csv", str(out))
    assert len(out.read_text().splitlines()) == 1 + len(_good(store))


def test_options_that_would_do_nothing_say_so(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(store.path), "--by", "arch"]) == 2
    assert "--by makes fronts: add --pareto" in capsys.readouterr().err
    assert _printed(store, "--failed") == "no point failed\n"
