"""Are the closed forms of folds equal to the stepped array, tile by tile?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.schedule.folds import (
    Array,
    Lanes,
    TileCycles,
    joined,
    output_stationary,
    weight_stationary,
)
from codesign.schedule.stepped import compress, step_tiles
from codesign.schedule.tiling import Tiling, tile_table, transposed
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import NM, Unstructured
from codesign.trace.op import Kind, Op, Phase

TIMINGS = {"ws": weight_stationary, "os": output_stationary}


def product(m: int, n: int, k: int, groups: int = 1) -> Op:
    return Op(
        name="p", kind=Kind.GEMM, phase=Phase.FORWARD, m=m, n=n, k=k, groups=groups, weight="w"
    )


def lanes_of(mask: Mask, op: Op, group: int, cols: int) -> Lanes:
    slots = [
        mask[start : start + op.n, :].slowest_lane(group, cols)
        for start in range(0, op.n * op.groups, op.n)
    ]
    return Lanes(group, np.maximum(1, np.stack(slots)))


@st.composite
def cases(draw):
    rows, cols = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    op = product(*(draw(st.integers(1, 14)) for _ in range(3)), draw(st.integers(1, 3)))
    group = draw(st.sampled_from([1, 2, 4]))
    dataflow = draw(st.sampled_from(["ws", "os"]))
    granule = group * (rows if dataflow == "ws" else 1)
    tile_k = min(op.k, granule * draw(st.integers(1, 3)))
    tile_n = min(op.n, cols * draw(st.integers(1, 3)))
    whole = draw(st.booleans())
    tiling = (
        Tiling(op.m, op.n, op.k, draw(st.integers(1, op.groups)))
        if whole
        else Tiling(
            draw(st.integers(1, op.m)), tile_n, tile_k, 1, draw(st.sampled_from(["mn", "nm"]))
        )
    )
    array = Array(rows, cols, draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    pattern = draw(st.sampled_from([NM(1, 2), NM(2, 4), Unstructured(0.6), Unstructured(0.1)]))
    return op, group, dataflow, tiling, array, pattern, draw(st.integers(0, 99))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_closed_forms_are_the_stepped_array(case):
    op, group, dataflow, tiling, array, pattern, seed = case
    table = tile_table(op, tiling)
    mask = None
    lanes = Lanes(1, np.ones((1, 1, 1), dtype=np.int64))
    if group > 1:
        mask = pattern.sample(op.n * op.groups, op.k, seed)
        lanes = lanes_of(mask, op, group, array.cols)
    closed = TIMINGS[dataflow](table, lanes, array)
    stepped = step_tiles(table, closed, array, dataflow, group, mask)
    for name in ("fill", "body", "tail", "latency", "stored"):
        assert np.array_equal(getattr(closed, name), getattr(stepped, name)), name


def test_exact_groups_take_the_cycles_of_their_count_whatever_the_mask():
    op = product(9, 20, 37)
    array = Array(4, 8, accumulate_latency=2)
    table = tile_table(op, Tiling(9, 16, 32))
    from_masks = [
        weight_stationary(table, lanes_of(NM(2, 8).sample(20, 37, seed), op, 8, 8), array)
        for seed in range(3)
    ]
    uniform = weight_stationary(table, Lanes(8, np.full((1, 1, 1), 2)), array)
    for one in from_masks:
        assert np.array_equal(one.body, uniform.body)
        assert np.array_equal(one.stored, uniform.stored)


def test_narrow_scratchpads_pace_every_dataflow():
    op = product(16, 16, 16)
    table = tile_table(op, Tiling(16, 16, 16))
    lanes = Lanes(1, np.ones((1, 1, 1), dtype=np.int64))
    for timing in TIMINGS.values():
        fast = timing(table, lanes, Array(4, 4))
        slow = timing(table, lanes, Array(4, 4, feed_slots=3))
        assert int(slow.body[0] + slow.tail[0]) >= 2.5 * int(fast.body[0] + fast.tail[0])


def test_a_wrong_product_is_an_error(monkeypatch):
    import codesign.schedule.stepped as stepped

    op = product(3, 3, 3)
    table = tile_table(op, Tiling(3, 3, 3))
    array = Array(2, 2)
    closed = weight_stationary(table, Lanes(1, np.ones((1, 1, 1), dtype=np.int64)), array)
    real = stepped.run_weight_stationary

    def skips_a_value(*operands):
        c, *rest = real(*operands)
        c[0, 0] += 1
        return c, *rest

    monkeypatch.setattr(stepped, "run_weight_stationary", skips_a_value)
    with pytest.raises(ArithmeticError, match="product of tile 0 is wrong"):
        step_tiles(table, closed, array, "ws", 1, None)


def test_compression_keeps_values_and_places():
    b = np.array([[0, 5, 0, -3, 2]])
    packed = compress(b, b != 0, 4)
    assert packed.values[0, 0, :2].tolist() == [5, -3]
    assert packed.index[0, 0, :2].tolist() == [1, 3]
    assert packed.kept.tolist() == [[2, 1]]


def test_transposing_twice_is_the_same_product():
    op = product(3, 5, 7)
    assert transposed(transposed(op)) == op


def test_products_of_a_tile_wait_for_the_fills_that_their_forerunners_do_not_hide() -> None:
    """A tile's first fill is no wait within it, hidden or not."""
    columns = ([3, 9, 7, 8], [10, 20, 30, 40], [4, 5, 6, 7], [1, 2, 3, 4], [11, 12, 13, 14])
    tiles = joined(TileCycles(*(np.array(column) for column in columns)), 2)
    assert tiles.fill.tolist() == [3, 7]
    assert tiles.body.tolist() == [10 + 4 + (9 - 4) + 20, 30 + 6 + (8 - 6) + 40]
    assert tiles.tail.tolist() == [5, 7]
    assert tiles.latency.tolist() == [2, 4]
    assert tiles.stored.tolist() == [23, 27]
