"""Do the tiles of a product cover it once, and bring the bytes that a loop over windows would?"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.measure.probes import convolutions, gemm
from codesign.schedule.tiling import TileTable, Tiling, tile_table, transposed, window_elements
from codesign.trace.op import Conv, Op, Phase

sizes = st.integers(1, 12)


@st.composite
def tables(draw: st.DrawFn) -> TileTable:
    op = replace(
        gemm(draw(sizes), draw(sizes), draw(sizes)).ops[0],
        groups=draw(st.integers(1, 4)),
        b_shared=draw(st.booleans()),
    )
    tile = [draw(st.integers(1, size)) for size in (op.m, op.n, op.k)]
    groups = 1
    if tile == [op.m, op.n, op.k] and not op.b_shared:
        groups = draw(st.integers(1, op.groups))
    return tile_table(op, Tiling(*tile, groups, draw(st.sampled_from(["mn", "nm"]))))


@given(tables())
def test_tiles_cover_every_multiplication_once(table: TileTable) -> None:
    op, t = table.op, table.tiling
    seen = np.zeros((op.groups, op.m, op.n, op.k), dtype=int)
    for i in range(len(table)):
        g, m, n, k = (
            int(index[i]) * tile
            for index, tile in (
                (table.group, t.groups), (table.m_index, t.m), (table.n_index, t.n),
                (table.k_index, t.k),
            )
        )  # fmt: skip
        seen[
            g : g + table.groups[i], m : m + table.m[i], n : n + table.n[i], k : k + table.k[i]
        ] += 1
    assert np.all(seen == 1)
    assert (table.groups * table.m * table.n * table.k).sum() == op.macs


@given(tables())
def test_the_reduction_is_innermost_and_the_order_is_that_of_the_tiling(table: TileTable) -> None:
    outer = (table.m_index, table.n_index)
    if table.tiling.order == "nm":
        outer = outer[::-1]
    keys = list(zip(table.group, *outer, table.k_index, strict=True))
    assert keys == sorted(keys)


@given(tables())
def test_an_operand_is_loaded_when_its_place_changes(table: TileTable) -> None:
    def places(*columns: np.ndarray) -> list[tuple[int, ...]]:
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def changes(where: list[tuple[int, ...]]) -> list[bool]:
        return [i == 0 or where[i] != where[i - 1] for i in range(len(where))]

    a = places(table.group, table.m_index, table.k_index)
    b = places(table.group, table.n_index, table.k_index)
    if table.op.b_shared:
        b = [place[1:] for place in b]
    assert table.loads_a.tolist() == changes(a)
    assert table.loads_b.tolist() == changes(b)
    assert (table.c_elements[table.last_k]).sum() == table.op.c_elements
    assert table.first_k.sum() == table.last_k.sum()


@given(tables())
def test_the_transposed_product_has_the_same_tiles(table: TileTable) -> None:
    turned = table.swapped()
    assert turned.m.tolist() == table.n.tolist()
    assert turned.n.tolist() == table.m.tolist()
    assert turned.k.tolist() == table.k.tolist()
    assert turned.op.macs == table.op.macs
    assert turned.tiling.swapped() == table.tiling
    assert transposed(transposed(table.op)) == table.op


convs = st.builds(
    lambda h, w, kh, kw, sh, sw, ph, pw, c, b: Conv(
        batch=b, in_h=h + kh, in_w=w + kw, in_channels=c, out_channels=3, kernel_h=kh, kernel_w=kw,
        stride_h=sh, stride_w=sw, padding_h=min(ph, kh - 1), padding_w=min(pw, kw - 1),
        out_h=(h + 2 * min(ph, kh - 1)) // sh + 1, out_w=(w + 2 * min(pw, kw - 1)) // sw + 1,
    ),
    st.integers(0, 6), st.integers(0, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4),
    st.integers(1, 4), st.integers(0, 2), st.integers(0, 2), st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip


def touched(conv: Conv, first: int, count: int) -> set[tuple[int, int, int]]:
    """Input pixels under the windows of a run of output pixels, one by one."""
    found = set()
    for pixel in range(first, first + count):
        image, place = divmod(pixel, conv.out_h * conv.out_w)
        row, column = divmod(place, conv.out_w)
        for i, j in product(range(conv.kernel_h), range(conv.kernel_w)):
            y = row * conv.stride_h - conv.padding_h + i
            x = column * conv.stride_w - conv.padding_w + j
            if 0 <= y < conv.in_h and 0 <= x < conv.in_w:
                found.add((image, y, x))
    return found


@settings(max_examples=80, deadline=None)
@given(convs, st.data())
def test_a_tile_of_output_pixels_reads_what_its_windows_touch(
    conv: Conv, data: st.DataObject
) -> None:
    """Exact for whole rows of the map; else whole rows between the first and last are counted."""
    pixels = conv.batch * conv.out_h * conv.out_w
    row = conv.out_w
    first = data.draw(st.integers(0, pixels // row - 1)) * row
    count = data.draw(st.integers(1, (pixels - first) // row)) * row
    depth = conv.kernel_h * conv.kernel_w * conv.in_channels
    counted = int(window_elements(conv, first, count, 0, depth))
    windows = len(touched(conv, first, count)) * conv.in_channels
    if conv.stride_h <= conv.kernel_h and conv.stride_w <= conv.kernel_w:
        assert counted == windows
    else:
        assert counted >= windows
    part = data.draw(st.integers(1, count))
    some = int(window_elements(conv, first, part, 0, depth))
    assert counted >= some >= len(touched(conv, first, part)) * conv.in_channels


def test_pixels_of_several_images_read_each_of_them() -> None:
    conv = Conv(3, 5, 5, 2, 2, 3, 3, padding_h=1, padding_w=1, out_h=5, out_w=5)
    assert int(window_elements(conv, 0, 75, 0, 18)) == conv.in_elements
    assert int(window_elements(conv, 20, 35, 0, 18)) == (2 + 5 + 2) * 5 * 2


@pytest.mark.parametrize("training", [False, True])
def test_tiles_of_a_convolution_bring_at_least_its_map(training: bool) -> None:
    for op in convolutions(batch=2, training=training):
        if not op.is_matmul:
            continue
        rows = max(1, op.m // 3)
        table = tile_table(op, Tiling(rows, op.n, op.k))
        assert table.a_elements[table.loads_a].sum() >= op.a_elements, op.name
        assert table.c_elements[table.last_k].sum() == op.c_elements, op.name
        whole = tile_table(op, Tiling(op.m, op.n, op.k))
        loaded = whole.a_elements[whole.loads_a].sum()
        assert loaded >= op.a_elements, op.name
        if is_simple(op):
            assert loaded == op.a_elements, op.name


def is_simple(op: Op) -> bool:
    return op.phase is Phase.FORWARD and op.conv is not None and op.conv.stride_h == 1
