"""Do the tiles of a product cover it once, and bring the bytes that a loop over windows would?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.measure.probes import convolutions, gemm
from codesign.schedule.tiling import TileTable, Tiling, tile_table, transposed, window_elements
from codesign.trace.op import Op, Phase
from codesign.trace.window import Conv
from tests.convolution_layers import layers, products, touched

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


@settings(max_examples=150, deadline=None)
@given(layers(), st.data())
def test_a_tile_of_output_pixels_reads_what_its_windows_touch(
    made: tuple[Conv, dict[str, object]], data: st.DataObject
) -> None:
    """Exact for whole rows of a plane; else the rows, or planes, between the first and last."""
    conv = data.draw(st.sampled_from([made[0], made[0].adjoint]))
    row, rows = conv.out_w, conv.batch * conv.out_d * conv.out_h
    first = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - first))
    depth = conv.taps * conv.in_channels // conv.groups
    channels = conv.in_channels // conv.groups
    counted = int(window_elements(conv, first * row, count * row, 0, depth))
    windows = len(touched(conv, first * row, count * row)) * channels
    plane, volume = conv.out_h, conv.out_d * conv.out_h
    one_plane = first // plane == (first + count - 1) // plane
    if conv.out_d == 1 or one_plane or (first % volume == 0 and count % volume == 0):
        assert counted == windows
    else:
        assert counted >= windows
    part = data.draw(st.integers(1, count * row))
    some = int(window_elements(conv, first * row, part, 0, depth))
    assert counted >= some >= len(touched(conv, first * row, part)) * channels


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


@given(products(), st.data())
def test_tiles_of_every_window_bring_at_least_its_map(op: Op, data: st.DataObject) -> None:
    tile = [data.draw(st.integers(1, size)) for size in (op.m, op.n)]
    table = tile_table(op, Tiling(*tile, op.k))
    if not op.scatters:  # a row stands for several pixels there, of which some read nothing
        assert table.a_elements[table.n_index == 0].sum() >= op.a_elements
    assert table.c_elements[table.last_k].sum() == op.c_elements
    whole = tile_table(op, Tiling(op.m, op.n, op.k))
    assert whole.a_elements.sum() == op.a_elements
    assert (table.groups * table.m * table.n * table.k).sum() == op.macs
