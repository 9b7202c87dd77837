"""Does the stepped array compute A B exactly, in the cycles of a register-by-register model?"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pytest

from codesign.kernels.pe_array import run_output_stationary, run_weight_stationary
from tests.reference import pe_array_twin
from tests.reference.pe_array_closed_form import (
    output_stationary_cycles,
    weight_stationary_cycles,
)

CLOSED_FORM_CASES = 60 if numba.config.DISABLE_JIT else 600


@dataclass(frozen=True)
class Case:
    """A product and the array that runs it."""

    a: np.ndarray
    b: np.ndarray
    group_size: int
    rows: int
    cols: int
    add_latency: int = 1
    interleave: int = 1
    overlap: bool = True
    full_size_edges: bool = False
    drain: bool = True

    @property
    def ws_options(self):
        return (
            self.group_size,
            self.rows,
            self.cols,
            self.add_latency,
            self.overlap,
            self.full_size_edges,
        )

    @property
    def os_options(self):
        return (
            *self.ws_options[:4],
            self.interleave,
            self.overlap,
            self.full_size_edges,
            self.drain,
        )


def compress(b, group_size):
    """Values and indices [n, group, lane] of the non-zeros in order, and how many there are."""
    k, n = b.shape
    groups = -(-k // group_size)
    grouped = np.zeros((groups * group_size, n), dtype=np.int64)
    grouped[:k] = b
    grouped = grouped.reshape(groups, group_size, n).transpose(2, 0, 1)
    kept = np.count_nonzero(grouped, axis=2)
    index = np.argsort(grouped == 0, axis=2, kind="stable")[:, :, : max(1, kept.max())]
    # Lanes beyond kept hold rubbish that must not reach the result.
    values = np.where(
        np.arange(index.shape[2]) < kept[:, :, None],
        np.take_along_axis(grouped, index, axis=2),
        10**9,
    )
    return values, np.ascontiguousarray(index), kept.astype(np.int64)


def as_lists(case):
    """Operands as the twin takes them."""
    k, n = case.b.shape
    size = case.group_size
    return case.a.tolist(), [
        [
            {i: int(v) for i, v in enumerate(case.b[first : first + size, col]) if v}
            for first in range(0, k, size)
        ]
        for col in range(n)
    ]


def random_case(seed: int, longest: int = 12) -> Case:
    rng = np.random.default_rng(seed)
    m, n, k = rng.integers(1, longest + 1, 3)
    density = rng.choice([0.1, 0.4, 0.8, 1.0])
    b = rng.integers(1, 9, (k, n)) * rng.choice([-1, 1], (k, n)) * (rng.random((k, n)) < density)
    b[:, rng.random(n) < 0.1] = 0
    overlap, full_size_edges, drain = (bool(x) for x in rng.integers(0, 2, 3))
    return Case(
        rng.integers(-9, 10, (m, k)),
        b,
        group_size=int(rng.integers(1, 9)),
        rows=int(rng.integers(1, 6)),
        cols=int(rng.integers(1, 6)),
        add_latency=int(rng.integers(1, 6)),
        interleave=int(rng.integers(1, 5)),
        overlap=overlap,
        full_size_edges=full_size_edges,
        drain=drain,
    )


def ws(case):
    return run_weight_stationary(case.a, *compress(case.b, case.group_size), *case.ws_options)


def os(case):
    return run_output_stationary(case.a, *compress(case.b, case.group_size), *case.os_options)


def dense(m, n, k, rows, cols, **options):
    rng = np.random.default_rng(m * n * k)
    return Case(rng.integers(-9, 10, (m, k)), rng.integers(1, 9, (k, n)), 1, rows, cols, **options)


def assert_equals_twin(case):
    for got, expected in (
        (ws(case), pe_array_twin.weight_stationary(*as_lists(case), *case.ws_options)),
        (os(case), pe_array_twin.output_stationary(*as_lists(case), *case.os_options)),
    ):
        c, start, end, macs = got
        assert (c.tolist(), start.tolist(), end.tolist(), macs) == expected


def assert_equals_numpy_and_closed_form(case):
    m = len(case.a)
    _, _, kept = compress(case.b, case.group_size)
    forms = (
        weight_stationary_cycles(m, kept, *case.ws_options[1:]),
        output_stationary_cycles(m, kept, *case.os_options[1:]),
    )
    for (c, start, end, macs), form in zip((ws(case), os(case)), forms, strict=True):
        assert np.array_equal(c, case.a @ case.b)
        assert macs == m * np.count_nonzero(case.b)
        assert (start.tolist(), end.tolist()) == form


@pytest.mark.parametrize("block", range(8))
def test_small_random_arrays_equal_the_twin(block):
    for seed in range(50 * block, 50 * block + 50):
        assert_equals_twin(random_case(seed, longest=12 if seed % 2 else 7))


def test_random_arrays_equal_numpy_and_the_closed_forms():
    for seed in range(1000, 1000 + CLOSED_FORM_CASES):
        assert_equals_numpy_and_closed_form(random_case(seed))


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("drain", [False, True])
def test_degenerate_products_are_exact(overlap, drain):
    rng = np.random.default_rng(3)
    options = {"overlap": overlap, "drain": drain}
    ones = np.ones((5, 6), dtype=np.int64)
    zeros = np.zeros((6, 4), dtype=np.int64)
    empty_columns = rng.integers(1, 9, (6, 4)) * np.array([0, 1, 0, 1])
    empty_group = rng.integers(1, 9, (6, 4)) * np.array([1, 1, 0, 0, 1, 1])[:, None]
    for b in (zeros, zeros + 1, empty_columns, empty_group):
        for group_size in (1, 2, 6, 8):
            for rows, cols in ((1, 1), (3, 2), (9, 9)):
                for add_latency in (1, 4):
                    case = Case(ones, b, group_size, rows, cols, add_latency, 3, **options)
                    assert_equals_numpy_and_closed_form(case)
    for case in (
        Case(ones[:1, :1], zeros[:1, :1] + 2, 1, 1, 1, **options),
        Case(ones[:1, :1], zeros[:1, :1], 8, 4, 4, 5, 4, **options),
        dense(1, 9, 7, 2, 2, add_latency=3, interleave=2, **options),
        dense(9, 1, 7, 2, 2, add_latency=3, interleave=2, **options),
        dense(7, 9, 1, 2, 2, add_latency=3, interleave=2, **options),
    ):
        assert_equals_twin(case)
        assert_equals_numpy_and_closed_form(case)


@pytest.mark.parametrize(
    ("m", "n", "k", "edge", "ws_cycles", "os_cycles"),
    [
        (32, 32, 32, 8, 864, 736),
        (32, 32, 32, 32, 126, 94),
        (64, 64, 64, 32, 632, 504),
    ],
)
def test_cycles_equal_scale_sim(m, n, k, edge, ws_cycles, os_cycles):
    """Counts of SCALE-Sim 3.0.0 (PyPI) without stalls; it prints the last index, one less."""
    case = dense(m, n, k, edge, edge, overlap=False, full_size_edges=True, drain=False)
    for (c, _, end, _), cycles in ((ws(case), ws_cycles), (os(case), os_cycles)):
        assert np.array_equal(c, case.a @ case.b)
        assert end.max() == cycles


@pytest.mark.parametrize(("m", "n", "k", "rows", "cols"), [(9, 10, 11, 4, 3), (3, 2, 17, 2, 5)])
def test_sequential_folds_at_full_size_follow_scale_sim_formulas(m, n, k, rows, cols):
    case = dense(m, n, k, rows, cols, overlap=False, full_size_edges=True, drain=False)
    along_n = -(-n // cols)
    assert ws(case)[2].max() == -(-k // rows) * along_n * (2 * rows + cols + m - 2)
    assert os(case)[2].max() == -(-m // rows) * along_n * (rows + cols + k - 2)


def test_interleaving_hides_the_latency_of_the_adder():
    """One tile waits add_latency cycles for each step; with as many tiles as that nobody waits."""
    alone = os(dense(4, 4, 20, 4, 4, add_latency=4, drain=False))[2].max()
    assert alone == 19 * 4 + 1 + 4 + 4 + 4 - 3
    four = os(dense(16, 4, 20, 4, 4, add_latency=4, interleave=4, drain=False))[2].max()
    assert four == 20 * 4 + 4 + 4 + 4 - 3


def test_the_slowest_column_holds_the_others_back():
    """Two groups of four; one column keeps four values of the first group, all others keep one."""
    b = np.zeros((8, 4), dtype=np.int64)
    b[[0, 4]] = 1
    quick = Case(np.ones((10, 8), dtype=np.int64), b, 4, 2, 4)
    slow = Case(quick.a, b.copy(), 4, 2, 4)
    slow.b[1:4, 2] = 1
    for case, slots in ((quick, 1), (slow, 4)):
        _, start, end, _ = ws(case)
        assert start[0] == 2 * slots
        assert end[0] - start[0] == 10 * slots + 2 + 4 - 2
    assert os(slow)[2][0] - os(quick)[2][0] == 3


def test_overlapping_folds_is_never_slower():
    for seed in range(2000, 2000 + CLOSED_FORM_CASES // 6):
        case = random_case(seed)
        sequential = Case(**{**case.__dict__, "overlap": False})
        overlapped = Case(**{**case.__dict__, "overlap": True})
        for run in (ws, os):
            assert run(overlapped)[2].max() <= run(sequential)[2].max()
