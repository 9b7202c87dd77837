"""Does the block core skip what is empty, and run both precisions of a bank side by side?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codesign
from codesign.arch.base import Fidelity, Sparse
from codesign.config import CodesignError
from codesign.evaluate import evaluate, sampled_mask
from codesign.sparsity.mask import Mask
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload
from tests.reference import block_core_twin

WIDE_OPEN = {"dram.bytes_per_cycle": 1e6, "dram.latency_cycles": 0}


def core(**changes: object):
    return codesign.load_arch("block_sparse", changes)


def layer(text: str, m: int = 1024, edge: int = 512):
    dense = load_workload(f"gemm:{m},{edge},{edge},int8")
    return dense if text == "dense" else sparsify(dense, text, skip_first_last=False)


@pytest.mark.parametrize("block", ["16x16", "32x32", "64x32"])
@pytest.mark.parametrize("sparsity", [0.5, 0.8])
def test_time_follows_the_blocks_that_are_kept(block: str, sparsity: float) -> None:
    machine = core(**WIDE_OPEN)
    dense = evaluate(layer("dense"), machine)
    sparse = evaluate(layer(f"block({block}, {sparsity})"), machine)
    assert 0.75 / (1 - sparsity) < dense.cycles / sparse.cycles <= 1.01 / (1 - sparsity)
    assert sparse.executed_macs / dense.executed_macs == pytest.approx(1 - sparsity, abs=0.01)
    assert sparse.dram_bytes < dense.dram_bytes
    assert sparse.energy_j < dense.energy_j


def test_a_group_takes_its_length_if_any_column_keeps_something() -> None:
    machine = core()
    op = layer("block(32x32, 0.5)", edge=64).ops[0]
    kept = np.zeros((64, 64), dtype=bool)
    kept[0:32, 32:64] = True
    kept[40, 3] = True
    lanes = machine.lanes(op, Sparse(Mask.from_dense(kept)), Fidelity.ROW)
    assert lanes.group == 32
    assert lanes.slots.tolist() == [[[0, 32], [0, 32], [32, 0], [0, 0]]]


def test_two_precisions_take_the_longer_path_of_the_slowest_bank() -> None:
    machine = core(**{"array.unkept": "narrow", "array.two_precision.narrow_per_cycle": 2})
    op = layer("16:32", edge=64).ops[0]
    mask = sampled_mask(layer("unstructured(0.5)", edge=64).ops[0], 0)
    slots = machine.lanes(op, Sparse(mask), Fidelity.ROW).slots[0]
    counts = mask.to_dense().reshape(4, 16, 2, 32).sum(axis=3)
    for block in range(4):
        for bank in range(2):
            each = [max(int(h), -(-(32 - int(h)) // 2)) for h in counts[block, :, bank]]
            assert slots[block, bank] == max(each)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 3), st.integers(1, 40), st.integers(2, 70), st.sampled_from((0.0, 0.1, 0.5)),
    st.sampled_from(("skipped", "narrow")), st.integers(1, 3), st.integers(0, 99),
)  # fmt: skip
def test_groups_take_the_cycles_of_the_stepped_columns_and_give_the_product(
    m: int, n: int, k: int, density: float, unkept: str, narrow: int, seed: int
) -> None:
    """Skipped groups lose the dropped weights' products, narrow ones lose none."""
    changes = {"array.unkept": unkept, "array.two_precision.narrow_per_cycle": narrow}
    machine = core(**changes)
    op = replace(layer("block(16x16, 0.5)").ops[0], m=m, n=n, k=k)
    rng = np.random.default_rng(seed)
    a, w = rng.integers(-7, 8, (m, k)), rng.integers(-7, 8, (n, k))
    keep = rng.random((n, k)) < density
    lanes = machine.lanes(op, Sparse(Mask.from_dense(keep)), Fidelity.ROW)
    c, cycles = block_core_twin.run(
        a.tolist(), w.tolist(), keep.tolist(), machine.spec.array.cols, lanes.group, unkept, narrow
    )
    assert lanes.slots[0].tolist() == cycles
    assert c == (a @ (w * keep if unkept == "skipped" else w).T).tolist()


def test_balanced_banks_run_twice_as_fast_as_wide_ones() -> None:
    machine = core(**{"array.unkept": "narrow", **WIDE_OPEN})
    dense, banked = evaluate(layer("dense"), machine), evaluate(layer("16:32"), machine)
    assert 1.8 < dense.cycles / banked.cycles <= 2.01
    assert banked.executed_macs == dense.executed_macs
    assert "int4" in banked.notes[0]


def test_the_mask_of_the_trace_says_which_weights_are_wide() -> None:
    machine = core(**{"array.unkept": "narrow", **WIDE_OPEN})
    trace = layer("unstructured(0.5)")
    even = np.zeros((512, 512), dtype=bool)
    even[:, ::2] = True
    heaped = np.zeros((512, 512), dtype=bool)
    heaped[:, :256] = True
    time = [
        evaluate(replace(trace, masks={"gemm": Mask.from_dense(kept)}), machine).cycles
        for kept in (even, heaped)
    ]
    assert time[1] > 1.8 * time[0]


def test_a_layer_takes_the_largest_block_that_the_file_allows() -> None:
    op = layer("block(64x64, 0.5)").ops[0]
    assert core().block(op) == (64, 64)
    assert core(**{"array.blocks": ["16x16", "32x64"]}).block(op) == (32, 64)
    assert core().block(layer("block(8x8, 0.5)").ops[0]) is None


def test_unstructured_zeros_run_dense() -> None:
    result = evaluate(layer("unstructured(0.8)"), core())
    assert result.cycles == evaluate(layer("dense"), core()).cycles
    assert result.notes == ("unstructured(0.8) runs dense on block_sparse",)


def test_tile_fidelity_is_near_the_real_mask() -> None:
    for text in ("block(32x32, 0.7)", "block(16x16, 0.5)"):
        tile, row = (evaluate(layer(text), core(), fidelity=f).cycles for f in ("tile", "row"))
        assert abs(tile / row - 1) < 0.1


def test_blocks_are_not_stepped() -> None:
    with pytest.raises(CodesignError, match="use row"):
        evaluate(layer("block(16x16, 0.5)", m=64, edge=64), core(), fidelity="cycle")
