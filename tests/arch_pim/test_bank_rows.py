"""Is every column of a product multiplied once, in rows that are open, by every legal layout?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.schedule.bank_rows import (
    INPUT_HELD,
    OUTPUT_HELD,
    SLOT_COMMANDS,
    BankArray,
    Cells,
    Layout,
    channel_cells,
    command_stream,
    split_reduction,
)

LANES, ROW_COLUMNS = 4, 8

arrays = st.builds(
    BankArray,
    channels=st.integers(1, 5),
    units=st.integers(1, 4),
    lanes=st.just(LANES),
    row_columns=st.just(ROW_COLUMNS),
    accumulators=st.integers(1, 4),
    buffer_values=st.sampled_from([8, 16, 64]),
    values_per_burst=st.just(LANES),
    result_bursts=st.integers(1, 3),
    packs_rows=st.booleans(),
)


@st.composite
def layouts(draw: st.DrawFn, array: BankArray) -> Layout:
    k = draw(st.integers(1, 90))
    lengths = split_reduction(k, draw(st.integers(1, 4)), array.buffer_values, LANES)
    assert lengths.sum() == k
    products, groups = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    shape = (products * groups, *lengths.shape)
    if draw(st.booleans()):
        columns = -(-lengths // LANES)[None]
    else:
        most = -(-lengths // LANES)
        seed = draw(st.integers(0, 99))
        columns = np.random.default_rng(seed).integers(0, most + 1, size=shape)
    order = draw(st.sampled_from([INPUT_HELD, OUTPUT_HELD]))
    held = order == INPUT_HELD and lengths.size == 1
    tokens = draw(st.integers(1, 3)) if held else 1
    return Layout(order, products, groups, tokens, lengths, np.asarray(columns, dtype=np.int64))


@st.composite
def works(draw: st.DrawFn) -> tuple[BankArray, Layout, list[Cells]]:
    array = draw(arrays)
    layout = draw(layouts(array))
    every = [channel_cells(layout, array, channel) for channel in range(array.channels)]
    return array, layout, [cells for cells in every if cells is not None]


def by_hand(array: BankArray, layout: Layout) -> tuple[int, int]:
    """Columns and result bursts of all channels, one work unit after the other."""
    columns = reads = 0
    for product in range(layout.products):
        for cut, lengths in enumerate(layout.lengths):
            for group in range(layout.groups):
                row = product * layout.groups + group if len(layout.columns) > 1 else 0
                of_group = layout.columns[row, cut] * (lengths > 0)
                kept = int((of_group > 0).sum())
                sums = kept if layout.order == INPUT_HELD else min(1, kept)
                columns += int(of_group.sum()) * layout.tokens
                reads += sums * array.result_bursts * layout.tokens
    return columns, reads


@settings(max_examples=150, deadline=None)
@given(works())
def test_columns_and_results_are_complete(work: tuple[BankArray, Layout, list[Cells]]) -> None:
    array, layout, channels = work
    columns, reads = by_hand(array, layout)
    assert sum(int(cells.columns.sum()) for cells in channels) == columns
    assert sum(int(cells.reads.sum()) for cells in channels) == reads
    assert all((cells.columns > 0).all() for cells in channels)


@settings(max_examples=150, deadline=None)
@given(works(), st.booleans(), st.booleans(), st.sampled_from([1, 4]))
def test_streams_open_the_row_of_every_column(
    work: tuple[BankArray, Layout, list[Cells]], bias: bool, modes: bool, acts: int
) -> None:
    _, _, channels = work
    for cells in channels:
        stream = command_stream(
            cells, row_columns=ROW_COLUMNS, banks_to_activate=acts, has_bias=bias, has_modes=modes
        )
        wanted = [
            (int(start) + j) // ROW_COLUMNS
            for start, count in zip(cells.start, cells.columns, strict=True)
            for j in range(count)
        ]
        names = [SLOT_COMMANDS[i] for i in stream.command]
        open_rows: list[int] = []
        multiplied, in_registers = [], False
        for name, bank, row in zip(names, stream.bank, stream.row, strict=True):
            if name == "PREA":
                assert len(open_rows) == acts
                open_rows = []
            elif name == "ACT":
                assert bank == len(open_rows)
                open_rows.append(int(row))
            elif name == "MAC16":
                assert open_rows == [row] * acts
                multiplied.append(int(row))
            if name == "TMOD":
                in_registers = not in_registers
            elif modes and name != "REFA":
                assert in_registers == (name in ("WRGB", "WRMAC16", "RDMAC16"))
        assert multiplied == wanted
        assert names.count("RDMAC16") == cells.reads.sum()
        assert names.count("WRGB") == cells.writes.sum()
        assert names.count("WRMAC16") == (len(cells.columns) if bias else 0)
        assert all(names[i] == "ACT" for i in stream.safe)


@settings(max_examples=100, deadline=None)
@given(works())
def test_no_two_runs_share_a_column(work: tuple[BankArray, Layout, list[Cells]]) -> None:
    _, layout, channels = work
    for cells in channels:
        places: list[int] = []
        for start, count in zip(
            cells.start[:: layout.tokens], cells.columns[:: layout.tokens], strict=False
        ):
            places += range(int(start), int(start) + int(count))
        if layout.tokens == 1:
            assert len(places) == len(set(places))


def test_packed_rows_are_full_and_unpacked_runs_begin_rows() -> None:
    lengths = split_reduction(24, 1, 64, LANES)
    columns = -(-lengths // LANES)[None]
    layout = Layout(INPUT_HELD, 1, 4, 1, lengths, columns)
    for packs, starts in ((True, [0, 6, 12, 18]), (False, [0, 8, 16, 24])):
        array = BankArray(1, 2, LANES, ROW_COLUMNS, 1, 64, LANES, 1, packs)
        cells = channel_cells(layout, array, 0)
        assert cells is not None
        assert cells.start.tolist() == starts


@pytest.mark.parametrize(
    ("order", "writes", "reads"),
    [(INPUT_HELD, [2, 0, 0, 1, 0, 0], [0, 2, 1, 0, 2, 1]),
     (OUTPUT_HELD, [2, 0, 1, 0, 2, 1], [0, 0, 0, 2, 0, 1])],
)  # fmt: skip
def test_inputs_and_sums_take_turns_as_the_order_says(
    order: str, writes: list[int], reads: list[int]
) -> None:
    lengths = split_reduction(12, 1, 8, LANES)
    layout = Layout(order, 1, 3, 1, lengths, -(-lengths // LANES)[None])
    cells = channel_cells(layout, BankArray(1, 2, LANES, 8, 2, 8, LANES, 1, True), 0)
    assert cells is not None
    assert cells.writes.tolist() == writes
    assert cells.reads.tolist() == reads
