"""Are the right results compared with each other, and do groups and ratios lose nothing?"""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.metrics.result import Result
from codesign.report import quantities, study, svg
from codesign.report.study import AREA, EDP, ENERGY, LATENCY, layer_groups
from tests.report.made_by_hand import HOSTILE, make_result


@pytest.mark.parametrize("module", [quantities, study, svg])
def test_the_examples_in_docstrings_hold(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_only_equal_workloads_and_phases_are_compared(results: list[Result]) -> None:
    found = study.study(results)
    assert [s.title for s in found.scenarios] == [
        "resnet_toy, inference",
        "resnet_toy, training",
        "gpt_toy, inference",
        "gpt_toy, training",
    ]
    for scenario in found.scenarios:
        assert len({run.result.macs for run in scenario.runs}) == 1
        assert len(scenario.runs) == 4
    assert sorted(map(id, found.results)) == sorted(map(id, results))


def test_another_batch_is_another_comparison() -> None:
    found = study.study([make_result(blocks=4), make_result(blocks=5)])
    assert len(found.scenarios) == 2
    assert len({s.title for s in found.scenarios}) == 2


def test_the_baseline_is_found_again_in_every_group(results: list[Result]) -> None:
    chosen = next(i for i, r in enumerate(results) if (r.arch, r.sparsity) == ("sat", "2:8"))
    for scenario in study.study(results, baseline=chosen).scenarios:
        assert scenario.baseline.label == "sat · 2:8"
        assert scenario.ratio(scenario.baseline, LATENCY) == 1.0


@pytest.mark.parametrize("baseline", [-1, 1, 10**9])
def test_a_baseline_that_is_not_there_is_refused(baseline: int) -> None:
    with pytest.raises(CodesignError, match="baseline is"):
        study.study([make_result()], baseline=baseline)


def test_no_results_are_refused() -> None:
    with pytest.raises(CodesignError, match="at least one"):
        study.study([])


def test_ratios_are_those_of_the_results(results: list[Result]) -> None:
    for scenario in study.study(results).scenarios:
        base = scenario.baseline.result
        for run in scenario.runs:
            r = run.result
            assert scenario.ratio(run, ENERGY) == r.energy_j / base.energy_j
            assert scenario.ratio(run, EDP) == r.edp_js / base.edp_js
            assert scenario.ratio(run, AREA) == r.area_mm2 / base.area_mm2
            assert scenario.speedup_over_baseline(run) == base.latency_s / r.latency_s


def test_the_winner_has_the_highest_mean_speedup(results: list[Result]) -> None:
    found = study.study(results)
    assert found.winner == "sat · 2:8"
    speedups = [s.speedup_over_baseline(s.fastest) for s in found.scenarios]
    assert found.mean_speedup(found.winner) == pytest.approx(math.prod(speedups) ** 0.25)


def test_equal_best_values_are_all_best_and_all_equal_ones_none() -> None:
    slow = replace(make_result(), latency_s=2.0)
    fast = replace(make_result("a"), latency_s=1.0)
    also = replace(make_result("b"), latency_s=1.0)
    scenario = study.study([slow, fast, also]).scenarios[0]
    assert scenario.best(LATENCY) == {"a · dense", "b · dense"}
    assert scenario.best(AREA) == frozenset()


def test_an_unknown_area_is_missing_and_not_best() -> None:
    unknown = replace(make_result("gpu"), area_mm2=0.0, area_mm2_by_part={})
    scenario = study.study([make_result(), unknown]).scenarios[0]
    assert math.isnan(scenario.ratio(scenario.runs[1], AREA))
    assert scenario.best(AREA) == frozenset()


def test_runs_of_one_name_get_different_labels() -> None:
    twice = [make_result(), make_result(), replace(make_result(), fidelity="tile")]
    labels = [run.label for run in study.study(twice).scenarios[0].runs]
    assert len(set(labels)) == 3
    assert "fidelity tile" in labels[2]


@pytest.mark.parametrize("phase", ["inference", "training"])
def test_cycles_by_work_add_up_to_the_run(phase: str) -> None:
    scenario = study.study([make_result(phase=phase)]).scenarios[0]
    run = scenario.runs[0]
    parts = study.cycles_by_work(scenario, run)
    assert sum(parts.values()) == run.result.cycles
    assert set(parts) == (set(study.TRAINING_PARTS) if phase == "training" else {"conv", "norm"})


def test_training_parts_are_those_of_the_operators() -> None:
    scenario = study.study([make_result(phase="training")]).scenarios[0]
    ops = scenario.runs[0].ops
    parts = study.cycles_by_work(scenario, scenario.runs[0])
    assert parts["backward-weight"] == sum(
        op.cycles for op in ops if op.phase == "backward_weight" and op.kind == "conv"
    )
    assert parts["vector"] == sum(op.cycles for op in ops if op.kind == "norm")
    assert parts["update"] == sum(op.cycles for op in ops if op.kind == "update")


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "0", "1", "conv"]), min_size=1, max_size=4).map(
            ".".join
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 12),
)
def test_layer_groups_are_a_partition_as_fine_as_the_limit_allows(paths, limit) -> None:
    op = make_result(blocks=1).ops[0]
    ops = [replace(op, layer=path, name=f"{i}") for i, path in enumerate(paths)]
    groups = layer_groups(ops, limit)
    assert sorted(o.name for g in groups.values() for o in g) == sorted(o.name for o in ops)
    for name, members in groups.items():
        assert all(o.layer == name or o.layer.startswith(name + ".") for o in members)
    assert len(groups) <= max(limit, len({path.split(".")[0] for path in paths}))


@pytest.mark.parametrize("text", HOSTILE)
def test_clean_text_can_be_encoded_and_holds_no_controls(text: str) -> None:
    shown = quantities.one_line(text, 200)
    assert len(shown) <= 200
    assert shown.encode()
    assert not any(ord(c) < 0x20 or 0x202A <= ord(c) <= 0x202E for c in shown)


@given(st.floats(1e-14, 1e14))
def test_a_value_with_unit_reads_back_to_three_digits(value: float) -> None:
    text = quantities.with_unit(value, "s").replace(",", "")
    number, _, unit = text.partition(" ")
    prefixes = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    prefixes |= {"m": 1e-3, "µ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
    assert float(number) * prefixes[unit.removesuffix("s")] == pytest.approx(value, rel=5.1e-3)
    if 1e-12 < value < 9e13:
        assert 1 <= float(number) < 1000.5


@given(st.floats(-1e9, 1e9).filter(lambda v: abs(v) > 1e-3))
def test_significant_keeps_three_digits(value: float) -> None:
    text = quantities.significant(value)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=5.1e-3)
    assert sum(c.isdigit() for c in text.replace(",", "").lstrip("-0.")) >= 3
