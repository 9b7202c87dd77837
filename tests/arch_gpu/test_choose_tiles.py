"""Does the kernel find the plain model's tile and time, and keep the laws of hardware?"""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.arch import load_arch
from codesign.arch.gpu_kernels import SPLITS, laws, tile_library
from codesign.kernels.tensor_core import CYCLES, DRAM_READ, choose_tiles
from codesign.kernels.tensor_core import SPLITS as PARTS
from tests.reference.tensor_core_twin import Constants, Gpu, Laws, Operands, least_cycles

HOPPER = Gpu(132, 25e6, 4950, 2424, 1200, 232448, 1)
AMPERE = Gpu(108, 20e6, 3830, 1446, 570, 167936, 0)
BLACKWELL = Gpu(148, 63e6, 8602, 3904, 1300, 232448, 1, 128, 512, 1)
COLD = Constants(0.85, 0.7, 2.0, 100, 20, 1100, 6000, 132 * 2048 * 0.7, 0.0, 1.0, 1.0, 0.0)
LAWS = Laws(*laws().row())
PLAIN = Operands(2, 2, 1, 2048, 1, 0, 32)
SPARSE = Operands(2, 2, 0.5625, 4096, 1, 0, 1)

SIZES = st.tuples(
    st.integers(1, 4), st.integers(1, 3000), st.integers(1, 5000), st.integers(1, 9000)
)


def tiles_of(gpu: Gpu) -> list[tuple[int, int, int]]:
    if not gpu.rows:
        return [(m, n, 0) for m, n in tile_library(bool(gpu.warp_groups))]
    return [(m, n, 1) for m, n in load_arch("b200").board.tiles()]


def chosen(size, gpu: Gpu, constants: Constants, operands: Operands, tiles=None) -> np.ndarray:
    return choose_tiles(
        np.array([size], dtype=np.int64),
        np.array(tiles or tiles_of(gpu), dtype=np.int64),
        np.array(SPLITS, dtype=np.int64),
        np.array(astuple(gpu), dtype=np.float64),
        np.array(astuple(constants), dtype=np.float64),
        np.array(astuple(LAWS), dtype=np.float64),
        np.array(astuple(operands), dtype=np.float64),
    )[0]


def cycles(size, gpu=HOPPER, constants=COLD, operands=PLAIN) -> float:
    return float(chosen(size, gpu, constants, operands)[CYCLES])


@given(
    size=SIZES,
    gpu=st.sampled_from(
        [HOPPER, AMPERE, BLACKWELL, replace(BLACKWELL, columns=256), replace(BLACKWELL, pairs=0)]
    ),
    operands=st.sampled_from(
        [PLAIN, SPARSE, Operands(1, 2, 1, 4096, 1, 0, 32), Operands(2, 0, 1.1, 2048, 0.25, 1, 8)]
    ),
    warm=st.sampled_from([0.0, 2e7]),
    burst=st.sampled_from([1.0, 1.4]),
    by_rows=st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_model(size, gpu, operands, warm, burst, by_rows):
    constants = replace(COLD, warm=warm, burst=burst, window=2e6, by_rows=by_rows)
    expected = least_cycles(size, tiles_of(gpu), SPLITS, gpu, constants, LAWS, operands)
    assert cycles(size, gpu, constants, operands) == pytest.approx(expected, rel=1e-9)


def test_equals_the_plain_model_with_given_residents():
    tiles = [(64, 64, 1), (128, 128, 1)]
    for size in [(1, 16, 4096, 8192), (1, 700, 700, 700)]:
        expected = least_cycles(size, tiles, SPLITS, HOPPER, COLD, LAWS, PLAIN)
        found = chosen(size, HOPPER, COLD, PLAIN, tiles)[CYCLES]
        assert found == pytest.approx(expected, rel=1e-9)


@given(
    size=SIZES,
    operands=st.sampled_from([PLAIN, SPARSE]),
    gpu=st.sampled_from([HOPPER, BLACKWELL]),
)
@settings(max_examples=60, deadline=None)
def test_never_under_the_roofline(size, operands, gpu):
    groups, m, n, k = size
    row = chosen(size, gpu, COLD, operands)
    if m > 1:
        assert row[CYCLES] >= groups * m * n * k / (gpu.multiprocessors * operands.rate)
    moved = groups * (m * k + n * k * operands.b_share + m * n) * 2
    assert row[CYCLES] >= moved / gpu.dram_rate * (1 - 1e-12)
    assert row[DRAM_READ] >= groups * (m * k + n * k * operands.b_share) * 2 * (1 - 1e-12)


@given(size=SIZES, gpu=st.sampled_from([HOPPER, BLACKWELL]))
@settings(max_examples=60, deadline=None)
def test_sparse_products_gain_no_more_than_two(size, gpu):
    plain = replace(PLAIN, most_splits=1)
    sparse = replace(SPARSE, b_share=0.5)
    both = replace(COLD, cap=1e12)
    quick = replace(gpu, dram_latency=0.001)
    dense = cycles((*size[:1], size[1] + 1, *size[2:]), quick, both, plain)
    assert dense / cycles((*size[:1], size[1] + 1, *size[2:]), quick, both, sparse) <= 2 + 1e-9


@pytest.mark.parametrize("field", ["multiprocessors", "dram_rate", "l2_rate", "l2_bytes"])
@given(
    size=SIZES, factor=st.sampled_from([1.25, 2.0, 3.0]), gpu=st.sampled_from([HOPPER, BLACKWELL])
)
@settings(max_examples=30, deadline=None)
def test_more_hardware_is_never_slower(field, size, factor, gpu):
    more = replace(gpu, **{field: float(int(getattr(gpu, field) * factor))})
    assert cycles(size, more) <= cycles(size, gpu) * (1 + 1e-9)


@given(size=SIZES, change=st.sampled_from([("columns", 256), ("pairs", 0)]))
@settings(max_examples=30, deadline=None)
def test_less_tensor_memory_is_never_quicker(size, change):
    assert cycles(size, replace(BLACKWELL, **dict([change]))) >= cycles(size, BLACKWELL)


UNHINDERED = replace(COLD, cap=1e12, warm=1e12, step=0.0)
QUICK_L2 = replace(BLACKWELL, l2_rate=1e12)


def test_a_second_tile_in_tensor_memory_hides_all_storing_but_the_last():
    size, tiles = (1, 148 * 128 * 6, 256, 4096), [(128, 256, 1)]
    one, two = (
        chosen(size, replace(QUICK_L2, columns=columns), UNHINDERED, PLAIN, tiles)[CYCLES]
        for columns in (511, 512)
    )
    storing = 128 * 256 * PLAIN.c_size / UNHINDERED.store
    assert one - two == pytest.approx(5 * (storing + UNHINDERED.prologue))


def test_instructions_of_half_the_rows_reach_half_the_rate():
    size, narrow = (1, 64, 148 * 64, 1 << 20), replace(PLAIN, a_size=0.5)
    whole, half = (
        chosen(size, replace(QUICK_L2, rows=rows), UNHINDERED, narrow, [(64, 64, 1)])[CYCLES]
        for rows in (64, 128)
    )
    assert half / whole == pytest.approx(2, rel=0.02)


def test_a_pair_of_multiprocessors_reads_half_of_the_other_operand_each():
    size, quick = (1, 256, 64 * 148, 1 << 20), replace(PLAIN, rate=1e6)
    alone, pair = (
        chosen(size, replace(QUICK_L2, pairs=pairs), UNHINDERED, quick, [(128, 128, 1)])[CYCLES]
        for pairs in (0, 1)
    )
    assert alone / pair == pytest.approx((128 + 128) / (128 + 64), rel=0.001)


def test_rows_of_tiles_read_weights_that_do_not_fit_again_and_again():
    big, small = (1, 4096, 16384, 16384), (1, 4096, 1024, 1024)
    by_rows = replace(COLD, by_rows=1.0)
    tiles = [(128, 128, 1)]
    reads = [chosen(big, AMPERE, c, PLAIN, tiles)[DRAM_READ] for c in (COLD, by_rows)]
    rows_of_tiles = 4096 / 128
    assert reads[1] == pytest.approx(2 * 4096 * 16384 + 2 * 16384**2 * rows_of_tiles, rel=0.01)
    assert reads[0] < reads[1] / 5
    assert cycles(small, AMPERE, by_rows) == cycles(small, AMPERE, COLD)


def test_power_limits_long_runs_and_short_ones_less():
    size = (1, 8192, 8192, 8192)
    free, held = replace(COLD, cap=1e12), replace(COLD, cap=132 * 2048 * 0.5)
    assert cycles(size, constants=held) == pytest.approx(8192**3 / held.cap)
    short = replace(held, burst=1.4, window=1e9)
    assert cycles(size) < cycles(size, constants=held)
    assert (
        cycles(size, constants=free) < cycles(size, constants=short) < cycles(size, constants=held)
    )


def test_small_products_with_a_long_reduction_are_split():
    row = chosen((1, 16, 128, 65536), HOPPER, COLD, PLAIN)
    assert row[PARTS] > 1
    assert chosen((1, 16, 128, 65536), HOPPER, COLD, replace(PLAIN, most_splits=1))[PARTS] == 1
