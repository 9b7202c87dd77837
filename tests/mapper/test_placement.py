"""Does every operator get the core that serves the whole network best?"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codesign
from codesign.arch.base import AnyMachine, Fidelity, Mapping, Place
from codesign.evaluate import default_mapping, evaluate, run
from codesign.mapper.placement import CUT, Cost, Placement, Task, Weights, estimate, place
from codesign.mapper.residency import NetworkPlan
from codesign.metrics.objective import Goal
from codesign.placing import placements
from codesign.planning import network_chooser
from codesign.sweep.check import read_study
from codesign.sweep.design import Designs
from codesign.sweep.engine import Engine
from codesign.trace.op import Kind, Op, Phase, Trace

WEIGHTS = (Weights(), Weights(0.0, 1.0), Weights(1.0, 0.7))


@st.composite
def tasks(draw: st.DrawFn, most: int = 5, link: bool = True) -> list[Task]:
    """A small random trace: costs need not be plausible."""
    found = []
    for i in range(draw(st.integers(1, most))):
        deps = draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else set()
        costs = [
            Cost(
                float(draw(st.integers(1, 30))),
                float(draw(st.integers(0, 25))) if link else 0.0,
                float(draw(st.integers(0, 20))),
            )
            for _ in range(2)
        ]
        cut = costs[1] if draw(st.integers(0, 4)) else None
        engine = draw(st.sampled_from(["array", "array", "vector"]))
        found.append(Task(tuple(sorted(deps)), engine, costs[0], cut))
    return found


def brute_force(of: list[Task], cores: int, weights: Weights) -> Placement:
    choices = [[*range(cores), *([CUT] if task.cut else [])] for task in of]
    every = (estimate(of, cores, each, weights) for each in itertools.product(*choices))
    return min(every, key=lambda found: found.cost)


@settings(max_examples=40, deadline=None)
@given(tasks(), st.integers(1, 3), st.sampled_from(WEIGHTS))
def test_equals_brute_force_where_no_state_is_dropped(
    of: list[Task], cores: int, weights: Weights
) -> None:
    best = brute_force(of, cores, weights)
    found = place(of, cores, weights, most_states=10**9)
    assert found.cost == pytest.approx(best.cost)
    assert found == estimate(of, cores, found.choices, weights)


def test_of_placements_equally_fast_the_one_of_fewer_joules_is_followed() -> None:
    """No rule of thumb for all tasks finds what is best for each of these."""
    of = [
        Task((), "array", Cost(4.0, joules=1.0), Cost(4.0, joules=5.0)),
        Task((0,), "array", Cost(10.0), Cost(1.0, joules=3.0)),
        Task((1,), "array", Cost(10.0), Cost(9.0, joules=20.0)),
    ]
    weights = Weights(1.0, 1.0)
    found = place(of, 1, weights, most_states=10**9)
    assert found.choices == (0, CUT, 0)
    assert found == brute_force(of, 1, weights)


def test_a_few_states_lose_little() -> None:
    """The gap to the optimum on random traces of five operators: at most 20 % with one state, none
    in nine of ten; with eight states none at all on these.
    """
    dice = random.Random(7)

    def one() -> Cost:
        return Cost(dice.randint(1, 30), dice.randint(0, 20), dice.randint(0, 20))

    gaps: dict[int, list[float]] = {1: [], 8: []}
    for _ in range(40):
        of = [
            Task(tuple(dice.sample(range(i), min(i, dice.randint(0, 2)))), "array", one(), one())
            for i in range(5)
        ]
        best = brute_force(of, 2, Weights()).cost
        for states, found in gaps.items():
            found.append(place(of, 2, most_states=states).cost / best - 1)
    assert max(gaps[1]) < 0.2
    assert sum(gap > 0 for gap in gaps[1]) <= 4
    assert max(gaps[8]) == 0


@settings(max_examples=40, deadline=None)
@given(tasks(most=25), st.integers(2, 4), st.sampled_from(WEIGHTS), st.integers(1, 4))
def test_never_worse_than_a_rule_of_thumb(
    of: list[Task], cores: int, weights: Weights, states: int
) -> None:
    found = place(of, cores, weights, most_states=states)
    assert found == estimate(of, cores, found.choices, weights)
    if all(task.cut for task in of):
        assert found.cost <= estimate(of, cores, [CUT] * len(of), weights).cost


def lone_cycles(op: Op, machine: AnyMachine, mapping: Mapping) -> float:
    one = Trace("one", (replace(op, deps=()),))
    return run(one, machine, chooser=NetworkPlan({op.name: mapping}))[1].cycles


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_estimates_are_cycles_where_memory_takes_no_time(data: st.DataObject) -> None:
    """Products on arrays whose operands are always there: any placement runs as estimated."""
    machine = codesign.load_arch("dense_systolic", {"cores": 3, "array.convention": "scalesim"})
    ops: list[Op] = []
    for i in range(data.draw(st.integers(1, 6))):
        m, n, k = (data.draw(st.integers(3, 90)) for _ in range(3))
        deps = data.draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else set()
        ops.append(
            Op(
                name=f"p{i}", kind=Kind.GEMM, phase=Phase.FORWARD, m=m, n=n, k=k,
                deps=tuple(f"p{dep}" for dep in sorted(deps)),
            )
        )  # fmt: skip
    trace = Trace("random", tuple(ops))
    laid: dict[str, Mapping] = {}
    of: list[Task] = []
    choices: list[int] = []
    for op in ops:
        alone, cut = (
            next(m for m in machine.mappings(op) if m.place and bool(m.place.axis) is is_cut)
            for is_cut in (False, True)
        )
        choice = data.draw(st.sampled_from([CUT, 0, 1, 2]))
        laid[op.name] = cut if choice == CUT else replace(alone, place=Place(choice))
        costs = [Cost(lone_cycles(op, machine, mapping)) for mapping in (alone, cut)]
        of.append(Task(tuple(int(dep[1:]) for dep in op.deps), "array", *costs))
        choices.append(choice)
    timeline = run(trace, machine, chooser=NetworkPlan(laid))[1]
    assert timeline.cycles == estimate(of, 3, choices).cycles


@cache
def network(image: int = 32, batch: int = 1) -> Trace:
    return codesign.load_workload("resnet18", image=image, batch=batch, phase="training")


def machine(name: str = "dense_systolic", cores: int = 4) -> AnyMachine:
    return codesign.load_arch(name, {"cores": cores})


@pytest.mark.parametrize(
    ("name", "goal"), [("dense_systolic", "energy"), ("sat", "latency"), ("sat", "edp")]
)
def test_never_worse_than_what_the_machine_does(name: str, goal: Goal) -> None:
    trace, four = network(), machine(name)
    plan = network_chooser(trace, four, objective=goal, place=True)
    assert isinstance(plan, NetworkPlan)
    with_plan, without = evaluate(trace, four, chooser=plan), evaluate(trace, four)
    figure = {"latency": "latency_s", "energy": "energy_j", "edp": "edp_js"}[goal]
    assert getattr(with_plan, figure) <= getattr(without, figure)
    assert with_plan.executed_macs == without.executed_macs == trace.macs
    assert with_plan.cycles >= with_plan.roofline_cycles
    for op in with_plan.ops:
        assert op.end_cycle - op.start_cycle >= op.roofline_cycles


def test_a_training_step_gains() -> None:
    """Gradients of weights run beside those of maps, and less is read twice."""
    trace, four = network(64, 4), machine()
    plan = network_chooser(trace, four, place=True)
    assert isinstance(plan, NetworkPlan)
    with_plan, without = evaluate(trace, four, chooser=plan), evaluate(trace, four)
    assert with_plan.cycles < 0.97 * without.cycles
    assert with_plan.dram_bytes < without.dram_bytes
    used = {mapping.place for mapping in plan.mappings.values()}
    assert len({place.core for place in used if place and not place.axis}) > 1
    assert any(place.axis for place in used if place)
    assert [note for note in with_plan.notes if "cut over 4 cores" in note] == [plan.note]


def test_more_cores_are_never_slower() -> None:
    trace = codesign.load_workload("mobilenet_v1", image=32)
    cycles = []
    for cores in (1, 2, 4):
        chosen = network_chooser(
            trace, machine("dense_systolic", cores), mapper="search", budget=2,
            place=True, fidelity="tile",
        )  # fmt: skip
        found = evaluate(trace, machine("dense_systolic", cores), chooser=chosen, fidelity="tile")
        cycles.append(found.cycles)
    assert cycles == sorted(cycles, reverse=True)


def test_plans_differ_and_begin_with_the_machines_own() -> None:
    trace, four = network(), machine("sat", 2)
    plans = placements(
        trace, four, fidelity=Fidelity.ROW, seed=0, decide=default_mapping, most_states=2
    )
    assert plans[0].mappings == {op.name: four.mappings(op)[0] for op in trace}
    assert len({tuple(plan.mappings.items()) for plan in plans}) == len(plans) > 2


def test_one_core_leaves_nothing_to_decide() -> None:
    assert network_chooser(network(), machine(cores=1), place=True) is None


def test_a_sweep_places_by_name(tmp_path: Path) -> None:
    """`mapping.place` and `arch.cores` are parameters, and points are those of evaluate()."""
    path = tmp_path / "cores.yaml"
    path.write_text(
        "name: cores\nworkload: {name: resnet18, image: 32}\narch: sat\nmethod: grid\n"
        "metrics: {latency_s: minimize}\n"
        "parameters: {arch.cores: {values: [1, 2]}, mapping.place: {values: [false, true]}}\n"
    )
    base = read_study(path)
    engine, designs = Engine(base), Designs(base)
    trace = codesign.load_workload("resnet18", image=32)
    for number, (cores, placed) in enumerate(itertools.product((1, 2), (False, True))):
        values = {"arch.cores": cores, "mapping.place": placed}
        outcome = engine.evaluate(designs.point(number, values))
        chooser = network_chooser(trace, machine("sat", cores), fidelity="tile", place=placed)
        result = evaluate(trace, machine("sat", cores), fidelity="tile", chooser=chooser)
        assert outcome.error is None
        for figure in ("latency_s", "energy_j", "roofline_cycles", "area_mm2", "utilisation"):
            assert outcome.metrics[figure] == getattr(result, figure)
