"""Roofline: the cycles that no mapping of an operator can beat, and the bytes that it must move."""

from __future__ import annotations

import math
from dataclasses import dataclass

from codesign.arch.base import NOTHING_KEPT, AnyMachine, Kept, Sparse
from codesign.trace.op import Op


@dataclass(frozen=True, slots=True)
class Bound:
    """Lower bounds of one operator on one machine."""

    compute_cycles: int
    memory_cycles: int
    compulsory_bytes: int

    @property
    def cycles(self) -> int:
        return max(self.compute_cycles, self.memory_cycles)


def roofline(
    op: Op,
    machine: AnyMachine,
    sparse: Sparse,
    executed_macs: int,
    kept: Kept = NOTHING_KEPT,
) -> Bound:
    """Bound of an operator that issues `executed_macs` multiply-accumulates.

    Compulsory bytes are every operand read once and the result written once, unless the machine
    or the mapping keeps some of them on the chip.
    """
    if op.is_matmul:
        peak = machine.peak_macs_per_cycle(op)
        compute = math.ceil(executed_macs / peak)
    else:
        compute = 0
    moved = (machine.compulsory_bytes(op, sparse) - kept.saved_bytes(op)) * op.repeats
    bandwidth = machine.dram_bytes_per_cycle
    memory = 0 if math.isinf(bandwidth) else math.ceil(moved / bandwidth)
    return Bound(compute, memory, moved)
