"""Do the GPU machines lower operators to steps that add up, and keep the laws of hardware?"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import codesign
from codesign.arch import list_archs, load_arch
from codesign.arch.base import Fidelity, Mapping, Sparse
from codesign.arch.gpu_kernels import DENSE_FORM, Run, form_of, laws, sparse_tiles, tile_library
from codesign.arch.tensor_core import TensorCore
from codesign.config import CodesignError
from codesign.evaluate import evaluate
from codesign.evaluate import lower as lower_op
from codesign.kernels.tensor_core import SERVERS, SPLITS
from codesign.measure.gpu_files import DEVICE_SHARE
from codesign.measure.knobs import knobs, neighbours
from codesign.sim import simulate
from codesign.sparsity.pattern import Block, parse_pattern
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

GPUS = [name for name, _ in list_archs() if isinstance(load_arch(name), TensorCore)]
TWO_OF_FOUR = form_of(parse_pattern("2:4"), "fp16", "fp16", sparse_mma=True)
REQUIRED = {
    "t4", "a100_sxm_40gb", "a100_sxm_80gb", "a100_pcie_80gb", "a6000", "rtx4090", "h100_sxm",
    "h100_pcie", "h200", "b200", "rtx5080",
}  # fmt: skip


def gemm(m: int, n: int, k: int, pattern: str = "dense", dtype: str = "fp16") -> Trace:
    trace = load_workload(f"gemm:{m},{n},{k}", dtype=dtype)
    return trace if pattern == "dense" else sparsify(trace, pattern, skip_first_last=False)


def attention(queries: int, context: int, pattern: str = "dense") -> Op:
    return Op(
        name="scores", kind=Kind.ATTENTION, phase=Phase.DECODE, m=queries, n=context, k=128,
        groups=8, b_pattern=parse_pattern(pattern),
    )  # fmt: skip


def test_every_promised_gpu_ships():
    assert {name for name, _ in list_archs()} >= REQUIRED
    assert all(isinstance(load_arch(name), TensorCore) for name in REQUIRED)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_never_under_the_roofline(name):
    machine = load_arch(name)
    for shape in ((1, 4096, 4096), (64, 4096, 11008), (2048, 4096, 4096)):
        result = evaluate(gemm(*shape), machine)
        assert result.cycles >= result.roofline_cycles


def test_peak_rates_are_those_of_the_data_sheets():
    published = {"t4": 65, "a100_sxm_80gb": 312, "a6000": 154.8, "rtx4090": 165.2, "gb200": 2500}
    for name, tflops in published.items():
        machine = load_arch(name)
        op = gemm(128, 128, 128).ops[0]
        rate = 2 * float(machine.peak_macs_per_cycle(op)) * machine.spec.clock_mhz * 1e-6
        assert rate == pytest.approx(tflops, rel=0.01)


@pytest.mark.parametrize("shape", [(300, 700, 900), (4096, 4096, 4096), (1, 5000, 3000)])
def test_steps_take_the_chosen_time(shape):
    machine = load_arch("h200")
    op = gemm(*shape).ops[0]
    mapping = machine.mappings(op)[0]
    expected = machine._choice(op, mapping)[0] + machine.spec.launch.kernel_cycles
    waves = 1 + expected
    for fidelity in (Fidelity.TILE, Fidelity.ROW):
        program = machine.lower(op, mapping, Sparse(), fidelity)
        program.check()
        cycles = simulate(program).cycles
        assert expected <= cycles <= expected + waves**0.5


def test_a_fixed_mapping_is_no_quicker_than_the_chosen_one():
    machine = load_arch("a100_sxm_80gb")
    op = gemm(512, 4096, 4096).ops[0]
    best = machine._choice(op)[0]
    for tile in ((64, 64), (128, 128), (128, 256)):
        mapping = Mapping("tile", *tile, op.k)
        assert machine._choice(op, mapping)[0] >= best


def test_executed_and_effective_work():
    machine = load_arch("a100_sxm_80gb")
    dense = 512 * 1024 * 2048
    for pattern, executed, effective in (
        ("dense", dense, dense),
        ("2:4", dense // 2, dense // 2),
        ("1:4", dense // 4, dense // 4),
        ("unstructured(0.75)", dense, dense // 4),
    ):
        result = evaluate(gemm(512, 1024, 2048, pattern), machine)
        assert (result.executed_macs, result.effective_macs) == (executed, effective)


def test_without_sparse_tensor_cores_two_of_four_runs_dense():
    machine = load_arch("t4")
    dense, sparse = (evaluate(gemm(256, 512, 512, p), machine) for p in ("dense", "2:4"))
    assert dense.cycles == sparse.cycles
    assert any("runs dense" in note for note in sparse.notes)


def test_stored_bytes_of_compressed_weights():
    machine = load_arch("h200")
    for pattern, share in (("2:4", 9 / 16), ("unstructured(0.5)", 9 / 16), ("dense", 1.0)):
        op = gemm(16, 1024, 1024, pattern).ops[0]
        assert machine.stored_bytes(op, Sparse()) == int(2 * 1024 * 1024 * share)
    assert form_of(parse_pattern("2:4"), "fp8", "fp8", sparse_mma=True).b_share == 10 / 16


def test_int4_weights_speed_up_decoding_by_their_bytes():
    machine = load_arch("a100_sxm_80gb")
    dense = gemm(8, 8192, 8192).ops[0]
    packed = replace(dense, b_dtype="int4")
    long, short = (machine._choice(op)[0] for op in (dense, packed))
    assert 2 < long / short <= 16 / (4 + 16 / 128) + 0.01


def test_quantised_groups_are_loaded_where_they_are_kept_and_results_say_so():
    machine = load_arch("a100_sxm_80gb")
    op = replace(gemm(8, 1024, 1024).ops[0], b_dtype="int4")
    for text, bits, said in (
        ("gqsa(16, 0.5)", (4 + 3 * 16 / 16) / 2, "loads kept groups, multiplies all"),
        ("unstructured(0.5)", 4 + 16 / 128, "runs dense on a100_sxm_80gb, which unpacks all"),
    ):
        sparse = replace(op, b_pattern=parse_pattern(text))
        assert machine.stored_bytes(sparse, Sparse()) == int(1024 * 1024 * bits / 8)
        assert machine.executed_macs(sparse, Sparse()) == op.macs
        assert said in str(machine.note(sparse))
    assert machine.note(op) is None


def test_uneven_blocks_take_longer_than_even_ones():
    machine = load_arch("h200")
    trace = gemm(1024, 8192, 4096, "block(64x64, 0.75)")
    op = trace.ops[0]
    assert isinstance(op.b_pattern, Block)
    lowered = lower_op(op, None, machine, Fidelity.ROW, 0, {})
    mask = lowered.sparse.mask
    assert mask is not None
    even = machine.lower(op, lowered.mapping, Sparse(), Fidelity.ROW)
    uneven, smooth = simulate(lowered.program).cycles, simulate(even).cycles
    assert smooth < uneven < 1.5 * smooth
    dense = evaluate(gemm(1024, 8192, 4096), machine).cycles
    assert uneven < dense / 2


def test_dispatch_of_uneven_blocks_equals_a_plain_queue():
    machine = load_arch("h200")
    op = gemm(1024, 8192, 4096, "block(64x64, 0.75)").ops[0]
    lowered = lower_op(op, None, machine, Fidelity.ROW, 0, {})
    program = lowered.program
    unit = [u.name for u in program.units].index("multiprocessor")
    free = np.zeros(machine.spec.sm.count, dtype=np.int64)
    for busy in program.busy_cycles[program.unit == unit]:
        first = int(free.argmin())
        free[first] += busy
    assert simulate(program).cycles == machine.spec.launch.kernel_cycles + free.max()


def test_fused_attention_leaves_scores_on_the_chip():
    fused = load_arch("h200")
    loose = load_arch("h200", {"flash_attention": False})
    op = attention(512, 4096)
    near = 8 * (512 + 4096) * 128 * 2
    assert fused.compulsory_bytes(op, Sparse()) == near
    assert loose.compulsory_bytes(op, Sparse()) == near + 8 * 512 * 4096 * 2
    back = replace(op, n=128, k=4096)
    assert fused.compulsory_bytes(back, Sparse()) == near


def test_a_pruned_cache_is_read_in_less_time():
    machine = load_arch("l40s")
    dense, pruned = (
        machine._choice(attention(4, 16384, p))[0] for p in ("dense", "unstructured(0.7)")
    )
    assert 1.2 < dense / pruned < 1 / (0.3 + 1 / 16)


def test_graphs_save_the_stream_launch():
    graph, stream = (
        evaluate(gemm(8, 64, 64), load_arch("h200", {"launch.graphs": on})) for on in (True, False)
    )
    assert stream.cycles - graph.cycles == load_arch("h200").spec.launch.stream_cycles


def test_the_power_model_gives_what_the_limit_leaves():
    plain = {"dense.sustained": {}, "power.exponent": 0.0}
    machine = load_arch("h200", {**plain, "power.limit_w": 490, "power.idle_w": 90})
    spec = machine.spec
    rate = machine.sustained("fp16") * spec.sm.count * spec.mma["fp16"] * spec.clock_mhz * 1e6
    assert rate * spec.power.mac_pj_at_1ghz * 1e-12 == pytest.approx(400)
    assert load_arch("h200", {**plain, "power.limit_w": 1e6}).sustained("fp16") == 1.0


@pytest.mark.parametrize("name", GPUS)
def test_measured_rates_are_of_the_board_as_it_ships(name):
    spec = load_arch(name).spec
    parts = (spec.dense, spec.sparse, spec.sparse_8bit)
    assert (spec.measured_as is not None) == any(part and part.sustained for part in parts)
    if spec.measured_as is not None:
        assert spec.measured_as.model_dump() == {
            "limit_w": spec.power.limit_w, "clock_mhz": spec.clock_mhz,
            "sm_count": spec.sm.count, "mma": spec.mma,
        }  # fmt: skip
        for part in parts:
            for dtype, share in part.sustained.items() if part else ():
                form = DENSE_FORM if part is spec.dense else TWO_OF_FOUR
                assert load_arch(name).sustained(dtype, form) == share


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dense.sustained.fp16": 0}, "dense.sustained.fp16: must be > 0"),
        ({"dense.sustained.fp16": 1.5}, "dense.sustained.fp16: must be <= 1"),
        ({"power.idle_w": 450}, "idle_w must be below limit_w, 450"),
        ({"measured_as.mma": {"fp8": 512}}, "measured_as.mma lacks bf16, fp16, int8"),
    ],
)
def test_rates_and_powers_that_cannot_be_are_refused(changes, said):
    with pytest.raises(CodesignError, match=said):
        load_arch("rtx4090", changes)


@pytest.mark.parametrize("name", ["rtx4090", "h100_sxm", "a6000"])
def test_measured_rates_follow_the_limit_and_what_it_is_shared_by(name):
    spec = load_arch(name).spec

    def rate(**changes):
        machine = load_arch(name, {k.replace("__", "."): v for k, v in changes.items()})
        now = machine.spec
        return machine.sustained("fp16") * now.sm.count * now.mma["fp16"] * now.clock_mhz

    limit_w, count, macs = spec.power.limit_w, spec.sm.count, spec.mma["fp16"]
    rates = [rate(power__limit_w=limit_w * x) for x in (0.3, 0.5, 0.9, 1, 1.5, 100)]
    assert rates == sorted(rates)
    assert rates[0] < rates[1] < 0.95 * rates[3]
    doubled = rate(sm__count=2 * count)
    assert rate() < doubled <= 2 * rate()
    assert rate(mma__fp16=2 * macs) == pytest.approx(doubled)
    assert rate(clock_mhz=spec.clock_mhz / 3) < rate() <= rate(clock_mhz=spec.clock_mhz * 2)


def test_a_kernel_whose_rate_is_held_under_half_of_the_peak_is_bound_by_that():
    bounds = {
        (name, dtype): evaluate(gemm(4096, 14336, 4096, dtype=dtype), load_arch(name)).bound_by
        for name, dtype in (("h100_pcie", "fp8"), ("h100_sxm", "fp16"), ("rtx4090", "fp8"))
    }
    assert list(bounds.values()) == ["sustained rate", "compute", "compute"]
    assert evaluate(gemm(4, 14336, 4096, dtype="fp8"), load_arch("h100_pcie")).bound_by == "memory"


def test_only_types_of_tensor_cores_have_sparse_instructions():
    machine = load_arch("a6000")
    for dtype in machine.spec.mma:
        dense, sparse = (
            evaluate(gemm(4096, 4096, 4096, p, dtype), machine) for p in ("dense", "2:4")
        )
        if dtype == "fp32":
            assert sparse.cycles == dense.cycles
            assert sparse.notes == ("2:4 runs dense on a6000",)
        else:
            assert sparse.cycles < 0.8 * dense.cycles


def test_a_type_that_a_board_lacks_is_named():
    with pytest.raises(CodesignError, match=r"gemm of fp8; it multiplies fp16, .*int8"):
        evaluate(gemm(16, 64, 64, dtype="fp8"), load_arch("t4"))


def test_narrow_operands_draw_less_and_sparse_ones_more():
    bare = {"dense.sustained": {}, "sparse.sustained": {}, "power.limit_w": 200}
    machine = load_arch("h100_pcie", bare)
    power, sparse = (
        machine.spec.power,
        form_of(parse_pattern("2:4"), "fp16", "fp16", sparse_mma=True),
    )
    held = machine.sustained("fp16", sparse) / machine.sustained("fp16")
    assert held == pytest.approx(power.sparse_factor ** (-1 / (1 + power.exponent)))
    assert power.mac_pj("fp8", sparse=False) == power.mac_pj("fp16", sparse=False) / 2
    assert machine.sustained("fp8") == pytest.approx(machine.sustained("fp16"))


def test_energy_at_the_board_is_kept_apart_from_that_of_the_devices():
    trace = gemm(64, 4096, 4096)
    plain = evaluate(trace, load_arch("h200"))
    more = evaluate(trace, load_arch("h200", {"board_energy.dram_pj_per_byte": 90}))
    moved = plain.counters["dram_read"] + plain.counters["dram_write"]
    assert more.energy_j == plain.energy_j
    assert more.board_energy_j - plain.board_energy_j == pytest.approx(10e-12 * moved)
    spec = load_arch("h200").spec
    idle = spec.power.idle_w * plain.latency_s
    assert plain.board_energy_j > idle + spec.power.mac_pj_at_1ghz * 1e-12 * plain.executed_macs
    assert evaluate(gemm(64, 64, 64), load_arch("dense_systolic")).board_energy_j is None


@pytest.mark.parametrize("name", GPUS)
def test_a_board_draws_no_more_than_its_limit_and_no_less_than_its_devices(name):
    machine = load_arch(name)
    for dtype in machine.spec.mma.keys() - {"fp32"}:  # its lanes have no energy at the board
        for m, pattern in itertools.product((1, 64, 512, 8192), ("dense", "2:4", "1:4")):
            found = evaluate(gemm(m, 4096, 4096, pattern, dtype), machine, fidelity="tile")
            board_w = found.board_energy_j / found.latency_s
            assert found.power_w <= board_w <= machine.spec.power.limit_w * (1 + 1e-9), (dtype, m)


def test_a_mac_takes_energy_in_proportion_to_its_operands():
    machine = load_arch("rtx4090")
    drawn = {
        dtype: evaluate(gemm(64, 64, 64, dtype=dtype), machine).energy_j_by_part["tensor cores"]
        for dtype in ("int4", "int8", "fp16", "tf32")
    }
    assert drawn["fp16"] == pytest.approx(64**3 * machine.spec.energy.mac_pj * 1e-12)
    assert [drawn[d] / drawn["fp16"] for d in drawn] == pytest.approx([0.25, 0.5, 1, 2])


@pytest.mark.parametrize("name", GPUS)
def test_devices_take_the_stated_share_of_a_macs_board_energy(name):
    spec = load_arch(name).spec
    assert spec.energy.mac_pj == pytest.approx(DEVICE_SHARE * spec.power.mac_pj_at_1ghz, rel=1e-3)


def test_tiles_of_sparse_kernels_are_no_larger_than_the_library_has():
    machine = load_arch("rtx4090")
    dense, sparse = (gemm(8192, 8192, 8192, p).ops[0] for p in ("dense", "2:4"))
    assert max(max(m.tile_m, m.tile_n) for m in machine.mappings(sparse)) <= 128
    assert machine.spec.dense.most_edge == 256
    wide = load_arch("rtx4090", {"sparse.most_edge": 256})
    assert wide._choice(sparse)[0] <= machine._choice(sparse)[0]
    assert machine.mappings(dense)


def test_tiles_of_sparse_kernels_are_no_smaller_than_a_sparse_instruction_allows():
    least_m, least_n = laws().least_sparse_tile
    for warp_groups in (False, True):
        every = tile_library(warp_groups)
        kept = set(sparse_tiles(every))
        assert {(least_m, least_n), (128, 128)} <= kept
        assert set(every) - kept == {(m, n) for m, n in every if m < least_m or n < least_n}
    machine = load_arch("rtx4090")
    dense, sparse = (
        machine.mappings(gemm(16, 64, 64, pattern).ops[0])[0] for pattern in ("dense", "2:4")
    )
    assert least_m <= sparse.tile_m
    assert dense.tile_n < least_n <= sparse.tile_n


def test_kernels_with_tensor_memory_have_wide_tiles_and_a_multiprocessor_each():
    machine = load_arch("b200")
    assert min(map(min, machine.board.tiles())) == laws().least_tensor_edge
    assert set(machine.board.tiles()) < set(load_arch("h200").board.tiles())
    for rows in (1, 16, 300, 5000):
        op = gemm(rows, 4096, 4096).ops[0]
        row = machine._choice(op)
        assert row[SERVERS] == machine.spec.sm.count
        assert machine._choice(op, machine.mappings(op)[0])[0] == row[0]
    few = [machine._choice(gemm(rows, 4096, 4096).ops[0])[0] for rows in (1, 64)]
    assert few[0] == pytest.approx(few[1], rel=0.1)


def test_sparse_kernels_without_warp_groups_have_short_pipelines():
    for name, short in (("rtx4090", True), ("h100_pcie", False), ("b200", False)):
        board = load_arch(name).board
        assert laws().of(DENSE_FORM, board) == laws()
        found = laws().of(TWO_OF_FOUR, board)
        most = laws().most_sparse_stages
        assert ((found.most_stages, found.most_stages_alone) == (most, most)) is short
        assert (found == laws()) is not short


def test_integer_products_are_not_split():
    machine = load_arch("rtx4090")
    sizes = np.array([[1, 64, 512, 16384]], dtype=np.int64)
    parts = {dtype: machine.choose(sizes, dtype)[0, SPLITS] for dtype in ("int8", "fp8")}
    assert parts["int8"] == 1 < parts["fp8"]
    asked = machine.choose(sizes, "int8", splits=(4,))
    assert asked[0, SPLITS] == 4, "a mapping may ask for it"


def test_sparse_kernels_of_8_bit_operands_are_others():
    machine = load_arch("rtx4090")
    two_of_four = machine.form(gemm(8, 64, 64, "2:4").ops[0])
    assert machine.kernels(two_of_four, "fp16") is machine.spec.sparse
    assert machine.kernels(two_of_four, "int8") is machine.spec.sparse_8bit
    dense = machine.form(gemm(8, 64, 64).ops[0])
    assert machine.kernels(dense, "int8") is machine.spec.dense
    assert machine.spec.sparse.by_rows
    assert not machine.spec.sparse_8bit.by_rows


def test_passes_over_a_row_add_their_exponentials():
    machine = load_arch("a100_sxm_80gb", {"flash_attention": False})
    op = Op(
        name="p", kind=Kind.SOFTMAX, phase=Phase.FORWARD, function="softmax", elements=1 << 24,
        passes=1, alu_per_element=5, special_per_element=1, reads=1 << 24, writes=1 << 24,
    )  # fmt: skip
    once, thrice = (machine.stream_cycles(replace(op, passes=p)) for p in (1, 3))
    spec = machine.spec
    again = 2 * op.elements / (spec.sm.count * spec.sm.special_lanes)
    assert thrice - once == pytest.approx(again, abs=2)


@pytest.mark.parametrize("phase", ["prefill", "decode", "training"])
def test_whole_models_run(phase):
    tokens = {"prefill": {"seq": 128}, "decode": {"context": 128}, "training": {"seq": 128}}
    trace = load_workload("gpt2", phase=phase, overrides={"depth": 2}, **tokens[phase])
    dense = evaluate(trace, load_arch("h100_sxm"))
    assert dense.latency_s > 0
    assert dense.cycles >= dense.roofline_cycles


def test_public_names():
    machine = codesign.load_arch("rtx4090")
    assert machine.spec.source_of("dense.step_cycles").status == "measured"
    assert load_arch("b200").spec.source_of("dense.step_cycles").status == "assumed"


BOUND_BY = np.array(
    [
        (1, 16, 16384, 16384), (1, 16384, 16384, 64), (1, 8192, 8192, 8192), (1, 64, 4096, 4096),
        (1, 16, 128, 65536), (1, 1280, 65536, 8192), (1, 2560, 65536, 8192), (1, 5120, 65536, 8192),
        (1, 512, 6144, 4096),
    ]
)  # fmt: skip
"""Groups, m, n, k: reads, writes, MMA, latency, a long reduction, operands as large as L2, and a
product of one wave if tiles are wide."""
NEVER_IN_THE_WAY = {"dense.sharing", "sparse.sharing", "sparse_8bit.sharing"}
"""At half and at twice the value something else is slower than L2."""


@pytest.mark.parametrize("name", ["h200", "rtx4090", "b200", "a6000"])
def test_every_constant_of_kernels_and_power_moves_some_product(name):
    patterns = [parse_pattern(text) for text in ("dense", "2:4")]
    forms = [form_of(pattern, "fp16", "fp16", sparse_mma=True) for pattern in patterns]

    def choices(machine):
        found = [machine.choose(BOUND_BY, "fp16", form) for form in forms]
        narrow = machine.choose(BOUND_BY, "int8", forms[1])
        short = machine.choose(BOUND_BY, "fp16", run=Run(burst=4.0, window_cycles=1e12))
        return np.array([*found, narrow, short, machine.choose(BOUND_BY, "fp32")])

    bare = {f"{part}.sustained": {} for part in ("dense", "sparse", "sparse_8bit")}
    plain = load_arch(name, {**bare, "power.limit_w": load_arch(name).spec.power.limit_w / 2})
    before, idle = choices(plain), set()
    for knob in knobs(plain):
        others = neighbours(plain, knob, {})
        inside = knob.path.split(".")[0] in ("dense", "sparse", "sparse_8bit", "power", "l2")
        if inside and not any((choices(other) != before).any() for other in others):
            idle.add(knob.path)
    assert idle <= NEVER_IN_THE_WAY


def test_idle_power_is_charged_all_the_time():
    trace = gemm(512, 512, 512)
    rest, more = (evaluate(trace, load_arch("h200", {"power.idle_w": w})) for w in (90, 190))
    gained = more.energy_j - rest.energy_j
    assert gained == pytest.approx(100 * rest.latency_s, rel=1e-6)
    assert more.cycles == rest.cycles
