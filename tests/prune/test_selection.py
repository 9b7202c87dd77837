"""Do N:M selections keep the right elements, on every device path and beside their slow twin?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from codesign.kernels import nm_select
from codesign.prune.s_ste import continuous
from codesign.prune.select import (
    block_norms,
    largest,
    largest_by_output,
    largest_of_groups,
    spread_blocks,
)
from codesign.prune.target import Target
from codesign.sparsity.pattern import NM
from tests.reference.nm_select_twin import draw_along_columns, keep_along_rows

MATRICES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=19),
    elements=st.integers(-3, 3).map(float),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(MATRICES, st.integers(1, 6), st.integers(1, 6))
def test_kernels_sorting_and_plain_python_agree(scores, n, m) -> None:
    n = min(n, m)
    expected = keep_along_rows(scores, n, m)
    values = torch.from_numpy(scores)
    assert (largest_of_groups(values, n, m).numpy() == expected).all()
    assert (largest_of_groups(values.double(), n, m).numpy() == expected).all()
    assert (largest_of_groups(values.t(), n, m, axis=0).t().numpy() == expected).all()
    assert (largest_of_groups(values.t().double(), n, m, axis=0).t().numpy() == expected).all()
    assert (NM(n, m).project(scores).to_dense() == expected).all()


def test_a_short_group_behind_many_whole_ones_is_ranked_alone() -> None:
    scores = np.random.default_rng(0).integers(-9, 10, (3, 4 * 300 + 2)).astype(np.float32)
    expected = torch.from_numpy(keep_along_rows(scores, 1, 4))
    values = torch.from_numpy(scores)
    assert torch.equal(largest_of_groups(values, 1, 4), expected)
    soft = continuous(values, 1, 4)[0]
    assert torch.equal(soft.double(), continuous(values.double(), 1, 4)[0])


@settings(max_examples=60, deadline=None)
@given(MATRICES, st.integers(1, 6), st.integers(1, 6))
def test_the_soft_threshold_agrees_with_sorting(scores, n, m) -> None:
    n = min(n, m)
    values = torch.from_numpy(scores)
    soft, left = continuous(values, n, m, 1.5)
    assert torch.equal(soft.double(), continuous(values.double(), n, m, 1.5)[0])
    assert torch.equal(left, soft != 0)
    kept = torch.from_numpy(keep_along_rows(scores, n, m))
    assert not (left & ~kept).any()


@settings(max_examples=60, deadline=None)
@given(MATRICES, st.integers(1, 2), st.integers(2, 6), st.integers(0, 99))
def test_the_kernel_draws_and_divides_as_plain_python_does(values, n, m, seed) -> None:
    groups = -(-len(values) // m)
    # odd 64ths: no draw falls on the border between two integers
    odd = np.random.default_rng(seed).integers(0, 32, (n * groups, values.shape[1])) * 2 + 1
    uniforms = (odd / 64).astype(np.float32)
    out = np.empty_like(values)
    nm_select.draw_along_columns(values, uniforms, n, m, out)
    np.testing.assert_allclose(out, draw_along_columns(values, uniforms, n, m), rtol=1e-5)


@pytest.mark.parametrize("out", [8, 10])
def test_groups_of_outputs_lie_at_one_place_of_the_kernel(out) -> None:
    target = Target("conv", nn.Conv2d(3, out, 2))
    kept = largest_by_output(target, target.rows(), 1, 4)
    by_input = target.by_input(kept)
    assert by_input.shape == (3, 4 * out)
    assert (by_input.numpy() == keep_along_rows(target.by_input(target.rows()).numpy(), 1, 4)).all()
    assert torch.equal(target.by_output(by_input), kept)


def test_rows_of_a_convolution_have_channels_innermost() -> None:
    target = Target("conv", nn.Conv2d(3, 5, 2))
    rows, weight = target.rows(), target.weight
    assert rows.shape == (5, 12)
    assert rows[4, (1 * 2 + 0) * 3 + 2] == weight[4, 2, 1, 0]
    assert torch.equal(target.shaped(rows), weight)
    x = torch.randn(2, 3, 4, 4)
    product = target.inputs(x) @ rows.t()
    expected = nn.functional.conv2d(x, weight).permute(0, 2, 3, 1).reshape(-1, 5)
    torch.testing.assert_close(product, expected)


def test_the_largest_of_all_keeps_the_lower_index_among_equals() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0], [2.0, 0.0, 3.0]])
    assert largest(scores, 3).tolist() == [[False, True, True], [False, False, True]]
    assert not largest(scores, 0).any()


def test_block_norms_and_their_spread_handle_ragged_edges() -> None:
    rows = torch.arange(15.0).reshape(3, 5)
    norms = block_norms(rows, 2, 2)
    assert norms.shape == (2, 3)
    assert norms[1, 2] == 14
    assert norms[0, 1] == pytest.approx((4 + 9 + 49 + 64) ** 0.5)
    mask = spread_blocks(norms > 15, 2, 2, (3, 5))
    assert mask.tolist() == [[False] * 5, [False] * 5, [False, False, True, True, False]]
