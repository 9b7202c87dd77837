"""Do the packed-mask kernels do what their definition does, bit by bit?"""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pytest

from codesign.kernels import tiles
from tests.reference import tiles_twin as twin

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

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


@pytest.mark.parametrize(
    ("n", "m"), [(1, 1), (1, 2), (2, 4), (3, 4), (4, 4), (1, 8), (5, 7), (2, 16), (9, 64), (1, 999)]
)
def test_sampling_n_of_m(n, m):
    for key, (rows, cols) in enumerate(SHAPES):
        packed = tiles.sample_groups(rows, cols, n, m, np.uint64(key * 0x123456789ABCDEF))
        expected = twin.sampled_groups(rows, cols, n, m, key * 0x123456789ABCDEF)
        assert twin.to_bits(packed, cols) == expected


def test_sampling_an_exact_count():
    for key, (rows, cols) in enumerate(SHAPES):
        size = rows * cols
        for kept in {0, 1, size // 3, size - 1, size}:
            packed = tiles.sample_count(rows, cols, kept, np.uint64(key))
            bits = twin.to_bits(packed, cols)
            assert bits == twin.sampled_count(rows, cols, kept, key)
            assert sum(map(sum, bits)) == kept


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


def chi_square(counts):
    """Distance of counts from equal counts, in standard deviations of the chi-square statistic."""
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_every_choice_is_equally_likely(seed):
    packed = tiles.sample_groups(500, 80, 3, 8, np.uint64(seed))
    choices = [sum(1 << j for j in kept) for kept in combinations(range(8), 3)]
    counts = np.bincount(packed.reshape(-1), minlength=256)
    assert counts.sum() == counts[choices].sum()
    assert chi_square(counts[choices]) < 4
    drawn = [tiles.sample_count(1, 5, 2, np.uint64(seed + i)).item() for i in range(4000)]
    pairs = [sum(1 << j for j in kept) for kept in combinations(range(5), 2)]
    assert chi_square(np.bincount(drawn, minlength=32)[pairs]) < 4


def test_samples_are_the_same_everywhere():
    content = tiles.sample_groups(64, 100, 2, 4, np.uint64(7)).tobytes()
    content += tiles.sample_count(64, 100, 640, np.uint64(7)).tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "3fe8e272bb67cbd0"
