"""Decisions about a whole network on a machine: which feature maps stay on its chip, and which of
its cores run which operator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from codesign.arch.base import NOTHING_KEPT, AnyMachine, Fidelity, Kept, Mapping
from codesign.config import CodesignError
from codesign.evaluate import Chooser, Lowered, default_mapping, evaluate, lower
from codesign.mapper.residency import (
    FeatureMap,
    NetworkPlan,
    choose_resident,
    feature_maps,
    granule_of,
    kept_by,
)
from codesign.metrics.objective import Goal, Mapper, chooser, objective
from codesign.metrics.result import Result
from codesign.placing import placements
from codesign.sim import simulate
from codesign.trace.op import Trace

_STATES = {"heuristic": 8, "search": 64, "exhaustive": None}
"""Sets of resident maps that a mapper follows through the trace."""
_PLACEMENTS = {"heuristic": 4, "search": 16, "exhaustive": 64}
"""Beginnings of placements that a mapper follows."""


def network_chooser(
    trace: Trace,
    machine: AnyMachine,
    *,
    fidelity: Fidelity | str = Fidelity.ROW,
    seed: int = 0,
    mapper: Mapper = "heuristic",
    objective: Goal = "latency",
    budget: int = 16,
    keep_on_chip: bool = False,
    place: bool = False,
) -> Chooser | None:
    """What evaluate() takes to lay a trace on a machine; None leaves all to the machine.

    With `keep_on_chip`, plans keep the maps with which the operators, each alone, cost least
    cycles, joules, or both. The whole network is then simulated with each plan, with that of the
    heuristic, and with none, and the best by the objective is the answer. A machine that leaves
    nothing to decide, or keeps maps of its own accord, is as without. With `place`, on a machine of
    several cores, plans differ in which core runs an operator, or whether all share it, and the one
    that leaves this to the machine is among them.
    """
    decide = None if mapper == "heuristic" else chooser(mapper, objective, budget)
    if place and machine.cores > 1:
        plans = placements(
            trace, machine, fidelity=Fidelity(fidelity), seed=seed,
            decide=decide or default_mapping, most_states=_PLACEMENTS[mapper],
        )  # fmt: skip
        return _best(plans, trace, machine, fidelity, seed, objective)
    if not keep_on_chip or machine.room_bytes == 0:
        return decide
    costs = _Costs(trace, machine, Fidelity(fidelity), seed, decide or default_mapping)
    maps = feature_maps(trace)
    plans = [NetworkPlan({op.name: costs.rows[i].mapping for i, op in enumerate(trace)})]
    for weights in costs.weights():
        chosen, _ = choose_resident(
            len(trace),
            maps,
            machine.room_bytes,
            partial(costs.of, weights),
            most_states=_STATES[mapper],
        )
        plans.append(_plan(trace, [maps[i] for i in chosen], granule_of(machine.room_bytes), costs))
    if mapper != "heuristic":
        simple = network_chooser(
            trace, machine, fidelity=fidelity, seed=seed, objective=objective, keep_on_chip=True
        )
        assert isinstance(simple, NetworkPlan)
        plans.append(simple)
    return _best(plans, trace, machine, fidelity, seed, objective)


def _best(
    plans: Sequence[NetworkPlan],
    trace: Trace,
    machine: AnyMachine,
    fidelity: Fidelity | str,
    seed: int,
    goal: Goal,
) -> NetworkPlan:
    """The plan with which the whole network, simulated, is best; the first of equals."""
    results = [
        evaluate(trace, machine, fidelity=fidelity, seed=seed, chooser=plan) for plan in plans
    ]
    best = min(range(len(plans)), key=lambda i: (_figure(results[i], goal), results[i].edp_js))
    return plans[best]


def _plan(
    trace: Trace, resident: Sequence[FeatureMap], granule_bytes: int, costs: _Costs
) -> NetworkPlan:
    mappings = {}
    for i, op in enumerate(trace):
        beside = [one for one in resident if one.first <= i <= one.last]
        mappings[op.name] = costs.mapping(i, kept_by(i, beside, granule_bytes))
    return NetworkPlan(mappings)


def _figure(result: Result, goal: Goal) -> float:
    figures: dict[Goal, float] = {
        "latency": result.latency_s,
        "energy": result.energy_j,
        "edp": result.edp_js,
    }
    return figures[goal]


class _Costs:
    """What every operator of a trace costs alone, by what it keeps; equal ones are run once."""

    def __init__(
        self,
        trace: Trace,
        machine: AnyMachine,
        fidelity: Fidelity,
        seed: int,
        decide: Chooser,
    ) -> None:
        self._machine, self._fidelity, self._decide = machine, fidelity, decide
        self._joules = objective("energy", machine).of
        memo: dict[object, Lowered] = {}
        self.rows = [
            lower(op, trace.masks.get(op.name), machine, fidelity, seed, memo, decide)
            for op in trace
        ]
        self._keys = [id(row.program) for row in self.rows]
        self._laid: dict[tuple[int, int], Mapping | None] = {}
        self._spent: dict[tuple[int, Kept], tuple[float, float]] = {}

    def weights(self) -> list[tuple[float, float]]:
        """Of cycles and of joules: latency, energy, and to first order their product."""
        alone = [self._alone(i, NOTHING_KEPT) for i in range(len(self.rows))]
        cycles, joules = (sum(column) for column in zip(*alone, strict=True))
        return [(1.0, 0.0), (0.0, 1.0), (joules, cycles)]

    def of(self, weights: tuple[float, float], place: int, kept: Kept) -> float:
        """The cost of an operator, infinite where it finds no room for its tiles."""
        cycles, joules = self._alone(place, kept)
        if math.isinf(cycles):
            return cycles
        return weights[0] * cycles + weights[1] * joules

    def mapping(self, place: int, kept: Kept) -> Mapping:
        """How an operator is laid beside what is kept."""
        laid = self._beside(place, kept.taken_bytes)
        assert laid is not None
        return replace(laid, kept=kept)

    def _alone(self, place: int, kept: Kept) -> tuple[float, float]:
        """Cycles and joules of an operator with all its repetitions."""
        row = self.rows[place]
        if not row.op.is_matmul:
            kept = replace(kept, taken_bytes=0)
        key = (self._keys[place], kept)
        known = self._spent.get(key)
        if known is None:
            known = self._spent[key] = self._run(place, kept)
        return known

    def _run(self, place: int, kept: Kept) -> tuple[float, float]:
        row = self.rows[place]
        laid = self._beside(place, kept.taken_bytes)
        if laid is None:
            return math.inf, math.inf
        program = self._machine.lower(row.op, replace(laid, kept=kept), row.sparse, self._fidelity)
        timeline = simulate(program)
        times = row.op.repeats
        return float(timeline.cycles * times), self._joules(program, timeline) * times

    def _beside(self, place: int, taken_bytes: int) -> Mapping | None:
        """The mapping in what maps leave of the scratchpads; None if no tile fits."""
        row = self.rows[place]
        if taken_bytes == 0 or not row.op.is_matmul:
            return row.mapping
        key = (self._keys[place], taken_bytes)
        if key not in self._laid:
            try:
                narrow = self._machine.narrowed(taken_bytes)
                self._laid[key] = self._decide(row.op, row.sparse, narrow, self._fidelity)
            except CodesignError:
                self._laid[key] = None
        return self._laid[key]
