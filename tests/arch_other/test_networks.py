"""Does every machine of this family of papers run CNNs, BERT and GPT, and gain in weights alone?"""

from __future__ import annotations

import pytest

import codesign
from codesign.evaluate import evaluate
from codesign.trace.op import Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

PATTERNS = {
    **dict.fromkeys(("s4", "s10", "s30", "s40"), "2:32"),
    **dict.fromkeys(("cs2", "cs3"), "unstructured(0.9)"),
    **dict.fromkeys(("cpu_c6i", "cpu_epyc9654"), "block(1x4, 0.9)"),
    **dict.fromkeys(("cpu_ryzen4", "cpu_cortex_a72", "cpu_snapdragon835"), "unstructured(0.9)"),
    "block_sparse": "block(32x32, 0.8)",
}
SHALLOW = {"overrides": {"depth": 2}, "dtype": "int8"}


def networks() -> dict[str, Trace]:
    return {
        "cnn": load_workload("resnet18", batch=4, dtype="int8"),
        "bert": load_workload("bert_base", batch=4, seq=64, **SHALLOW),
        "gpt prompt": load_workload("gpt2", phase="prefill", seq=64, **SHALLOW),
        "gpt step": load_workload("gpt2", phase="decode", context=64, batch=4, **SHALLOW),
    }


@pytest.mark.parametrize("name", PATTERNS)
def test_networks_gain_in_their_weights_and_nowhere_else(name: str) -> None:
    machine = codesign.load_arch(name)
    for kind, trace in networks().items():
        dense, sparse = (evaluate(one, machine) for one in (trace, sparsify(trace, PATTERNS[name])))
        assert sparse.cycles < dense.cycles, kind
        assert sparse.dram_bytes <= dense.dram_bytes, kind
        for op, full, less in zip(trace, dense.ops, sparse.ops, strict=True):
            if op.weight is None or not op.is_matmul:
                assert less.busy_cycles == full.busy_cycles, (kind, op.name)
                assert less.executed_macs == full.executed_macs


@pytest.mark.parametrize("pattern", ["block(16x16, 0.5)", "block(64x32, 0.8)", "16:32"])
def test_the_block_core_runs_networks_of_both_formats(pattern: str) -> None:
    """Blocks as LPViT prunes them are skipped; banks as in SQ-format are computed in two widths."""
    unkept = "narrow" if ":" in pattern else "skipped"
    machine = codesign.load_arch("block_sparse", {"array.unkept": unkept})
    for kind, trace in networks().items():
        dense, sparse = (evaluate(one, machine) for one in (trace, sparsify(trace, pattern)))
        assert dense.cycles / sparse.cycles > 1.1, kind
        assert (sparse.executed_macs == dense.executed_macs) == (unkept == "narrow")
