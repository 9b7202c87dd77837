"""Is element-wise work fused where it may and where it pays, and is exactly its traffic gone?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import codesign
from codesign.arch.base import AnyMachine, Fidelity, Sparse
from codesign.evaluate import evaluate, run
from codesign.mapper.fusion import Chain, Fused, chains, fuse
from codesign.mapper.residency import NetworkPlan, feature_maps
from codesign.metrics.objective import Goal, Mapper
from codesign.on_chip import plans_on_chip
from codesign.planning import network_chooser
from codesign.sim import simulate
from codesign.sweep.check import read_study
from codesign.sweep.design import Designs
from codesign.sweep.engine import Engine
from codesign.trace.op import Kind, Op, Phase, Trace, ceil_bytes

FIGURE = {"latency": "cycles", "energy": "energy_j", "edp": "edp_js"}


def network() -> Trace:
    return codesign.load_workload("resnet18", image=32)


def encoder(phase: str = "inference") -> Trace:
    layers = {"depth": 1, "width": 64, "heads": 2, "mlp_width": 128}
    return codesign.load_workload("bert_base", phase=phase, seq=32, overrides=layers)


def small_machine(name: str = "dense_systolic", **changes: object) -> AnyMachine:
    sizes = {f"buffers.{pad}.capacity_bytes": 16384 for pad in ("input", "weight", "output")}
    return codesign.load_arch(name, {**sizes, **changes})


def followed(trace: Trace) -> dict[str, tuple[list[str], tuple[bool, ...]]]:
    """By product: the operators of its whole chain, and which results leave the chip."""
    return {
        trace.ops[chain.product].name: (
            [trace.ops[i].name for i in chain.ops],
            chain.epilogue(len(chain.ops)).stored,
        )
        for chain in chains(trace)
    }


def whole(trace: Trace) -> Fused:
    return fuse((chain, len(chain.ops)) for chain in chains(trace))


def laid(trace: Trace, machine: AnyMachine, fused: Fused) -> NetworkPlan:
    """The machine's own tiles with what is fused, for work that asks nothing of tiles."""
    mappings = {}
    for i, op in enumerate(trace):
        mapping = machine.mappings(op)[0]
        if i in fused.host:
            mapping = replace(mapping, fused_into=trace.ops[fused.host[i]].name)
        elif i in fused.epilogues:
            mapping = replace(mapping, epilogue=fused.epilogues[i])
        mappings[op.name] = mapping
    return NetworkPlan(mappings, fused.waits(trace))


def test_what_may_follow_a_convolution() -> None:
    """The sum follows the later of two branches; the pool and the mean follow nothing."""
    found = followed(network())
    names = ["layer2.0.downsample.1", "layer2.0.add", "layer2.0.relu"]
    assert found["layer2.0.downsample.0"] == (names, (False, False, False, True))
    assert found["layer2.0.conv2"] == (["layer2.0.bn2"], (False, True))
    fused = {name for names, _ in found.values() for name in names}
    rest = {op.name for op in network() if not op.is_matmul} - fused
    assert rest == {"maxpool", "avgpool"}


def test_what_may_follow_a_matrix_product() -> None:
    """Row-wise work too; what something else reads is stored beside."""
    found = followed(encoder())
    assert found["layers.0.attention.scores"][0] == ["layers.0.attention.softmax"]
    assert found["layers.0.attention.out"][0] == ["layers.0.add1", "layers.0.norm1"]
    assert found["layers.0.mlp.up"] == (["layers.0.mlp.gelu"], (False, True))
    decoder = codesign.load_workload("llama3_2_1b", phase="prefill", seq=32)
    found = followed(decoder)
    assert found["layers.0.mlp.up"][0] == ["layers.0.mlp.multiply"]
    assert found["layers.0.mlp.gate"][0] == ["layers.0.mlp.silu"]
    assert found["layers.0.attention.out"] == (
        ["layers.0.add1", "layers.0.norm2"], (False, True, True),
    )  # fmt: skip
    assert not any("rotary" in name or "kv_write" in name for n, _ in found.values() for name in n)


def test_training_keeps_what_gradients_read() -> None:
    """GELU's gradient reads its input, ReLU's its result; statistics of a batch need it whole."""
    found = followed(encoder("training"))
    assert found["layers.0.mlp.up"] == (["layers.0.mlp.gelu"], (True, True))
    assert found["layers.0.attention.scores"] == (["layers.0.attention.softmax"], (False, True))
    assert found["layers.0.attention.out"][1] == (False, True, True)
    step = codesign.load_workload("resnet18", phase="training", image=32)
    found = followed(step)
    assert not any("bn" in name for names, _ in found.values() for name in names)
    assert found["layer1.0.conv2.backward_data"][0] == ["layer1.0.relu1.backward_data"]
    relu = codesign.load_workload("opt_125m", phase="training", seq=16, overrides={"depth": 1})
    names = {tuple(n): stored for n, stored in followed(relu).values() if "act" in n[0]}
    assert all(stored[0] is False for stored in names.values())


@pytest.mark.parametrize(
    "change",
    [
        {"b_writes": 64},
        {"b_dtype": "int8", "a_dtype": "fp32"},
        {"repeats": 2},
        {"writes": 32},
        {"elements": 32},
        {"alu_per_element": 0},
        {"passes": 2, "function": "batchnorm"},
        {"function": "rotary"},
        {"reads": 128},
        {"kind": Kind.REDUCTION},
    ],
)
def test_what_needs_more_than_a_tile_follows_nothing(change: dict[str, object]) -> None:
    """Two results, another type, other repetitions or sizes, sums over all, an unknown operand."""
    product = Op(name="p", kind=Kind.GEMM, phase=Phase.FORWARD, m=8, n=8, k=8, weight="w")
    follower = Op(
        name="f", kind=Kind.ELEMENTWISE, phase=Phase.FORWARD, function="relu", elements=64,
        passes=1, alu_per_element=1, reads=64, writes=64, deps=("p",),
    )  # fmt: skip
    assert followed(Trace("t", (product, follower))) == {"p": (["f"], (False, True))}
    other = replace(follower, **change)  # type: ignore[arg-type]
    assert followed(Trace("t", (product, other))) == {}


def test_an_operand_that_comes_later_must_be_fused_itself() -> None:
    trace = codesign.load_workload("llama3_2_1b", phase="prefill", seq=16, overrides={"depth": 1})
    found = chains(trace)
    names = {trace.ops[chain.product].name: chain for chain in found}
    gate, up = names["layers.0.mlp.gate"], names["layers.0.mlp.up"]
    assert fuse([(gate, 1), (up, 1)]).parts == ((gate, 1), (up, 1))
    assert fuse([(gate, 0), (up, 1)]).parts == ()
    waits = fuse([(gate, 1), (up, 1)]).waits(trace)
    assert waits["layers.0.mlp.up"] == ("layers.0.mlp.gate",)


def spared_bytes(trace: Trace, fused: Fused) -> int:
    """What no longer crosses the link: each result that a tile hands on, read, and stored where
    nothing else reads it.
    """
    spared = 0
    for chain, count in fused.parts:
        results = [trace.ops[i] for i in (chain.product, *chain.ops[:count])]
        for op, after, stored in zip(
            results, results[1:], chain.epilogue(count).stored, strict=False
        ):
            made = op.c_bytes if op.is_matmul else ceil_bytes(op.writes, op.c_dtype)
            spared += ceil_bytes(after.elements, after.a_dtype) + (0 if stored else made)
    return spared


@pytest.mark.parametrize("fidelity", ["tile", "row", "cycle"])
@pytest.mark.parametrize("arch", ["dense_systolic", "sat"])
def test_exactly_the_spared_maps_are_gone(arch: str, fidelity: str) -> None:
    """With the same tiles: bytes by the maps, all other work the same, and never faster than the
    roofline, of the network or of an operator.
    """
    machine = small_machine(arch)
    traces = [network(), codesign.load_workload("resnet18", phase="training", image=32)]
    if fidelity == "cycle":
        traces = [replace(traces[0], ops=traces[0].ops[:12], parameters={})]
    for trace in traces:
        fused = whole(trace)
        before = evaluate(trace, machine, fidelity=fidelity)
        after = evaluate(trace, machine, fidelity=fidelity, chooser=laid(trace, machine, fused))
        assert before.dram_bytes - after.dram_bytes == spared_bytes(trace, fused) > 0
        for action in ("mac", "vector_alu", "vector_special", "register", "output_write"):
            assert before.counters.get(action) == after.counters.get(action)
        assert after.executed_macs == before.executed_macs
        assert after.roofline_cycles <= after.cycles
        for op in after.ops:
            assert op.roofline_cycles <= op.end_cycle - op.start_cycle
        rows = {op.name: op for op in after.ops}
        first = trace.ops[fused.parts[0][0].ops[0]]
        host = trace.ops[fused.parts[0][0].product]
        assert rows[first.name].mapping == f"fused into {host.name}"
        assert rows[first.name].dram_bytes == 0
        assert rows[first.name].bound_by == "fused"
        assert not rows[first.name].energy_pj_by_part.get("vector")


@pytest.mark.parametrize(
    ("mapper", "goal", "keep"),
    [
        ("heuristic", "latency", False), ("heuristic", "edp", True), ("search", "energy", False),
        ("search", "latency", True),
    ],
)  # fmt: skip
def test_a_plan_is_never_worse(mapper: Mapper, goal: Goal, keep: bool) -> None:
    """By what it minimises: than without fusion, and searched than not."""
    machine = small_machine()
    for trace in (encoder(), network()) if mapper == "heuristic" else (encoder(),):
        figures = {}
        for how in ("plain", "fused", "simple"):
            plan = network_chooser(
                trace, machine, fidelity="tile", objective=goal, budget=3, keep_on_chip=keep,
                fuse=how != "plain", mapper="heuristic" if how == "simple" else mapper,
            )  # fmt: skip
            result = evaluate(trace, machine, fidelity="tile", chooser=plan)
            figures[how] = getattr(result, FIGURE[goal])
            assert result.roofline_cycles <= result.cycles
        assert figures["fused"] <= min(figures["plain"], figures["simple"])
        assert keep or figures["fused"] < figures["plain"]


def slow_chain() -> tuple[Trace, Chain]:
    """A product of few rows with much work behind it, on tiles of one row each."""
    product = Op(name="p", kind=Kind.GEMM, phase=Phase.FORWARD, m=8, n=4096, k=256, weight="w")
    softmax = Op(
        name="s", kind=Kind.SOFTMAX, phase=Phase.FORWARD, function="softmax", elements=8 * 4096,
        passes=3, alu_per_element=5, special_per_element=1, reads=8 * 4096, writes=8 * 4096,
        deps=("p",),
    )  # fmt: skip
    trace = Trace("slow", (product, softmax))
    return trace, chains(trace)[0]


def test_what_loses_is_not_fused() -> None:
    """A tile of whole rows leaves no room for others, so the weights come once for each row."""
    trace, chain = slow_chain()
    machine = codesign.load_arch(
        "dense_systolic", {"buffers.output.capacity_bytes": 32768, "dram.bytes_per_cycle": 2.0}
    )
    epilogue = chain.epilogue(1)
    narrow = machine.fusing(epilogue)
    assert narrow is not None
    product = trace.ops[0]
    mapping = narrow.mappings(product)[0]
    assert mapping.tile_n == product.n
    assert mapping.epilogue == epilogue
    fused = simulate(machine.lower(product, mapping, Sparse(), Fidelity.ROW)).cycles
    alone = evaluate(trace, machine)
    assert fused > alone.cycles
    plan = network_chooser(trace, machine, fuse=True)
    assert evaluate(trace, machine, chooser=plan).cycles == alone.cycles
    assert isinstance(plan, NetworkPlan)
    assert not any(one.fused_into for one in plan.mappings.values())


def test_rows_are_whole_where_they_are_reduced() -> None:
    """In every mapping that a search may try; no input-stationary one, whose tiles are turned."""
    trace = encoder()
    machine = small_machine()
    for chain in chains(trace):
        product = trace.ops[chain.product]
        after = chain.epilogue(len(chain.ops))
        narrow = machine.fusing(after)
        assert narrow is not None
        found = narrow.candidates(product, Sparse())
        for i in range(len(found)):
            assert found.at(i).epilogue == after
            if after.whole_rows:
                assert found.at(i).tile_n >= product.n
                assert found.at(i).dataflow != "is"


def _plans(trace: Trace, machine: AnyMachine) -> Sequence[NetworkPlan]:
    return plans_on_chip(
        trace, machine, fidelity=Fidelity.TILE, seed=0, keeps=False, fuses=True, most_states=(None,)
    )


def test_choices_equal_brute_force() -> None:
    """Of how much of each chain is fused, by the cycles of operators that run alone."""
    trace = encoder()
    machine = codesign.load_arch("dense_systolic", {"vector.lanes": 2, "dram.bytes_per_cycle": 4.0})
    found = chains(trace)

    def alone(plan: NetworkPlan) -> int:
        lowered, _, _ = run(trace, machine, fidelity="tile", chooser=plan)
        return sum(simulate(row.program).cycles for row in lowered)

    def planned(counts: Sequence[int]) -> NetworkPlan:
        fused = fuse(zip(found, counts, strict=True))
        plan = laid(trace, machine, fused)
        narrow = {i: machine.fusing(after) for i, after in fused.epilogues.items()}
        mappings = {
            trace.ops[i].name: one.mappings(trace.ops[i])[0]
            for i, one in narrow.items()
            if one is not None
        }
        return replace(plan, mappings={**plan.mappings, **mappings})

    counts = itertools.product(*(range(len(chain.ops) + 1) for chain in found))
    least = min(alone(planned(each)) for each in counts)
    assert min(alone(plan) for plan in _plans(trace, machine)) == least


def test_equal_products_are_lowered_once() -> None:
    trace = network()
    machine = small_machine()
    plan = laid(trace, machine, whole(trace))
    lowered, _, _ = run(trace, machine, chooser=plan)
    rows = {row.op.name: row for row in lowered}
    same, other = rows["layer1.0.conv1"], rows["layer1.1.conv1"]
    assert same.program is other.program
    assert rows["layer1.0.conv2"].program is not same.program


def test_a_product_waits_for_the_operands_of_what_follows() -> None:
    """The second branch begins when the first, with which it is added, is in memory."""
    trace, machine = network(), small_machine()
    plan = laid(trace, machine, whole(trace))
    assert plan.waits["layer2.0.downsample.0"] == ("layer2.0.conv2",)
    place = {op.name: i for i, op in enumerate(trace)}
    for chosen in (plan, replace(plan, waits={})):
        _, timeline, first = run(trace, machine, chooser=chosen)
        begin, end = (int(first[place["layer2.0.downsample.0"] + i]) for i in (0, 1))
        array = timeline.program.actions.index("mac")
        own = np.arange(begin, end)[timeline.program.action[begin:end] == array]
        ready = timeline.end[first[place["layer2.0.conv2"] + 1] - 1]
        assert (timeline.start[own[0]] >= ready) == bool(chosen.waits)


def test_a_fused_result_may_be_kept() -> None:
    """Then a chain's last result stays, and an addition finds its other operand on the chip."""
    trace = network()
    fused = whole(trace)
    maps = {one.producer: one for one in feature_maps(trace, fused)}
    place = {op.name: i for i, op in enumerate(trace)}
    residual = maps[place["layer1.0.conv2"]]
    assert residual.uses[place["layer1.1.conv1"]].operand == "a"
    assert residual.uses[place["layer1.1.conv2"]].size_bytes == residual.size_bytes
    machine = codesign.load_arch("dense_systolic")
    plan = network_chooser(
        trace, machine, fidelity="tile", objective="energy", keep_on_chip=True, fuse=True
    )
    assert isinstance(plan, NetworkPlan)
    fused_count = sum(bool(one.fused_into) for one in plan.mappings.values())
    kept_count = sum(one.kept.c for one in plan.mappings.values())
    assert plan.note.startswith(f"operators fused into products: {fused_count}; feature maps")
    assert plan.note.endswith(f": {kept_count}")
    both = [one for one in plan.mappings.values() if one.epilogue.ops and one.kept.c]
    assert both
    assert any(one.kept.read_bytes for one in both)
    for fidelity in ("tile", "row"):
        result = evaluate(trace, machine, fidelity=fidelity, chooser=plan)
        assert result.roofline_cycles <= result.cycles
        for op, row in zip(trace, result.ops, strict=True):
            mapping = plan.mappings[op.name]
            if op.is_matmul:
                least = op.a_bytes + op.b_bytes + op.c_bytes - mapping.spared_bytes(op)
                assert row.dram_bytes >= least


def test_tile_fidelity_is_near_row() -> None:
    """Of whole networks, fused as a plan fuses them."""
    for trace in (network(), encoder()):
        for arch, changes in (
            ("sat", {}),
            ("dense_systolic", {"vector.lanes": 4}),
            ("dense_systolic", {"dram.bytes_per_cycle": 8.0}),
        ):
            machine = small_machine(arch, **changes)
            plan = network_chooser(trace, machine, fuse=True)
            tile, row = (
                evaluate(trace, machine, fidelity=f, chooser=plan).cycles for f in ("tile", "row")
            )
            assert abs(tile / row - 1) < 0.12


@pytest.mark.parametrize("arch", ["s30", "a100_sxm_80gb"])
def test_a_machine_that_cannot_says_so(arch: str) -> None:
    trace = codesign.load_workload("gemm:64,64,64")
    machine = codesign.load_arch(arch)
    plan = network_chooser(trace, machine, fuse=True)
    result = evaluate(trace, machine, chooser=plan)
    assert [note for note in result.notes if machine.fusion_rule in note]
    assert result.cycles == evaluate(trace, machine).cycles


def test_a_sweep_decides_by_name(tmp_path: Path) -> None:
    """`mapping.fuse` is a parameter, and its points are those of evaluate()."""
    path = tmp_path / "fuse.yaml"
    path.write_text(
        "name: fuse\nworkload: {name: resnet18, image: 32}\narch: dense_systolic\nmethod: grid\n"
        "mapping: {objective: edp}\nmetrics: {edp_js: minimize}\n"
        "parameters: {mapping.fuse: {values: [false, true]}}\n"
    )
    base = read_study(path)
    engine, designs = Engine(base), Designs(base)
    trace, machine = network(), codesign.load_arch("dense_systolic")
    for number, chosen in enumerate((False, True)):
        outcome = engine.evaluate(designs.point(number, {"mapping.fuse": chosen}))
        plan = network_chooser(trace, machine, fidelity="tile", objective="edp", fuse=chosen)
        result = evaluate(trace, machine, fidelity="tile", chooser=plan)
        assert outcome.error is None
        assert outcome.metrics["edp_js"] == result.edp_js
        assert outcome.metrics["dram_bytes"] == result.dram_bytes
