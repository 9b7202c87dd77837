"""How long does the simulation of a GPU take: one product, a prefill, a training step?"""

from __future__ import annotations

from functools import partial

from benchmarks import Row
from benchmarks.timing import best
from codesign import evaluate, load_arch, load_workload
from codesign.trace.op import Trace

GOAL_GEMM_MS, GOAL_PREFILL_S, GOAL_TRAINING_S = 10.0, 1.0, 2.0
GOAL_RATIO = 1000.0
LLMCOMPASS_GEMM_S = 56.0
"""Median of its 19 products on an A100 on a 2-core machine, 3.9 to 424 s, as published."""
SHAPES = ((64, 12288, 12288), (8192, 64, 64), (8192, 4096, 4096), (32768, 12288, 12288))
RUNS = 3


def main() -> list[Row]:
    """Processor time of the fastest of some runs; lowering, steps and accounting all count."""
    a100, h100 = load_arch("a100_sxm_80gb"), load_arch("h100_sxm")
    traces = [load_workload(f"gemm:{m},{n},{k}") for m, n, k in SHAPES]
    slowest = max(best(partial(evaluate, trace, a100), RUNS).processor for trace in traces)
    compared = f"LLMCompass: {LLMCOMPASS_GEMM_S:g} s, its published median, not run here"
    rows = [
        Row("slowest of four products on an A100, warm", 1000 * slowest, "ms", GOAL_GEMM_MS,
            "lower"),
        Row("a product, times quicker than LLMCompass", LLMCOMPASS_GEMM_S / slowest, "x",
            GOAL_RATIO, "higher", compared),
    ]  # fmt: skip
    models: list[tuple[str, Trace, float]] = [
        ("Llama-2-7B, prefill of 2,048 tokens",
         load_workload("llama2_7b", phase="prefill", seq=2048), GOAL_PREFILL_S),
        ("GPT-2 XL, one training step of 1,024 tokens",
         load_workload("gpt2_xl", phase="training", seq=1024, optimizer="adamw"), GOAL_TRAINING_S),
    ]  # fmt: skip
    for name, trace, goal in models:
        seconds, wall_s = best(partial(evaluate, trace, h100), RUNS)
        rows.append(Row(f"{name} on an H100", seconds, "s", goal, "lower", f"wall {wall_s:.2f} s"))
    return rows
