"""Does trust come from measurements of that machine and type, and say so where there are none?"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codesign.arch import list_archs, load_arch
from codesign.config import load_spec
from codesign.crossover.trust import Trust, is_shipped, trust_of
from codesign.measure import gpu_trust
from codesign.measure.gpu_rows import Rows, machine_name
from codesign.measure.gpu_scores import Scored, scored_groups
from codesign.measure.gpu_standings import FILE, Standing, Standings, standings
from codesign.trace.transform import make_sparse
from codesign.trace.workload import load_workload

DATA = os.environ.get("CODESIGN_GPU_DATA")
SHAPES = [(1, m, n, 64) for m in (8, 16, 64, 2048) for n in (64, 128, 192, 256, 320)]


def trust(name: str, dtype: str = "fp16", pattern: str = "2:4", **changed) -> Trust:
    trace = make_sparse(load_workload("gemm:64,256,256", dtype=dtype), pattern)
    return trust_of(load_arch(name, changed), trace)


def scored(pattern: str, simulated: float, measured: np.ndarray, gpu: str = "RTX-4090") -> Scored:
    sizes = np.array(SHAPES)
    rows = Rows("o", gpu, "fp16", pattern, "l", sizes, measured)
    machine = load_arch(machine_name(gpu))
    everywhere = np.ones(len(sizes), dtype=np.bool_)
    predicted = np.full(len(sizes), simulated)
    return Scored(rows, machine, predicted, predicted, everywhere, calibrated=True)


def test_a_calibrated_board_has_its_own_standings():
    found = trust("rtx4090")
    assert found.calibrated
    assert not found.remark
    assert found.standings == standings().of("rtx4090", "fp16", "2:4")
    assert {one.machine for one in found.standings} == {"rtx4090"}
    rows = [one.least_rows for one in found.standings]
    assert rows == sorted(rows)


def test_a_type_that_runs_alike_lends_its_standings_and_says_so():
    found = trust("h100_pcie")
    assert found.calibrated
    assert {one.dtype for one in found.standings} == {"bf16"}
    assert found.remark == "fp16 as bf16, which runs alike"
    assert {one.dtype for one in trust("h100_pcie", "fp8").standings} == {"fp8"}


@pytest.mark.parametrize(
    ("name", "changed", "why"),
    [
        ("h200", {}, "not calibrated in fp16"),
        ("b200", {}, "not calibrated in fp16"),
        ("rtx4090", {"sm.count": 64}, "not the shipped file"),
    ],
)
def test_a_board_of_which_nothing_was_measured_has_those_of_unknown_ones(name, changed, why):
    found = trust(name, **changed)
    assert not found.calibrated
    assert {one.machine for one in found.standings} == {""}
    assert found.remark.startswith(why)


def test_other_patterns_types_and_machines_have_no_error():
    for found, said in (
        (trust("h100_sxm", pattern="block(64x64,0.9)"), "no product of fp16 in block(64x64, 0.9)"),
        (trust("h100_sxm", "tf32"), "no product of tf32 in 2:4 was measured"),
        (trust("t4"), "runs it dense"),
        (trust("h100_sxm", pattern="monarch(4)"), "no measured product is like it"),
        (trust("s4", "int8"), "(published_s4)"),
        (trust("block_sparse"), "nothing published or measured is compared with it"),
    ):
        assert found.standings == ()
        assert not found.calibrated
        assert said in found.remark
        assert found.spread(64) == (1.0, 1.0)


def test_every_shipped_machine_has_something_to_say():
    for name, _ in list_archs():
        found = trust(name, "int8")
        assert is_shipped(load_arch(name))
        assert found.standings or found.remark


def test_rows_take_the_group_that_holds_them_or_the_next_larger_one():
    def group(least: int, most: int) -> Standing:
        return Standing(
            dtype="fp16", pattern="2:4", least_rows=least, most_rows=most, products=1, right=1,
            error=0.1, least=1 / most, most=1.0,
        )  # fmt: skip

    found = Trust("m", (group(64, 128), group(512, 1024)), True)
    for rows, most in ((1, 128), (128, 128), (129, 1024), (1024, 1024), (9999, 1024)):
        assert found.spread(rows) == (1 / most, 1.0)


def test_standings_are_errors_of_speed_ups_by_board_type_and_rows():
    measured = np.full(len(SHAPES), 2.0)
    measured[-5:] = [0.5, 1.0, 2.0, 4.0, 8.0]
    groups = [scored("dense", 4.0, np.full(len(SHAPES), 4.0)), scored("2:4", 2.0, measured)]
    few, some, many = gpu_trust.standings_of(groups).of("rtx4090", "fp16", "2:4")
    assert (few.least_rows, few.most_rows, few.products, few.right) == (8, 16, 10, 10)
    assert (few.error, few.least, few.most) == (0.0, 1.0, 1.0)
    assert (some.products, some.least_rows) == (5, 64)
    assert (many.products, many.right) == (5, 3)
    ratios = 2.0 / measured[-5:]
    assert many.error == pytest.approx(np.abs(1 / ratios - 1).mean(), rel=0.01)
    assert many.least == pytest.approx(np.quantile(ratios, 0.1), rel=0.01)
    assert many.most == pytest.approx(np.quantile(ratios, 0.9), rel=0.01)


def test_a_board_without_constants_of_its_own_has_no_standing_of_its_own():
    groups = [
        replace(one, calibrated=False)
        for one in (scored("dense", 4.0, np.ones(20)), scored("2:4", 2.0, np.ones(20)))
    ]
    assert gpu_trust.standings_of(groups).standings == ()


def test_a_board_as_unknown_is_pooled_under_no_name():
    groups = [
        scored("dense", 4.0, np.full(len(SHAPES), 4.0)), scored("2:4", 2.0, np.ones(len(SHAPES)))
    ]  # fmt: skip
    found = gpu_trust.standings_of(groups)
    lent = found.of("", "fp16", "2:4")
    assert sum(one.products for one in lent) == len(SHAPES)
    assert {one.error for one in lent} != {one.error for one in found.of("rtx4090", "fp16", "2:4")}


def test_the_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "standings.yaml"
    path.write_text(gpu_trust.as_yaml(standings()))
    assert load_spec(Standings, path) == standings()
    assert FILE.read_text() == path.read_text()


def test_a_decision_is_called_by_the_error_of_other_weights_alone():
    """One shape is measured the other way round: the others tell, and it must not tell of itself.

    A spread with it reaches from 1.2 below 1, so that products of the same rows are left open, but
    not those of its own weights.
    """
    measured = np.full(len(SHAPES), 2.0)
    measured[1] = 8.0
    groups = [scored("dense", 2.4, np.full(len(SHAPES), 2.4)), scored("2:4", 2.0, measured)]
    (own,) = gpu_trust.called(groups, [])
    assert (own.rows, own.exact_rows) == (12, 11)
    assert "8 of 20 left open, of which 8 are right" in own.note
    assert gpu_trust.called([groups[0]], []) == []


def test_a_board_as_unknown_is_called_by_the_error_of_the_others():
    dense = np.full(len(SHAPES), 2.4)
    good, bad = np.full(len(SHAPES), 2.0), np.full(len(SHAPES), 4.0)
    boards = [
        one
        for gpu, measured in (("RTX-4090", good), ("GB10", good), ("H200", bad))
        for one in (scored("dense", 2.4, dense, gpu), scored("2:4", 2.0, measured, gpu))
    ]
    (lent,) = gpu_trust.called([], boards)
    assert (lent.rows, lent.exact_rows) == (len(SHAPES), 0)
    (alone,) = gpu_trust.called([], boards[:4])
    assert (alone.rows, alone.exact_rows) == (2 * len(SHAPES), 2 * len(SHAPES))


def test_a_crossover_is_where_the_last_answer_begins():
    """Five layers over four sizes, simulated as paying everywhere."""
    dense = np.full(len(SHAPES), 2.4)
    measured = np.full((4, 5), 2.0)
    measured[0, 1] = 3.0
    measured[1, 2] = 3.0
    measured[3, 3] = 3.0
    groups = [scored("dense", 2.4, dense), scored("2:4", 2.0, measured.ravel())]
    (found,) = gpu_trust.crossings(groups, [])
    assert (found.rows, found.exact_rows, found.max_abs_diff) == (5, 2, 4)
    assert "at most one measured size off in 3 (60.0%)" in found.note
    assert [group.name for group in gpu_trust.crossings([], groups)] == [
        "crossover, boards as unknown"
    ]


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="CODESIGN_GPU_DATA names no folder of measured products")
def test_the_committed_file_is_what_the_data_say():
    found = gpu_trust.standings_of(scored_groups(Path(DATA or ""))[0])
    assert gpu_trust.as_yaml(found) == FILE.read_text()
