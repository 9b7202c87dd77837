"""All operators of a trace on a systolic machine at once: rows of integers for compiled kernels.

The definition is SystolicMachine.mappings and .lower at tile fidelity; tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codesign.arch import outlining
from codesign.arch.base import Sparse
from codesign.arch.outlining import Outlines
from codesign.arch.parts import DramDevice
from codesign.kernels import outlines as kernel
from codesign.kernels import tilings as search
from codesign.schedule.fitting import SLACK
from codesign.schedule.program import Int64
from codesign.schedule.streaming import DRAM_READ, DRAM_WRITE, MAC, Link
from codesign.schedule.tiling import Tiling, tile_table, transposed
from codesign.schedule.tilings import product_integers, stored_width
from codesign.sim import MOST_CYCLES
from codesign.trace.op import Op, Phase, ceil_bytes

if TYPE_CHECKING:
    from codesign.arch.systolic import SystolicMachine

_DATAFLOWS = {"ws": kernel.WS, "os": kernel.OS, "is": kernel.IS}
_ACCESSES = (
    "input_write", "input_read", "weight_write", "weight_read", "output_write", "output_read",
    "register",
)  # fmt: skip
_STREAM_ACTIONS = 5
"""Simple and special operations, reads and writes of the buffer, and what comes after."""


@dataclass(frozen=True)
class ProductRows:
    """Products, and the dataflows that each may take; machine sizes are still to be filled in."""

    searches: Int64
    """A row of `kernels.tilings` for each product and dataflow."""
    floats: NDArray[np.float64]
    owner: Int64
    """The product of each of them."""
    dataflow: Int64
    a_bits: Int64
    b_bits: Int64
    """Of a value of the streamed and of the stationary operand of each of them."""
    outlines: Int64
    """A row of `kernels.outlines` for each product."""
    select_action: Int64
    """The machine's action that counts what is selected; -1 where nothing is."""
    compulsory_bytes: Int64

    @property
    def structure(self) -> Hashable:
        return self.select_action.tobytes()


@dataclass(frozen=True)
class StreamRows:
    """Streams, and what they count; the link is still to be filled in."""

    streams: Int64
    """A row of `kernels.outlines` for each."""
    select_cycles: Int64
    actions: Int64
    """Places of what each counts beside its bytes."""
    counts: Int64
    compulsory_bytes: Int64

    @property
    def structure(self) -> Hashable:
        return self.actions.tobytes(), (self.counts > 0).tobytes()


def product_rows(machine: SystolicMachine[Any], ops: Sequence[Op]) -> ProductRows | None:
    """What of products does not depend on sizes; None where one has no lanes without a mask."""
    searches, floats, owner, dataflows, widths, outlines, selects = [], [], [], [], [], [], []
    for i, op in enumerate(ops):
        counts = machine.lane_counts(op)
        if counts is None:
            return None
        for dataflow in machine.usable_dataflows(op):
            laid = transposed(op) if dataflow == "is" else op
            row = np.zeros(search.INTEGERS, dtype=np.int64)
            row[: search.OF_PRODUCT] = product_integers(laid)
            row[search.GROUP], row[search.HOLDS_SUMS] = machine.group(laid), dataflow == "os"
            searches.append(row)
            floats.append(
                (
                    stored_width(laid, machine.held_density(laid)),
                    machine.slots(laid),
                    laid.b_bytes * machine.loaded_density(laid),
                )
            )
            owner.append(i)
            dataflows.append(_DATAFLOWS[dataflow])
            widths.append((ceil_bytes(8, laid.a_dtype), machine.stored_bits(laid)))
        row, action = _outline_row(machine, op, counts)
        outlines.append(row)
        selects.append(action)
    if len(set(owner)) < len(ops):
        return None
    bits = np.array(widths, dtype=np.int64).reshape(-1, 2)
    return ProductRows(
        np.array(searches, dtype=np.int64).reshape(-1, search.INTEGERS),
        np.array(floats, dtype=np.float64).reshape(-1, 3),
        np.array(owner, dtype=np.int64),
        np.array(dataflows, dtype=np.int64),
        bits[:, 0],
        bits[:, 1],
        np.array(outlines, dtype=np.int64).reshape(-1, kernel.INTEGERS),
        np.array(selects, dtype=np.int64),
        np.array([machine.compulsory_bytes(op, Sparse()) for op in ops], dtype=np.int64),
    )


def _outline_row(
    machine: SystolicMachine[Any], op: Op, counts: tuple[int, int]
) -> tuple[Int64, int]:
    """A product's row without its tiles, and the place of the action of its selection."""
    whole = tile_table(op, Tiling(op.m, op.n, op.k, op.groups))
    row = np.zeros(kernel.INTEGERS, dtype=np.int64)
    if op.conv is not None:
        conv, depths = op.conv, op.phase is Phase.BACKWARD_WEIGHT
        row[kernel.WINDOW : kernel.A_BITS] = (
            kernel.ROWS_ARE_DEPTHS if depths else kernel.ROWS_ARE_PIXELS, conv.batch,
            conv.in_channels // conv.groups, conv.out_w, conv.width.whole, *astuple(conv.depth),
            *astuple(conv.height),
        )  # fmt: skip
    row[: kernel.WINDOW] = op.m, op.n, op.k, op.groups, op.b_shared
    row[kernel.A_BITS : kernel.MACS] = (
        ceil_bytes(8, op.a_dtype), ceil_bytes(8, op.b_dtype), ceil_bytes(8, op.c_dtype),
        machine.stored_bits(op), machine.group(op), *counts, machine.moves_b_dense(op),
        kernel.NOTHING,
    )  # fmt: skip
    row[kernel.MACS] = machine.executed_macs(op, whole, Sparse()).sum()
    row[kernel.SELECT_LANES] = machine.select_lanes
    for operand, selection in (
        (kernel.OPERAND_A, machine.a_selection(op, whole)),
        (kernel.OPERAND_B, machine.b_selection(op, whole)),
    ):
        if selection is not None:
            row[kernel.SELECTS] = operand
            return row, machine.actions.index(selection.action)
    return row, -1


def stream_rows(machine: SystolicMachine[Any], ops: Sequence[Op]) -> StreamRows:
    """What of streams does not depend on the link."""
    streams, selects, actions, counts = [], [], [], []
    for op in ops:
        stream, buffer = machine.stream(op)
        streams.append(
            (
                op.elements, op.read_bytes, stream.write_bytes, stream.chunk_bytes,
                stream.cycles_per_element, stream.lanes, stream.latency_cycles, 0,
            )
        )  # fmt: skip
        moved = op.read_bytes + stream.write_bytes
        counted = [
            (stream.action, op.elements * op.alu_per_element),
            (stream.special_action, op.elements * op.special_per_element),
            (f"{buffer}_read", moved),
            (f"{buffer}_write", moved),
            (stream.action, 0),
        ]
        if stream.after is not None:
            counted[-1] = stream.after.action, int(stream.after.count.sum())
        selects.append(0 if stream.after is None else int(stream.after.busy_cycles.sum()))
        actions.append([machine.actions.index(action) for action, _ in counted])
        counts.append([count for _, count in counted])
    return StreamRows(
        np.array(streams, dtype=np.int64).reshape(-1, kernel.STREAM_INTEGERS),
        np.array(selects, dtype=np.int64),
        np.array(actions, dtype=np.int64).reshape(-1, _STREAM_ACTIONS),
        np.array(counts, dtype=np.int64).reshape(-1, _STREAM_ACTIONS),
        np.array([machine.compulsory_bytes(op, Sparse()) for op in ops], dtype=np.int64),
    )


def outlines(
    machine: SystolicMachine[Any], products: ProductRows, streams: StreamRows
) -> Outlines | None:
    """Outlines of products and streams; None where a tile does not fit or 64 bits do not do."""
    if isinstance(machine.spec.dram, DramDevice) or machine.cores > 1:
        return None
    link = machine.link()
    bandwidth = float(link.bytes_per_cycle or 0.0)
    tiles = _tiles(machine, products, link, bandwidth)
    if tiles is None:
        return None
    rows = products.outlines.copy()
    rows[:, kernel.TILE_M : kernel.DATAFLOW + 1] = tiles
    _fill(machine, rows, kernel, link, rows[:, kernel.A_BITS], rows[:, kernel.STORED_BITS])
    first = kernel.product_outlines(rows, bandwidth)
    then = streams.streams.copy()
    then[:, kernel.LINK_LATENCY] = link.latency_cycles
    second = kernel.stream_outlines(then, bandwidth)

    moves = np.concatenate([first[:, : kernel.TAIL + 1], second])
    busy = np.zeros((len(moves), outlining.STEPS), dtype=np.int64)
    delay = np.zeros_like(busy)
    sizes = np.stack(
        [
            moves[:, kernel.HEAD],
            moves[:, kernel.READ] - moves[:, kernel.HEAD],
            moves[:, kernel.WRITE] - moves[:, kernel.TAIL],
            moves[:, kernel.TAIL],
        ],
        axis=1,
    )
    places = [outlining.HEAD, outlining.READ, outlining.WRITE, outlining.TAIL]
    if bandwidth:
        held = np.ceil(sizes / bandwidth)
        if held.max(initial=0.0) > MOST_CYCLES:
            return None
        busy[:, places] = held
    delay[:, places] = link.delay
    busy[:, outlining.COMPUTE] = moves[:, kernel.COMPUTE]
    delay[:, outlining.COMPUTE] = moves[:, kernel.AFTER]
    busy[:, outlining.SELECT] = np.concatenate([first[:, kernel.SELECT], streams.select_cycles])
    return Outlines(
        busy,
        delay,
        _counts(machine, products, streams, first, moves),
        np.concatenate([products.compulsory_bytes, streams.compulsory_bytes]),
        machine.array.rows * machine.array.cols,
    )


def _tiles(
    machine: SystolicMachine[Any], products: ProductRows, link: Link, bandwidth: float
) -> Int64 | None:
    """Tile sizes, order and dataflow of every product; None where one has no tile that fits."""
    rows, turned = products.searches.copy(), products.dataflow == kernel.IS
    buffers, array = machine.spec.buffers, machine.array
    halves = [pad.capacity_bytes // 2 for pad in (buffers.input, buffers.weight, buffers.output)]
    rows[:, search.A_BUDGET : search.C_BUDGET + 1] = halves
    rows[turned, search.A_BUDGET], rows[turned, search.B_BUDGET] = halves[1], halves[0]
    rows[:, search.N_GRANULE] = array.cols
    held_rows = np.where(products.dataflow == kernel.OS, 1, array.rows)
    rows[:, search.K_GRANULE] = rows[:, search.GROUP] * held_rows
    _fill(machine, rows, search, link, products.a_bits, products.b_bits)
    cycles, sizes = search.cheapest_tilings(rows, products.floats, bandwidth, SLACK)
    cost = np.where(cycles < 0, np.inf, cycles)
    order = np.lexsort((cost, products.owner))
    best = order[np.unique(products.owner[order], return_index=True)[1]]
    if len(best) and np.isinf(cost[best]).any():
        return None
    sizes[turned] = sizes[turned][:, [1, 0, 2, 3, 4]]
    sizes[turned, 4] = 1 - sizes[turned, 4]
    return np.column_stack([sizes[best], products.dataflow[best]])


def _fill(
    machine: SystolicMachine[Any],
    rows: Int64,
    places: Any,
    link: Link,
    a_bits: Int64,
    b_bits: Int64,
) -> None:
    """Put the array, as SystolicMachine.paced_array paces it, and the link into a kernel's rows."""
    array, buffers = machine.array, machine.spec.buffers
    feed = array.rows * rows[:, places.GROUP] * a_bits / 8 / buffers.input.width_bytes
    load = array.cols * b_bits / 8 / buffers.weight.width_bytes
    drain = array.cols * machine.sum_bytes / buffers.output.width_bytes
    rows[:, places.ROWS], rows[:, places.COLS] = array.rows, array.cols
    rows[:, places.ACCUMULATE] = array.accumulate_latency
    rows[:, places.INTERLEAVE] = array.interleave
    rows[:, places.DRAIN] = max(1, np.ceil(drain))
    rows[:, places.FEED] = np.maximum(rows[:, places.DRAIN], np.ceil(feed))
    rows[:, places.LOAD] = np.maximum(1, np.ceil(load))
    rows[:, places.LATENCY], rows[:, places.SUM_BYTES] = link.latency_cycles, machine.sum_bytes


def _counts(
    machine: SystolicMachine[Any],
    products: ProductRows,
    streams: StreamRows,
    outlined: Int64,
    moves: Int64,
) -> Int64:
    """Actions of every product and stream."""
    counts = np.zeros((len(moves), len(machine.actions)), dtype=np.int64)
    counts[:, machine.actions.index(DRAM_READ)] = moves[:, kernel.READ]
    counts[:, machine.actions.index(DRAM_WRITE)] = moves[:, kernel.WRITE]
    many = len(outlined)
    counts[:many, machine.actions.index(MAC)] = products.outlines[:, kernel.MACS]
    accesses = [machine.actions.index(action) for action in _ACCESSES]
    counts[:many, accesses] = outlined[:, kernel.INPUT_WRITE : kernel.REGISTER + 1]
    chosen = np.flatnonzero(products.select_action >= 0)
    counts[chosen, products.select_action[chosen]] = outlined[chosen, kernel.SELECTED]
    row = np.arange(many, len(moves))[:, None]
    np.add.at(counts, (row, streams.actions), streams.counts)
    return counts
