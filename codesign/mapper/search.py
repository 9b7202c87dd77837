"""The best mapping of an operator on a machine: candidates pruned by bounds, the rest simulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.arch.base import AnyMachine, Candidates, Fidelity, Mapping, Sparse
from codesign.config import CodesignError
from codesign.schedule.program import Program
from codesign.sim import Timeline, simulate
from codesign.trace.op import Op, Trace

MOST_CANDIDATES = 200_000
"""An exhaustive search tries at most so many mappings, which takes minutes."""


@dataclass(frozen=True)
class Objective:
    """What is minimised, of one operator that runs alone, and the least that it can be."""

    of: Callable[[Program, Timeline], float]
    least: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
    """From cycles and off-chip bytes that cannot be beaten."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best mapping that was simulated, and how much work finding it was."""

    mapping: Mapping
    cost: float
    default_cost: float
    candidates: int
    simulated: int
    proven: bool
    """No candidate that was left out can be better."""


def count_mappings(trace: Trace, machine: AnyMachine) -> int:
    """Mappings of all different products of a trace, which an exhaustive search may have to try.

    Raises CodesignError, before any is tried, when these are too many.
    """
    count = 0
    products = {op.shape_key: op for op in trace if op.is_matmul}
    for number, op in enumerate(products.values(), start=1):
        count += len(machine.candidates(op, Sparse(), every=True))
        if count > MOST_CANDIDATES:
            raise CodesignError(
                f"{trace.name} on {machine.spec.name}: the first {number} of {len(products)} "
                f"different products have {count:,} mappings, and exhaustive tries at most "
                f"{MOST_CANDIDATES:,}; use the mapper search"
            )
    return count


def search(
    op: Op,
    machine: AnyMachine,
    sparse: Sparse,
    fidelity: Fidelity,
    objective: Objective,
    *,
    budget: int | None = 16,
    every: bool = False,
) -> Choice:
    """The best mapping of `budget` simulations, likeliest first, or of all candidates with None.

    The machine's own mapping is always among them, so the answer is never worse. Candidates whose
    lower bound is not below the best found are left out. `every` searches all tile sizes that the
    machine can list, not only equal parts. Raises CodesignError when these are too many.
    """
    default = machine.mappings(op)[0]
    best, least_cost = default, _cost(op, machine, default, sparse, fidelity, objective)
    default_cost = least_cost
    found = machine.candidates(op, sparse, every=every)
    if every and len(found) > MOST_CANDIDATES:
        raise CodesignError(
            f"{op.name}: {len(found):,} mappings are too many to try them all "
            f"(at most {MOST_CANDIDATES:,}); use the mapper search"
        )
    floor = objective.least(found.least_cycles, found.least_bytes)
    simulated = 1
    for place in _ranked(found, floor):
        if floor[place] >= least_cost:
            continue
        if budget is not None and simulated >= budget:
            return Choice(best, least_cost, default_cost, len(found), simulated, False)
        mapping = found.at(int(place))
        if mapping == default:
            continue
        cost = _cost(op, machine, mapping, sparse, fidelity, objective)
        simulated += 1
        if cost < least_cost:
            best, least_cost = mapping, cost
    return Choice(best, least_cost, default_cost, len(found), simulated, True)


def _ranked(found: Candidates, floor: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places in the order in which they are tried: by the likely objective, then the bound."""
    likely = np.maximum(found.likely_cycles, found.least_cycles)
    scale = np.divide(
        likely, found.least_cycles, out=np.ones(len(found)), where=found.least_cycles > 0
    )
    return np.lexsort((np.arange(len(found)), floor * scale if floor.any() else likely))


def _cost(
    op: Op,
    machine: AnyMachine,
    mapping: Mapping,
    sparse: Sparse,
    fidelity: Fidelity,
    objective: Objective,
) -> float:
    program = machine.lower(op, mapping, sparse, fidelity)
    return objective.of(program, simulate(program))
