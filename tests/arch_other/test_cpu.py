"""Do CPU kernels cost what their ports, caches and busiest core allow?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codesign
from codesign.arch.cpu_loops import (
    Shape,
    Unit,
    busiest,
    dense_cycles,
    expand_loops,
    item_loops,
    kept_units,
    row_loop,
)
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
    # a quarter of the values, and an index for each group of four
    assert less.dram_bytes == 4096 * 4096 // 16 * 5
    assert full.cycles / less.cycles > 2.5


def test_single_weights_are_read_with_a_bitmap_where_they_can_be_expanded() -> None:
    dense = load_workload("gemm:1,4096,4096,int8")
    sparse = sparsify(dense, "unstructured(0.75)", skip_first_last=False)
    machine = cpu("cpu_ryzen4", **{"engine.launch_cycles": 0})
    result = evaluate(sparse, machine)
    assert result.dram_bytes == 4096 * 4096 // 4 + 4096 * 4096 // 8
    assert 2 < evaluate(dense, machine).cycles / result.cycles < 1 / 0.375
    # the phone's cores have no such instruction: groups of four with anything kept, or dense
    without = cpu("cpu_snapdragon835", **{"engine.launch_cycles": 0})
    assert evaluate(sparse, without).dram_bytes > 0.6 * 4096 * 4096


def test_expanded_weights_save_bytes_and_no_multiplies() -> None:
    simd = cpu().spec.simd
    shape = Shape(m=64, n=64, k=64, groups=1, quads=True)
    by = {loop.items: loop.cycles * simd.lanes for loop in expand_loops(simd, shape)}
    assert by[1] == simd.expand_cycles
    assert by[16] == max(16 / simd.multiply_ports, 18 / simd.load_ports)
    assert max(by) + 2 < simd.registers


def test_a_vector_load_can_take_more_of_a_cycle_than_a_broadcast() -> None:
    simd = cpu("cpu_epyc9654").spec.simd
    assert simd.body(1, 4, 1) == 4 / simd.vector_loads
    assert simd.body(1, 1, 5) == 6 / simd.load_ports


def test_a_library_converts_wide_indices_and_compiled_code_reads_them() -> None:
    dense = load_workload("gemm:1,768,3072,fp32")
    even, loose = (
        sparsify(dense, text, skip_first_last=False)
        for text in ("fan_in(0.875)", "unstructured(0.875)")
    )
    looped = {"engine.weights_stay": True, "engine.index_bytes": 4, "engine.launch_cycles": 0,
              "simd.gather_cycles": 1, "caches.l2.capacity_bytes": 262144}  # fmt: skip
    narrow = cpu(**looped, **{"engine.stored_index_bytes": 4})
    wide = cpu(**looped, **{"engine.stored_index_bytes": 8})
    nonzeros, cores = 768 * 3072 // 8, 4
    # in compiled code 12 bytes of a weight instead of 8, where bytes are the limit
    assert cycles(even, wide) / cycles(even, narrow) == pytest.approx(1.5, rel=0.2)
    # of a library 8 bytes of each index read and 4 written, then the kernel as before
    rate = wide.spec.caches.last.bytes_per_cycle
    copied = nonzeros * (8 + 4) / cores / rate
    assert cycles(loose, wide) - cycles(loose, narrow) == pytest.approx(copied, rel=0.01)


@given(st.integers(1, 40), st.integers(1, 70), st.sampled_from((1, 2, 4)), st.integers(1, 9))
def test_kept_units_are_counted_as_defined(rows: int, cols: int, high: int, wide: int) -> None:
    kept = np.random.default_rng(rows * 71 + cols).random((rows, cols)) < 0.2
    found = kept_units(Mask.from_dense(kept), Unit(high, wide))
    expected = [
        sum(kept[r : r + high, c : c + wide].any() for c in range(0, cols, wide))
        for r in range(0, rows, high)
    ]
    assert found.tolist() == expected


def test_each_step_reads_its_keys_and_values_from_memory() -> None:
    size = {"phase": "decode", "context": 256, "dtype": "int8", "overrides": {"depth": 2}}
    ops = {op.name: op for op in evaluate(load_workload("opt_6_7b", **size), cpu()).ops}
    assert ops["layers.1.attention.scores"].dram_bytes == 257 * 4096
    assert ops["layers.1.attention.context"].dram_bytes == 257 * 4096
    assert ops["layers.1.attention.kv_write"].dram_bytes == 2 * 4096


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
