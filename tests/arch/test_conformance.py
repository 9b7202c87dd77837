"""Does every shipped machine keep the laws, and does the suite catch machines that break them?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from codesign.arch import list_archs, load_arch
from codesign.arch.base import AnyMachine
from codesign.arch.dense_systolic import DenseSystolic
from codesign.arch.sat import Sat
from codesign.config import CodesignError
from codesign.evaluate import evaluate
from codesign.measure.case_laws import CASE_LAWS, Case
from codesign.measure.conformance import _anchor, _cases, _every_knob, _native_patterns, check
from codesign.measure.knobs import knobs, turned
from codesign.measure.probes import gemm, nested, probes
from codesign.schedule.streaming import Link
from codesign.sim import Timeline


def machines_to_check() -> list[str]:
    """One file of each family; every file where CODESIGN_EVERY_MACHINE is set, as CI does."""
    names = [name for name, _ in list_archs()]
    if os.environ.get("CODESIGN_EVERY_MACHINE"):
        return names
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(load_arch(name).spec.machine, name)
    return list(first.values())


@pytest.mark.parametrize("name", machines_to_check())
def test_a_shipped_machine_keeps_every_law(name: str) -> None:
    failed = [row for row in check(load_arch(name), quick=True) if not row.passed]
    assert failed == []


def one_case(machine: AnyMachine) -> Case:
    return next(_cases(machine, quick=True))


def changed_result(**changes: Any) -> Callable[[Case], Case]:
    return lambda case: replace(case, result=replace(case.result, **changes))


def changed_op(**changes: Any) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        first, *others = case.result.ops
        return replace(case, result=replace(case.result, ops=(replace(first, **changes), *others)))

    return change


def moved_start(case: Case) -> Case:
    t = case.timeline
    early = Timeline(t.program, t.ready, np.zeros_like(t.start), t.end)
    return replace(case, timeline=early)


def backward_dependency(case: Case) -> Case:
    t = case.timeline
    dep_idx = t.program.dep_idx.copy()
    dep_idx[0] = len(t.program) - 1
    program = replace(t.program, dep_idx=dep_idx)
    return replace(case, timeline=Timeline(program, t.ready, t.start, t.end))


BROKEN = [
    ("cycles are at least the roofline", changed_result(cycles=1)),
    ("cycles are at least the roofline", changed_op(end_cycle=0, start_cycle=0)),
    ("bytes are at least the compulsory traffic", changed_op(dram_bytes=1)),
    ("bytes are those of the steps", changed_result(dram_bytes=0)),
    ("energy and area add up", changed_result(energy_j=1.0)),
    ("energy and area add up", changed_result(area_mm2=0.0)),
    ("energy and area add up", changed_result(area_mm2_by_part={"array": -1.0})),
    ("energy and area add up", changed_op(energy_pj_by_part={})),
    ("shares of time add up", changed_op(cycles=0)),
    ("no multiply-accumulate is lost", changed_op(executed_macs=1)),
    ("steps are well formed", moved_start),
    ("steps are well formed", backward_dependency),
    ("units serve one step at a time", moved_start),
]


@pytest.mark.parametrize(("law", "spoil"), BROKEN)
def test_each_law_of_a_run_can_fail(law: str, spoil: Callable[[Case], Case]) -> None:
    case = one_case(load_arch("dense_systolic"))
    assert CASE_LAWS[law](case) is None
    assert CASE_LAWS[law](spoil(case)) is not None


def test_every_law_of_a_run_is_among_those_seen_failing() -> None:
    assert {law for law, _ in BROKEN} == set(CASE_LAWS)


class FreeDram(DenseSystolic):
    """Does not look at the link's bandwidth and latency."""

    dram_bytes_per_cycle = property(lambda self: self.spec.dram.bytes_per_cycle)

    def link(self) -> Link:
        return Link(None)


class UnlimitedBuffers(Sat):
    """Forgets how large the output scratchpad is."""

    def budget(self, op: Any, dataflow: str) -> Any:
        return replace(super().budget(op, dataflow), c_bytes=1 << 40)


class SlowSparse(Sat):
    """Takes all slots of a group whatever the pattern keeps."""

    def _exact_count(self, op: Any) -> int | None:
        exact = super()._exact_count(op)
        return None if exact is None else 4 * self.group(op)


def idle(machine: AnyMachine, *paths: str) -> str:
    row = _every_knob(machine, [knob for knob in knobs(machine) if knob.path in paths])
    return "" if row.passed else row.detail


def test_a_machine_that_ignores_its_link_beats_the_roofline_and_has_idle_knobs() -> None:
    machine = FreeDram(load_arch("dense_systolic").spec)
    law = CASE_LAWS["cycles are at least the roofline"]
    assert any(law(case) for case in _cases(machine, quick=True))
    faults = idle(machine, "dram.bytes_per_cycle", "dram.latency_cycles", "array.rows")
    assert faults == "dram.bytes_per_cycle does nothing (and 1 more)"


def test_a_forgotten_buffer_limit_is_an_idle_knob() -> None:
    paths = ("buffers.output.capacity_bytes", "buffers.weight.capacity_bytes")
    spec = load_arch("sat").spec
    assert idle(UnlimitedBuffers(spec), *paths) == "buffers.output.capacity_bytes does nothing"
    assert idle(Sat(spec), *paths) == ""


def test_sparsity_that_costs_time_is_caught() -> None:
    assert _native_patterns(load_arch("sat")).passed
    assert not _native_patterns(SlowSparse(load_arch("sat").spec)).passed


def test_every_kind_of_knob_of_a_file_is_found() -> None:
    sat = load_arch("sat")
    found = {knob.path: knob for knob in knobs(sat)}
    assert {path for path, _ in sat.spec.numbers()} <= set(found)
    assert found["array.interleave_mapping"].alternatives == (False,)
    assert found["array.dataflows"].alternatives == (["ws"], ["os"])
    assert "hbm2" in found["dram.kind"].alternatives
    assert found["energy.mac_pj"].alternatives == (1,)
    assert turned(sat, {"array.rows": 16}).spec.array.rows == 16
    assert turned(sat, {"energy.mac_pj": 2.5}).spec.source_of("energy.mac_pj") is not None


def test_nested_masks_are_nested() -> None:
    masks = [nested(32, 64, 48, kept).masks["gemm"].to_dense() for kept in (0.75, 0.5, 0.25)]
    for more, less in pairwise(masks):
        assert np.all(more | ~less)
        assert more.sum() > less.sum()


def test_an_anchor_of_one_run_is_compared_and_others_are_named() -> None:
    machine = load_arch("sat")
    mean = machine.spec.anchors[0]
    assert _anchor(machine, mean).detail == "checked by `codesign validate sat`"
    cycles = evaluate(gemm(64, 64, 64), machine).cycles
    own = mean.model_copy(
        update={"workload": "gemm:64,64,64", "quantity": "cycles", "value": cycles, "options": {}}
    )
    assert _anchor(machine, own).passed
    assert not _anchor(machine, own.model_copy(update={"value": 1.2 * cycles})).passed


class Unable(DenseSystolic):
    """Runs nothing."""

    def supports(self, op: Any) -> bool:
        return False


def test_a_machine_that_runs_no_probe_is_refused() -> None:
    with pytest.raises(CodesignError, match="supports none of the probe workloads"):
        check(Unable(load_arch("dense_systolic").spec))


def test_probes_hold_every_kind_of_operator() -> None:
    kinds = {str(op.kind) for probe in probes().values() for op in probe.trace}
    assert kinds >= {
        "gemm", "conv", "attention", "embedding", "norm", "softmax", "elementwise", "update",
    }  # fmt: skip
