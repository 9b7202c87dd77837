"""The blocks of a systolic machine: what its file states of them, and what accesses they see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from codesign.arch.cores import CoresSpec
from codesign.arch.device_link import device_components, dram_of
from codesign.arch.parts import (
    Component,
    DramDevice,
    OffChip,
    Scratchpad,
    SumDType,
    VectorUnit,
)
from codesign.arch.vector_lanes import stream_buffer
from codesign.config import Spec
from codesign.schedule.folds import Array
from codesign.schedule.program import Int64, Steps
from codesign.schedule.streaming import DRAM_READ, DRAM_WRITE, MAC, Operand
from codesign.schedule.tiling import TileTable
from codesign.trace.op import ceil_bytes
from codesign.units import DTypeName


class Buffers(Spec):
    """The scratchpads of an array: one for each operand."""

    input: Scratchpad
    weight: Scratchpad
    output: Scratchpad


class SystolicSpec(CoresSpec):
    """The parts of a machine file that every systolic machine has."""

    mac_dtype: DTypeName
    accumulate_dtype: SumDType
    buffers: Buffers
    dram: OffChip
    vector: VectorUnit

    @property
    def sum_bytes(self) -> int:
        """Bytes of a partial sum."""
        return ceil_bytes(1, self.accumulate_dtype)


def paced(
    array: Array, buffers: Buffers, *, group: int, a_bits: int, b_bits: int, sum_bytes: int
) -> Array:
    """An array as scratchpads of their widths can feed and drain it; bits are of a value."""
    feed = array.rows * group * a_bits / 8 / buffers.input.width_bytes
    load = array.cols * b_bits / 8 / buffers.weight.width_bytes
    drain = array.cols * sum_bytes / buffers.output.width_bytes
    return replace(
        array,
        feed_slots=max(1, math.ceil(feed), math.ceil(drain)),
        load_cycles_per_slot=max(1, math.ceil(load)),
        drain_cycles_per_row=max(1, math.ceil(drain)),
    )


def systolic_components(spec: SystolicSpec, array: Array) -> Sequence[Component]:
    """Array, registers, scratchpads, vector lanes and off-chip memory, as metrics see them."""
    per_element = 2 * ceil_bytes(1, spec.mac_dtype) + array.interleave * spec.sum_bytes
    pads = (("input", spec.buffers.input), ("weight", spec.buffers.weight))
    memory: tuple[Component, ...]
    if isinstance(spec.dram, DramDevice):
        memory = device_components(dram_of(spec.dram))
    else:
        kind = spec.dram.kind
        memory = (
            Component(name="dram", kind="dram", actions=(DRAM_READ, DRAM_WRITE), dram_kind=kind),
        )
    return (
        Component(
            name="array", kind="mac", actions=(MAC,), instances=array.rows * array.cols,
            dtype=spec.mac_dtype, accumulate_dtype=spec.accumulate_dtype,
        ),
        Component(
            name="registers", kind="register", actions=("register",),
            instances=array.rows * array.cols, capacity_bytes=per_element,
        ),
        *(
            Component(
                name=f"{name} buffer", kind="sram", actions=(f"{name}_read", f"{name}_write"),
                capacity_bytes=pad.capacity_bytes, width_bytes=pad.width_bytes,
            )
            for name, pad in (*pads, ("output", spec.buffers.output))
        ),
        Component(
            name="vector", kind="vector", actions=("vector_alu", "vector_special"),
            instances=spec.vector.lanes * spec.vector.alu_per_lane, dtype=spec.mac_dtype,
        ),
        stream_buffer("vector", spec.vector),
        *memory,
    )  # fmt: skip


def tally_accesses(
    steps: Steps,
    dataflow: str,
    table: TileTable,
    array: Array,
    a: Operand,
    b: Operand,
    macs: Int64,
    *,
    b_values: Int64,
    b_bits: int,
    group: int,
    sum_bytes: int,
) -> None:
    """Count bytes at the scratchpads and at the registers of the processing elements.

    `b_values` values of B of `b_bits` each lie in the scratchpad for a tile; a fold covers `group`
    values of the reduction in each row of the array. `macs` are issued by each tile. Of an operand
    that a unit selects from on its way, only what is kept is written. Where that is A, the operands
    change places: A lies in the weights' scratchpad, and B in the inputs'.
    """
    op = table.op
    across, down = array.cols, array.rows * group
    a_bits, b_plain_bits = ceil_bytes(8, op.a_dtype), ceil_bytes(8, op.b_dtype)
    work = table.groups * table.m * table.n
    a_values = table.groups * table.m * table.k
    visits_a = visits_b = visits_c = np.ones_like(work)
    if dataflow == "os":
        visits_a, visits_b = -(-table.n // across), -(-table.m // array.rows)
    elif dataflow == "ws":
        visits_a, visits_c = -(-table.n // across), -(-table.k // down)
    else:
        visits_b, visits_c = -(-table.m // across), -(-table.k // down)
    pads = ("input", "weight")
    if a.selection is not None:
        pads = ("weight", "input")
        a_bits, b_bits = a_bits + b_bits - b_plain_bits, b_plain_bits
        a_values, b_values = b_values * table.m // table.n, table.groups * table.n * table.k
    for pad, operand, values, bits, visits in (
        (pads[0], a, a_values, a_bits, visits_a),
        (pads[1], b, b_values, b_bits, visits_b),
    ):
        held = operand.size_bytes if operand.selection is None else -(-values * bits // 8)
        steps.tally(f"{pad}_write", int(held[operand.loads].sum()))
        steps.tally(f"{pad}_read", int((values * visits).sum() * (bits / 8)))
    sums = int((work * visits_c).sum())
    begun, finished = int(work[table.first_k].sum()), int(work[table.last_k].sum())
    steps.tally("output_write", sums * sum_bytes)
    steps.tally("output_read", (sums - begun + finished) * sum_bytes)
    steps.tally("register", int(macs.sum() * ((a_bits + b_bits) / 8 + 2 * sum_bytes)))
