"""Lines of a report on a whole run: what its result does not mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from codesign.arch.base import AnyMachine, Sparse
from codesign.trace.footprint import footprint
from codesign.trace.op import Phase, Trace
from codesign.units import BYTES_PER_GIB

_LEAST_SHOWN_GIB = 0.05
_WHOLE_GIB = 999.5
"""From here on sizes are whole numbers."""


def run_notes(
    trace: Trace, machine: AnyMachine, zeros: Mapping[str, Sparse], plan: str = ""
) -> tuple[str, ...]:
    """All lines on a run, each once; `zeros` are those of its operators, `plan` is how they lie."""
    found = (
        method_note(trace),
        *(machine.note(op) for op in trace),
        plan,
        capacity_note(trace, machine, zeros),
    )
    return tuple(dict.fromkeys(note for note in found if note))


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
    listed = ", ".join(f"{p} {_shown(gib)}" for p, gib in parts.items() if gib >= _LEAST_SHOWN_GIB)
    return (
        f"needs at least {_shown(needed.total / BYTES_PER_GIB)} GiB of memory ({listed}), "
        f"{machine.spec.name} has {_shown(room / BYTES_PER_GIB)} GiB: "
        "the figures are those of a larger memory"
    )


def _shown(gib: float) -> str:
    return f"{gib:.3g}" if gib < _WHOLE_GIB else f"{gib:,.0f}"


def method_note(trace: Trace) -> str | None:
    """A line for the report where a pattern was placed by a method that prunes nothing of this run.

    >>> from codesign.trace.sparsify import sparsify
    >>> from codesign.trace.workload import load_workload
    >>> method_note(sparsify(load_workload("gemm:64,64,64"), "2:8", where="gemm", method="sdgp"))
    'method sdgp leaves the forward pass dense'
    """
    pruned = any(not (op.a_pattern.is_dense and op.b_pattern.is_dense) for op in trace)
    if pruned or not trace.meta.get("sparse_layers"):
        return None
    training = any(op.phase is Phase.BACKWARD_WEIGHT for op in trace)
    whole = "the training step" if training else "the forward pass"
    return f"method {trace.meta.get('method')} leaves {whole} dense"
