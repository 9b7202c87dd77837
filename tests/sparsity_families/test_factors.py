"""Do forms of a weight multiply out, store and allocate as they say?"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.sparsity.allocation import erdos_renyi_kernel, lamp, owl, uniform
from codesign.sparsity.factors import ButterflyFactors, LowRank, Monarch, parse_form

TEXTS = [
    "lowrank(3)", "monarch(2)", "monarch(4, 2)", "butterfly_factors", "armor(2:4, 4)",
    "2:4+lowrank(2)", "dense+lowrank(4)", "unstructured(0.9)+lowrank(3)", "butterfly(4)+lowrank(2)",
]  # fmt: skip
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))
EXACT_FORMS = ["lowrank(3)", "monarch(2)", "monarch(4, 2)", "butterfly_factors"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_of_a_form_parses_to_the_form(text):
    form = parse_form(text)
    assert str(form) == text
    assert parse_form(str(form)) == form


@relaxed
@given(st.sampled_from(TEXTS), shapes, st.integers(0, 2**64 - 1))
def test_projections_and_samples_are_accepted(text, shape, seed):
    form = parse_form(text)
    weights = np.random.default_rng(seed % 1000).normal(size=shape)
    sample = form.sample(*shape, seed)
    assert form.accepts(sample, *shape)
    assert all(map(np.array_equal, form.sample(*shape, seed), sample))
    factors = form.project(weights)
    assert form.accepts(factors, *shape)
    assert form.dense(factors, *shape).shape == shape
    assert not form.accepts(factors[1:], *shape)
    values = sum(prod(product.shape) for product in form.products(*shape))
    assert 0 < form.density(*shape) <= values / prod(shape) + 1e-9


@relaxed
@given(st.sampled_from(EXACT_FORMS), st.sampled_from([(8, 8), (16, 16), (4, 4), (5, 7), (16, 4)]))
def test_a_matrix_of_the_form_is_found_again(text, shape):
    form = parse_form(text)
    if text == "butterfly_factors" and shape[0] != shape[1]:
        shape = (8, 8)
    matrix = form.dense(form.sample(*shape, 5), *shape)
    assert np.allclose(form.dense(form.project(matrix), *shape), matrix, atol=1e-9)


def test_the_form_stands_for_what_its_products_compute():
    """A product with x, group by group as the operators of a trace do it, equals the matrix."""
    x = np.random.default_rng(0).normal(size=16)
    form = Monarch(4)
    right, left = form.sample(16, 16, 1)
    middle = np.einsum("gnk,gk->gn", right, x.reshape(4, 4))
    turned = middle.reshape(4, 4, -1).transpose(1, 0, 2).reshape(4, -1)
    y = np.einsum("gnk,gk->gn", left, turned).reshape(-1)
    assert np.allclose(form.dense((right, left), 16, 16) @ x, y)


def test_butterflies_hold_the_hadamard_transform():
    h = np.array([[1.0]])
    for _ in range(4):
        h = np.block([[h, h], [h, -h]])
    form = ButterflyFactors()
    factors = form.project(h)
    assert [f.shape for f in factors] == [(8, 2, 2)] * 4
    assert np.allclose(form.dense(factors, 16, 16), h)


@pytest.mark.parametrize("text", ["armor(2:4, 4)", "2:4+lowrank(2)", "butterfly(4)+lowrank(2)"])
def test_what_is_pruned_stays_as_it_was(text):
    weights = np.random.default_rng(0).normal(size=(16, 16))
    form = parse_form(text)
    rebuilt = form.dense(form.project(weights), 16, 16)
    left = weights - rebuilt
    assert np.linalg.norm(left) < np.linalg.norm(weights)
    if text.startswith("armor"):
        assert set(np.unique((rebuilt != 0).reshape(-1, 4).sum(axis=1))) == {2}


def test_low_rank_is_the_best_of_its_rank():
    weights = np.random.default_rng(0).normal(size=(12, 9))
    form = LowRank(4)
    error = np.linalg.norm(weights - form.dense(form.project(weights), 12, 9))
    assert error == pytest.approx(np.linalg.norm(np.linalg.svd(weights)[1][4:]))


@pytest.mark.parametrize(
    ("text", "rows", "cols", "expected"),
    [
        # 4 x 16 and 8 x 4 values of 2 bytes
        ("lowrank(4)", 8, 16, 2 * (64 + 32)),
        # right: 4 blocks of 4 x 4, left the same
        ("monarch(4)", 16, 16, 2 * 2 * 64),
        # four factors of 8 blocks of 4 values
        ("butterfly_factors", 16, 16, 2 * 4 * 32),
        # a core of 64 slots with 2 bits each; 4 and 2 blocks of 16 values
        ("armor(2:4, 4)", 8, 16, 2 * 64 + 16 + 2 * (64 + 32)),
        # the same core, and 2 x 16 + 8 x 2 values
        ("2:4+lowrank(2)", 8, 16, 2 * 64 + 16 + 2 * (32 + 16)),
        # 4 block rows of three 2 x 4 blocks, and 2 x 16 + 8 x 2 values
        ("butterfly(4)+lowrank(2)", 8, 16, 2 * (4 * 3 * 8 + 48)),
        # a bit for each of 128 elements and 13 values; 2 x 16 + 8 x 2 values
        ("unstructured(0.9)+lowrank(2)", 8, 16, 16 + 2 * 13 + 2 * 48),
    ],
)
def test_bytes_worked_out_by_hand(text, rows, cols, expected):
    assert parse_form(text).stored_bytes(rows, cols, "fp16") == expected


@pytest.mark.parametrize(
    "text",
    ["lowrank", "lowrank(0)", "monarch()", "armor(4:2, 8)", "2:4+", "x+lowrank(2)", "a" * 999],
)
def test_faulty_texts_are_refused(text):
    with pytest.raises(CodesignError):
        parse_form(text)


NETWORK = {"first": (16, 3, 7, 7), "wide": (512, 512, 3, 3), "square": (64, 64), "head": (10, 512)}


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8, 0.95])
def test_erk_spends_its_budget_and_no_layer_is_more_than_dense(sparsity):
    shares = erdos_renyi_kernel(sparsity, NETWORK)
    total = sum(prod(shape) for shape in NETWORK.values())
    kept = sum((1 - shares[name]) * prod(shape) for name, shape in NETWORK.items())
    assert kept == pytest.approx((1 - sparsity) * total, rel=1e-6)
    assert all(0 <= share < 1 for share in shares.values())
    loose = [name for name, share in shares.items() if share > 0]
    ratios = [(1 - shares[n]) * prod(NETWORK[n]) / sum(NETWORK[n]) for n in loose]
    assert ratios == pytest.approx(ratios[:1] * len(ratios), rel=1e-5)
    assert uniform(sparsity, NETWORK) == dict.fromkeys(NETWORK, sparsity)


def test_lamp_removes_what_its_scores_say():
    weights = {"a": np.array([[1.0, 2.0, 3.0]]), "b": np.array([[1.0, 1.0, 1.0, 10.0]])}
    # scores a: 1/14, 4/13, 1; b: 1/103, 1/102, 1/101, 1
    assert lamp(4 / 7, weights) == {"a": round(1 / 3, 9), "b": 0.75}


def test_owl_keeps_more_where_outliers_are_and_the_mean():
    shares = owl(0.7, {"a": 0.01, "b": 0.05, "c": 0.03})
    assert shares == pytest.approx({"a": 0.78, "b": 0.62, "c": 0.70})
