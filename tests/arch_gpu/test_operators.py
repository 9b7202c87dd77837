"""Are measured softmax, norms and activations read, timed and scored as documented?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.measure.gpu_operators import (
    OperatorRows,
    Timer,
    device_us,
    operator_groups,
    predict_operators,
    read_operators,
)
from codesign.measure.gpu_stream_fit import fit_streams

HEADER = "op,gpu,dtype,pattern,library,version,m,n,k,latency_us,l2_state,source"
TIMER = Timer(origin="o", op="gelu", gpu="A100-SXM-80GB", offset_us=9, floor_us=12, fitted_on="x")


def rows_of(op: str, sizes: list[tuple[int, int]]) -> OperatorRows:
    table = np.array(sizes, dtype=np.int64)
    return OperatorRows(op, "o", "A100-SXM-80GB", "fp16", table, np.ones(len(table)))


def test_products_and_unknown_operators_are_left_to_others(tmp_path: Path):
    file = tmp_path / "rows.csv"
    cells = "A100-SXM-80GB,fp16,dense,PyTorch,1,4096,64,,13.5,warm,LLMCompass@1"
    file.write_text("\n".join([HEADER, *(f"{op},{cells}" for op in ("softmax", "matmul", "fft"))]))
    found = read_operators([file])
    assert [(one.op, one.origin, one.sizes.tolist()) for one in found] == [
        ("softmax", "LLMCompass", [[4096, 64]])
    ]


def test_the_half_that_no_timer_was_fitted_on_is_scored(tmp_path: Path):
    file = tmp_path / "rows.csv"
    lines = [
        f"softmax,A100-SXM-80GB,fp16,dense,PyTorch,1,{2**i},4096,,{20 + i},warm,LLMCompass@1"
        for i in range(5, 16)
    ]
    file.write_text("\n".join([HEADER, *lines]))
    (rows,) = read_operators([file])
    (group,) = operator_groups([file])
    assert 0 < group.rows == (~rows.in_fit).sum() < 11
    file.write_text("\n".join([HEADER, *(line.replace("LLMCompass", "else") for line in lines)]))
    assert list(operator_groups([file])) == []


def test_large_activations_run_at_the_bandwidth_that_streams_reach():
    machine = load_arch("a100_sxm_80gb")
    dram, streams = machine.spec.dram, machine.spec.streams
    per_us = dram.bytes_per_cycle * machine.spec.clock_mhz * streams.dram_efficiency
    found = device_us(machine, rows_of("gelu", [(1 << 28, 1)]))
    assert found[0] == pytest.approx(4 * 2**28 / per_us, rel=0.01)


def test_the_offset_adds_and_the_floor_bounds():
    machine, rows = load_arch("a100_sxm_80gb"), rows_of("gelu", [(1024, 1), (1 << 28, 1)])
    plain, found = device_us(machine, rows), predict_operators(machine, rows, TIMER)
    assert found[0] == 12
    assert found[1] == pytest.approx(9 + plain[1])


def test_a_fit_finds_efficiency_and_offsets_again():
    machine = load_arch("a100_sxm_80gb", {"streams.dram_efficiency": 0.6})
    sizes = [(2**i, 3 * 2**j) for i in range(9, 15) for j in (9, 10, 11)]
    groups = []
    for op, offset in (("gelu", 20.0), ("layernorm", 40.0)):
        rows = rows_of(op, sizes)
        timer = TIMER.model_copy(update={"op": op, "offset_us": offset, "floor_us": 0.0})
        groups.append(replace(rows, latency_us=predict_operators(machine, rows, timer)))
    found = fit_streams(load_arch("a100_sxm_80gb"), groups)
    assert found.machine.spec.streams.dram_efficiency == pytest.approx(0.6, rel=0.05)
    assert [t.offset_us for t in found.timers] == pytest.approx([20, 40], rel=0.1)
    assert found.error < 0.02
