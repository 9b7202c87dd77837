"""Does a product whose streamed operand is sparse cost what its mirror image does?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from codesign.arch import load_arch
from codesign.arch.base import Fidelity
from codesign.evaluate import evaluate
from codesign.measure.probes import gemm
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.op import Trace


@pytest.mark.parametrize("fidelity", [Fidelity.TILE, Fidelity.ROW])
def test_a_sparse_streamed_operand_costs_what_its_mirror_does(fidelity: Fidelity) -> None:
    edge, depth, kept, bits = 64, 256, 2 / 8, 16 + 3
    (dense,) = gemm(edge, edge, depth).ops
    sparse = parse_pattern("2:8")
    mirrored = replace(dense, b_pattern=sparse, weight=None)
    sat = load_arch("sat")
    counts = [
        evaluate(Trace("product", (op,)), sat, fidelity=fidelity).counters
        for op in (replace(dense, a_pattern=sparse), mirrored)
    ]
    assert all(count["weight_write"] == edge * depth * kept * bits / 8 for count in counts)
    assert all(count["input_write"] == edge * depth * 16 / 8 for count in counts)
    os_only = load_arch("sat", {"array.dataflows": ["os"]})
    again = evaluate(Trace("product", (mirrored,)), os_only, fidelity=fidelity).counters
    assert counts[0] == again
