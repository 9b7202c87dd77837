"""Does a mask hold what it was given, and do its counts equal those of NumPy?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask

dense_masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))
sizes = st.integers(1, 50)


def padded(dense, row_multiple, col_multiple):
    rows, cols = dense.shape
    return np.pad(dense, ((0, -rows % row_multiple), (0, -cols % col_multiple)))


@given(dense_masks)
def test_a_mask_holds_what_it_was_given(dense):
    mask = Mask.from_dense(dense)
    assert np.array_equal(mask.to_dense(), dense)
    assert mask.shape == dense.shape
    assert mask.nnz == dense.sum()
    assert mask.density == dense.mean()
    assert Mask.from_packed(mask.packed.tobytes(), *dense.shape) == mask
    assert np.array_equal(mask.transpose().to_dense(), dense.T)
    assert mask.transpose().transpose() == mask


@given(dense_masks, sizes, sizes)
def test_counts_equal_those_of_numpy(dense, tile_rows, tile_cols):
    mask = Mask.from_dense(dense)
    wide = padded(dense, tile_rows, tile_cols)
    tiles = wide.reshape(-1, tile_rows, wide.shape[1] // tile_cols, tile_cols).sum(axis=(1, 3))
    assert np.array_equal(mask.tile_counts(tile_rows, tile_cols), tiles)
    assert mask.tile_counts(tile_rows, tile_cols).sum() == mask.nnz
    groups = padded(dense, 1, tile_cols).reshape(len(dense), -1, tile_cols).sum(axis=2)
    assert np.array_equal(mask.group_counts(tile_cols), groups)
    lanes = padded(groups, tile_rows, 1).reshape(-1, tile_rows, groups.shape[1])
    assert np.array_equal(mask.slowest_lane(tile_cols, tile_rows), lanes.max(axis=1))
    rows = padded(dense, tile_rows, 1).sum(axis=1).reshape(-1, tile_rows)
    assert np.array_equal(mask.lane_counts(tile_rows), rows)


@given(dense_masks, st.data())
def test_a_window_equals_the_window_of_the_dense_array(dense, data):
    row, row_stop = sorted(data.draw(st.lists(st.integers(0, len(dense)), min_size=2, max_size=2)))
    edges = st.lists(st.integers(0, dense.shape[1]), min_size=2, max_size=2)
    col, col_stop = sorted(data.draw(edges))
    mask = Mask.from_dense(dense)
    if row == row_stop or col == col_stop:
        with pytest.raises(CodesignError, match="not empty"):
            mask[row:row_stop, col:col_stop]
    else:
        window = mask[row:row_stop, col:col_stop]
        assert window == Mask.from_dense(dense[row:row_stop, col:col_stop])


@settings(max_examples=30)
@given(dense_masks, st.data())
def test_equality_and_fingerprint_follow_the_content(dense, data):
    mask = Mask.from_dense(dense)
    again = Mask.from_dense(dense.copy())
    assert mask == again
    assert hash(mask) == hash(again)
    assert mask.fingerprint == again.fingerprint
    other = dense.copy()
    other.flat[data.draw(st.integers(0, dense.size - 1))] ^= True
    assert Mask.from_dense(other) != mask
    assert Mask.from_dense(other).fingerprint != mask.fingerprint


def test_shape_is_part_of_the_content():
    column, row = Mask.full(1, 8), Mask.full(1, 7)
    assert column != row
    assert Mask.from_packed(b"\x01\x01", 2, 3) != Mask.from_packed(b"\x01\x01", 2, 4)
    prints = {Mask.from_packed(b"\x01\x01", 2, cols).fingerprint for cols in (3, 4, 8)}
    assert len(prints) == 3
    assert column != "a mask"
    assert repr(column) == "Mask(1 x 8, nnz=8)"


@pytest.mark.parametrize("cols", [1, 7, 8, 9, 16])
def test_a_full_mask_keeps_everything(cols):
    assert Mask.full(3, cols).to_dense().all()


def test_masks_do_not_change():
    data = np.array([[3]], np.uint8)
    mask = Mask(1, 2, data)
    data[0, 0] = 0
    assert mask.nnz == 2
    with pytest.raises(ValueError, match="read-only"):
        mask.packed[0, 0] = 0


def test_a_view_of_writable_data_is_copied():
    data = np.array([3], np.uint8)
    view = data.reshape(1, 1)
    view.flags.writeable = False
    mask = Mask(1, 2, view)
    data[0] = 0
    assert mask.nnz == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mask.full(0, 4), "at least one row"),
        (lambda: Mask(1, 0, np.zeros((1, 0), np.uint8)), "at least one row"),
        (lambda: Mask(1, 9, np.zeros((1, 1), np.uint8)), r"uint8 array of shape \(1, 2\)"),
        (lambda: Mask(1, 8, np.zeros((1, 1), np.int64)), "uint8 array"),
        (lambda: Mask(1, 3, np.array([[8]], np.uint8)), "beyond its last column"),
        (lambda: Mask.from_packed(b"\0\0\0", 2, 8), "has 2 bytes, got 3"),
        (lambda: Mask.from_packed(b"", -1, 8), "got 0"),
        (lambda: Mask.from_dense(np.zeros((2, 2))), "boolean matrix"),
        (lambda: Mask.from_dense(np.zeros(2, np.bool_)), "boolean matrix"),
        (lambda: Mask.full(4, 4).tile_counts(0, 1), "tile_rows is at least 1"),
        (lambda: Mask.full(4, 4).group_counts(-1), "m is at least 1"),
        (lambda: Mask.full(4, 4).slowest_lane(4, 0), "lanes is at least 1"),
        (lambda: Mask.full(4, 4).lane_counts(0), "lanes is at least 1"),
        (lambda: Mask.full(4, 4)[0:4:2, 0:4], "step 1"),
    ],
)
def test_what_is_no_mask_is_refused(make, message):
    with pytest.raises(CodesignError, match=message):
        make()
