"""Are the array's conventions those of SCALE-Sim 3.0.0 and of STONNE's mesh, cycle for cycle?"""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.measure import validate_stonne
from codesign.measure.scalesim_rows import SAMPLES, Memory, Row, Window
from codesign.measure.validate_scalesim import judge, kendall_tau, peer_machine, simulate
from codesign.measure.validate_stonne import cycles

sizes = st.integers(1, 200)
edges = st.integers(1, 40)


def ours(row: Row) -> tuple[int, tuple[int, int, int]]:
    machine = peer_machine(row.array_rows, row.array_cols, row.dataflow, row.row_wise_block)
    done = simulate(row, machine)
    return done.cycles, done.accesses


def scalesim(
    m: int, n: int, k: int, rows: int, cols: int, dataflow: str
) -> tuple[int, tuple[int, int, int]]:
    """Cycles and SRAM accesses, fold after fold, each with its whole fill and drain.

    Fitted to 393 runs of SCALE-Sim 3.0.0; without its surplus of os output writes.
    """
    one = {
        "ws": 2 * rows + cols + m - 2, "is": 2 * rows + cols + n - 2, "os": rows + cols + k - 2,
    }[dataflow]  # fmt: skip
    down, across = {"ws": (k, n), "is": (k, m), "os": (m, n)}[dataflow]
    total = 0
    for _ in range(0, down, rows):
        for _ in range(0, across, cols):
            total += one
    reads_a = m * k * (1 if dataflow == "is" else ceil(n / cols))
    reads_b = n * k * {"ws": 1, "is": ceil(m / cols), "os": ceil(m / rows)}[dataflow]
    writes = m * n * (1 if dataflow == "os" else ceil(k / rows))
    return total, (reads_a, reads_b, writes)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, edges, edges, st.sampled_from(("ws", "os", "is")))
def test_dense_layers_take_the_cycles_and_accesses_of_scalesim(
    m: int, n: int, k: int, rows: int, cols: int, dataflow: str
) -> None:
    row = Row(
        name="layer", m=m, n=n, k=k, array_rows=rows, array_cols=cols, dataflow=dataflow,
        total_cycles=0,
    )  # fmt: skip
    assert ours(row) == scalesim(m, n, k, rows, cols, dataflow)


@settings(max_examples=60, deadline=None)
@given(
    sizes, sizes, sizes, edges, edges, st.sampled_from(("ws", "os", "is")),
    st.sampled_from(((1, 4), (2, 4), (3, 4), (4, 4), (2, 8), (2, 16))), st.integers(0, 9),
)  # fmt: skip
def test_sparse_layers_shorten_the_reduction_as_scalesim_does(
    m: int, n: int, k: int, rows: int, cols: int, dataflow: str, nm: tuple[int, int], block: int
) -> None:
    kept, group = nm
    left = sum(min(kept, min(start + group, k) - start) for start in range(0, k, group))
    if block:
        left = ceil(k / (2 * block)) * block
    row = Row(
        name="layer", m=m, n=n, k=k, array_rows=rows, array_cols=cols, dataflow=dataflow,
        total_cycles=0, nm=f"{kept}:{group}", row_wise_block=block,
    )  # fmt: skip
    assert ours(row)[0] == scalesim(m, n, left, rows, cols, dataflow)[0]


@pytest.mark.parametrize(
    ("m", "n", "k", "dataflow", "nm", "block", "total"),
    [
        (64, 64, 64, "ws", "", 0, 631),
        (64, 64, 256, "ws", "", 0, 2527),
        (64, 64, 256, "os", "", 0, 1271),
        (256, 128, 512, "os", "2:4", 0, 10175),
        (256, 128, 512, "ws", "2:16", 0, 2799),
        (100, 48, 200, "ws", "", 0, 2715),
        (100, 48, 200, "os", "", 0, 2095),
        (1024, 64, 576, "ws", "", 0, 40247),
        (1024, 64, 576, "os", "", 0, 40831),
        (1024, 64, 576, "ws", "2:8", 0, 11179),
        (1024, 64, 576, "ws", "2:16", 0, 6707),
        (1024, 64, 576, "ws", "2:8", 4, 20123),
    ],
)
def test_runs_of_scalesim_from_its_repository(
    m: int, n: int, k: int, dataflow: str, nm: str, block: int, total: int
) -> None:
    """scalesim-project/SCALE-Sim, commit 1d62b68, 32x32, mode CALC: "Total Cycles"."""
    row = Row(
        name="layer", m=m, n=n, k=k, array_rows=32, array_cols=32, dataflow=dataflow,
        total_cycles=total, nm=nm, row_wise_block=block,
    )  # fmt: skip
    assert ours(row)[0] == total + 1


def test_a_convolution_without_padding_rounds_its_output_up() -> None:
    window = Window(56, 57, 3, 1, 8, 16, 2)
    assert (window.out_h, window.out_w) == (28, 29)
    assert Window(7, 7, 7, 7, 1, 1, 3).out_h == 1


def test_the_sample_rows_are_equal_and_cover_every_kind() -> None:
    found = judge(SAMPLES)
    assert found.passed
    assert found.rows == found.exact_rows == sum(row.stall_cycles == 0 for row in SAMPLES)
    names = {group.name for group in found.groups}
    for dataflow in ("ws", "os", "is"):
        for kind in ("GEMM dense", "GEMM layer-wise N:M", "conv dense"):
            assert f"{dataflow} {kind}" in names
    assert "ws GEMM row-wise N:M" in names
    assert {row["section"] for row in found.table} == {"stalled rows"}


def test_rows_whose_tiles_do_not_fit_are_left_out_and_not_lost() -> None:
    row = Row(
        name="layer", m=64, n=64, k=64, array_rows=32, array_cols=32, dataflow="ws",
        total_cycles=37977, stall_cycles=37346, memory=Memory((1, 1, 1), (1, 1, 1)),
    )  # fmt: skip
    found = judge([row], failed=2)
    assert [(g.name, g.rows) for g in found.groups] == [
        ("left out: stalled rows", 1),
        ("left out: unfinished rows", 2),
    ]
    assert (found.rows, found.passed) == (0, True)
    assert found.skipped_reason == "no row could be compared"


def test_kendalls_tau() -> None:
    assert kendall_tau([1, 2, 3, 4], [2, 3, 5, 9]) == 1
    assert kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    # Two ties in the second column: 4 concordant pairs of 6 and 5 untied ones.
    assert kendall_tau([1, 2, 3, 4], [1, 2, 2, 3]) == pytest.approx(5 / (6 * 5) ** 0.5)
    assert kendall_tau([1, 1], [1, 2]) == 0


def stonne(m: int, n: int, k: int, rows: int, cols: int) -> int:
    """Tile after tile of STONNE's output-stationary mesh (commit 22634b8), fitted to 21 runs."""
    total = 0
    for i in range(0, m, rows):
        for j in range(0, n, cols):
            used_rows, used_cols = min(rows, m - i), min(cols, n - j)
            total += k + used_rows + used_cols + 3 - (used_rows == 1 or used_cols == 1)
    return total


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, edges, edges)
def test_products_take_the_cycles_of_stonnes_mesh(
    m: int, n: int, k: int, rows: int, cols: int
) -> None:
    assert cycles(validate_stonne.Row(m, n, k, rows, cols, 0)) == stonne(m, n, k, rows, cols)


def test_the_sample_rows_of_stonne_are_equal() -> None:
    found = validate_stonne.judge(validate_stonne.SAMPLES)
    assert (found.rows, found.exact_rows, found.passed) == (12, 12, True)
    off = validate_stonne.Row(64, 64, 64, 4, 4, 19201)
    missed = validate_stonne.judge([off])
    assert (missed.passed, missed.max_abs_diff) == (False, 1)
    assert missed.table[0]["ours"] == 19200


def test_stonnes_other_machines_are_counted_as_not_modelled(tmp_path) -> None:
    file = tmp_path / "stonne.csv"
    header = "case,operation,controller,m,n,k,array_rows,array_cols,total_cycles,error\n"
    file.write_text(
        header
        + "a,DenseGEMM,TPU_OS_DENSE mesh,64,64,64,4,4,19200,\n"
        + "b,SparseGEMM,SIGMA bitmap SpGEMM,64,64,64,,,2287,\n"
        + "c,DenseGEMM,TPU_OS_DENSE mesh,64,64,64,16,16,,SIGSEGV\n"
        + "d,DenseGEMM,MAERI dense,64,64,64,,,4500,\n"
    )
    found = validate_stonne.run(file)
    assert [(group.name, group.rows, group.bound) for group in found.groups] == [
        ("cycles: output-stationary mesh", 1, "difference 0"),
        ("left out: DenseGEMM on MAERI dense", 1, None),
        ("left out: SparseGEMM on SIGMA bitmap SpGEMM", 1, None),
        ("left out: unfinished rows", 1, None),
    ]
