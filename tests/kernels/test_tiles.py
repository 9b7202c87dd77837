"""Do the packed-mask kernels do what their definition does, bit by bit?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.kernels import tiles
from tests.reference import tiles_twin as twin

GROUPS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 32, 33, 64, 100)
SHAPES = ((1, 1), (1, 7), (1, 8), (8, 8), (9, 8), (8, 9), (3, 64), (5, 63), (17, 33), (2, 130))


def packed_mask(rows, cols, density, seed):
    dense = np.random.default_rng(seed).random((rows, cols)) < density
    packed = np.packbits(dense, axis=1, bitorder="little")
    packed.flags.writeable = False
    return packed, dense.tolist()


MASKS = [
    packed_mask(rows, cols, density, seed)
    for seed, (rows, cols) in enumerate(SHAPES)
    for density in (0.0, 0.2, 0.7, 1.0)
]


@pytest.mark.parametrize("m", GROUPS)
def test_counts_of_groups_and_slowest_lanes(m):
    for packed, bits in MASKS:
        cols = len(bits[0])
        assert tiles.count_groups(packed, cols, m).tolist() == twin.group_counts(bits, m)
        for lanes in (1, 2, 3, 8, 32):
            counts = tiles.max_groups(packed, cols, m, lanes)
            assert counts.tolist() == twin.slowest_lane(bits, m, lanes)


@pytest.mark.parametrize("tile_rows", [1, 2, 5, 8, 64])
def test_counts_of_tiles(tile_rows):
    for packed, bits in MASKS:
        for tile_cols in GROUPS:
            counts = tiles.count_tiles(packed, len(bits[0]), tile_rows, tile_cols)
            assert counts.tolist() == twin.tile_counts(bits, tile_rows, tile_cols)


def test_transposition():
    for packed, bits in MASKS:
        across = tiles.transpose_bits(packed, len(bits[0]))
        assert twin.to_bits(across, len(bits)) == twin.transposed(bits)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint64])
@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (3, 4), (4, 4), (1, 8), (7, 8), (3, 5)])
def test_choosing_the_largest(n, m, dtype):
    for seed, (rows, cols) in enumerate(SHAPES):
        for values in (1, 2, 5, 1000):
            magnitude = np.random.default_rng(seed).integers(0, values, (rows, cols)).astype(dtype)
            packed = tiles.choose_groups(magnitude, n, m)
            assert twin.to_bits(packed, cols) == twin.chosen_groups(magnitude.tolist(), n, m)


def test_infinite_magnitudes_are_the_largest():
    magnitude = np.array([[1.0, np.inf, np.inf, 2.0], [np.inf, 0.0, 0.0, np.inf]])
    assert tiles.choose_groups(magnitude, 1, 4).tolist() == [[0b0010], [0b0001]]
    assert tiles.choose_groups(magnitude, 3, 4).tolist() == [[0b1110], [0b1011]]
