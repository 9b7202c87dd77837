"""What of a trace every design point needs: its different operators, and where each stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.schedule.program import Int64
from codesign.sparsity.mask import Mask
from codesign.trace.op import Op, Trace


@dataclass(frozen=True)
class Plan:
    """The different operators of a trace, each with its real mask and a key, and their places."""

    fingerprint: str
    unique: tuple[tuple[Op, Mask | None, object], ...]
    place: Int64
    """Which of `unique` each operator of the trace is."""
    times: tuple[int, ...]
    """How many operators each of `unique` stands for."""
    deps: tuple[tuple[int, ...], ...]
    repeats: tuple[int, ...]
    macs: int
    parameters: int


def make_plan(trace: Trace, *, by_name: bool) -> Plan:
    """The plan of a trace; `by_name` where masks are sampled, each from its operator's name."""
    index: dict[object, int] = {}
    unique: list[tuple[Op, Mask | None, object]] = []
    place = []
    for op in trace:
        mask = trace.masks.get(op.name)
        sampled = op.name if by_name and not op.b_pattern.is_dense else None
        own = sampled if mask is None else mask.fingerprint
        key = (op.shape_key, own)
        if key not in index:
            index[key] = len(unique)
            unique.append((op, mask, key))
        place.append(index[key])
    at = {op.name: i for i, op in enumerate(trace)}
    return Plan(
        fingerprint=trace.fingerprint,
        unique=tuple(unique),
        place=np.array(place, dtype=np.int64),
        times=tuple(place.count(i) for i in range(len(unique))),
        deps=tuple(tuple(at[dep] for dep in op.deps) for op in trace),
        repeats=tuple(op.repeats for op in trace),
        macs=trace.macs,
        parameters=trace.parameter_count,
    )
