"""Are random masks what their definition gives, each as likely as any other?"""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pytest

from codesign.kernels import sampling
from tests.reference import sampling_twin as twin
from tests.reference.tiles_twin import to_bits

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

SHAPES = ((1, 1), (1, 7), (1, 8), (8, 8), (9, 8), (8, 9), (3, 64), (5, 63), (17, 33), (2, 130))


@pytest.mark.parametrize(
    ("n", "m"), [(1, 1), (1, 2), (2, 4), (3, 4), (4, 4), (1, 8), (5, 7), (2, 16), (9, 64), (1, 999)]
)
def test_sampling_n_of_m(n, m):
    for key, (rows, cols) in enumerate(SHAPES):
        packed = sampling.sample_groups(rows, cols, n, m, np.uint64(key * 0x123456789ABCDEF))
        expected = twin.sampled_groups(rows, cols, n, m, key * 0x123456789ABCDEF)
        assert to_bits(packed, cols) == expected


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (1, 8), (3, 5), (2, 16)])
def test_thinning_along_the_rows(n, m):
    for key, (rows, cols) in enumerate(SHAPES):
        packed = sampling.sample_count(rows, cols, rows * cols * 2 // 3, np.uint64(key))
        expected = twin.thinned(to_bits(packed, cols), n, m, key)
        sampling.thin_rows(packed, cols, n, m, np.uint64(key))
        assert to_bits(packed, cols) == expected


def test_sampling_an_exact_count():
    for key, (rows, cols) in enumerate(SHAPES):
        size = rows * cols
        for kept in {0, 1, size // 3, size - 1, size}:
            packed = sampling.sample_count(rows, cols, kept, np.uint64(key))
            bits = to_bits(packed, cols)
            assert bits == twin.sampled_count(rows, cols, kept, key)
            assert sum(map(sum, bits)) == kept


def chi_square(counts):
    """Distance of counts from equal counts, in standard deviations of the chi-square statistic."""
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_every_choice_is_equally_likely(seed):
    packed = sampling.sample_groups(500, 80, 3, 8, np.uint64(seed))
    choices = [sum(1 << j for j in kept) for kept in combinations(range(8), 3)]
    counts = np.bincount(packed.reshape(-1), minlength=256)
    assert counts.sum() == counts[choices].sum()
    assert chi_square(counts[choices]) < 4
    drawn = [sampling.sample_count(1, 5, 2, np.uint64(seed + i)).item() for i in range(4000)]
    pairs = [sum(1 << j for j in kept) for kept in combinations(range(5), 2)]
    assert chi_square(np.bincount(drawn, minlength=32)[pairs]) < 4


@pytest.mark.parametrize("kept", [2, 60, 118, 209])
def test_no_place_and_no_pair_of_places_is_preferred(kept):
    rows, cols, keys = 3, 70, 1500
    size = rows * cols
    packed = [sampling.sample_count(rows, cols, kept, np.uint64(key)) for key in range(keys)]
    flat = np.array([to_bits(p, cols) for p in packed], float).reshape(keys, size)
    together = flat.T @ flat
    one, two = kept / size, kept * (kept - 1) / (size * (size - 1))
    assert np.abs(np.diag(together) - keys * one).max() < 5 * (keys * one * (1 - one)) ** 0.5
    pairs = together[np.triu_indices(size, 1)]
    far = np.abs(pairs - keys * two).max()
    assert far < 5.5 * max(keys * two * (1 - two), 1) ** 0.5 + 1


def test_samples_are_the_same_everywhere():
    content = sampling.sample_groups(64, 100, 2, 4, np.uint64(7)).tobytes()
    content += sampling.sample_count(64, 100, 640, np.uint64(7)).tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "d575487c0b898e33"
