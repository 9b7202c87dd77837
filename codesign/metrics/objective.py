"""What a search for mappings minimises: an operator's latency, its energy, or their product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codesign.arch.base import AnyMachine, Fidelity, Mapping, Sparse
from codesign.mapper.search import Choice, Objective, search
from codesign.metrics.prices import prices_of
from codesign.schedule.program import Program
from codesign.sim import Timeline
from codesign.trace.op import Op
from codesign.units import PJ_PER_J

Goal = Literal["latency", "energy", "edp"]
Mapper = Literal["heuristic", "search", "exhaustive"]
Column = NDArray[np.float64]


def objective(goal: Goal, machine: AnyMachine) -> Objective:
    """Cycles, joules, or joules times cycles of an operator that runs alone."""
    if goal == "latency":
        return Objective(lambda _, timeline: float(timeline.cycles), lambda cycles, _: cycles)
    prices = prices_of(machine)
    energies = prices.energies
    pj_per_cycle = sum(prices.standing_w.values()) / prices.clock_hz * PJ_PER_J
    pj_per_byte = min((energies[action].pj for action in prices.off_chip), default=0.0)

    def joules(program: Program, timeline: Timeline) -> float:
        totals = program.totals().items()
        pj = sum(count * energies[action].pj for action, count in totals if action in energies)
        return float(pj + pj_per_cycle * timeline.cycles) / PJ_PER_J

    def least_joules(cycles: Column, moved: Column) -> Column:
        return np.asarray((pj_per_byte * moved + pj_per_cycle * cycles) / PJ_PER_J)

    if goal == "energy":
        return Objective(joules, least_joules)
    return Objective(
        lambda program, timeline: joules(program, timeline) * timeline.cycles,
        lambda cycles, moved: least_joules(cycles, moved) * cycles,
    )


def choose(
    op: Op,
    sparse: Sparse,
    machine: AnyMachine,
    fidelity: Fidelity,
    *,
    mapper: Mapper,
    goal: Goal,
    budget: int,
) -> Choice:
    """The mapping that a mapper finds for an operator, with what it cost to find."""
    minimised = objective(goal, machine)
    if mapper == "exhaustive":
        return search(op, machine, sparse, fidelity, minimised, budget=None, every=True)
    tries = 1 if mapper == "heuristic" else budget
    return search(op, machine, sparse, fidelity, minimised, budget=tries)


def chooser(
    mapper: Mapper, objective: Goal = "latency", budget: int = 16
) -> Callable[[Op, Sparse, AnyMachine, Fidelity], Mapping]:
    """A function that evaluate() takes to decide mappings."""

    def decide(op: Op, sparse: Sparse, machine: AnyMachine, fidelity: Fidelity) -> Mapping:
        if not op.is_matmul:
            return machine.mappings(op)[0]
        return choose(
            op, sparse, machine, fidelity, mapper=mapper, goal=objective, budget=budget
        ).mapping

    return decide
