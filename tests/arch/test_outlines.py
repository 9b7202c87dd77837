"""Have compiled outlines of all operators at once the numbers of `lower` at tile fidelity?"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import codesign
from codesign.arch import outlining
from codesign.arch.base import AnyMachine, Fidelity, Sparse
from codesign.arch.outlining import Outlines, outliner_of
from codesign.measure.probes import windows
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.sparsify import sparsify

SAT: dict[str, list[Any]] = {
    "array.rows": [1, 3, 8, 16, 33],
    "array.cols": [1, 4, 16, 27],
    "array.accumulators": [1, 2, 8],
    "array.accumulate_latency_cycles": [1, 5, 8],
    "array.dataflows": [["ws"], ["os"], ["ws", "os"], ["os", "ws"]],
    "array.interleave_mapping": [True, False],
    "array.pregenerate_weights": [True, False],
    "array.max_group": [4, 8, 16],
    "dram.bytes_per_cycle": [0.7, 11, 192, 4096.5],
    "dram.latency_cycles": [0, 30, 500],
    "buffers.input.capacity_bytes": [4096, 65536, 524288],
    "buffers.weight.capacity_bytes": [4096, 524288],
    "buffers.output.capacity_bytes": [4096, 524288],
    "buffers.input.width_bytes": [2, 64],
    "buffers.weight.width_bytes": [2, 64],
    "buffers.output.width_bytes": [2, 64],
    "vector.lanes": [1, 7, 32],
    "vector.buffer_bytes": [256, 16384],
    "sore.lanes": [1, 5, 32],
}
DENSE = {path: values for path, values in SAT.items() if path.split(".")[0] != "sore"}
for _path in ("accumulators", "interleave_mapping", "pregenerate_weights", "max_group"):
    del DENSE[f"array.{_path}"]
DENSE["array.dataflows"] = [["ws", "os", "is"], ["is"], ["is", "ws"], ["os"]]


def _traces() -> list[Trace]:
    inference = codesign.load_workload("resnet9", image=12)
    training = codesign.load_workload("resnet9", phase="training", image=12, batch=3)
    strided = codesign.load_workload("resnet18", phase="training", image=40, batch=2)
    attention = codesign.load_workload("vit_cifar", phase="training", batch=2)
    spread = windows(batch=2, training=True)
    return [
        spread,
        sparsify(spread, "2:4", method="bdwp", skip_first_last=False),
        inference,
        training,
        strided,
        sparsify(inference, "3:4"),
        sparsify(inference, "2:8", where=("*",), skip_first_last=False),
        *(
            sparsify(training, pattern, method=method)
            for pattern in ("2:4", "2:8")
            for method in ("bdwp", "sdgp", "sdwp", "sr_ste", "fst")
        ),
        sparsify(attention, "2:8", method="bdwp"),
        sparsify(attention, "2:16"),
    ]


def _odd_products() -> list[Op]:
    """Groups that share B, and reductions whose last group of a pattern is cut short."""
    made = []
    for i, (pattern, k) in enumerate([("dense", 64), ("3:4", 53), ("3:4", 30), ("5:8", 45)]):
        for groups, shared in ((1, False), (6, False), (6, True)):
            made += [
                Op(
                    name=f"{i} {groups} {shared} {n}", kind=Kind.GEMM, phase=Phase.FORWARD, m=m,
                    n=n, k=k, groups=groups, b_shared=shared, weight="w",
                    b_pattern=parse_pattern(pattern),
                )
                for m, n in ((3, 20), (50, 70))
            ]  # fmt: skip
    return made


def _outlined(machine: AnyMachine, ops: list[Op]) -> tuple[Outlines | None, list[Op]]:
    """Outlines, and the operators in the order of their rows."""
    outliner = outliner_of(type(machine))
    assert outliner is not None
    products = [op for op in ops if op.is_matmul]
    streams = [op for op in ops if not op.is_matmul]
    rows = outliner.product_rows(machine, products)
    if rows is None:
        return None, []
    return outliner.outlines(machine, rows, outliner.stream_rows(machine, streams)), [
        *products,
        *streams,
    ]


def _check(machine: AnyMachine, found: Outlines, ops: list[Op]) -> None:
    for i, op in enumerate(ops):
        program = machine.lower(op, machine.mappings(op)[0], Sparse(), Fidelity.TILE)
        steps = np.arange(outlining.STEPS)
        if len(program) < outlining.STEPS:
            steps = np.delete(steps, outlining.SELECT)
            assert found.busy_cycles[i, outlining.SELECT] == 0
        assert found.busy_cycles[i, steps].tolist() == program.busy_cycles.tolist(), op
        assert found.latency_cycles[i, steps].tolist() == program.latency_cycles.tolist(), op
        totals = program.totals()
        expected = [totals.get(action, 0) for action in program.actions[1:]]
        assert found.counts[i].tolist() == expected, op


@pytest.mark.parametrize(("name", "knobs"), [("sat", SAT), ("dense_systolic", DENSE)])
def test_outlines_are_those_of_lower(name: str, knobs: dict[str, list[Any]]) -> None:
    """Random machines, products of every phase, sparse in either operand, and streams."""
    rng = random.Random(0)
    traces, odd, checked = _traces(), _odd_products(), 0
    for _ in range(30):
        chosen = {path: rng.choice(values) for path, values in knobs.items()}
        machine = codesign.load_arch(name, chosen)
        trace = rng.choice(traces)
        ops = rng.sample(trace.ops, min(10, len(trace.ops))) + rng.sample(odd, 4)
        found, ordered = _outlined(machine, ops)
        if found is None:
            continue
        _check(machine, found, ordered)
        checked += 1
    assert checked > 12
