"""Is a machine of several cores that of one, several times, on the same link?"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

import codesign
from codesign.arch.base import AnyMachine, Fidelity, Mapping, Place, Sparse
from codesign.config import fingerprint
from codesign.evaluate import run
from codesign.mapper.residency import NetworkPlan
from codesign.metrics.result import Result
from codesign.schedule.cores import moved_to_core, side_by_side
from codesign.sim import simulate
from codesign.trace.op import Op, Trace

FAMILIES = ("dense_systolic", "sat", "block_sparse")


@cache
def machine(name: str, cores: int = 1) -> AnyMachine:
    return codesign.load_arch(name, {} if cores == 1 else {"cores": cores})


@cache
def trace(name: str) -> Trace:
    if name == "training":
        return codesign.load_workload("resnet18", image=32, phase="training")
    if name == "sparse":
        return codesign.sparsify(codesign.load_workload("resnet18", image=32), "unstructured(0.7)")
    return codesign.load_workload("bert_base", seq=32, phase=name)


def on(name: str, workload: str, cores: int, fidelity: str = "row") -> Result:
    return codesign.evaluate(trace(workload), machine(name, cores), fidelity=fidelity)


def gemm(text: str = "gemm:96,200,64") -> Op:
    return codesign.load_workload(text).ops[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_one_core_is_the_machine_without_the_word(name: str) -> None:
    said = codesign.load_arch(name, {"cores": 1})
    spec = machine(name).spec
    fields = {n: getattr(spec, n) for n in type(spec).model_fields if n != "cores"}
    assert spec.fingerprint == said.spec.fingerprint == fingerprint((type(spec).__name__, fields))
    assert spec.fingerprint != machine(name, 2).spec.fingerprint
    assert "cores" not in dict(spec.numbers())
    assert dict(machine(name, 2).spec.numbers())["cores"] == 2
    assert {
        u.name for u in said.lower(gemm(), said.mappings(gemm())[0], Sparse(), Fidelity.ROW).units
    } >= {"array", "dram"}
    assert all(mapping.place is None for mapping in said.mappings(gemm()))
    assert said.places(gemm()) == ()


@pytest.mark.parametrize("fidelity", ["tile", "row"])
@pytest.mark.parametrize("workload", ["inference", "training", "sparse"])
@pytest.mark.parametrize("name", FAMILIES)
def test_laws(name: str, workload: str, fidelity: str) -> None:
    """Work is the same, time is between that of one core and its share, no bound is beaten."""
    one, four = (on(name, workload, cores, fidelity) for cores in (1, 4))
    assert four.macs == one.macs
    assert four.executed_macs == pytest.approx(
        one.executed_macs, rel=2e-3 if fidelity == "tile" else 1e-4
    )
    assert four.cycles <= one.cycles
    assert four.cycles >= four.roofline_cycles
    assert four.peak_tops == pytest.approx(4 * one.peak_tops)
    for op in four.ops:
        assert op.end_cycle - op.start_cycle >= op.roofline_cycles
        assert op.utilisation <= 1
    vector = {"vector_alu", "vector_special", "wuve_alu", "wuve_special"}
    for action in vector & set(one.counters):
        assert four.counters[action] == one.counters[action]
    assert four.area_mm2 == pytest.approx(4 * one.area_mm2)
    leaked = [each.energy_j_by_part["leakage"] / each.latency_s for each in (one, four)]
    assert leaked[1] == pytest.approx(4 * leaked[0])


@pytest.mark.parametrize("fidelity", list(Fidelity))
@pytest.mark.parametrize("name", ["dense_systolic", "sat"])
def test_any_core_is_as_good_as_the_first(name: str, fidelity: Fidelity) -> None:
    four, op = machine(name, 4), gemm("gemm:40,40,40")
    alone = machine(name)
    mapping = alone.mappings(op)[0]
    wanted = simulate(alone.lower(op, mapping, Sparse(), fidelity))
    for core in range(4):
        placed = replace(mapping, place=Place(core))
        found = simulate(four.lower(op, placed, Sparse(), fidelity))
        assert found.end.tolist() == wanted.end.tolist()
        assert found.program.totals() == wanted.program.totals()
        busy = {unit for unit, cycles in found.busy_cycles().items() if cycles}
        assert {"dram", f"array {core}"} <= busy
        assert all(unit in ("dram", "marker") or unit.endswith(f" {core}") for unit in busy)
        assert four.engines(op, placed) == (f"array {core}",)


def test_parts_side_by_side_end_with_the_last_where_memory_takes_no_time() -> None:
    alone = codesign.load_arch("dense_systolic", {"array.convention": "scalesim"})
    ops = [gemm(f"gemm:{m},40,40") for m in (40, 90, 10)]
    programs = [
        moved_to_core(alone.lower(op, alone.mappings(op)[0], Sparse(), Fidelity.ROW), core, 3)
        for core, op in enumerate(ops)
    ]
    joined = side_by_side(programs)
    joined.check()
    assert simulate(joined).cycles == max(simulate(program).cycles for program in programs)
    totals = [program.totals() for program in programs]
    assert joined.totals() == {
        action: sum(each.get(action, 0) for each in totals) for action in totals[0]
    }
    assert len(joined) == sum(len(program) - 4 for program in programs) + 4


def test_steps_of_each_part_stay_as_they_were() -> None:
    """Beside its own markers, a part waits for its own steps only."""
    alone, op = machine("sat"), gemm()
    part = alone.lower(op, alone.mappings(op)[0], Sparse(), Fidelity.ROW)
    joined = side_by_side([moved_to_core(part, core, 2) for core in range(2)])
    size = len(part) - 4

    def waits(program: object, row: int) -> list[int]:
        ptr, idx = program.dep_ptr, program.dep_idx  # type: ignore[attr-defined]
        return sorted(idx[ptr[row] : ptr[row + 1]].tolist())

    for core in range(2):
        for row in range(2, len(part) - 2):
            place = row + core * size
            wanted = [dep if dep < 2 else dep + core * size for dep in waits(part, row)]
            assert waits(joined, place) == wanted
            assert joined.busy_cycles[place] == part.busy_cycles[row]
            assert joined.units[joined.unit[place]].name in (
                "dram",
                *(f"{unit.name} {core}" for unit in part.units),
            )
    for marker in (-1, -2):
        wanted = waits(part, len(part) + marker)
        both = sorted(dep + core * size for core in range(2) for dep in wanted)
        assert waits(joined, len(joined) + marker) == both


def test_a_core_that_is_cut_off_the_link_reads_twice_what_two_cores_share() -> None:
    """Cut along n, A crosses the link for each core; along groups, nothing twice."""
    two, op = machine("dense_systolic", 2), gemm("gemm:64,64,64")
    tiles = Mapping("ws", 64, 32, 64, place=Place(axis="n"))
    moved = two.lower(op, tiles, Sparse(), Fidelity.ROW).totals()
    assert moved["dram_read"] == 2 * op.a_bytes + op.b_bytes
    assert moved["dram_write"] == op.c_bytes
    assert moved["mac"] == op.macs


def test_one_core_cannot_use_the_arrays_of_others() -> None:
    """The least cycles of an operator on one core are those of a machine that is that core."""
    trace = codesign.load_workload("gemm:96,200,64")
    four, (op,) = machine("sat", 4), trace.ops
    alone = codesign.evaluate(trace, machine("sat")).ops[0]
    laid = {"on core 2": Place(2), "m over all cores": Place(axis="m")}
    rows = {}
    for name, place in laid.items():
        mapping = four.confined(place).mappings(op)[0]
        rows[name] = codesign.evaluate(trace, four, chooser=NetworkPlan({op.name: mapping})).ops[0]
        assert rows[name].mapping.endswith(name)
    assert rows["on core 2"].roofline_cycles == alone.roofline_cycles
    assert rows["on core 2"].utilisation == alone.utilisation
    assert rows["m over all cores"].roofline_cycles == -(-alone.roofline_cycles // 4)


def test_independent_operators_run_side_by_side() -> None:
    ops = tuple(replace(gemm("gemm:64,64,64"), name=name) for name in ("q", "k"))
    both = Trace("qk", ops)
    two = codesign.load_arch("dense_systolic", {"cores": 2, "array.convention": "scalesim"})

    def cycles(*cores: int) -> int:
        laid = {
            op.name: replace(two.mappings(op)[-1], place=Place(core))
            for op, core in zip(ops, cores, strict=True)
        }
        return run(both, two, chooser=NetworkPlan(laid))[1].cycles

    assert cycles(0, 0) == 2 * cycles(0, 1)


def test_what_the_default_is() -> None:
    """Cut over all cores where it can be, likely quickest axis first; then on one core."""
    four = machine("sat", 4)
    mappings = four.mappings(gemm())
    places = [mapping.place for mapping in mappings]
    assert places[-1] == Place(0)
    assert {place.axis for place in places if place} == {"m", "n", ""}
    times = [
        simulate(four.lower(gemm(), mapping, Sparse(), Fidelity.ROW)).cycles for mapping in mappings
    ]
    assert times[0] == min(times)
    assert str(mappings[-1]).endswith(", on core 0")
    single = four.mappings(codesign.load_workload("gemm:1,1,64").ops[0])
    assert [mapping.place for mapping in single] == [Place(0)] * len(single)


def test_a_search_covers_all_places() -> None:
    four, op = machine("dense_systolic", 4), gemm("gemm:9,40,34")
    found = four.candidates(op, Sparse(), every=True)
    assert {place.axis for i in range(len(found)) if (place := found.at(i).place)} == {"m", "n", ""}
    for i in range(0, len(found), len(found) // 40):
        program = four.lower(op, found.at(i), Sparse(), Fidelity.ROW)
        assert simulate(program).cycles >= found.least_cycles[i]
        assert program.totals()["dram_read"] + op.c_bytes >= found.least_bytes[i]
