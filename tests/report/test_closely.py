"""Do the parts that look closely (a layer, masks, doubts, validation) say what the models say?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import codesign
from codesign.arch import families
from codesign.arch.base import Fidelity
from codesign.evaluate import evaluate, lower
from codesign.measure.suite import suites
from codesign.report import layer as layer_module
from codesign.report.cases import Case
from codesign.report.closeup import closeup, validation
from codesign.report.details import details, scenario_key
from codesign.report.doubts import doubts, scaled
from codesign.report.layer import layer_timeline, mask_loads, telling_product
from codesign.report.stored import details_json, read_details
from codesign.report.study import study
from codesign.report.validation import FAMILIES, about, as_json, kept, records
from codesign.sim import simulate
from codesign.sparsity.mask import Mask
from tests.report.made_by_hand import make_result


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    trace = codesign.load_workload("gemm:96,128,256")
    made = []
    for arch in ("dense_systolic", "sat"):
        for pattern in ("dense", "unstructured(0.75)"):
            machine = codesign.load_arch(arch)
            sparse = trace if pattern == "dense" else codesign.sparsify(trace, pattern, where="*")
            made.append(Case(evaluate(sparse, machine), sparse, machine))
    return made


def test_a_layer_shows_every_step_that_the_simulation_ran(cases: list[Case]) -> None:
    for case in cases:
        (op,) = case.trace.ops
        found = layer_timeline(case, op.name)
        row = lower(op, None, case.machine, Fidelity.ROW, 0, {})
        timeline = simulate(row.program)
        assert found.cycles == timeline.cycles
        busy = {
            unit: sum(s.end_cycle - s.start_cycle for s in spans) for unit, spans in found.units
        }
        held = {u: n for u, n in timeline.busy_cycles().items() if n and u != "marker"}
        assert busy == held
        assert all(
            spans == tuple(sorted(spans, key=lambda s: s.start_cycle)) for _, spans in found.units
        )


def test_many_steps_are_joined_at_the_smallest_gaps(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases[-1]
    (op,) = case.trace.ops
    whole = dict(layer_timeline(case, op.name).units)
    monkeypatch.setattr(layer_module, "_MOST_SPANS", 3)
    few = dict(layer_timeline(case, op.name).units)
    assert whole.keys() == few.keys()
    for unit, spans in few.items():
        assert len(spans) <= 3
        assert sum(s.steps for s in spans) == sum(s.steps for s in whole[unit])
        assert spans[0].start_cycle == whole[unit][0].start_cycle
        assert max(s.end_cycle for s in spans) == max(s.end_cycle for s in whole[unit])


def test_loads_are_counted_on_the_mask_of_the_trace() -> None:
    kept = np.zeros((32, 64), dtype=bool)
    kept[0, :48] = True
    kept[1:16, :16] = True
    kept[16:, :8] = True
    trace = codesign.load_workload("gemm:8,32,64")
    sparse = codesign.sparsify(trace, "unstructured(0.75)", where="*")
    (op,) = sparse.ops
    masked = replace(sparse, masks={op.name: Mask.from_dense(kept)})
    machine = codesign.load_arch("sat")
    (load,) = mask_loads(Case(evaluate(masked, machine), masked, machine))
    assert (load.least, load.mean, load.most, load.real) == (8, kept.sum() / 32, 48, True)
    slowest = 48 + 8
    mean = (48 + 15 * 16) / 16 + 8
    assert load.waits[0] == pytest.approx(slowest / mean)
    assert load.density == kept.mean()


def test_a_machine_that_ignores_zeros_has_no_loads(cases: list[Case]) -> None:
    ignored = next(c for c in cases if c.result.arch == "dense_systolic" and c.result.sparsity)
    assert mask_loads(ignored) == ()
    assert telling_product(ignored).name == ignored.trace.ops[0].name


def test_doubts_are_what_another_simulation_says(cases: list[Case]) -> None:
    goals = {"latency_s": "minimize", "energy_j": "minimize"}
    found = doubts(cases, goals)
    listed = {(d.arch, d.assumption.path) for d in found.rows}
    assert listed <= {(c.machine.spec.name, a.path) for c in cases for a in c.machine.assumptions()}
    doubt = next(d for d in found.rows if d.assumption.path == "clock_mhz")
    slower = scaled(
        next(c.machine for c in cases if c.machine.spec.name == doubt.arch), "clock_mhz", 0.5
    )
    assert slower.spec.clock_mhz == doubt.assumption.value / 2
    times = [
        evaluate(
            case.trace,
            slower if case.machine.spec.name == doubt.arch else case.machine,
            fidelity="tile",
        ).latency_s
        for case in cases
    ]
    (halved,) = (c for c in doubt.changes if (c.factor, c.metric) == (0.5, "latency_s"))
    assert halved.ratio == pytest.approx(times[0] / times[found.other])
    assert times[halved.best] == min(times)
    assert [d.matters for d in found.rows] == sorted((d.matters for d in found.rows), reverse=True)


def test_a_number_that_no_machine_may_have_is_left_out(cases: list[Case]) -> None:
    machine = cases[-1].machine
    assert scaled(machine, "technology.node_nm", 100.0) is None
    assert scaled(machine, "no.such.path", 2.0) is None
    swept = {a.path for a in machine.assumptions()}
    goals = {"latency_s": "minimize"}
    assert all(d.arch != "sat" for d in doubts(cases, goals, left_out=swept).rows)


def test_details_come_back_from_their_file(cases: list[Case], tmp_path: Path) -> None:
    made = details(cases)
    (tmp_path / "details.json").write_text(details_json(made))
    assert read_details(tmp_path) == made
    assert list(made) == [scenario_key(cases[0].result)]
    (tmp_path / "elsewhere").mkdir()
    assert read_details(tmp_path / "elsewhere") == {}


def test_a_closeup_names_the_numbers_that_change_the_best_run(cases: list[Case]) -> None:
    (detail,) = details(cases).values()
    (scenario,) = study([case.result for case in cases]).scenarios
    shown = closeup(scenario, detail, "s1")
    assert detail.run == scenario.fastest.label
    many = [row for row in shown.doubt_rows if row.matters]
    assert len(shown.doubt_rows) == len(detail.doubts.rows)
    if many:
        assert f" {len(many)} change" in shown.doubt_text
        assert all("becomes best" in row.effect for row in many)
    else:
        assert shown.doubt_text.startswith("None of the ")
    assert [figure.name for figure in shown.figures] == ["s1-layer", "s1-doubts"]


@pytest.mark.parametrize("name", ["published_wafer", "scalesim", "stonne"])
def test_kept_validations_are_those_of_the_suites_today(name: str) -> None:
    fresh = json.loads(as_json(records([suites()[name].run()])))
    held = json.loads(as_json(one for one in kept() if one.suite == name))
    assert fresh == held, "python -m codesign.report.validation > codesign/report/validation.json"


def test_every_suite_belongs_to_machine_families() -> None:
    assert set(FAMILIES) | {"published"} == set(suites())
    assert {family for of in FAMILIES.values() for family in of} <= set(families())


def test_a_validation_is_about_the_machines_of_the_results() -> None:
    on_sat = replace(make_result("sat"), machine="sat")
    found = validation([on_sat])
    assert found.rows == about(["sat"])
    assert {row.suite for row in found.rows} == {"sat", "scalesim"}
    assert found.missing == ()
    unknown = validation([replace(on_sat, machine="abacus")])
    assert (unknown.figure, unknown.rows, unknown.missing) == (None, (), ("abacus",))
