"""Do the patterns of the literature print, project, sample, accept and store as they say?"""

from __future__ import annotations

from itertools import combinations, product
from math import ceil, comb, log2

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.sparsity.base import random_keys
from codesign.sparsity.both_ways import DoublePruned, Transposable
from codesign.sparsity.butterfly import FlatButterfly
from codesign.sparsity.chunks import NMGrouped
from codesign.sparsity.fan_in import FanIn, FanOut
from codesign.sparsity.formats import expected_bytes, unpack
from codesign.sparsity.hybrid import Split, Tiles
from codesign.sparsity.mask import Mask
from codesign.sparsity.nm import NM
from codesign.sparsity.pattern import parse_pattern
from codesign.sparsity.quantised import MixedBanks, ScaledGroups

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

EXAMPLES = [
    "double(2:4)", "double(1:3)", "double(4:4)", "transposable(2:4)", "transposable(1:2)",
    "transposable(2:5)", "transposable(4:8)", "nmg(2:4:2)", "nmg(1:3:1@out)", "nmg(3:6:4)",
    "sq(16:32)", "sq(1:4)", "fan_in(0.9)", "fan_in(0.5, 0.25)", "fan_in(0)", "fan_out(0.5, 0.25)",
    "gqsa(16, 0.5)", "gqsa(3, 0)", "tiles(4x8, 2:4, 0.25)", "tiles(3x4, 1:4, 0.6)",
    "tiles(2x2, 2:2, 0)", "split(2:4, 0.25)", "split(1:4, 0.75)", "butterfly(8)",
    "butterfly(16, 2)", "butterfly(1)",
]  # fmt: skip
fractions = st.sampled_from([0.0, 0.05, 0.25, 0.3, 0.5, 0.9])
small = st.integers(1, 5)


def _tiles(rows, groups, n, more, share):
    m = n + more
    return Tiles(rows, groups * m, n, m, int(share * (1 - n / m) * 1e6) / 1e6)


def _split(n, more, share):
    return Split(n, n + more, int(share * (1 - n / (n + more)) * 1e6) / 1e6)


patterns = st.one_of(
    st.sampled_from(EXAMPLES).map(parse_pattern),
    st.builds(lambda n, more: DoublePruned(n, n + more), small, st.integers(0, 5)),
    st.builds(lambda n, more: Transposable(n, n + more), small, st.integers(0, 3)),
    st.builds(
        lambda n, more, axis, g: NMGrouped(n, n + more, axis, g),
        st.integers(1, 3), st.integers(0, 3), st.sampled_from(["in", "out"]), st.integers(1, 3),
    ),
    st.builds(FanIn, fractions, fractions),
    st.builds(FanOut, fractions, fractions),
    st.builds(_tiles, small, st.integers(1, 2), small, st.integers(0, 4), st.floats(0, 1)),
    st.builds(_split, small, st.integers(0, 4), st.floats(0, 1)),
    st.builds(lambda g, s: ScaledGroups(1, g, s), st.integers(1, 9), fractions),
    st.builds(lambda n, more: MixedBanks(n, n + more), small, st.integers(0, 9)),
    st.builds(FlatButterfly, st.sampled_from([1, 2, 4, 16, 64])),
)  # fmt: skip
shapes = st.tuples(st.integers(1, 22), st.integers(1, 22))
seeds = st.integers(0, 2**64 - 1)
relaxed = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def turned(pattern):
    try:
        return pattern.transpose()
    except CodesignError:
        return None


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_texts_that_users_write_print_back(text):
    assert str(parse_pattern(text)).replace(".0)", ")").replace(".0,", ",") == text


@relaxed
@given(patterns)
def test_the_text_of_a_pattern_parses_to_the_pattern(pattern):
    again = parse_pattern(str(pattern))
    assert again == pattern
    assert hash(again) == hash(pattern)
    assert again.fingerprint == pattern.fingerprint
    assert 0 <= pattern.density <= 1
    other = turned(pattern)
    if other is not None and not isinstance(pattern, ScaledGroups):
        assert other.transpose() == pattern
        assert parse_pattern(str(other)) == other


@relaxed
@given(patterns, shapes, seeds)
def test_samples_obey_the_pattern_and_fill_its_storage(pattern, shape, seed):
    mask = pattern.sample(*shape, seed)
    assert mask.shape == shape
    assert pattern.accepts(mask)
    assert pattern.sample(*shape, seed) == mask
    exact = pattern.exact_nnz(*shape)
    assert exact is None or mask.nnz == exact
    assert pattern.format.stored_units(mask) <= pattern.stored_units(*shape)
    other = turned(pattern)
    assert other is None or other.accepts(mask.transpose())


@relaxed
@given(patterns, shapes, st.integers(0, 999), st.floats(0, 1))
def test_projections_obey_the_pattern_and_come_back_from_storage(pattern, shape, seed, dropped):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-5, 6, shape)
    mask = pattern.project(weights)
    assert pattern.accepts(mask)
    assert pattern.project(-weights) == mask
    exact = pattern.exact_nnz(*shape)
    assert exact is None or mask.nnz == exact
    fewer = Mask.from_dense(mask.to_dense() & (rng.random(shape) >= dropped))
    assert pattern.accepts(fewer)
    for kept in (mask, fewer):
        packed = pattern.format.pack(weights, kept)
        whole = isinstance(pattern, MixedBanks)
        assert np.array_equal(unpack(packed), weights if whole else weights * kept.to_dense())
        size = pattern.format.packed_bytes(kept, "int8")
        assert size.metadata_bytes == sum(stream.nbytes for stream in packed.metadata)
        assert whole or size.value_bytes == packed.values.size


BIG = ["double(2:4)", "double(2:8)", "transposable(2:4)", "nmg(2:4:8)", "fan_in(0.9)",
       "tiles(16x16, 2:4, 0.3)", "split(2:4, 0.25)", "gqsa(16, 0.5)", "butterfly(16)",
       "fan_in(0.5, 0.25)", "sq(16:32)"]  # fmt: skip


@pytest.mark.parametrize("text", BIG)
def test_a_large_sample_has_the_density_that_is_stated(text):
    pattern = parse_pattern(text)
    assert abs(pattern.sample(512, 384, 7).density - pattern.density) < 0.004


def masks_of(pattern, shape):
    """Every mask of a pattern on a tiny shape, from its definition."""
    rows, cols = shape
    everything = [
        np.array(bits, bool).reshape(shape) for bits in product((0, 1), repeat=rows * cols)
    ]
    return [mask for mask in everything if _is_one(pattern, mask)]


def _is_one(pattern, mask):
    if isinstance(pattern, Transposable | DoublePruned):
        blocks = [
            mask[i : i + pattern.m, j : j + pattern.m]
            for i in range(0, mask.shape[0], pattern.m)
            for j in range(0, mask.shape[1], pattern.m)
        ]
        if isinstance(pattern, Transposable):
            return all(_completes(block, pattern.n) for block in blocks)
        return all((b.sum(0) <= pattern.n).all() and (b.sum(1) <= pattern.n).all() for b in blocks)
    if isinstance(pattern, FanIn):
        kept = mask.sum(axis=1)
        alive = int((1 - pattern.ablated) * len(kept) + 0.5)
        return (kept <= pattern.kept(mask.shape[1])).all() and (kept > 0).sum() <= alive
    if isinstance(pattern, Split):
        over = mask.reshape(len(mask), -1, pattern.m).sum(axis=2).max(axis=1) > pattern.n
        return over.sum() <= pattern.stored_units(*mask.shape)
    if isinstance(pattern, Tiles):
        height, width = pattern.tile_rows, pattern.tile_cols
        over = 0
        for i in range(0, mask.shape[0], height):
            for j in range(0, mask.shape[1], width):
                tile = mask[i : i + height, j : j + width]
                groups = [tile[:, c : c + pattern.m] for c in range(0, tile.shape[1], pattern.m)]
                over += any((group.sum(axis=1) > pattern.n).any() for group in groups)
        return over <= pattern.stored_units(*mask.shape)
    assert isinstance(pattern, NMGrouped)
    lines = mask if pattern.axis == "in" else mask.T
    choices = [set(c) for c in combinations(range(pattern.m), pattern.n)]
    for start in range(0, len(lines), pattern.chunk):
        part = [set(np.flatnonzero(line).tolist()) for line in lines[start : start + pattern.chunk]]
        if not _dealt(part, choices, [pattern.g] * len(choices)):
            return False
    return True


def _completes(block, n):
    """Whether elements can be added until rows or columns, whichever hold fewer, are full."""
    rows, cols = block.shape
    if (block.sum(axis=1) > n).any() or (block.sum(axis=0) > n).any():
        return False
    if block.sum() == min(rows * min(n, cols), cols * min(n, rows)):
        return True
    added = (_with(block, place) for place in np.argwhere(~block))
    return any(_completes(more, n) for more in added)


def _with(block, place):
    more = block.copy()
    more[tuple(place)] = True
    return more


def _dealt(groups, choices, left):
    if not groups:
        return True
    for i, choice in enumerate(choices):
        if left[i] and groups[0] <= choice:
            left[i] -= 1
            if _dealt(groups[1:], choices, left):
                return True
            left[i] += 1
    return False


TINY = [
    (Transposable(1, 2), (2, 4)), (Transposable(2, 3), (3, 3)), (Transposable(2, 5), (3, 4)),
    (Transposable(1, 2), (3, 3)), (DoublePruned(1, 2), (2, 4)), (FanIn(0.5), (3, 4)),
    (FanIn(0.5, 0.4), (3, 4)), (Split(1, 2, 0.25), (4, 2)), (Split(1, 4, 0.5), (3, 4)),
    (Tiles(1, 2, 1, 2, 0.25), (2, 4)), (Tiles(2, 2, 1, 2, 0.3), (3, 4)),
    (NMGrouped(1, 2, "in", 1), (4, 2)), (NMGrouped(2, 3, "in", 1), (4, 3)),
    (NMGrouped(1, 2, "out", 2), (2, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "shape"), TINY, ids=[f"{p} {s}" for p, s in TINY])
def test_projection_and_acceptance_are_those_of_all_masks(pattern, shape):
    masks = masks_of(pattern, shape)
    known = {mask.tobytes() for mask in masks}
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(25):
        weights = rng.integers(1, 10, shape)
        chosen = pattern.project(weights).to_dense()
        best = max(int(weights[mask].sum()) for mask in masks)
        if isinstance(pattern, DoublePruned):
            assert weights[chosen].sum() <= best
        else:
            assert weights[chosen].sum() == best
        mask = rng.random(shape) < rng.random()
        fits = mask.tobytes() in known
        assert pattern.accepts(Mask.from_dense(mask)) == fits
        outcomes.add(fits)
    assert outcomes == {True, False}


def test_there_are_ninety_transposable_blocks_of_2_4():
    pattern = Transposable(2, 4)
    seen = {pattern.sample(4, 4, seed).to_dense().tobytes() for seed in range(1500)}
    assert len(seen) == 90


def test_double_pruning_loses_what_the_lemma_says():
    lost = {(1, 2): 0.125, (2, 4): 0.0938, (2, 8): 0.0584, (4, 8): 0.0684, (1, 16): 0.0223}
    for (n, m), more in lost.items():
        assert NM(n, m).density - DoublePruned(n, m).density == pytest.approx(more, abs=6e-5)


def test_double_pruning_is_the_forward_mask_pruned_again():
    weights = np.random.default_rng(3).normal(size=(24, 32))
    forward = NM(2, 4).project(weights).to_dense()
    mask = DoublePruned(2, 4).project(weights).to_dense()
    assert (mask <= forward).all()
    assert NM(2, 4, "out").accepts(Mask.from_dense(mask))


def test_share_of_magnitude_that_transposable_masks_keep():
    weights = np.random.default_rng(0).normal(size=(256, 256))
    total = np.abs(weights).sum()
    kept = {p: np.abs(weights[p.project(weights).to_dense()]).sum() / total for p in (
        NM(2, 4), Transposable(2, 4), Transposable(4, 8), DoublePruned(2, 4))}  # fmt: skip
    assert list(kept.values()) == pytest.approx([0.746, 0.703, 0.742, 0.655], abs=0.006)


def test_every_choice_is_used_equally_often_in_a_whole_chunk():
    pattern = NMGrouped(2, 4, "in", 3)
    for mask in (
        pattern.sample(36, 8, 1),
        pattern.project(np.random.default_rng(0).normal(size=(36, 8))),
    ):
        dense = mask.to_dense().reshape(2, 18, 2, 4)
        for chunk in range(2):
            for group in range(2):
                codes = dense[chunk, :, group] @ (1 << np.arange(4))
                assert sorted(np.unique(codes, return_counts=True)[1]) == [3] * 6


def test_the_blocks_of_a_flat_butterfly():
    assert FlatButterfly(4).blocks().astype(int).tolist() == [
        [1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 1], [0, 1, 1, 1],
    ]  # fmt: skip
    assert FlatButterfly(8, 1).blocks().sum(axis=1).tolist() == [2] * 8
    assert FlatButterfly(64).mask(128, 256).density == 7 / 64


def by_hand(text, rows, cols, dtype):
    size = expected_bytes(parse_pattern(text), rows, cols, dtype)
    return size.value_bytes, size.metadata_bytes


def test_bytes_worked_out_by_hand():
    # 2 slots of 2 bytes for every 4, and 2 bits each
    assert by_hand("double(2:4)", 8, 16, "fp16") == (128, 16)
    assert by_hand("transposable(2:4)", 8, 16, "fp16") == (128, 16)
    # 32 groups; 6 choices x 8 = 48 places in a chunk: 6 bits a group
    assert by_hand("nmg(2:4:8)", 8, 16, "fp16") == (128, 24)
    # 8 rows of 2 of 16: 2 bytes and 4 bits each, and a bit a row
    assert by_hand("fan_in(0.875)", 8, 16, "fp16") == (32, 8 + 1)
    # 6 of 8 rows are left
    assert by_hand("fan_in(0.875, 0.25)", 8, 16, "fp16") == (24, 6 + 1)
    # 4 tiles of 32, two of them 2:4: 64 + 32 values; 4 bits, and 32 x 2 bits
    assert by_hand("tiles(4x8, 2:4, 0.25)", 8, 16, "fp16") == (192, 1 + 8)
    # 4 dense rows of 16, 4 of 8; 8 bits, and 32 x 2 bits
    assert by_hand("split(2:4, 0.25)", 8, 16, "fp16") == (192, 1 + 8)
    # 4 of 8 groups of 16, half a byte a value; 9 pointers and 4 indices of 4 bytes, 4 scales
    # and zero points of 2 bytes
    assert by_hand("gqsa(16, 0.5)", 8, 16, "int4") == (32, 36 + 16 + 16)
    # 64 of 8 bits and 64 of 4 bits, and a bit each
    assert by_hand("sq(4:8)", 8, 16, "int8") == (96, 16)
    # a grid of 8: 4 blocks of 1 x 2 in each of 8 rows, known beforehand
    assert by_hand("butterfly(8)", 8, 16, "fp16") == (128, 0)


@pytest.mark.parametrize(("n", "m", "g"), [(1, 4, 16), (2, 4, 8), (3, 6, 4), (2, 8, 2)])
def test_a_choice_costs_the_logarithm_of_the_places_of_a_chunk(n, m, g):
    rows, cols = 12, 5 * m
    bits = ceil(log2(comb(m, n) * g))
    size = expected_bytes(NMGrouped(n, m, "in", g), rows, cols, "int8")
    assert size.value_bytes == rows * 5 * n
    assert size.metadata_bytes == ceil(rows * 5 * bits / 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("double(4:2)", "did you mean"), ("transposable(0:4)", "n of a pattern"),
        ("nmg(8:16:9)", "more than 4096"), ("fan_in(1)", "less than 1"),
        ("fan_in(0.5, 50)", "did you mean 0.5"), ("tiles(4x6, 2:4, 0.2)", "cut groups"),
        ("tiles(4x8, 2:4, 0.6)", "remove at most 0.5"), ("split(2:4, 0.51)", "at most 0.5"),
        ("butterfly(12)", "power of two"), ("butterfly(8, 8)", "stride"),
        ("butterfly(65536)", "power of two"), ("gqsa(0, 0.5)", "block columns"),
        ("tile(4x8, 2:4, 0.2)", "did you mean 'tiles"), ("fanin(0.9)", "did you mean 'fan_in"),
    ],
)  # fmt: skip
def test_faulty_texts_say_what_is_wrong(text, message):
    with pytest.raises(CodesignError) as caught:
        parse_pattern(text)
    assert message in str(caught.value)


def test_storage_refuses_what_it_cannot_hold():
    full = Mask.full(8, 16)
    for text in ("nmg(2:4:1)", "butterfly(8)", "double(2:4)", "sq(2:4)"):
        with pytest.raises(CodesignError):
            parse_pattern(text).format.stored_units(full)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7])
def test_random_keys_of_some_places_are_those_of_all(step: int) -> None:
    some = random_keys(11, 13, 5, step=step)
    np.testing.assert_array_equal(some, random_keys(11, 13, 5)[::step, ::step])
