"""Does each pattern print, parse, project, sample and accept as it says?"""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import (
    DENSE,
    NM,
    Block,
    Columns,
    Rows,
    Unstructured,
    parse_pattern,
)

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

fractions = st.one_of(
    st.sampled_from([0, 0.25, 0.5, 0.75, 0.9, 0.05, 0.999]),
    st.floats(0, 1, exclude_max=True, allow_subnormal=False),
)
small = st.integers(1, 9)
nm = st.builds(
    lambda n, extra, axis: NM(n, n + extra, axis),
    small,
    st.integers(0, 9),
    st.sampled_from(["in", "out"]),
)
removals = st.one_of(
    fractions.map(Unstructured),
    fractions.map(Rows),
    fractions.map(Columns),
    st.builds(Block, small, small, fractions),
)
patterns = st.one_of(st.just(DENSE), nm, removals)
shapes = st.tuples(st.integers(1, 30), st.integers(1, 30))
seeds = st.integers(0, 2**64 - 1)


@given(patterns)
def test_the_text_of_a_pattern_parses_to_the_pattern(pattern):
    again = parse_pattern(str(pattern))
    assert again == pattern
    assert str(again) == str(pattern)
    assert again.fingerprint == pattern.fingerprint
    assert hash(again) == hash(pattern)
    assert pattern.transpose().transpose() == pattern
    assert 0 <= pattern.density <= 1


@pytest.mark.parametrize(
    ("text", "pattern", "printed"),
    [
        ("dense", DENSE, "dense"),
        ("2:4", NM(2, 4), "2:4"),
        (" 2 : 4 ", NM(2, 4), "2:4"),
        ("2:4@in", NM(2, 4), "2:4"),
        ("1:16@out", NM(1, 16, "out"), "1:16@out"),
        ("unstructured(0.9)", Unstructured(0.9), "unstructured(0.9)"),
        ("unstructured(.5)", Unstructured(0.5), "unstructured(0.5)"),
        ("unstructured(0)", Unstructured(0), "unstructured(0)"),
        ("unstructured( 5e-1 )", Unstructured(0.5), "unstructured(0.5)"),
        ("block(32x16, 0.8)", Block(32, 16, 0.8), "block(32x16, 0.8)"),
        ("block(32x16,0.8)", Block(32, 16, 0.8), "block(32x16, 0.8)"),
        ("row(0.5)", Rows(0.5), "row(0.5)"),
        ("column(0.25)", Columns(0.25), "column(0.25)"),
    ],
)
def test_the_texts_that_users_write(text, pattern, printed):
    assert parse_pattern(text) == pattern
    assert str(parse_pattern(text)) == printed


FORMS = "allowed: dense, N:M"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", FORMS),
        ("Dense", "did you mean 'dense'"),
        ("denes", "did you mean 'dense'"),
        ("blok(32x32, 0.9)", "did you mean 'block"),
        ("unstructured(nan)", "did you mean 'unstructured(0.9)'"),
        ("unstructured 0.5", "did you mean 'unstructured(0.5)'"),
        ("block(32, 0.8)", "did you mean 'block(32x32, 0.8)'"),
        ("unstructured(1.2.3%)", "did you mean"),
        ("unstructured(-0.1)", "did you mean 'unstructured(0.9)'"),
        ("unstructured(1e400)", "less than 1"),
        ("unstructured(1)", "less than 1, got 1.0"),
        ("unstructured(90)", "did you mean 0.9"),
        ("unstructured(0.9", "did you mean 'unstructured(0.9)'"),
        ("unstructured(90%)", "did you mean 'unstructured(0.9)'"),
        ("0:4", "n of a pattern is an integer from 1 to 65536, got 0"),
        ("5:4", "did you mean '4:5'"),
        ("2:0", "m of a pattern"),
        ("99999999:1", "got 99999999"),
        ("1:99999999", "m of a pattern is an integer from 1 to 65536"),
        ("9999999999999999999:1", FORMS),
        ("-2:4", FORMS),
        ("2.5:4", FORMS),
        ("2:4@both", FORMS),
        ("2:4:8", "did you mean 'nmg(2:4:8)'"),
        ("4", FORMS),
        ("nan", FORMS),
        ("２:４", FORMS),
        ("٢:٤", FORMS),
        ("2:4\x00", FORMS),
        ("2:4\n8:16", FORMS),
        ("dense;rm -rf", FORMS),
        ("block(0x4, 0.5)", "block rows of a pattern"),
        ("block(4x99999, 0.5)", "block columns of a pattern"),
        ("block(4x4)", FORMS),
        ("row(1.5)", "did you mean 0.015"),
        ("2" * 1_000_000, FORMS),
        ("unstructured(0." + "1" * 1_000_000 + ")", FORMS),
        ("(" * 100_000, FORMS),
    ],
)
def test_texts_that_are_no_pattern_say_what_is_allowed(text, message):
    with pytest.raises(CodesignError) as caught:
        parse_pattern(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@settings(max_examples=200)
@given(st.one_of(st.text(), st.text("0123456789:x.,()@ einoutdsrwblck-", max_size=20)))
def test_any_text_is_a_pattern_that_prints_back_or_an_error(text):
    try:
        pattern = parse_pattern(text)
    except CodesignError:
        return
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    "make",
    [
        lambda: NM(True, 4),
        lambda: NM(2.0, 4),
        lambda: NM(2, 4, "cols"),
        lambda: Unstructured(float("nan")),
        lambda: Unstructured(float("inf")),
        lambda: Unstructured(True),
        lambda: Unstructured("0.5"),
        lambda: Rows(1.0),
        lambda: Block(0, 4, 0.5),
        lambda: parse_pattern(124),
        lambda: DENSE.sample(4, 4, -1),
        lambda: NM(2, 4).sample(4, 4, 2**64),
        lambda: NM(2, 4).sample(0, 4, 0),
        lambda: Unstructured(0.5).sample(2**17, 2**17, 0),
        lambda: NM(2, 4).project(np.zeros(4)),
        lambda: NM(2, 4).project(np.zeros((0, 4))),
        lambda: DENSE.project(np.array([[np.nan]])),
        lambda: Unstructured(0.5).project(np.array([[np.nan, 1.0]], np.float16)),
        lambda: Rows(0.5).project(np.array([[1j]])),
        lambda: Rows(0.5).project(np.array([["a"]])),
    ],
)
def test_values_that_are_no_pattern_or_weight_are_refused(make):
    with pytest.raises(CodesignError):
        make()


@given(patterns, shapes, seeds)
def test_samples_are_decided_by_the_seed_and_obey_the_pattern(pattern, shape, seed):
    mask = pattern.sample(*shape, seed)
    assert mask.shape == shape
    assert pattern.accepts(mask)
    assert pattern.sample(*shape, seed) == mask
    assert pattern.transpose().accepts(mask.transpose())
    exact = pattern.exact_nnz(*shape)
    assert exact is None or mask.nnz == exact
    assert pattern.format.stored_units(mask) == pattern.stored_units(*shape)


@given(patterns, hnp.arrays(np.float32, shapes, elements=st.integers(-4, 4).map(float)))
def test_projections_obey_the_pattern_and_fill_it(pattern, weights):
    mask = pattern.project(weights)
    assert mask.shape == weights.shape
    assert pattern.accepts(mask)
    exact = pattern.exact_nnz(*weights.shape)
    assert exact is None or mask.nnz == exact
    assert pattern.format.stored_units(mask) == pattern.stored_units(*weights.shape)
    assert pattern.project(-weights) == mask


def candidates(pattern, shape):
    """Every mask of a pattern, as dense arrays, from its definition."""
    rows, cols = shape
    grid = np.arange(rows * cols).reshape(shape)
    row, col = np.indices(shape)
    if isinstance(pattern, NM):
        lines = grid if pattern.axis == "in" else grid.T
        masks = [np.zeros(shape, bool)]
        for line in lines:
            for start in range(0, len(line), pattern.m):
                group = line[start : start + pattern.m]
                choices = list(combinations(group, min(pattern.n, len(group))))
                masks = [_with(mask, choice) for mask in masks for choice in choices]
        return masks
    unit = {
        Unstructured: grid,
        Rows: row,
        Columns: col,
        Block: row // getattr(pattern, "block_rows", 1) * cols
        + col // getattr(pattern, "block_cols", 1),
    }[type(pattern)]
    names = np.unique(unit)
    exact = (1 - Fraction(str(pattern.sparsity))) * len(names)
    kept = int(exact + Fraction(1, 2))
    return [np.isin(unit, choice) for choice in combinations(names, kept)]


def _with(mask, positions):
    more = mask.copy()
    more.flat[list(positions)] = True
    return more


TINY = [
    (NM(1, 2), (2, 5)),
    (NM(2, 4), (2, 6)),
    (NM(2, 3, "out"), (4, 2)),
    (NM(1, 4, "out"), (5, 3)),
    (Unstructured(0.5), (3, 3)),
    (Unstructured(0.9), (2, 3)),
    (Rows(0.5), (5, 3)),
    (Columns(0.7), (2, 6)),
    (Block(2, 2, 0.5), (3, 5)),
    (Block(1, 3, 0.4), (3, 4)),
]


@pytest.mark.parametrize(("pattern", "shape"), TINY, ids=[str(p) for p, _ in TINY])
def test_projection_keeps_the_largest_sum_of_all_masks_of_the_pattern(pattern, shape):
    masks = candidates(pattern, shape)
    for seed in range(20):
        weights = np.random.default_rng(seed).integers(-9, 10, shape)
        best = max(int(np.abs(weights[mask]).sum()) for mask in masks)
        chosen = pattern.project(weights).to_dense()
        assert np.abs(weights[chosen]).sum() == best
        assert any(np.array_equal(chosen, mask) for mask in masks)


@pytest.mark.parametrize(("pattern", "shape"), TINY, ids=[str(p) for p, _ in TINY])
def test_a_mask_is_accepted_when_it_lies_inside_one_of_the_pattern(pattern, shape):
    masks = candidates(pattern, shape)
    rng = np.random.default_rng(1)
    outcomes = set()
    for i in range(60):
        inside = masks[rng.integers(len(masks))] & (rng.random(shape) < 0.9)
        mask = inside if i % 2 else rng.random(shape) < rng.random()
        fits = any((mask <= full).all() for full in masks)
        assert pattern.accepts(Mask.from_dense(mask)) == fits
        outcomes.add(fits)
    assert outcomes == {True, False}


@pytest.mark.parametrize(("pattern", "shape"), TINY, ids=[str(p) for p, _ in TINY])
def test_samples_reach_every_mask_of_the_pattern(pattern, shape):
    masks = {mask.tobytes() for mask in candidates(pattern, shape)}
    seen = {pattern.sample(*shape, seed).to_dense().tobytes() for seed in range(len(masks) * 14)}
    assert seen <= masks
    assert len(seen) > 0.999 * len(masks)


def test_equal_weights_keep_the_lower_index():
    ones = np.ones((4, 8), np.float16)
    assert np.flatnonzero(NM(2, 4).project(ones).to_dense()[3]).tolist() == [0, 1, 4, 5]
    assert np.flatnonzero(NM(3, 4, "out").project(ones).to_dense()[:, 5]).tolist() == [0, 1, 2]
    assert np.flatnonzero(Unstructured(0.75).project(ones).to_dense()).tolist() == list(range(8))
    assert np.flatnonzero(Rows(0.5).project(ones).to_dense().all(axis=1)).tolist() == [0, 1]
    assert np.flatnonzero(Columns(0.5).project(ones).to_dense()[0]).tolist() == [0, 1, 2, 3]
    assert Block(2, 4, 0.5).project(ones).to_dense()[:2].all()


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u8", "?", ">f4", "g"]
)
def test_every_number_type_is_ordered_by_its_magnitude(dtype):
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    least = info.min if info is not None and info.min < 0 else 1
    weights = np.array([[0, 1, 0, least]]).astype(dtype)
    assert Unstructured(0.5).project(weights).to_dense().tolist() == [[False, True, False, True]]
    assert NM(1, 4).project(weights).to_dense()[0, 1 if least == 1 else 3]


@pytest.mark.parametrize(
    ("sparsity", "count", "kept"),
    [
        (0.85, 10, 2),
        (0.9, 10, 1),
        (0.95, 10, 1),
        (0.5, 3, 2),
        (0.7, 10, 3),
        (0.99, 10, 0),
        (0, 7, 7),
    ],
)
def test_the_number_kept_is_that_of_the_decimal_fraction(sparsity, count, kept):
    assert Unstructured(sparsity).kept(count) == kept
    assert Unstructured(sparsity).sample(1, count, seed=3).nnz == kept
    assert Unstructured(sparsity).project(np.ones((1, count))).nnz == kept


def test_densities_are_the_decimal_ones():
    assert Unstructured(0.9).density == 0.1
    assert NM(2, 4).density == 0.5
    assert [p.is_dense for p in (DENSE, NM(4, 4), NM(3, 4), Rows(0), Rows(0.1))] == [
        True,
        True,
        False,
        True,
        False,
    ]


@given(nm, st.integers(1, 40), shapes, seeds)
def test_the_group_count_that_a_pattern_promises_is_the_one_of_its_masks(pattern, m, shape, seed):
    counts = pattern.sample(*shape, seed).group_counts(m)[:, : shape[1] // m]
    promised = pattern.exact_group_count(m)
    assert promised is None or (counts == promised).all()


def test_group_counts_are_promised_where_they_are_known():
    assert NM(2, 4).exact_group_count(4) == 2
    assert NM(2, 4).exact_group_count(8) == 4
    assert NM(2, 4).exact_group_count(6) is None
    assert NM(2, 4, "out").exact_group_count(4) is None
    assert DENSE.exact_group_count(8) == 8
    assert Unstructured(0.5).exact_group_count(4) is None


def test_grouping_along_outputs_is_grouping_of_the_transpose():
    assert NM(2, 4, "out").sample(24, 10, 5) == NM(2, 4).sample(10, 24, 5).transpose()
    weights = np.random.default_rng(0).normal(size=(24, 10))
    assert NM(2, 4, "out").project(weights) == NM(2, 4).project(weights.T).transpose()


def test_patterns_are_read_without_the_compiler():
    code = (
        "import sys; from codesign.sparsity.pattern import parse_pattern;"
        "parse_pattern('2:4').format;"
        "sys.exit(any(name in sys.modules for name in ('numba', 'torch', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
