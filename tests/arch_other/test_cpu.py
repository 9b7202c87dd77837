"""Do CPU kernels cost what their ports, caches and busiest core allow?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import codesign
from codesign.arch.cpu_loops import Shape, Unit, busiest, dense_cycles, item_loops, row_loop
from codesign.config import CodesignError
from codesign.evaluate import evaluate
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import Rows
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload


def cpu(name: str = "cpu_c6i", **changes: object):
    return codesign.load_arch(name, changes)


def cycles(trace, machine) -> int:
    return evaluate(trace, machine).cycles


def test_a_large_dense_product_runs_at_the_rate_of_the_multiply_ports() -> None:
    simd = cpu().spec.simd
    shape = Shape(m=4096, n=4096, k=1024, groups=1, quads=False)
    least = shape.m * shape.n * shape.k / (simd.lanes * simd.multiply_ports)
    assert least <= dense_cycles(simd, shape, 1, 0) <= 1.05 * least
    quads = replace(shape, quads=True)
    assert dense_cycles(simd, quads, 1, 0) == pytest.approx(least / 4, rel=0.05)


def test_a_broadcast_weight_costs_its_multiplies_and_loads() -> None:
    simd = cpu().spec.simd
    shape = Shape(m=256, n=64, k=64, groups=1, quads=False)
    one = next(item_loops(simd, shape, Unit(1, 1), iter([(8, 1, 1e9)])))
    assert one.items == 8 * simd.lanes
    assert one.cycles == max(8 / simd.multiply_ports, (8 + 1 + 1) / simd.load_ports)
    four = next(item_loops(simd, shape, Unit(2, 1), iter([(8, 1, 1e9)])))
    assert four.cycles < 2 * one.cycles
    slow = next(item_loops(simd, shape, Unit(1, 1), iter([(8, 1, 16.0)])))
    assert slow.cycles == 8 * simd.width_bytes / 16


def test_registers_limit_the_loop() -> None:
    simd = cpu("cpu_ryzen4").spec.simd
    shape = Shape(m=256, n=64, k=64, groups=1, quads=False)
    assert not list(item_loops(simd, shape, Unit(4, 1), iter([(24, 1, 1e9)])))


def test_gathered_weights_cost_the_gather() -> None:
    simd = cpu().spec.simd
    shape = Shape(m=1, n=64, k=64, groups=1, quads=False)
    assert row_loop(simd, shape, Unit(1, 1)).cycles == simd.gather_cycles / simd.lanes


def test_the_busiest_core_has_the_fullest_rows() -> None:
    units = np.array([9, 1, 1, 1])
    assert busiest(units, passes=1, cores=2) == (10, 2)
    assert busiest(units, passes=8, cores=2) == (48, 16)
    assert busiest(units, passes=1, cores=1) == (12, 4)


def test_full_rows_on_one_core_are_slower_than_shared_ones() -> None:
    dense = load_workload("gemm:16,512,512,fp32")
    sparse = sparsify(dense, "unstructured(0.9)", skip_first_last=False)
    rng = np.random.default_rng(0)
    even = rng.random((512, 512)) < 0.1
    heaped = np.sort(even, axis=0)[::-1]
    machine = cpu(**{"engine.weights_stay": True, "engine.launch_cycles": 0})
    time = [
        cycles(replace(sparse, masks={"gemm": Mask.from_dense(kept)}), machine)
        for kept in (even, heaped)
    ]
    assert time[1] > 1.5 * time[0]


def test_blocks_of_four_are_faster_than_single_weights_in_8_bits() -> None:
    dense = load_workload("gemm:2048,512,512,int8")
    machine = cpu()
    blocks, single = (
        cycles(sparsify(dense, text, skip_first_last=False), machine)
        for text in ("block(1x4, 0.9)", "unstructured(0.9)")
    )
    assert blocks < single < cycles(dense, machine)


def test_a_layer_runs_dense_where_skipping_would_not_pay() -> None:
    dense = load_workload("gemm:2048,512,512,fp32")
    sparse = sparsify(dense, "unstructured(0.2)", skip_first_last=False)
    result = evaluate(sparse, cpu())
    assert result.cycles == evaluate(dense, cpu()).cycles
    assert result.notes == ("unstructured(0.2) runs dense on cpu_c6i",)


def test_decoding_follows_the_bytes_of_the_kept_weights() -> None:
    dense = load_workload("gemm:1,4096,4096,int8")
    sparse = sparsify(dense, "block(1x4, 0.75)", skip_first_last=False)
    machine = cpu("cpu_ryzen4", **{"engine.launch_cycles": 0, "engine.dense_efficiency": 1.0})
    full, less = evaluate(dense, machine), evaluate(sparse, machine)
    assert full.bound_by == "memory"
    assert less.dram_bytes == 4096 * 4096 // 16 * 5
    assert full.cycles / less.cycles > 2.5


def test_rows_of_a_that_are_left_out_are_not_computed() -> None:
    dense = load_workload("gemm:3000,256,256,fp32")
    fewer = replace(dense, ops=(replace(dense.ops[0], a_pattern=Rows(0.3)),))
    machine = cpu("cpu_cortex_a72")
    full, less = evaluate(dense, machine), evaluate(fewer, machine)
    assert less.executed_macs * 10 == full.executed_macs * 7
    assert 1.3 < full.cycles / less.cycles <= 1.44


def test_more_cores_share_the_work() -> None:
    dense = load_workload("gemm:4096,512,512,fp32")
    one, four = (cycles(dense, cpu(cores=cores)) for cores in (1, 4))
    assert 3 < one / four <= 4.01


def test_8_bits_without_dot_products_gain_less() -> None:
    traces = [load_workload(f"gemm:1024,512,512,{dtype}") for dtype in ("fp32", "int8")]
    vnni, emulated = (
        cycles(traces[0], machine) / cycles(traces[1], machine)
        for machine in (cpu(), cpu(**{"simd.dot_instructions": 3}))
    )
    assert emulated < 1.5 < 3 < vnni


def test_there_is_no_stepped_model() -> None:
    with pytest.raises(CodesignError, match="no stepped model"):
        evaluate(load_workload("gemm:8,8,8"), cpu(), fidelity="cycle")
