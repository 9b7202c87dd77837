"""Which core of a machine runs which operator of a trace: plans, and the best of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from codesign.arch.base import AnyMachine, Fidelity, Mapping, Place
from codesign.evaluate import Chooser, Lowered, lower
from codesign.mapper.placement import CUT, Cost, Task, Weights, place
from codesign.mapper.residency import NetworkPlan
from codesign.metrics.prices import prices_of
from codesign.schedule.program import Program
from codesign.sim import simulate
from codesign.trace.op import Trace
from codesign.units import PJ_PER_J


@dataclass(frozen=True, slots=True)
class _Options:
    """How one operator is laid on a core and cut over all, and what each costs."""

    alone: Mapping
    cut: Mapping | None
    task: Task

    def mapping(self, choice: int) -> Mapping:
        if choice == CUT:
            assert self.cut is not None
            return self.cut
        return replace(self.alone, place=Place(choice))


def placements(
    trace: Trace,
    machine: AnyMachine,
    *,
    fidelity: Fidelity,
    seed: int,
    decide: Chooser,
    most_states: int,
) -> list[NetworkPlan]:
    """Plans that place every operator of a trace on a core of a machine, or cut it over all.

    The first is that of `decide`, operator by operator; then everything cut, the way that costs
    each operator alone the fewest cycles; everything on one core; and what the search for the least
    estimate finds, for cycles, joules and their product, with the link's time counted and without.
    No two are the same.
    """
    memo: dict[object, Lowered] = {}
    rows = [
        lower(op, trace.masks.get(op.name), machine, fidelity, seed, memo, decide) for op in trace
    ]
    options = _options(trace, rows, machine, fidelity, decide)
    tasks = [one.task for one in options]
    cuts = [CUT if one.cut is not None else 0 for one in options]
    chosen = [cuts, [0] * len(tasks)]
    for weights in _weights(tasks, cuts, machine):
        for seen in (tasks, [_without_link(task) for task in tasks]):
            found = place(seen, machine.cores, weights, most_states=most_states)
            chosen.append(list(found.choices))
    plans = [[row.mapping for row in rows]]
    plans += [
        [one.mapping(choice) for one, choice in zip(options, choices, strict=True)]
        for choices in chosen
    ]
    names = [op.name for op in trace]
    return [
        NetworkPlan(dict(zip(names, plan, strict=True)), note=_note(plan, machine.cores))
        for i, plan in enumerate(plans)
        if plan not in plans[:i]
    ]


def _note(plan: Sequence[Mapping], cores: int) -> str:
    """Where operators run, in a line for the report."""
    places = [one.place for one in plan if one.place is not None]
    alone = Counter(one.core for one in places if not one.axis)
    each = ", ".join(f"{alone[core]} on core {core}" for core in range(cores) if alone[core])
    cuts = len(places) - alone.total()
    return f"operators placed: {cuts} cut over {cores} cores{', ' if each else ''}{each}"


def _options(
    trace: Trace,
    rows: Sequence[Lowered],
    machine: AnyMachine,
    fidelity: Fidelity,
    decide: Chooser,
) -> list[_Options]:
    """Options of every operator; equal ones are run once."""
    index = {op.name: i for i, op in enumerate(trace)}
    cost_of = _cost_of(machine)
    known: dict[int, tuple[Mapping, Cost, Mapping | None, Cost | None]] = {}
    found = []
    for row in rows:
        op, sparse = row.op, row.sparse
        if id(row.program) not in known:
            tried: dict[bool, list[tuple[float, Mapping, Cost]]] = {True: [], False: []}
            for where in machine.places(op):
                if where.core == 0:
                    mapping = decide(op, sparse, machine.confined(where), fidelity)
                    cost = cost_of(machine.lower(op, mapping, sparse, fidelity), op.repeats)
                    tried[bool(where.axis)].append((cost.cycles, mapping, cost))
            _, alone, cost = tried[False][0]
            best = min(tried[True], key=lambda one: one[0], default=None)
            known[id(row.program)] = (alone, cost, *(best[1:] if best else (None, None)))
        alone, cost, cut, cost_of_cut = known[id(row.program)]
        deps = tuple(index[dep] for dep in op.deps)
        found.append(_Options(alone, cut, Task(deps, machine.engine(op), cost, cost_of_cut)))
    return found


def _cost_of(machine: AnyMachine) -> Callable[[Program, int], Cost]:
    """What a program costs that runs alone, so many times."""
    prices = prices_of(machine)

    def cost(program: Program, times: int) -> Cost:
        timeline = simulate(program)
        pj = sum(
            count * prices.energies[action].pj
            for action, count in program.totals().items()
            if action in prices.energies
        )
        link_cycles = timeline.busy_cycles().get("dram", 0)
        return Cost(timeline.cycles * times, link_cycles * times, pj * times / PJ_PER_J)

    return cost


def _weights(tasks: Sequence[Task], choices: Sequence[int], machine: AnyMachine) -> list[Weights]:
    """For latency, for energy, and to first order for their product."""
    prices = prices_of(machine)
    joules_per_cycle = sum(prices.standing_w.values()) / prices.clock_hz
    costs = [task.cost(choice) for task, choice in zip(tasks, choices, strict=True)]
    cycles = sum(cost.cycles for cost in costs)
    joules = sum(cost.joules for cost in costs) + joules_per_cycle * cycles
    return [
        Weights(1.0, 0.0),
        Weights(joules_per_cycle, 1.0),
        Weights(joules + joules_per_cycle * cycles, cycles),
    ]


def _without_link(task: Task) -> Task:
    alone = replace(task.alone, link_cycles=0.0)
    cut = None if task.cut is None else replace(task.cut, link_cycles=0.0)
    return replace(task, alone=alone, cut=cut)
