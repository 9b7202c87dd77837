"""Does the chain from a trace to a result count, name and repeat itself as it should?"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.arch.base import Fidelity
from codesign.config import CodesignError
from codesign.evaluate import evaluate, lower, run, sampled_mask
from codesign.measure.probes import decoder, everywhere, gemm
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.op import Trace
from codesign.units import PJ_PER_J

MACHINES = ["dense_systolic", "sat"]


@pytest.mark.parametrize("name", MACHINES)
def test_a_dense_product_by_hand(name: str) -> None:
    machine = load_arch(name)
    result = evaluate(gemm(64, 96, 128), machine)
    assert result.macs == result.effective_macs == result.executed_macs == 64 * 96 * 128
    assert result.dram_bytes == 2 * (64 * 128 + 128 * 96 + 64 * 96)
    peak = machine.spec.array.rows * machine.spec.array.cols
    assert result.utilisation == result.macs / (result.cycles * peak)
    hertz = machine.spec.clock_mhz * 1e6
    assert result.latency_s == pytest.approx(result.cycles / hertz, rel=1e-12)
    assert result.peak_tops == pytest.approx(2 * peak * hertz / 1e12, rel=1e-12)
    assert result.dense_tops == pytest.approx(2 * result.macs / result.latency_s / 1e12)
    assert result.edp_js == pytest.approx(result.energy_j * result.latency_s)
    assert result.parameters == 96 * 128


def test_energy_is_actions_times_their_energies() -> None:
    machine = load_arch(
        "dense_systolic",
        {
            "energy.mac_pj": 2,
            "energy.dram_pj_per_byte": 3,
            "sources": {
                **load_arch("dense_systolic").spec.model_dump()["sources"],
                "energy": {"status": "chosen", "source": "of this test"},
            },
        },
    )
    result = evaluate(gemm(64, 96, 128), machine)
    parts = {part: joule * PJ_PER_J for part, joule in result.energy_j_by_part.items()}
    assert parts["array"] == pytest.approx(2 * result.macs)
    assert parts["dram"] == pytest.approx(3 * result.dram_bytes)
    leaking_w = result.area_mm2 * machine.spec.technology.leakage_mw_per_mm2 / 1e3
    assert parts["leakage"] == pytest.approx(leaking_w * result.latency_s * PJ_PER_J)


def test_work_ratios_of_sparse_training_are_exact() -> None:
    """Forward and backward-data keep n of m, the weight gradient is dense: (1 + 2 f) / 3."""
    dense = gemm(64, 96, 128, phase="training")
    for pattern, kept in (("2:4", 2), ("2:8", 4), ("2:16", 8)):
        result = evaluate(everywhere(dense, pattern), load_arch("sat"))
        assert result.executed_macs * 3 * kept == dense.macs * (kept + 2)


def test_a_real_mask_counts_and_a_machine_without_sparsity_runs_it_dense() -> None:
    keep = np.zeros((32, 64), dtype=bool)
    keep[:, ::16] = True
    base = everywhere(gemm(40, 32, 64), "unstructured(0.5)")
    trace = replace(base, masks={"gemm": Mask.from_dense(keep)})
    sat = evaluate(trace, load_arch("sat"))
    assert sat.executed_macs == sat.effective_macs == 40 * 32 * 4
    dense = evaluate(trace, load_arch("dense_systolic"))
    assert dense.executed_macs == dense.macs == 40 * 32 * 64
    assert dense.notes == ("unstructured(0.5) runs dense on dense_systolic",)


def test_masks_depend_on_the_seed_and_on_the_operator_only() -> None:
    op = everywhere(gemm(8, 64, 64), "unstructured(0.5)").ops[0]
    assert sampled_mask(op, 1) == sampled_mask(op, 1)
    assert sampled_mask(op, 1) != sampled_mask(op, 2)
    assert sampled_mask(op, 1) != sampled_mask(replace(op, name="other"), 1)


@pytest.mark.parametrize("name", MACHINES)
def test_equal_operators_are_lowered_once(name: str) -> None:
    one = gemm(48, 48, 48).ops[0]
    trace = Trace("two", (one, replace(one, name="again", layer="again", deps=("gemm",))))
    lowered, _, first = run(trace, load_arch(name))
    assert lowered[0].program is lowered[1].program
    assert [row.op.name for row in lowered] == ["gemm", "again"]
    assert first.tolist() == [0, len(lowered[0].program), 2 * len(lowered[0].program)]


def test_a_product_of_activations_is_not_one_with_weights_of_the_same_shape() -> None:
    """The second operand waits for its producer; weights are prefetched."""
    weights = gemm(48, 48, 48).ops[0]
    activations = replace(weights, name="activations", weight=None)
    trace = Trace("two", (weights, activations))
    lowered, _, _ = run(trace, load_arch("dense_systolic"))
    assert lowered[0].program is not lowered[1].program
    turned, _, _ = run(Trace("two", trace.ops[::-1]), load_arch("dense_systolic"))
    assert len(turned[1].program.dep_idx) == len(lowered[0].program.dep_idx)


def test_activations_are_read_after_their_producer_is_done_and_weights_before() -> None:
    one = gemm(512, 64, 64).ops[0]
    trace = Trace("two", (one, replace(one, name="next", deps=("gemm",))))
    _, timeline, first = run(trace, load_arch("dense_systolic"))
    done = timeline.end[first[1] - 1]
    program = timeline.program
    after = np.arange(len(program)) >= first[1]
    reads = np.flatnonzero(after & (program.action == program.actions.index("dram_read")))
    sizes = program.count[reads]
    weights = sizes == one.b_bytes
    assert weights.sum() == 1
    assert timeline.ready[reads[weights]][0] < done
    assert np.all(timeline.ready[reads[~weights]] >= done)


def test_progress_names_every_operator() -> None:
    seen: list[tuple[str, int, int]] = []
    trace = decoder("prefill")
    evaluate(trace, load_arch("sat"), progress=lambda *step: seen.append(step))
    assert [name for name, _, _ in seen] == [op.name for op in trace]
    assert seen[-1][1:] == (len(trace), len(trace))


def test_the_memo_does_not_mix_masks() -> None:
    op = everywhere(gemm(16, 64, 64), "unstructured(0.5)").ops[0]
    machine, memo = load_arch("sat"), {}
    masks = [Mask.from_dense(np.random.default_rng(s).random((64, 64)) < 0.5) for s in (0, 1)]
    programs = [lower(op, mask, machine, Fidelity.ROW, 0, memo).program for mask in masks * 2]
    assert programs[0] is programs[2]
    assert programs[0] is not programs[1]


def test_a_result_is_plain_and_repeats() -> None:
    trace = everywhere(decoder("training"), "2:8")
    first, second = (evaluate(trace, load_arch("sat")).to_dict() for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first)) == first
    assert {row["path"] for row in first["assumptions"]} >= {"clock_mhz", "array.accumulators"}


def test_an_empty_trace_is_refused() -> None:
    with pytest.raises(CodesignError, match="has no operators"):
        evaluate(Trace("nothing", ()), load_arch("sat"))


def test_scratchpads_too_small_for_a_tile_are_named() -> None:
    machine = load_arch("dense_systolic", {"buffers.weight.capacity_bytes": 64})
    with pytest.raises(CodesignError, match=r"enlarge buffers\.input, buffers\.weight"):
        evaluate(gemm(64, 64, 64), machine)


def test_patterns_that_a_machine_does_not_exploit_say_so() -> None:
    op = replace(gemm(8, 8, 8).ops[0], b_pattern=parse_pattern("2:4"))
    assert load_arch("dense_systolic").note(op) == "2:4 runs dense on dense_systolic"
    assert load_arch("sat").note(op) is None
