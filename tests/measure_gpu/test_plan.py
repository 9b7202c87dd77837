"""Does the plan fit its runs, and is its split the frozen one?"""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.measure.gpu_plan import (
    KERNELS,
    LIMIT_S,
    RULES,
    TRITON,
    Point,
    counter_points,
    held_out,
    point_of,
    require_frozen,
    run_named,
    runs,
    split_text,
)
from codesign.measure.gpu_results import read_results
from codesign.measure.gpu_session import stand_in

FOLDER = Path(__file__).resolve().parents[2] / "measurements"
POINTS = [point for run in runs() for point in run.points]


def test_each_run_fits_in_nine_minutes() -> None:
    assert all(0 < run.estimated_s <= LIMIT_S for run in runs())


def test_a_key_names_its_point_and_no_other() -> None:
    for run in runs():
        assert len({point.key for point in run.points}) == len(run.points)
    assert all(point_of(point.key) == point for point in POINTS)
    assert {point.kernel for point in POINTS} == set(KERNELS)


@pytest.mark.parametrize("key", ["", "cublas", "a b m1 n2 kx", "a b 1 2 3", "a b m1 n1 k1 z"])
def test_a_key_that_names_no_point_is_refused(key: str) -> None:
    with pytest.raises(CodesignError):
        point_of(key)


def test_the_split_is_the_frozen_one() -> None:
    assert len(require_frozen(FOLDER / "split.json")) == 64


def test_measured_rows_were_split_by_a_split_that_is_kept() -> None:
    known = {require_frozen(FOLDER / "split.json")}
    found = read_results(FOLDER / "results.json")
    assert {session.split_sha256 for session in found.sessions} <= known
    for row in (*found.latency, *found.energy, *found.counters):
        assert row.split == (" ".join(held_out(point_of(row.key))) or "fit")


def test_a_split_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    with pytest.raises(CodesignError, match="freeze"):
        require_frozen(path)
    path.write_text(split_text().replace('"model"', '"fit"'), encoding="utf-8")
    with pytest.raises(CodesignError, match="frozen"):
        require_frozen(path)


def test_every_rule_holds_points_out_and_most_kernels_keep_some_to_fit() -> None:
    reasons = {reason for point in POINTS for reason in held_out(point)}
    assert reasons == set(RULES)
    fit = {point.kernel for point in POINTS if not held_out(point)}
    assert {"cublas", "cusparselt_search", "triton_dense", "triton_block"} <= fit
    assert not {"triton_nm", "triton_bitmap", "triton_decode"} & fit


def test_each_product_that_is_timed_sparse_is_timed_dense_too() -> None:
    gemm = run_named("gemm").points
    dense = {(p.dtype, p.m, p.n, p.k) for p in gemm if p.kernel == "cublas"}
    sparse = {(p.dtype, p.m, p.n, p.k) for p in gemm if p.kernel.startswith("cusparselt")}
    assert sparse <= dense
    assert len(sparse) > 100


def test_repeats_are_a_tenth_of_the_points() -> None:
    run = run_named("gemm")
    assert set(run.repeats) <= set(run.points)
    assert len(run.repeats) == -(-len(run.points) // 10)


def test_operands_stay_within_what_kernels_address() -> None:
    for point in POINTS:
        if point.kernel in TRITON:
            assert max(point.m * point.k, point.n * point.k, point.m * point.n) < 2**31


def test_int8_products_have_the_rows_that_the_library_asks_for() -> None:
    assert all(p.m > 16 for p in (*POINTS, *counter_points()) if p.dtype == "int8")


def _compiled_as(point: Point) -> tuple[object, ...]:
    """What Triton makes different code for."""
    from codesign.measure.gpu_triton import tile_rows

    sizes = (point.m, point.n, point.k)
    even = None
    if point.kernel == "triton_dense":
        even = point.k % point.count("tile_k") == 0
    return (
        point.kernel, point.dtype, point.options, even, tile_rows(point.m),
        *(size % 16 == 0 for size in sizes), *(size == 1 for size in sizes),
    )  # fmt: skip


def test_rows_that_are_no_multiple_of_16_compile_as_such() -> None:
    pytest.importorskip("triton", reason="tiles of the Triton kernels")
    point = Point("triton_bitmap", "bf16", 8190, 4096, 4096, (("sparsity", 0.5),))
    assert _compiled_as(stand_in(point)) == _compiled_as(point)


def test_what_is_compiled_ahead_is_what_is_measured() -> None:
    pytest.importorskip("triton", reason="tiles of the Triton kernels")
    for point in POINTS:
        if point.kernel in TRITON and not point.kernel.startswith("triton_decode"):
            assert _compiled_as(stand_in(point)) == _compiled_as(point)
            assert stand_in(point).m <= 144
