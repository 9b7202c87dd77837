"""Does the wafer's speed-up follow 1 / density as far as imbalance lets it?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import codesign
from codesign.arch.base import Fidelity, Sparse
from codesign.arch.wafer_parts import cut
from codesign.config import CodesignError
from codesign.evaluate import evaluate, sampled_mask
from codesign.sparsity.mask import Mask
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

SMALL = {"fabric.rows": 8, "fabric.cols": 12}
"""A wafer on which a small product is large."""


def wafer(**changes: object):
    return codesign.load_arch("cs2", {**SMALL, **changes})


def sparse_layer(sparsity: float, m: int = 2048, edge: int = 384):
    dense = load_workload(f"gemm:{m},{edge},{edge}")
    return (
        sparsify(dense, f"unstructured({sparsity})", skip_first_last=False) if sparsity else dense
    )


FAST = {"storage.link.bytes_per_cycle": 1e6, "storage.link.latency_cycles": 0}


def test_speedup_lies_between_that_of_the_slowest_column_and_one_over_density() -> None:
    machine = wafer(**FAST)
    dense = evaluate(sparse_layer(0.0), machine).cycles
    before = 1.0
    for sparsity in (0.25, 0.5, 0.75, 0.9, 0.95):
        trace = sparse_layer(sparsity)
        found = dense / evaluate(trace, machine).cycles
        assert before < found <= 1.02 / (1 - sparsity)
        assert found > 0.5 / (1 - sparsity)
        before = found


def test_speedup_falls_off_at_extreme_sparsity() -> None:
    machine = wafer(**FAST)
    dense = evaluate(sparse_layer(0.0), machine).cycles
    assert dense / evaluate(sparse_layer(0.998), machine).cycles < 0.5 * 500


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_stepped_cores_take_the_same_cycles(sparsity: float) -> None:
    trace = sparse_layer(sparsity, m=40, edge=30)
    machine = codesign.load_arch("cs2", {"fabric.rows": 4, "fabric.cols": 6})
    row, cycle = (evaluate(trace, machine, fidelity=f) for f in ("row", "cycle"))
    assert row.cycles == cycle.cycles
    assert row.executed_macs == cycle.executed_macs


def test_stepping_a_large_product_is_refused() -> None:
    with pytest.raises(CodesignError, match="use row"):
        evaluate(sparse_layer(0.5), wafer(), fidelity="cycle")


def test_an_unbalanced_mask_is_slower_than_a_balanced_one_of_the_same_size() -> None:
    machine = wafer(**FAST)
    trace = sparse_layer(0.75)
    even = np.zeros((384, 384), dtype=bool)
    even[:, ::4] = True
    heaped = np.zeros((384, 384), dtype=bool)
    heaped[:, :96] = True
    time = [
        evaluate(replace(trace, masks={"gemm": Mask.from_dense(kept)}), machine).cycles
        for kept in (even, heaped)
    ]
    assert time[1] > 1.5 * time[0]


def test_weights_cross_the_link_once_and_maps_stay() -> None:
    trace = sparse_layer(0.9)
    result = evaluate(trace, codesign.load_arch("cs2"))
    kept = round(0.1 * 384 * 384)
    assert result.dram_bytes == -(-(kept * 16 + 384 * 384) // 8)
    spilled = evaluate(trace, wafer(**{"core.sram_bytes": 1024}))
    assert spilled.dram_bytes > result.dram_bytes + 2048 * 384 * 2


def test_a_link_that_is_slow_bounds_the_run() -> None:
    trace = sparse_layer(0.5)
    slow = wafer(**{"storage.link.bytes_per_cycle": 0.05})
    result = evaluate(trace, slow)
    assert result.bound_by == "memory"
    assert result.cycles >= 20 * result.dram_bytes


def test_updates_of_dropped_weights_are_left_out() -> None:
    dense = load_workload("gemm:64,128,128", phase="training")
    sparse = sparsify(dense, "unstructured(0.75)", skip_first_last=False)
    machine = wafer()
    moved = [
        next(op for op in evaluate(trace, machine).ops if op.kind == "update").dram_bytes
        for trace in (dense, sparse)
    ]
    assert moved[1] * 4 == moved[0]


def test_tile_fidelity_is_near_the_real_mask() -> None:
    for sparsity in (0.5, 0.9):
        trace = sparse_layer(sparsity)
        machine = wafer(**FAST)
        tile, row = (evaluate(trace, machine, fidelity=f).cycles for f in ("tile", "row"))
        assert abs(tile / row - 1) < 0.1


def test_packets_are_the_kept_weights_of_each_column() -> None:
    trace = sparse_layer(0.5)
    op, machine = trace.ops[0], wafer()
    mapping = machine.mappings(op)[0]
    layout = next(one for one in machine.layouts(op) if one.depth == mapping.tile_k)
    mask = sampled_mask(op, 3)
    packets = machine.packets(op, layout, Sparse(mask))
    assert packets.sum() == mask.nnz
    assert packets.shape == (op.n, layout.columns)
    assert machine.needs_mask(op, Fidelity.ROW)


def test_a_running_total_repeats_with_the_waves() -> None:
    total = np.array([3, 5, 9])
    assert cut(total, np.array([0, 1, 3, 4, 6])).tolist() == [0, 3, 9, 12, 18]


def test_a_stream_pays_the_latency_of_its_link_once() -> None:
    """Sixty-four pieces of a row each: what is on the way takes no buffer."""
    trace = load_workload("gemm:1,768,768")
    near, far = (
        evaluate(trace, codesign.load_arch("cs2", {"storage.link.latency_cycles": n})).cycles
        for n in (0, 20_000)
    )
    assert 20_000 <= far - near < 1.2 * 20_000
