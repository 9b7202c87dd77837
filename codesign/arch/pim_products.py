"""Products in DRAM banks: where weights lie, what zeros save, and in which order they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, log, sqrt
from typing import TypeVar

import numpy as np

from codesign.arch.base import Fidelity, Machine, Mapping, Sparse
from codesign.arch.pim_channel import Channel
from codesign.arch.pim_spec import PimSpec, dram_preset
from codesign.memory import DramSpec
from codesign.memory.spec import Timing
from codesign.schedule.bank_rows import (
    INPUT_HELD,
    OUTPUT_HELD,
    BankArray,
    Layout,
    channel_cells,
    split_reduction,
)
from codesign.schedule.program import Int64, Unit
from codesign.sparsity.pattern import NM, Columns, Rows, Unstructured
from codesign.sparsity.storage import Extent
from codesign.trace.op import Op, ceil_bytes
from codesign.trace.sparsify import effective_macs
from codesign.units import BITS_PER_BYTE

CHANNEL, LOGIC, PINS = "channel", "logic", "pins"

_MEASURED, _NEAR = 4, 1.5
"""Mappings whose commands are run before one is chosen: so many, within this factor of the best."""
_SAMPLED, _LONG = 8, 1 << 14
"""Channels that are run for that; two if each has more columns than `_LONG`."""

S = TypeVar("S", bound=PimSpec)


@dataclass(frozen=True)
class Plan:
    """A product in the banks: its layout, and the vectors that it multiplies in all."""

    layout: Layout
    vectors: int


class BankProducts(Machine[S]):
    """The half of a PIM machine that lays products on channels, banks and rows."""

    @cached_property
    def dram(self) -> DramSpec:
        """The memory, with the channels, timings and refresh of the machine file."""
        preset = dram_preset(self.spec.dram)
        given = preset.timings["nRCDMAC"].source
        timings = {
            name: Timing(cycles=cycles, source=given) for name, cycles in self.spec.timings.items()
        }
        shape = preset.organisation.model_copy(update={"channels": self.spec.channels})
        return preset.model_copy(
            update={
                "organisation": shape,
                "timings": {**preset.timings, **timings},
                "refresh": "all_bank" if self.spec.refresh else "off",
            }
        )

    def units(self) -> tuple[Unit, ...]:
        return (Unit(CHANNEL, servers=self.spec.channels), Unit(LOGIC), Unit(PINS, servers=0))

    def channel(self, op: Op) -> Channel:
        """A channel as it works for an operator's data types."""
        widths = tuple(ceil_bytes(1, dtype) for dtype in (op.a_dtype, op.b_dtype, op.c_dtype))
        found = self._channels.get(widths)
        if found is None:
            found = self._channels[widths] = self._channel(*widths)
        return found

    @cached_property
    def _channels(self) -> dict[tuple[int, ...], Channel]:
        return {}

    def _channel(self, input_bytes: int, value_bytes: int, result_bytes: int) -> Channel:
        units, shape = self.spec.units, self.dram.organisation
        per_channel = shape.banks // units.banks_per_unit
        result = max(units.result_bytes, result_bytes)
        array = BankArray(
            channels=self.spec.channels,
            units=per_channel,
            lanes=shape.burst_bytes // max(value_bytes, ceil_bytes(1, self.spec.mac_dtype)),
            row_columns=shape.columns * units.banks_per_unit,
            accumulators=units.accumulators,
            buffer_values=units.input_buffer_bytes // input_bytes,
            values_per_burst=shape.burst_bytes // input_bytes,
            result_bursts=-(-per_channel * result // shape.burst_bytes),
            packs_rows=units.packs_rows,
        )
        return Channel(self.dram, array, units.activates == "all_banks", units.writes_bias)

    def supports(self, op: Op) -> bool:
        return True

    @property
    def mac_cycles(self) -> int:
        """Cycles between two columns multiplied in all banks."""
        return self.dram.cycles["nCCDMAC"]

    @property
    def burst_cycles(self) -> int:
        """Cycles between two bursts at the pins."""
        return max(self.dram.cycles["nBL"], self.dram.cycles["nCCD"])

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Bandwidth inside the banks, which products are bound by; the pins have less."""
        shape = self.dram.organisation
        units = shape.banks // self.spec.units.banks_per_unit
        return self.spec.channels * units * shape.burst_bytes / self.mac_cycles

    @property
    def pin_bytes_per_cycle(self) -> float:
        """Peak bandwidth of the pins of all channels."""
        return self.spec.channels * self.dram.organisation.burst_bytes / self.burst_cycles

    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        array = self.channel(op).array
        return Fraction(array.channels * array.units * array.lanes, self.mac_cycles)

    def kept_shape(self, op: Op) -> tuple[int, int]:
        """Outputs and inputs of a product after rows or columns that are wholly zero are left out.

        Which these are is known when the weights are laid out, so nothing in the banks says it.
        """
        if not self.compacts(op):
            return op.n, op.k
        products = 1 if op.b_shared else op.groups
        kept = op.b_pattern.stored_units(products * op.n, op.k)
        if isinstance(op.b_pattern, Columns):
            return op.n, max(1, kept)
        return max(1, -(-kept // products)), op.k

    def compacts(self, op: Op) -> bool:
        """Whether B is a smaller dense matrix once its zeros are left out."""
        return isinstance(op.b_pattern, Rows | Columns) and not op.b_pattern.is_dense

    def window(self, op: Op) -> int:
        """Inputs that lanes choose from: as many as fill them with N:M groups, else the most."""
        lanes = self.channel(op).array.lanes
        most = max(lanes, self.spec.units.select_window // lanes * lanes)
        if isinstance(op.b_pattern, NM):
            return min(most, lanes * -(-op.b_pattern.m // op.b_pattern.n))
        return most

    def index_bits(self, op: Op) -> float:
        """Bits that say where kept values are, for each element of B; 0 if lanes cannot choose."""
        window = self.window(op)
        if op.b_pattern.is_dense or self.compacts(op) or window == self.channel(op).array.lanes:
            return 0.0
        rows = op.n if op.b_shared else op.groups * op.n
        extent = Extent(rows, op.k, op.b_pattern.stored_units(rows, op.k))
        return sum(op.b_pattern.format.contents(extent).metadata_bits) / (rows * op.k)

    def exploits(self, op: Op) -> bool:
        if not op.is_matmul or op.b_pattern.is_dense:
            return False
        lanes, window = self.channel(op).array.lanes, self.window(op)
        if window == lanes or self.compacts(op):
            return True
        whole, rest = divmod(op.k, window)
        read = whole * self._expected_columns(op, window) + self._expected_columns(op, rest)
        width = lanes * BITS_PER_BYTE * ceil_bytes(1, op.b_dtype)
        return read + ceil(op.k * self.index_bits(op) / width) < -(-op.k // lanes)

    def _expected_columns(self, op: Op, inputs: int) -> int:
        """Columns of a window in the fullest bank: for scattered zeros, of so many normal draws."""
        array, density = self.channel(op).array, op.b_pattern.density
        exact = op.b_pattern.exact_group_count(inputs) if inputs else 0
        count = float(exact) if exact is not None else inputs * density
        if isinstance(op.b_pattern, Unstructured):
            count += sqrt(2 * log(array.units) * count * (1 - density))
        return -(-min(inputs, ceil(count)) // array.lanes)

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        exact = self.compacts(op) or op.b_pattern.exact_group_count(self.window(op)) is not None
        return fidelity is not Fidelity.TILE and self.exploits(op) and not exact

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        if not self.exploits(op):
            return op.b_bytes
        kept = effective_macs(op, sparse.mask) // (op.m * op.repeats)
        if op.b_shared:
            kept //= op.groups
        index = int(self.index_bits(op) * op.b_elements) // BITS_PER_BYTE
        return ceil_bytes(kept, op.b_dtype) + index

    def engine(self, op: Op) -> str:
        return LOGIC if self.spec.overlap and not op.is_matmul else CHANNEL

    def mappings(self, op: Op) -> Sequence[Mapping]:
        if not op.is_matmul:
            return (Mapping(LOGIC, 0, 0, 0),)
        array = self.channel(op).array
        options: list[tuple[float, int, Plan]] = []
        cuts = 1
        while cuts <= min(array.channels, -(-self.kept_shape(op)[1] // array.lanes)):
            for order in (INPUT_HELD, OUTPUT_HELD):
                plan = self.plan(op, order, cuts, None)
                options.append((self._estimate(op, plan), len(options), plan))
            cuts *= 2
        options.sort(key=lambda row: row[:2])
        near = [row for row in options[:_MEASURED] if row[0] < _NEAR * options[0][0]]
        if len(near) > 1:
            options = [(self._measure(op, plan), at, plan) for _, at, plan in near]
            options.sort(key=lambda row: row[:2])
        return tuple(
            Mapping(
                plan.layout.order,
                plan.layout.tokens,
                array.units,
                int(plan.layout.lengths.max()),
                plan.layout.slices,
                "nm" if plan.layout.order == OUTPUT_HELD else "mn",
            )
            for _, _, plan in options
        )

    def plan(self, op: Op, order: str, cuts: int, window_counts: Int64 | None) -> Plan:
        """The layout of a product whose reduction is cut into `cuts` sums.

        `window_counts` [group, window] are the most kept values of an output of the group; None
        takes the pattern's density everywhere.
        """
        array, (outputs, inputs) = self.channel(op).array, self.kept_shape(op)
        skips = self.exploits(op) and not self.compacts(op)
        window = self.window(op) if skips else array.lanes
        lengths = split_reduction(inputs, cuts, array.buffer_values, window)
        windows = -(-lengths // window)
        if window_counts is None:
            kept = op.b_pattern.density if skips else 1.0
            exact = op.b_pattern.exact_group_count(window) if skips else None
            count = exact if exact is not None else int(np.ceil(window * kept))
            full, rest = np.divmod(lengths, window)
            columns = full * -(-count // array.lanes)
            columns = columns + -(-np.minimum(rest, count) // array.lanes)
            columns = columns[None]
        else:
            per_window = -(-window_counts // array.lanes)
            columns = np.zeros((len(window_counts), *lengths.shape), dtype=np.int64)
            edges = np.cumsum(windows.reshape(-1)) - windows.reshape(-1)
            columns.reshape(len(window_counts), -1)[:] = np.add.reduceat(
                np.pad(per_window, ((0, 0), (0, 1))), edges, axis=1
            ) * (windows.reshape(-1) > 0)
        bits = self.index_bits(op) if skips else 0.0
        width = array.lanes * BITS_PER_BYTE * ceil_bytes(1, op.b_dtype)
        index = np.ceil(lengths * bits / width).astype(np.int64)
        columns = np.where(columns > 0, columns + index, 0) if bits else columns
        vectors = op.m * (op.groups if op.b_shared else 1)
        tokens = 1
        if lengths.size == 1 and order == INPUT_HELD:
            padded = -(-int(lengths[0, 0]) // array.values_per_burst) * array.values_per_burst
            tokens = max(1, min(vectors, array.buffer_values // padded))
        products = 1 if op.b_shared else op.groups
        layout = Layout(order, products, -(-outputs // array.units), tokens, lengths, columns)
        return Plan(layout, vectors)

    def _estimate(self, op: Op, plan: Plan) -> float:
        """Cycles of the busiest channel by counts of commands, to leave most mappings out."""
        array, cycles, layout = self.channel(op).array, self.dram.cycles, plan.layout
        units, tokens = -(-layout.work_units // array.channels), layout.tokens
        pieces = min(units, -(-units // layout.groups) + 1)
        held = layout.order == OUTPUT_HELD
        batches = -(-min(units, layout.groups) // array.accumulators) if held else 1
        chunks = 1 if held else int((layout.lengths > 0).sum(axis=1).max())
        columns = float(layout.columns.mean(axis=0).sum(axis=1).max()) * units
        bursts = int((-(-layout.lengths // array.values_per_burst)).sum(axis=1).max())
        sums = units * chunks
        rows = max(1.0, columns / array.row_columns) if array.packs_rows else float(sums)
        turn = cycles["nRCDMAC"] + cycles["nRP"] + cycles["nRTP"]
        wait = cycles.get("nMACRES", 0) + 2 * cycles["nMODCH"]
        visits = sums * tokens / array.accumulators + pieces * batches
        one = columns * tokens * self.mac_cycles + rows * turn + visits * wait + cycles["nREG"]
        one += (bursts * pieces * batches + sums * array.result_bursts) * tokens * self.burst_cycles
        return (one + self._sum_cycles(op, layout, tokens)) * -(-plan.vectors // tokens)

    def _adds(self, op: Op, layout: Layout, vectors: int) -> int:
        """Additions of partial sums, and of the lanes of a unit without adders, in the logic."""
        width = max(1, ceil_bytes(1, op.c_dtype))
        lanes = max(1, self.spec.units.result_bytes // width)
        return vectors * layout.products * op.n * (layout.partial_sums * lanes - 1)

    def _sum_cycles(self, op: Op, layout: Layout, vectors: int) -> int:
        """Cycles of the logic behind one run; banks that take turns with it wait its latency."""
        logic = self.spec.logic
        adds = self._adds(op, layout, vectors)
        cycles = -(-adds // (logic.lanes * logic.alu_per_lane))
        return cycles + (logic.latency_cycles if adds and not self.spec.overlap else 0)

    def _measure(self, op: Op, plan: Plan) -> float:
        """Cycles of a mapping with the commands of some channels, the first and last among them."""
        channel, layout = self.channel(op), plan.layout
        share = int(layout.columns.sum(axis=(1, 2)).mean()) * layout.groups * layout.products
        sampled = _SAMPLED if share < _LONG * channel.array.channels else 2
        places = np.linspace(0, channel.array.channels - 1, sampled).astype(int)
        tried = (channel_cells(layout, channel.array, int(at)) for at in np.unique(places))
        busy = max(channel.work(cells).busy_cycles(1) for cells in tried if cells is not None)
        sums = self._sum_cycles(op, layout, layout.tokens)
        cycles = max(busy, sums) if self.spec.overlap else busy + sums
        return float(cycles * -(-plan.vectors // layout.tokens))

    def _window_counts(self, op: Op, sparse: Sparse) -> Int64 | None:
        """Kept values of the fullest output of every group of units that wait for each other."""
        if sparse.mask is None or not self.exploits(op) or self.compacts(op):
            return None
        window, units = self.window(op), self.channel(op).array.units
        products = 1 if op.b_shared else op.groups
        rows = [
            sparse.mask[g * op.n : (g + 1) * op.n, :].slowest_lane(window, units)
            for g in range(products)
        ]
        return np.concatenate(rows)
