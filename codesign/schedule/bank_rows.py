"""Matrix-vector products inside DRAM banks: what each channel multiplies, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.schedule.program import Int64

INPUT_HELD, OUTPUT_HELD = "input-held", "output-held"
"""Orders: all outputs for one bufferful of inputs, or all inputs for one batch of sums."""

SLOT_COMMANDS = (
    "TMOD", "WRGB", "WRMAC16", "TMOD", "PREA", "REFA", "ACT", "MAC16", "TMOD", "RDMAC16",
)  # fmt: skip
"""What may come with one column multiplied in all banks: before it, itself, and after it."""


@dataclass(frozen=True, slots=True)
class BankArray:
    """The parts of a PIM memory that decide the order of work.

    `units` MAC units of a channel work together on columns of `lanes` values; a row of all banks
    holds `row_columns` such columns. `accumulators` sums are kept in a unit, and reading those of
    one group (one output per unit) takes `result_bursts`. The buffer holds `buffer_values` inputs.
    """

    channels: int
    units: int
    lanes: int
    row_columns: int
    accumulators: int
    buffer_values: int
    values_per_burst: int
    result_bursts: int
    packs_rows: bool
    """Whether columns of one output follow those of the last in the same row."""


@dataclass(frozen=True)
class Layout:
    """A product on the banks, for `tokens` vectors that the buffer holds at once.

    `lengths` [slice, chunk] are the inputs of each bufferful, for each slice of the reduction that
    is a sum of its own; `columns` [group, slice, chunk] the columns that all units of a group of
    outputs multiply for it. `groups` groups of outputs belong to each of `products`.
    """

    order: str
    products: int
    groups: int
    tokens: int
    lengths: Int64
    columns: Int64

    @property
    def slices(self) -> int:
        return len(self.lengths)

    @property
    def work_units(self) -> int:
        """Groups of sums, dealt to the channels in contiguous runs of equal length."""
        return self.products * self.slices * self.groups

    @property
    def partial_sums(self) -> int:
        """Sums that are read for each output, one of them at least."""
        chunks = 1 if self.order == OUTPUT_HELD else np.count_nonzero(self.lengths, axis=1)
        return int(np.sum(chunks * np.ones(self.slices, dtype=np.int64)))


def split_reduction(k: int, slices: int, chunk: int, granule: int) -> Int64:
    """Inputs of every chunk of every slice [slice, chunk]; edges are multiples of `granule`.

    >>> split_reduction(1600, 1, 1024, 16).tolist()
    [[1024, 576]]
    """
    longest = -(-k // slices)
    slice_length = -(-longest // granule) * granule
    chunk = min(max(granule, chunk // granule * granule), slice_length)
    within = np.arange(-(-slice_length // chunk), dtype=np.int64) * chunk
    start = np.arange(slices, dtype=np.int64)[:, None] * slice_length + within
    stop = np.minimum(within + chunk, slice_length) + start[:, :1]
    lengths: Int64 = np.maximum(0, np.minimum(stop, k) - start)
    return lengths[lengths[:, 0] > 0]


@dataclass(frozen=True)
class Cells:
    """Runs of columns that a channel multiplies, in order: one for a group of outputs and a chunk.

    Before a run come `writes` bursts of inputs, after it `reads` bursts of results; its columns lie
    from column `start` of the banks on, rows counted through.
    """

    columns: Int64
    writes: Int64
    reads: Int64
    start: Int64

    def looped(self, times: int, row_columns: int) -> Cells:
        """The same work several times over, each time on rows of its own."""
        stride = (int((self.start + self.columns).max()) // row_columns + 1) * row_columns
        again = np.repeat(np.arange(times, dtype=np.int64) * stride, len(self.start))
        return Cells(
            np.tile(self.columns, times),
            np.tile(self.writes, times),
            np.tile(self.reads, times),
            np.tile(self.start, times) + again,
        )


def channel_cells(layout: Layout, array: BankArray, channel: int) -> Cells | None:
    """The work of one channel, or None if it has none; sums without a kept weight are left out."""
    total = layout.work_units
    unit = np.arange(
        channel * total // array.channels, (channel + 1) * total // array.channels, dtype=np.int64
    )
    if not len(unit):
        return None
    piece = unit // layout.groups
    cut = piece % layout.slices
    row = piece // layout.slices * layout.groups + unit % layout.groups
    of_group = layout.columns[row if len(layout.columns) > 1 else np.zeros_like(row), cut]
    lengths = layout.lengths[cut]
    valid = (lengths > 0) & (of_group > 0)
    if not valid.any():
        return None
    place = unit - np.maximum(unit[0], piece * layout.groups)
    held = layout.order == OUTPUT_HELD
    batch = place // array.accumulators if held else np.zeros_like(place)
    at, chunk = np.nonzero(valid)
    order = np.lexsort((at, chunk, batch[at], piece[at]))
    at, chunk = (np.repeat(one[order], layout.tokens) for one in (at, chunk))
    runs = np.stack([piece[at], batch[at], chunk])
    begins = np.ones(len(at), dtype=bool)
    begins[1:] = (runs[:, 1:] != runs[:, :-1]).any(axis=0)
    ends = np.append(begins[1:], True)
    position = np.arange(len(at)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
    if held:
        done = np.append((runs[:2, 1:] != runs[:2, :-1]).any(axis=0), True)
        of_batch = np.cumsum(done) - done
        _, one_of_sum = np.unique(at, return_index=True)
        sums = np.bincount(of_batch[one_of_sum])[of_batch]
    else:
        sums = position % array.accumulators + 1
        done = ends | (sums == array.accumulators)
    bursts = -(-lengths[at, chunk] // array.values_per_burst) * layout.tokens
    writes = np.where(begins, bursts, 0)
    reads = np.where(done, sums * array.result_bursts, 0)
    columns = of_group[at, chunk]
    stored = columns[:: layout.tokens]
    start = np.repeat(_places(stored, array, whole=layout.tokens > 1), layout.tokens)
    return Cells(columns, writes, reads, start)


def _places(columns: Int64, array: BankArray, *, whole: bool) -> Int64:
    """First column of each run: one after the other; `whole` ones cross rows only if they must."""
    if not array.packs_rows:
        rows = -(-columns // array.row_columns)
        return (np.cumsum(rows) - rows) * array.row_columns
    largest = int(columns.max())
    if not whole:
        return np.asarray(np.cumsum(columns) - columns, dtype=np.int64)
    number = np.arange(len(columns), dtype=np.int64)
    if largest > array.row_columns:
        return number * -(-largest // array.row_columns) * array.row_columns
    row, slot = np.divmod(number, array.row_columns // largest)
    return np.asarray(row * array.row_columns + slot * largest, dtype=np.int64)


@dataclass(frozen=True)
class CommandStream:
    """Commands of one channel in order, places in SLOT_COMMANDS, with the bank and row of each."""

    command: Int64
    bank: Int64
    row: Int64
    safe: Int64
    """Commands before which all banks are closed: a refresh may come there."""


def command_stream(
    cells: Cells,
    *,
    row_columns: int,
    banks_to_activate: int,
    has_bias: bool,
    has_modes: bool,
    refreshes: Int64 | None = None,
) -> CommandStream:
    """Commands that work off a channel's runs; rows are closed as late as possible.

    `banks_to_activate` activates open a row in all banks (1: one command does). `refreshes` counts
    those that come before each activated row.
    """
    cell = np.repeat(np.arange(len(cells.columns)), cells.columns)
    ends = np.cumsum(cells.columns)
    offset = np.arange(len(cell)) - (ends - cells.columns)[cell]
    row = (cells.start[cell] + offset) // row_columns
    opens = np.ones(len(cell), dtype=bool)
    opens[1:] = row[1:] != row[:-1]
    counts = np.zeros((len(SLOT_COMMANDS), len(cell)), dtype=np.int64)
    first = ends - cells.columns
    counts[1, first] = cells.writes
    counts[2, first] = int(has_bias)
    counts[4, 1:] = opens[1:]
    if refreshes is not None:
        counts[5, opens] = refreshes
    counts[6] = opens * banks_to_activate
    counts[7] = 1
    counts[9, ends - 1] = cells.reads
    if has_modes:
        registers = np.concatenate([[False], counts[9, :-1] > 0])
        before = (counts[1] + counts[2]) > 0
        counts[0] = before & ~registers
        counts[3] = before | registers
        counts[8] = counts[9] > 0
    length = counts.sum(axis=0)
    begun = np.cumsum(length) - length
    command = np.full(int(length.sum()), SLOT_COMMANDS.index("MAC16"), dtype=np.int64)
    bank = np.zeros(len(command), dtype=np.int64)
    safe = begun[:0]
    for kind, name in enumerate(SLOT_COMMANDS):
        if name == "ACT":
            safe = begun[opens]
        if name != "MAC16":
            slot = np.flatnonzero(counts[kind])
            times = counts[kind, slot]
            number = np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)
            place = np.repeat(begun[slot], times) + number
            command[place] = kind
            if name == "ACT":
                bank[place] = number
        begun = begun + counts[kind]
    return CommandStream(command, bank, np.repeat(row, length), safe)
