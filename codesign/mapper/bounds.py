"""Roofline: the cycles that no mapping of an operator can beat, and the bytes that it must move."""

from __future__ import annotations

import math
from dataclasses import dataclass

from codesign.arch.base import AnyMachine, Mapping, Sparse
from codesign.trace.op import Op


@dataclass(frozen=True, slots=True)
class Bound:
    """Lower bounds of one operator on one machine.

    Those of several operators add up to bounds of all of them: where operators run side by side,
    `compute_cycles` is their share of the whole machine's cycles, and not rounded up.
    """

    compute_cycles: int
    memory_cycles: int
    compulsory_bytes: int
    alone_cycles: int
    """What the operator takes at least where its mapping places it."""


def roofline(
    op: Op,
    machine: AnyMachine,
    sparse: Sparse,
    executed_macs: int,
    mapping: Mapping,
) -> Bound:
    """Bound of an operator that issues `executed_macs` multiply-accumulates.

    Compulsory bytes are every operand read once and the result written once, unless the machine
    or the mapping keeps some of them on the chip or fuses the operator with others.
    """
    compute = alone = 0
    if op.is_matmul:
        peak = machine.peak_macs_per_cycle(op)
        alone = math.ceil(executed_macs / (peak * machine.share_of_peak(mapping)))
        compute = alone if machine.cores == 1 else math.floor(executed_macs / peak)
    moved = machine.compulsory_bytes(op, sparse) - mapping.spared_bytes(op)
    moved = 0 if mapping.fused_into else moved * op.repeats
    bandwidth = machine.dram_bytes_per_cycle
    memory = 0 if math.isinf(bandwidth) else math.ceil(moved / bandwidth)
    return Bound(compute, memory, moved, max(alone, memory))
