"""Do the lanes, stepped or in closed form, take the cycles of queues that tick, and give A . B?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.kernels.bank_group import pace_blocks, run_bank_groups
from codesign.schedule.banks import BankArray, slowest_banks, slowest_of_sets
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import parse_pattern
from tests.reference import bank_group_twin

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20))
shapes = st.tuples(*[st.integers(1, 4)] * 3, st.integers(1, 6))


def all_three(a, w, keep, shape, gather, width):
    """Stepped kernel, ticking twin and closed form of one product."""
    stepped = run_bank_groups(a, w, keep, shape, gather, width)
    ticked = bank_group_twin.run(a.tolist(), w.tolist(), keep.tolist(), shape, gather, width)
    array = BankArray(*shape, gather, width)
    counts = slowest_banks([Mask.from_dense(keep)], array, alike=False)
    slots = slowest_of_sets(counts, counts.shape[1], array)[0]
    return stepped, ticked, pace_blocks(slots, len(a), len(w), shape, gather, width)


@settings(deadline=None, max_examples=300)
@given(sizes, shapes, st.integers(0, 7), st.integers(1, 9), st.floats(0, 1), st.integers(0, 2**32))
def test_stepped_ticked_and_closed_form_agree(size, shape, gather, width, density, seed):
    m, n, k = size
    rng = np.random.default_rng(seed)
    keep = rng.random((n, k)) < density
    a, w = rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (n, k)) * keep
    stepped, ticked, paced = all_three(a, w, keep, shape, gather, width)
    assert stepped[0].tolist() == ticked[0] == (a @ w.T).tolist()
    assert stepped[1:] == ticked[1:]
    assert paced == ticked[1:3]
    assert stepped[3] == m * keep.sum()


@pytest.mark.parametrize("planted", ["none", "all", "one", "last set", "one lane"])
def test_planted_masks(planted):
    keep = np.zeros((7, 20), np.bool_)
    if planted == "all":
        keep[:] = True
    if planted == "one":
        keep[3, 11] = True
    if planted == "last set":
        keep[:, 16:] = True
    if planted == "one lane":
        keep[6] = True
    rng = np.random.default_rng(1)
    a, w = rng.integers(-9, 10, (10, 20)), rng.integers(1, 10, (7, 20)) * keep
    stepped, ticked, paced = all_three(a, w, keep, (4, 3, 2, 4), 3, 5)
    assert stepped[0].tolist() == ticked[0]
    assert stepped[1:] == ticked[1:]
    assert paced == ticked[1:3]


def test_a_balanced_mask_loses_nothing_and_an_unstructured_one_pays_for_its_slowest_bank():
    array = BankArray(4, 8, 2, 32, 1, 64)
    rng = np.random.default_rng(0)
    a = rng.integers(-9, 10, (4, 256))
    cycles = {}
    for text in ("2:32", "unstructured(0.9375)"):
        keep = parse_pattern(text).sample(16, 256, 3).to_dense()
        w = rng.integers(1, 10, keep.shape) * keep
        _, cycles[text], _, macs = run_bank_groups(a, w, keep, array.shape, 1, 64)
        assert macs == 4 * keep.sum()
    # 2 blocks of lanes, 4 sets, 2 weights of each bank, after one gather
    assert cycles["2:32"] == 1 + 2 * 4 * 2
    assert cycles["unstructured(0.9375)"] > 2 * cycles["2:32"]


def test_a_narrow_gather_bounds_the_speed_of_deep_sparsity():
    keep = parse_pattern("1:32").sample(8, 512, 0)
    a, w = np.ones((4, 512), np.int64), keep.to_dense().astype(np.int64)
    wide = run_bank_groups(a, w, keep.to_dense(), (4, 8, 2, 32), 1, 64)[1]
    narrow = run_bank_groups(a, w, keep.to_dense(), (4, 8, 2, 32), 4, 64)[1]
    assert (wide, narrow) == (1 + 8, 4 * 8 + 1)
