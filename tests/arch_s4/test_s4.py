"""Does an S4 card share work, keep feature maps and use sparsity as its file says?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.arch import list_archs, load_arch
from codesign.config import CodesignError
from codesign.evaluate import evaluate
from codesign.sparsity.mask import Mask
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.requests import in_flight
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

CARDS = ("s4", "s10", "s30", "s40")
MODES = ("single", "split", "broadcast")


def gemm(m, n, k, pattern="dense", dtype="int8"):
    trace = load_workload(f"gemm:{m},{n},{k},{dtype}")
    return trace if pattern == "dense" else sparsify(trace, pattern, where="gemm")


def busy(trace, machine, unit="spu"):
    return evaluate(trace, machine).busy_cycles[unit]


def test_the_files_are_cards_of_one_to_four_chips():
    assert set(CARDS) <= {name for name, _ in list_archs()}
    specs = [load_arch(card).spec for card in CARDS]
    assert [spec.chips for spec in specs] == [1, 2, 3, 4]
    same = [
        spec.model_dump(exclude={"name", "description", "chips", "sources", "anchors"})
        for spec in specs
    ]
    assert all(one == same[0] for one in same)


def test_the_peak_is_the_one_that_is_quoted():
    """944 INT8 TOPS and 472 BF16 TFLOPS at 32x (arXiv 2207.08006, section 2)."""
    machine = load_arch("s4")
    for dtype, tera in (("int8", 944), ("bf16", 472)):
        op = gemm(64, 64, 64, dtype=dtype).ops[0]
        peak = float(machine.peak_macs_per_cycle(op)) * 32 * 2 * machine.spec.clock_mhz / 1e6
        assert peak == pytest.approx(tera, rel=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pattern", ["dense", "2:32", "unstructured(0.9)"])
def test_executed_work_is_that_of_the_kept_weights(mode, pattern):
    for shape in ((400, 200, 144), (1, 1000, 512), (4096, 96, 64)):
        trace = gemm(*shape, pattern)
        result = evaluate(trace, load_arch("s30", {"mode": mode}))
        assert result.executed_macs == result.effective_macs
        assert (result.executed_macs == result.macs) == (pattern == "dense")


def test_lanes_take_the_cycles_of_the_compressed_weights():
    """Four cores of 32 rows and 64 lanes: 4 blocks of rows each, 8 sets of two banks."""
    machine = load_arch("s4", {"launch_cycles": 0})
    for ratio in (1, 2, 4, 8, 16, 32):
        trace = gemm(512, 64, 512, f"{32 // ratio}:32" if ratio > 1 else "dense")
        drained = 32 * 64 // machine.spec.array.drain_values_per_cycle
        assert busy(trace, machine) == 1 + 4 * max(drained, 8 * 32 // ratio)


@pytest.mark.parametrize(("ratio", "kept"), [(2, 9), (8, 3), (16, 2)])
def test_a_balanced_layer_is_stored_at_a_power_of_two(ratio, kept):
    machine = load_arch("s4")
    exact = busy(gemm(512, 256, 512, f"{32 // ratio}:32"), machine)
    assert busy(gemm(512, 256, 512, f"{kept}:32"), machine) == exact


def test_an_unstructured_mask_pays_for_its_slowest_bank():
    machine = load_arch("s4")
    balanced, loose = gemm(512, 256, 512, "2:32"), gemm(512, 256, 512, "unstructured(0.9375)")
    assert busy(balanced, machine) * 1.5 < busy(loose, machine) < busy(gemm(512, 256, 512), machine)


def test_a_real_mask_counts_bank_by_bank():
    machine = load_arch("s4", {"launch_cycles": 0})
    trace = gemm(512, 64, 512, "unstructured(0.9)")
    kept = np.zeros((64, 512), np.bool_)
    kept[:, ::64] = True
    even = replace(trace, masks={"gemm": Mask.from_dense(kept)})
    kept[5, 1:20] = True
    slow = replace(trace, masks={"gemm": Mask.from_dense(kept)})
    # 8 sets of one weight in 4 blocks of rows; then one set of 20, all lanes waiting
    assert busy(even, machine) == 1 + 4 * 8
    assert busy(slow, machine) == 1 + 4 * (7 + 20)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 300), st.integers(1, 150), st.integers(1, 300), st.sampled_from(MODES),
    st.sampled_from(["dense", "4:32", "unstructured(0.8)"]),
)  # fmt: skip
def test_cycle_fidelity_agrees_with_rows(m, n, k, mode, pattern):
    machine = load_arch("s4", {"mode": mode})
    trace = gemm(m, n, k, pattern)
    row = evaluate(trace, machine, fidelity="row").busy_cycles["spu"]
    stepped = evaluate(trace, machine, fidelity="cycle").busy_cycles["spu"]
    assert stepped == row


def test_weights_cross_the_link_once_when_cores_run_in_step():
    trace = gemm(4096, 512, 512)
    moved = {mode: evaluate(trace, load_arch("s4", {"mode": mode})).dram_bytes for mode in MODES}
    assert moved["split"] == moved["broadcast"] == 512 * 512
    assert moved["single"] == 4 * 512 * 512
    chips = {card: evaluate(trace, load_arch(card)).dram_bytes for card in CARDS}
    assert [chips[card] // chips["s4"] for card in CARDS] == [1, 2, 3, 4]


def test_feature_maps_spill_when_two_do_not_fit():
    small, large = gemm(4096, 64, 1024), gemm(65536, 64, 1024)
    machine = load_arch("s4")
    assert evaluate(small, machine).dram_bytes == 64 * 1024
    assert evaluate(large, machine).dram_bytes >= 65536 * 1024
    share = 16384 * 1024
    tight = load_arch("s4", {"maps.capacity_bytes": 2 * share - 1})
    assert evaluate(large, tight).dram_bytes >= 65536 * 1024
    roomy = load_arch("s4", {"maps.capacity_bytes": 2 * share})
    assert evaluate(large, roomy).dram_bytes == 64 * 1024


def test_products_of_activations_and_vector_work_gain_nothing():
    trace = load_workload("bert_base", batch=4, seq=128, dtype="int8")
    machine = load_arch("s4")
    dense = {op.name: op for op in evaluate(trace, machine).ops}
    sparse = {op.name: op for op in evaluate(sparsify(trace, "1:32"), machine).ops}
    scores, up = "layers.3.attention.scores", "layers.3.mlp.up"
    assert sparse[scores].busy_cycles["spu"] == dense[scores].busy_cycles["spu"]
    softmax, norm = "layers.3.attention.softmax", "layers.3.norm1"
    for name in (softmax, norm):
        assert sparse[name].busy_cycles == dense[name].busy_cycles
    assert sparse[up].busy_cycles["spu"] * 15 < dense[up].busy_cycles["spu"]
    assert "vpu" not in dense["layers.3.mlp.gelu"].busy_cycles


def test_a_card_splits_a_batch_over_its_cores():
    trace = load_workload("resnet50", batch=16, dtype="int8")
    one, four = (evaluate(trace, load_arch(card)) for card in ("s4", "s40"))
    assert 3.2 < one.busy_cycles["spu"] / four.busy_cycles["spu"] <= 4.0
    assert one.busy_cycles["host"] == four.busy_cycles["host"]


def test_copies_of_the_next_batch_run_beside_the_work():
    trace = sparsify(load_workload("resnet50", batch=16, dtype="int8"), "2:32")
    machine = load_arch("s4")
    call = evaluate(trace, machine).cycles
    few, many = (evaluate(in_flight(trace, n), machine).cycles for n in (2, 4))
    assert (many - few) / 2 < call - 150_000


def test_four_requests_ahead_hide_a_slow_copy():
    """Where copies are the limit, they follow each other without a gap."""
    trace = sparsify(load_workload("resnet50", batch=48, dtype="int8"), "1:32")
    machine = load_arch("s30", {"host.bytes_per_cycle": 16.0})
    one = trace.ops[0].a_bytes / 16
    for ahead, hidden in ((1, False), (4, True)):
        few, many = (evaluate(in_flight(trace, n, 1, ahead), machine).cycles for n in (5, 7))
        assert ((many - few) / 2 == pytest.approx(one, rel=0.01)) == hidden
    with pytest.raises(CodesignError, match="2 streams need the inputs"):
        in_flight(trace, 4, 2, ahead=1)


def test_each_step_reads_all_keys_and_values_from_memory():
    """4 sequences of 960 tokens read 960 x 4096 bytes of each in a layer and write the new ones."""
    size = {"phase": "decode", "context": 960, "dtype": "int8", "overrides": {"depth": 2}}
    for mode in ("single", "split", "broadcast"):
        ops = {
            op.name: op
            for op in evaluate(
                load_workload("opt_6_7b", batch=4, **size), load_arch("s4", {"mode": mode})
            ).ops
        }
        scores, context, write = (
            ops[f"layers.1.attention.{name}"].dram_bytes
            for name in ("scores", "context", "kv_write")
        )
        assert scores == context == 4 * 961 * 4096
        assert write == 4 * 2 * 4096


@pytest.mark.parametrize(("kept", "bits"), [(16, 2), (8, 4), (4, 5), (1, 5)])
def test_a_kept_weight_is_stored_with_the_shorter_of_index_and_bitmap(kept, bits):
    moved = evaluate(gemm(4096, 512, 512, f"{kept}:32"), load_arch("s4")).dram_bytes
    assert moved == 512 * 512 * kept // 32 * (8 + bits) // 8


def test_training_is_refused():
    with pytest.raises(CodesignError, match=r"s4 cannot run .*it runs inference alone"):
        evaluate(load_workload("gemm:64,64,64", phase="training"), load_arch("s4"))


def test_memories_that_hold_no_tile_are_named():
    with pytest.raises(CodesignError, match="enlarge weights, maps or sums"):
        evaluate(
            gemm(64, 64, 64),
            load_arch("s4", {"sums.capacity_bytes": 64, "weights.capacity_bytes": 64}),
        )


def test_vector_work_that_spills_reads_and_writes_its_map():
    op = Op(
        name="norm", kind=Kind.NORM, phase=Phase.FORWARD, elements=1 << 26, passes=2,
        alu_per_element=7, reads=1 << 26, writes=1 << 26, a_dtype="int8", c_dtype="int8",
    )  # fmt: skip
    small = replace(op, elements=1 << 20, reads=1 << 20, writes=1 << 20)
    machine = load_arch("s4")
    assert evaluate(Trace("large", (op,)), machine).dram_bytes == 2 << 26
    assert evaluate(Trace("large", (op,)), load_arch("s10")).dram_bytes == 2 << 26
    assert evaluate(Trace("small", (small,)), machine).dram_bytes == 0


@pytest.mark.parametrize("pattern", ["unstructured(0.5)", "unstructured(0.8)", "4:32", "2:16"])
def test_tile_fidelity_is_near_rows(pattern):
    """A patch stands for a mask; the ragged banks of 144 = 4 x 32 + 16 are counted as stored."""
    machine = load_arch("s4")
    for shape in ((512, 192, 144), (512, 512, 21)):
        trace = gemm(*shape, pattern)
        row, tile = (busy(trace, machine), evaluate(trace, machine, fidelity="tile"))
        assert tile.busy_cycles["spu"] == pytest.approx(row, rel=0.15)


def test_the_ring_carries_what_a_mode_shares():
    """512 x 512 weights pass once in step; 4096 x 512 results go from each core to three others."""
    trace = gemm(4096, 512, 512)
    ring = {}
    for mode in MODES:
        machine = load_arch("s4", {"mode": mode, "ring.bytes_per_cycle": 1.0})
        ring[mode] = busy(trace, machine, "ring")
    assert ring == {"single": 0, "split": 512 * 512, "broadcast": 4096 * 128 * 3}


def test_weights_of_the_next_operator_load_during_the_current_one():
    def chain(layers):
        ops = []
        for i in range(layers):
            op = replace(gemm(4096, 256, 512).ops[0], name=f"l{i}", weight=f"w{i}")
            ops.append(replace(op, deps=(f"l{i - 1}",) if i else ()))
        return Trace("chain", tuple(ops))

    machine = load_arch("s4", {"launch_cycles": 0})
    one, ten = evaluate(chain(1), machine), evaluate(chain(10), machine)
    assert (ten.cycles - one.cycles) / 9 == pytest.approx(one.busy_cycles["spu"], rel=0.03)
    assert one.cycles > 1.05 * one.busy_cycles["spu"]
