"""Does a sweep's part of a report say what its points say, and do its commands run them?"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.config import CodesignError, parse_override
from codesign.report import points as points_module
from codesign.report import quantities as q
from codesign.report.embedded import embeddable, points_data
from codesign.report.points import Points, design, points
from codesign.report.reproduce import tokens
from codesign.report.sweep_part import SweepPart, picked, sweep_part
from tests.report.made_by_hand import HOSTILE
from tests.report.made_sweeps import hostile_row, make_row, make_rows, make_study


@pytest.fixture
def found() -> Points:
    return points(make_study(), "toy.db", make_rows())


def beats(one: dict[str, float], other: dict[str, float]) -> bool:
    names = ("latency_s", "energy_j")
    return all(one[n] <= other[n] for n in names) and any(one[n] < other[n] for n in names)


def test_a_front_is_what_no_point_for_the_same_work_beats(found: Points) -> None:
    assert [group.title for group in found.groups] == [
        "resnet_toy, inference, batch 4",
        "gpt_toy, inference, batch 4",
    ]
    for group in found.groups:
        allowed = [row for row in group.rows if row.metrics["area_mm2"] <= 20]
        expected = {
            row.key
            for row in allowed
            if not any(beats(other.metrics, row.metrics) for other in allowed)
        }
        assert {row.key for row in group.front} == expected
        latencies = [row.metrics["latency_s"] for row in group.front]
        assert latencies == sorted(latencies)
        assert group.knee in group.front
        assert {row.config["workload"]["name"] for row in group.rows} == {
            group.baseline.config["workload"]["name"]
        }


def test_the_baseline_is_the_first_point_or_the_one_asked_for() -> None:
    rows = make_rows()
    assert [g.baseline.number for g in points(make_study(), "f", rows).groups] == [0, 1]
    asked = points(make_study(), "f", [*rows, make_row(90, "gpt_toy")], 90)
    assert [g.baseline.number for g in asked.groups] == [0, 90]
    like = points(make_study(), "f", [make_row(0, rows=16), make_row(1), *rows[2:]], 1)
    assert like.groups[0].baseline.number == 1
    with pytest.raises(CodesignError, match="no point 999"):
        points(make_study(), "f", rows, 999)


def test_points_that_failed_are_told_and_a_study_of_failures_is_refused() -> None:
    rows = make_rows(6)
    broken = replace(rows[0], error="RuntimeError: boom", metrics={})
    part = sweep_part(points(make_study(), "f", [broken, *rows[1:]]))
    assert part.failures == ((0, "RuntimeError: boom"),)
    assert "1 failed" in part.facts
    with pytest.raises(CodesignError, match="no point of this study has figures"):
        points(make_study(), "f", [broken])


def test_limits_that_nothing_keeps_leave_no_front() -> None:
    part = sweep_part(points(make_study(constraints=("area_mm2 <= 0.1",)), "f", make_rows()))
    assert part.sentences[0] == "No point keeps the limits (area_mm2 <= 0.1)."
    assert all("breaks limits" in row.marks for front in part.fronts for row in front.rows)


def single() -> Points:
    rows = [row for row in make_rows() if row.config["workload"]["name"] == "resnet_toy"]
    return points(make_study(), "f", rows)


def test_the_answer_of_one_workload_names_the_best_point_and_the_knee() -> None:
    found = single()
    (group,) = found.groups
    first, second, third = sweep_part(found).sentences
    allowed = [row for row in group.rows if row.metrics["area_mm2"] <= 20]
    best = min(allowed, key=lambda row: row.metrics["latency_s"])
    base = group.baseline
    ratio = base.metrics["latency_s"] / best.metrics["latency_s"]
    assert first == (
        f"Point {best.number} has the lowest latency within the limits of 24 designs for "
        f"resnet_toy, inference, batch 4: {q.with_unit(best.metrics['latency_s'], 's')}, "
        f"{ratio:.2f}× less than the {q.with_unit(base.metrics['latency_s'], 's')} of point 0."
    )
    assert f"{len(group.front)} designs form the front" in second
    assert f"is point {group.knee.number}: latency" in second
    assert third.startswith("Latency depends most on array.rows (")


def test_the_answer_of_several_workloads_names_the_design_that_wins_most(found: Points) -> None:
    part = sweep_part(found)
    wins = [group.best("latency_s", "minimize") for group in found.groups]
    assert any(f"array.rows {row.values['arch.array.rows']}" in part.sentences[0] for row in wins)
    assert "of 2 workloads" in part.sentences[0]
    assert "workload" not in {path for path, _ in part.shares}


def test_the_front_table_has_the_figures_of_its_points(found: Points) -> None:
    part = sweep_part(found)
    for front, group in zip(part.fronts, found.groups, strict=True):
        by_number = {row.number: row for row in group.rows}
        marks = {row.number: row.marks for row in front.rows}
        assert "baseline" in marks[group.baseline.number]
        assert "knee" in marks[group.knee.number]
        base = group.baseline.metrics
        for line in front.rows:
            metrics = by_number[line.number].metrics
            cells = dict(zip(front.head[1:], line.cells, strict=True))
            assert cells["latency"] == q.with_unit(metrics["latency_s"], "s")
            assert cells["area"] == q.area(metrics["area_mm2"])
            denser = base["latency_s"] * base["area_mm2"]
            assert cells["speed at equal area"] == q.ratio(
                denser / (metrics["latency_s"] * metrics["area_mm2"])
            )


def test_points_looked_at_closely_are_the_baseline_and_what_stands_out() -> None:
    found = single()
    (group,) = found.groups
    chosen = {what: row.number for what, row in picked(found, group)}
    assert next(iter(chosen)) == "baseline"
    assert chosen["best latency"] == group.best("latency_s", "minimize").number
    assert len(set(chosen.values())) == len(chosen)


def read(column: object, i: int) -> object:
    if isinstance(column, list):
        return column[i]
    return column["all"] if "all" in column else column["of"][column["at"][i]]


def test_the_data_of_a_page_give_every_point_back(found: Points) -> None:
    data = json.loads(embeddable(points_data(found)))
    columns = data["columns"]
    names = [m["name"] for m in data["metrics"]]
    assert names[: data["wanted"]] == ["latency_s", "energy_j", "area_mm2"]
    for i, row in enumerate(found.rows):
        assert read(columns["number"], i) == row.number
        values = [read(column, i) for column in columns["parameters"]]
        assert values == list(row.values.values())
        for name, column in zip(names, columns["metrics"], strict=True):
            assert read(column, i) == pytest.approx(row.metrics[name], rel=1e-5)
        told = " ".join(str(read(c, i)) for c in data["command"] if read(c, i))
        assert told == " ".join(tokens(row, found.study))
        assert read(columns["front"], i) == any(row in group.front for group in found.groups)
        assert read(columns["kept"], i) == (row.metrics["area_mm2"] <= 20)


def test_too_many_points_keep_their_fronts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codesign.report.embedded.MOST_POINTS", 150)
    found = points(make_study(), "f", make_rows(400))
    data = points_data(found)
    numbers = {read(data["columns"]["number"], i) for i in range(data["columns"]["count"])}
    assert {row.number for group in found.groups for row in group.front} <= numbers
    assert 120 <= len(numbers) <= 150
    assert data["left_out"] == sweep_part(found).left_out == 400 - len(numbers)
    assert points_module.MOST_POINTS >= 10_000


def test_two_thousand_points_take_less_than_a_megabyte() -> None:
    part = sweep_part(points(make_study(), "f", make_rows(2000)))
    assert len(part.data) < 1_000_000
    assert len(part.hero.wide) < 300_000


@given(text=st.text(min_size=1, max_size=40))
def test_a_command_is_one_line_of_a_shell_that_keeps_every_name(text: str) -> None:
    row = hostile_row(3, text)
    words = shlex.split(" ".join(tokens(row, make_study())))
    assert words[:3] == ["codesign", "simulate", text]
    assert words[words.index("--arch") + 1] == text
    if text != "dense":
        assert words[words.index("--sparsity") + 1] == text
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert dict(map(parse_override, settings)) == row.config["arch"]["set"]


@given(
    value=st.one_of(
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.text(),
    )
)
def test_a_set_value_comes_back_as_it_is(value: object) -> None:
    row = make_row(0)
    config = {**row.config, "arch": {**row.config["arch"], "set": {"a.b": value}}}
    words = shlex.split(" ".join(tokens(replace(row, config=config), make_study())))
    try:
        path, back = parse_override(words[words.index("--set") + 1])
    except CodesignError:
        assert isinstance(value, str)
        assert any(not c.isprintable() for c in value) or not value
        return
    assert (path, back, type(back)) == ("a.b", value, type(value))


def test_other_hyper_parameters_make_a_sweep_of_one_point() -> None:
    row = make_row(5)
    config = {**row.config, "workload": {**row.config["workload"], "set": {"layers": 2}}}
    words = tokens(replace(row, config=config), make_study())
    assert words[:3] == ("codesign sweep", "toy.yaml", "method=grid")
    assert "arch.array.rows=8" in words


def test_hostile_strings_end_no_script_and_stay_whole() -> None:
    rows = [hostile_row(i, text) for i, text in enumerate(HOSTILE)]
    study = make_study(description=HOSTILE[0], constraints=())
    part: SweepPart = sweep_part(points(study, HOSTILE[1], rows))
    assert part.data.isascii()
    assert not set("<>&") & set(part.data)
    data = json.loads(part.data)
    values = [read(data["columns"]["parameters"][0], i) for i in range(len(rows))]
    assert values == [q.clean(text) for text in HOSTILE]


def test_a_design_is_its_parameters_without_the_work() -> None:
    one, other = make_row(0), make_row(1, "gpt_toy")
    assert design(one) == design(other)
    assert design(one) != design(make_row(2, rows=16))


def test_figures_without_a_number_are_dashes() -> None:
    row = replace(make_row(0), metrics={"latency_s": 1e-3, "energy_j": math.nan})
    part = sweep_part(points(make_study(constraints=()), "f", [row, make_row(2, rows=16)]))
    assert "nan" not in part.data.lower()
    assert part.fronts[0].rows
