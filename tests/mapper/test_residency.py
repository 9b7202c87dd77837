"""Do feature maps stay on the chip where it pays, and are exactly their transfers gone?"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codesign
from codesign.arch.base import Fidelity, Kept, Sparse
from codesign.arch.kept import split
from codesign.evaluate import evaluate
from codesign.mapper.residency import (
    FeatureMap,
    NetworkPlan,
    Use,
    choose_resident,
    feature_maps,
    granule_of,
    kept_by,
)
from codesign.metrics.objective import Goal, Mapper
from codesign.planning import network_chooser
from codesign.sim import simulate
from codesign.sweep.check import read_study
from codesign.sweep.design import Designs
from codesign.sweep.engine import Engine
from codesign.trace.op import Op, Trace

PADS = ("input", "weight", "output")


def network() -> Trace:
    return codesign.load_workload("resnet18", image=32)


def small_machine(pad_bytes: int = 16384) -> codesign.AnyMachine:
    sizes = {f"buffers.{pad}.capacity_bytes": pad_bytes for pad in PADS}
    return codesign.load_arch("dense_systolic", sizes)


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, list[FeatureMap], int, int]:
    """Up to seven maps over up to eight operators, a room, and a seed of the costs."""
    count = draw(st.integers(2, 8))
    maps = []
    for _ in range(draw(st.integers(0, 7))):
        producer = draw(st.integers(0, count - 2))
        first = draw(st.integers(0, producer))
        consumer = draw(st.integers(producer + 1, count - 1))
        last = draw(st.integers(consumer, count - 1))
        size = draw(st.integers(1, 40))
        maps.append(FeatureMap(producer, size, first, last, {consumer: Use("", size)}))
    return count, maps, draw(st.integers(1, 80)), draw(st.integers(0, 1000))


def total(
    chosen: tuple[int, ...], count: int, maps: list[FeatureMap], room: int, seed: int
) -> float:
    """What a choice of maps costs, or infinity where they find no room."""
    cost = 0.0
    for place in range(count):
        resident = [maps[i] for i in chosen if maps[i].first <= place <= maps[i].last]
        if sum(one.size_bytes for one in resident) > room:
            return float("inf")
        cost += random_cost(seed)(place, kept_by(place, resident, granule_of(room)))
    return cost


def random_cost(seed: int):  # type: ignore[no-untyped-def]
    return lambda place, kept: random.Random(repr((seed, place, kept))).randint(1, 50)


@given(problems())
@settings(max_examples=150, deadline=None)
def test_the_choice_equals_brute_force(problem: tuple[int, list[FeatureMap], int, int]) -> None:
    """Over all subsets of maps; and a search that follows few states is never worse than none."""
    count, maps, room, seed = problem
    subsets = itertools.chain.from_iterable(
        itertools.combinations(range(len(maps)), size) for size in range(len(maps) + 1)
    )
    least = min(total(chosen, count, maps, room, seed) for chosen in subsets)
    chosen, cost = choose_resident(count, maps, room, random_cost(seed), most_states=None)
    assert cost == least == total(tuple(chosen), count, maps, room, seed)
    few, found = choose_resident(count, maps, room, random_cost(seed), most_states=2)
    assert least <= found == total(tuple(few), count, maps, room, seed)
    assert found <= total((), count, maps, room, seed)


@given(problems(), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_more_room_never_moves_more_bytes(
    problem: tuple[int, list[FeatureMap], int, int], more: int
) -> None:
    """Where all that counts is bytes off the chip."""
    count, maps, room, _ = problem

    def moved(_: int, kept: Kept) -> float:
        return -kept.read_bytes - (1.0 if kept.c else 0.0)

    least = [
        choose_resident(count, maps, r, moved, most_states=None)[1] for r in (room, room + more)
    ]
    assert least[1] <= least[0]


@given(st.integers(0, 10**12), st.lists(st.integers(1, 10**6), min_size=1, max_size=5))
def test_shares_of_a_map_add_up(size: int, weights: list[int]) -> None:
    assert sum(split(size, weights)) == size


def test_maps_take_whole_granules_together() -> None:
    """As many parts of the scratchpads as all of them need, not each of them."""
    assert [granule_of(room) for room in (1, 32, 33, 320)] == [1, 1, 2, 10]
    maps = [FeatureMap(0, size, 0, 2, {1: Use("a", 0)}) for size in (5, 8)]
    assert [kept_by(0, maps[:many], 4).taken_bytes for many in range(3)] == [0, 8, 16]


def test_a_result_stays_only_if_every_reader_takes_all_of_it() -> None:
    """The addition of a block reads more than it is told to: nothing that it reads is a map."""
    trace = network()
    reader = trace["layer2.1.add"]
    changed = (replace(op, reads=op.reads + 1) if op is reader else op for op in trace)
    more = replace(trace, ops=tuple(changed))
    before, after = (
        {of.ops[one.producer].name for one in feature_maps(of)} for of in (trace, more)
    )
    assert before - after == {*reader.deps}
    assert "layer2.0.relu" in reader.deps


def test_maps_live_until_their_last_reader() -> None:
    """A block's input is kept until its addition; results of the network and images are no maps."""
    trace = network()
    names = [op.name for op in trace]
    maps = {names[one.producer]: one for one in feature_maps(trace)}
    residual = maps["layer2.0.relu"]
    assert {names[at] for at in residual.uses} == {"layer2.1.conv1", "layer2.1.add"}
    assert residual.last >= names.index("layer2.1.add")
    assert residual.uses[names.index("layer2.1.conv1")].operand == "a"
    assert trace.ops[-1].name not in maps
    decoding = codesign.load_workload("gpt2", phase="decode", context=64)
    kept = {decoding.ops[one.producer].function for one in feature_maps(decoding)}
    assert "kv_cache_write" not in kept


def _pair() -> tuple[Op, Op]:
    trace = network()
    return trace["layer1.0.conv1"], trace["layer1.0.add"]


@pytest.mark.parametrize("fidelity", [Fidelity.TILE, Fidelity.ROW])
@pytest.mark.parametrize("arch", ["dense_systolic", "sat"])
@pytest.mark.parametrize("keeps", ["a", "c", "ac"])
def test_bytes_change_places(arch: str, fidelity: Fidelity, keeps: str) -> None:
    """What does not cross the link is counted at the scratchpads, byte for byte; MACs stay."""
    machine = codesign.load_arch(arch)
    product, addition = _pair()
    for op in (product, addition):
        reads = addition.read_bytes // 2 if "a" in keeps and op is addition else 0
        kept = Kept(a="a" in keeps and op is product, c="c" in keeps, read_bytes=reads)
        usual = machine.mappings(op)[0]
        before, after = (
            machine.lower(op, mapping, Sparse(), fidelity)
            for mapping in (usual, replace(usual, kept=kept))
        )
        counts, left = before.totals(), after.totals()
        pads = [f"{pad}_{way}" for pad in PADS for way in ("read", "write")]
        saved = sum(counts[a] - left.get(a, 0) for a in ("dram_read", "dram_write"))
        assert saved == sum(left.get(a, 0) - counts.get(a, 0) for a in pads)
        assert saved >= kept.saved_bytes(op) > 0
        assert left.get("mac") == counts.get("mac")
        assert left.get("vector_alu") == counts.get("vector_alu")
        assert simulate(after).cycles <= simulate(before).cycles


@pytest.mark.parametrize("mapper", ["heuristic", "search"])
@pytest.mark.parametrize("goal", ["latency", "energy", "edp"])
def test_a_plan_is_never_worse(mapper: Mapper, goal: Goal) -> None:
    """By what it minimises, of the whole network; kept bytes are not in its roofline."""
    trace, machine = network(), small_machine()
    usual, plan = (
        network_chooser(
            trace, machine, fidelity="tile", mapper=mapper, objective=goal, budget=3,
            keep_on_chip=keep,
        )
        for keep in (False, True)
    )  # fmt: skip
    before, after = (evaluate(trace, machine, fidelity="tile", chooser=c) for c in (usual, plan))
    figure = {"latency": "cycles", "energy": "energy_j", "edp": "edp_js"}[goal]
    assert getattr(after, figure) <= getattr(before, figure)
    if goal != "latency":
        assert getattr(after, figure) < getattr(before, figure)
        assert after.dram_bytes < before.dram_bytes
        assert after.roofline_cycles < before.roofline_cycles
    assert after.executed_macs == before.executed_macs
    assert after.roofline_cycles <= after.cycles
    simple = network_chooser(trace, machine, fidelity="tile", objective=goal, keep_on_chip=True)
    assert getattr(after, figure) <= getattr(
        evaluate(trace, machine, fidelity="tile", chooser=simple), figure
    )


def test_maps_and_tiles_fit_at_all_times() -> None:
    """Beside the maps that are resident, tiles are cut for what is left of the scratchpads."""
    trace, machine = network(), small_machine()
    plan = network_chooser(trace, machine, objective="edp", keep_on_chip=True)
    assert isinstance(plan, NetworkPlan)
    kept = [plan.mappings[op.name].kept for op in trace]
    assert any(one.c for one in kept)
    maps = {one.producer: one for one in feature_maps(trace)}
    resident = [maps[i] for i, one in enumerate(kept) if one.c]
    for i, op in enumerate(trace):
        held = sum(one.size_bytes for one in resident if one.first <= i <= one.last)
        assert held <= machine.room_bytes
        if op.is_matmul:
            assert held <= kept[i].taken_bytes
            laid = replace(plan.mappings[op.name], kept=Kept())
            assert laid == machine.narrowed(kept[i].taken_bytes).mappings(op)[0]


def test_a_machine_that_decides_itself_is_as_without() -> None:
    """S4 keeps maps of its own accord."""
    trace = codesign.load_workload("gemm:64,64,64")
    assert network_chooser(trace, codesign.load_arch("s30"), keep_on_chip=True) is None


def test_a_sweep_decides_by_name(tmp_path: Path) -> None:
    """`mapping.keep_on_chip` is a parameter, and its points are those of evaluate()."""
    path = tmp_path / "keep.yaml"
    path.write_text(
        "name: keep\nworkload: {name: resnet18, image: 32}\narch: dense_systolic\nmethod: grid\n"
        "mapping: {objective: energy}\nmetrics: {energy_j: minimize}\n"
        "parameters: {mapping.keep_on_chip: {values: [false, true]}}\n"
    )
    base = read_study(path)
    engine, designs = Engine(base), Designs(base)
    trace, machine = network(), codesign.load_arch("dense_systolic")
    for number, keep in enumerate((False, True)):
        outcome = engine.evaluate(designs.point(number, {"mapping.keep_on_chip": keep}))
        chooser = network_chooser(
            trace, machine, fidelity="tile", objective="energy", keep_on_chip=keep
        )
        result = evaluate(trace, machine, fidelity="tile", chooser=chooser)
        assert outcome.error is None
        assert outcome.metrics["energy_j"] == result.energy_j
        assert outcome.metrics["dram_bytes"] == result.dram_bytes
