"""How long does BERT-large with real 16x masks take on an S30?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks import Row
from benchmarks.timing import best
from codesign.arch import load_arch
from codesign.evaluate import evaluate, sampled_mask
from codesign.trace.op import Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

GOAL_S = 1.0
RUNS = 3


def bert_large(pattern: str) -> Trace:
    """384 tokens with a mask of its own for every weight."""
    dense = load_workload("bert_large", batch=12, seq=384, dtype="int8")
    trace = sparsify(dense, pattern, skip_first_last=False)
    masks = {op.name: sampled_mask(op, 0) for op in trace if not op.b_pattern.is_dense}
    return replace(trace, masks=masks)


def main() -> list[Row]:
    """Seconds of the fastest of some runs."""
    machine = load_arch("s30")
    rows = []
    for pattern in ("2:32", "unstructured(0.9375)"):
        seconds = best(partial(evaluate, bert_large(pattern), machine), RUNS).wall
        name = f"BERT-large, 384 tokens, {pattern}, exact masks, on s30, warm"
        rows.append(Row(name, seconds, "s", GOAL_S, "lower"))
    return rows
