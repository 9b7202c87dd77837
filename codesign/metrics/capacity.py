"""Whether what a run keeps in memory fits the memory of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from codesign.arch.base import AnyMachine, Sparse
from codesign.trace.footprint import footprint
from codesign.trace.op import Trace
from codesign.units import BYTES_PER_GIB

_LEAST_SHOWN_GIB = 0.05


def capacity_note(trace: Trace, machine: AnyMachine, zeros: Mapping[str, Sparse]) -> str | None:
    """A line for the report where a run needs more memory than the machine has.

    `zeros` are those of the operators, by name. None where it fits, as far as the trace tells, and
    where the machine file states no capacity.
    """
    room = machine.memory_bytes
    if room is None:
        return None
    needed = footprint(trace, lambda op: machine.stored_bytes(op, zeros[op.name]))
    if needed.total <= room:
        return None
    parts = {name: size / BYTES_PER_GIB for name, size in asdict(needed).items()}
    listed = ", ".join(f"{p} {gib:.3g}" for p, gib in parts.items() if gib >= _LEAST_SHOWN_GIB)
    return (
        f"needs at least {needed.total / BYTES_PER_GIB:.3g} GiB of memory ({listed}), "
        f"{machine.spec.name} has {room / BYTES_PER_GIB:.3g} GiB: "
        "the figures are those of a larger memory"
    )
