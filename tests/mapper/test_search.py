"""Is the mapping that a search finds the best there is, and never worse than the machine's own?"""

from __future__ import annotations

import numpy as np
import pytest

import codesign
from codesign.arch.base import AnyMachine, Fidelity, Sparse
from codesign.config import CodesignError
from codesign.evaluate import evaluate
from codesign.mapper.search import count_mappings, search
from codesign.metrics.objective import choose, chooser, objective
from codesign.planning import network_chooser
from codesign.sim import simulate
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.window import Conv

MOST = 60
"""Candidates of a problem that is simulated whole."""
GOALS = ("latency", "energy", "edp")


def _machine(rng: np.random.Generator) -> AnyMachine:
    name = str(rng.choice(["sat", "dense_systolic"]))
    capacity = {
        f"buffers.{part}.capacity_bytes": int(rng.choice([256, 512, 1024, 4096]))
        for part in ("input", "weight", "output")
    }
    sizes = {"array.rows": int(rng.choice([2, 3, 4])), "array.cols": int(rng.choice([2, 4, 5]))}
    width = {"dram.bytes_per_cycle": float(rng.choice([0.7, 3, 16, 200]))}
    return codesign.load_arch(name, {**capacity, **sizes, **width})


def _op(rng: np.random.Generator) -> Op:
    pattern = parse_pattern(str(rng.choice(["dense", "2:4", "1:4"])))
    if rng.random() < 0.6:
        m, n, k = (int(rng.integers(1, 14)) for _ in range(3))
        return Op(
            name="x", kind=Kind.GEMM, phase=Phase.FORWARD, m=m, n=n, k=k, weight="w",
            groups=int(rng.choice([1, 1, 3])), b_pattern=pattern,
        )  # fmt: skip
    size, kernel, channels, outputs = (int(rng.integers(1, high)) for high in (4, 3, 5, 7))
    size += kernel
    out = size - kernel + 1
    conv = Conv(
        batch=1, in_h=size, in_w=size, in_channels=channels, out_channels=outputs, kernel_h=kernel,
        kernel_w=kernel, out_h=out, out_w=out,
    )  # fmt: skip
    return Op(
        name="x", kind=Kind.CONV, phase=Phase.FORWARD, conv=conv, m=out * out, n=outputs,
        k=kernel * kernel * channels, weight="w", b_pattern=pattern,
    )  # fmt: skip


def _problem(seed: int) -> tuple[Op, AnyMachine, Sparse, Fidelity] | None:
    rng = np.random.default_rng(seed)
    op, machine = _op(rng), _machine(rng)
    try:
        machine.mappings(op)
    except CodesignError:
        return None
    if len(machine.candidates(op, Sparse(), every=True)) > MOST:
        return None
    return op, machine, Sparse(), Fidelity.TILE if seed % 2 else Fidelity.ROW


def _problems(many: int) -> list[int]:
    found = (seed for seed in range(10_000) if _problem(seed) is not None)
    return [next(found) for _ in range(many)]


SEEDS = _problems(200)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_exhaustive_mapper_equals_brute_force(seed: int) -> None:
    """Every mapping of the machine is simulated here; no bound is above what it bounds."""
    problem = _problem(seed)
    assert problem is not None
    op, machine, sparse, fidelity = problem
    goal = objective(GOALS[seed % 3], machine)
    found = machine.candidates(op, sparse, every=True)
    floor = goal.least(found.least_cycles, found.least_bytes)
    costs = []
    for place in range(len(found)):
        program = machine.lower(op, found.at(place), sparse, fidelity)
        timeline = simulate(program)
        totals = program.totals()
        moved = totals.get("dram_read", 0) + totals.get("dram_write", 0)
        assert found.least_cycles[place] <= timeline.cycles
        assert found.least_bytes[place] <= moved
        costs.append(goal.of(program, timeline))
        assert floor[place] <= costs[-1] * (1 + 1e-12)
    choice = search(op, machine, sparse, fidelity, goal, budget=None, every=True)
    assert choice.cost == min([*costs, choice.default_cost])
    assert choice.proven


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_where_memory_takes_no_time_a_bound_is_within_a_hundredth(dataflow: str) -> None:
    """Of a product of many folds that stays whole; never above it."""
    sizes = {"array.rows": 4, "array.cols": 4, "dram.bytes_per_cycle": 1e6}
    machine = codesign.load_arch("dense_systolic", {**sizes, "array.dataflows": [dataflow]})
    op = codesign.load_workload("gemm:512,64,512").ops[0]
    found = machine.candidates(op, Sparse())
    cycles = simulate(machine.lower(op, found.at(0), Sparse(), Fidelity.ROW)).cycles
    assert 0.99 * cycles < found.least_cycles[0] <= cycles


def test_what_its_bound_rules_out_is_not_simulated() -> None:
    """No more run than could beat the machine's own mapping, and fewer than there are."""
    left_out = 0
    for seed in SEEDS[:40]:
        problem = _problem(seed)
        assert problem is not None
        op, machine, sparse, fidelity = problem
        goal = objective(GOALS[seed % 3], machine)
        found = machine.candidates(op, sparse, every=True)
        choice = search(op, machine, sparse, fidelity, goal, budget=None, every=True)
        floor = goal.least(found.least_cycles, found.least_bytes)
        assert choice.simulated <= 1 + int((floor < choice.default_cost).sum())
        left_out += choice.candidates - choice.simulated
    assert left_out > 0


@pytest.mark.parametrize("seed", SEEDS[:40])
@pytest.mark.parametrize("mapper", ["search", "heuristic"])
def test_a_search_is_never_worse_than_the_default(seed: int, mapper: str) -> None:
    """With any budget, by its own measure; the heuristic is the default itself."""
    problem = _problem(seed)
    assert problem is not None
    op, machine, sparse, fidelity = problem
    goal = GOALS[seed % 3]
    choice = choose(op, sparse, machine, fidelity, mapper=mapper, goal=goal, budget=6)  # type: ignore[arg-type]
    assert choice.cost <= choice.default_cost
    assert choice.simulated <= 6
    if mapper == "heuristic" or choice.cost == choice.default_cost:
        assert choice.mapping == machine.mappings(op)[0]


@pytest.mark.parametrize("goal", ["latency", "edp"])
@pytest.mark.parametrize("workload", ["resnet50", "bert_base"])
def test_networks_gain(workload: str, goal: str) -> None:
    """Simulated whole, a searched network beats the default mapping by what was searched for."""
    machine = codesign.load_arch("dense_systolic")
    trace = codesign.load_workload(workload, seq=32 if workload == "bert_base" else None)
    usual = evaluate(trace, machine, fidelity="tile")
    found = evaluate(trace, machine, fidelity="tile", chooser=chooser("search", goal, 12))  # type: ignore[arg-type]
    if goal == "edp":
        assert found.edp_js < usual.edp_js
    else:
        assert found.cycles <= usual.cycles


def test_too_many_mappings_are_refused() -> None:
    """An exhaustive search of a large product says what to do instead."""
    machine = codesign.load_arch("dense_systolic", {"array.rows": 1, "array.cols": 1})
    op = codesign.load_workload("gemm:512,512,512").ops[0]
    with pytest.raises(CodesignError, match="use the mapper search"):
        choose(op, Sparse(), machine, Fidelity.TILE, mapper="exhaustive", goal="edp", budget=1)


def test_too_many_mappings_are_refused_at_once() -> None:
    """Before anything is simulated, with their number; few are tried."""
    machine = codesign.load_arch("sat")
    with pytest.raises(CodesignError, match=r"first \d+ of 24 different products have [\d,]+ map"):
        network_chooser(codesign.load_workload("resnet50"), machine, mapper="exhaustive")
    assert 0 < count_mappings(codesign.load_workload("gemm:8,8,8"), machine) < 1000
