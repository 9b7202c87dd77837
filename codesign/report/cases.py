"""Runs that can be run again: what a report needs beyond results, and how it gets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codesign.arch.base import AnyMachine
from codesign.evaluate import Chooser, evaluate
from codesign.metrics.result import Result
from codesign.planning import network_chooser
from codesign.sweep.analysis import stored_base
from codesign.sweep.engine import Engine
from codesign.sweep.store import Row, Store
from codesign.sweep.study import Study
from codesign.trace.op import Trace


@dataclass(frozen=True)
class Case:
    """A result with the trace and the machine that it came from."""

    result: Result
    trace: Trace
    machine: AnyMachine
    chooser: Chooser | None = None


def again(store: Store, study: Study, rows: Sequence[Row]) -> list[Case]:
    """Points of a study simulated once more, operator by operator.

    Raises CodesignError when a file of the study cannot be read as it was stored.
    """
    engine = Engine(stored_base(store, study))
    cases = []
    for row in rows:
        config = row.config
        machine = engine.machine(config["arch"])
        trace = engine.trace(config["workload"], config["sparsity"])
        chosen = network_chooser(
            trace, machine, fidelity=row.fidelity, seed=row.seed, **config["mapping"]
        )
        result = evaluate(trace, machine, fidelity=row.fidelity, seed=row.seed, chooser=chosen)
        cases.append(Case(result, trace, machine, chosen))
    return cases


def differing(rows: Sequence[Row], cases: Sequence[Case]) -> list[int]:
    """Numbers of the points whose stored latency or energy is not what they give now."""
    return [
        row.number
        for row, case in zip(rows, cases, strict=True)
        if (row.metrics["cycles"], row.metrics["energy_j"])
        != (case.result.cycles, case.result.energy_j)
    ]
