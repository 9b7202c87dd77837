"""Decisions about a whole network on a machine: which feature maps stay on its chip, and which of
its cores run which operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from codesign.arch.base import AnyMachine, Fidelity
from codesign.evaluate import Chooser, Lowered, default_mapping, evaluate, lower
from codesign.mapper.residency import NetworkPlan
from codesign.mapper.search import count_mappings
from codesign.metrics.objective import Goal, Mapper, chooser
from codesign.metrics.result import Result
from codesign.on_chip import plans_on_chip, refined
from codesign.placing import placements
from codesign.schedule.epilogue import NO_EPILOGUE
from codesign.trace.op import Trace

_STATES: dict[Mapper, tuple[int | None, ...]] = {
    "heuristic": (8,),
    "search": (8, 64),
    "exhaustive": (8, None),
}
"""Sets of resident maps that a mapper follows through the trace; None is all there are."""
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
    fuse: bool = False,
    place: bool = False,
) -> Chooser | None:
    """What evaluate() takes to lay a trace on a machine; None leaves all to the machine.

    With `keep_on_chip` and `fuse`, plans keep maps and fuse element-wise work into products as the
    operators, each alone on the machine's own tiles, cost least cycles, joules, or both. The whole
    network is then simulated with each plan and with none; of those that fuse, keep, do both or
    neither, the best also on tiles that the mapper finds. The best by the objective is the answer.
    A machine that leaves nothing to decide, or decides of its own accord, is as without, and the
    report says so of fusion. With `place`, on a machine of several cores, plans differ in
    which core runs an operator, or whether all share it, and the one that leaves this to the
    machine is among them. Raises CodesignError, at once, where `exhaustive` would have to try too
    many mappings.
    """
    if fuse and machine.fusing(NO_EPILOGUE) is None:
        plan = network_chooser(
            trace, machine, fidelity=fidelity, seed=seed, mapper=mapper, objective=objective,
            budget=budget, keep_on_chip=keep_on_chip, place=place,
        )  # fmt: skip
        note = f"{machine.spec.name} {machine.fusion_rule}: --fuse decides nothing"
        return _noted(note, plan, trace, machine, Fidelity(fidelity), seed)
    if mapper == "exhaustive":
        count_mappings(trace, machine)
    decide = None if mapper == "heuristic" else chooser(mapper, objective, budget)
    if place and machine.cores > 1:
        plans = placements(
            trace, machine, fidelity=Fidelity(fidelity), seed=seed,
            decide=decide or default_mapping, most_states=_PLACEMENTS[mapper],
        )  # fmt: skip
        return _best(plans, trace, machine, fidelity, seed, objective)
    keep = keep_on_chip and machine.room_bytes > 0
    if not keep and not fuse:
        return decide
    plans = plans_on_chip(
        trace, machine, fidelity=Fidelity(fidelity), seed=seed, keeps=keep, fuses=fuse,
        most_states=_STATES[mapper],
    )  # fmt: skip
    if decide is not None:
        kinds: dict[tuple[bool, bool], list[NetworkPlan]] = {}
        for plan in plans:
            kinds.setdefault((plan.fuses, plan.keeps), []).append(plan)
        plans += [
            refined(
                _best(same, trace, machine, fidelity, seed, objective),
                trace, machine, fidelity=Fidelity(fidelity), seed=seed, decide=decide,
                goal=objective,
            )
            for same in kinds.values()
        ]  # fmt: skip
    return _best(plans, trace, machine, fidelity, seed, objective)


def _noted(
    note: str,
    plan: Chooser | None,
    trace: Trace,
    machine: AnyMachine,
    fidelity: Fidelity,
    seed: int,
) -> NetworkPlan:
    """The decisions of any chooser, with a line for the report."""
    if isinstance(plan, NetworkPlan):
        return replace(plan, note="; ".join(text for text in (plan.note, note) if text))
    memo: dict[object, Lowered] = {}
    rows = [
        lower(op, trace.masks.get(op.name), machine, fidelity, seed, memo, plan) for op in trace
    ]
    return NetworkPlan({row.op.name: row.mapping for row in rows}, note=note)


def _best(
    plans: Sequence[NetworkPlan],
    trace: Trace,
    machine: AnyMachine,
    fidelity: Fidelity | str,
    seed: int,
    goal: Goal,
) -> NetworkPlan:
    """The plan with which the whole network, simulated, is best; the first of equals."""
    memo: dict[object, Lowered] = {}
    results = [
        evaluate(trace, machine, fidelity=fidelity, seed=seed, chooser=plan, memo=memo)
        for plan in plans
    ]
    best = min(range(len(plans)), key=lambda i: (_figure(results[i], goal), results[i].edp_js))
    return plans[best]


def _figure(result: Result, goal: Goal) -> float:
    figures: dict[Goal, float] = {
        "latency": result.latency_s,
        "energy": result.energy_j,
        "edp": result.edp_js,
    }
    return figures[goal]
