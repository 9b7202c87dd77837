"""How long does a decoded token take to simulate, command by command?"""

from __future__ import annotations

from time import perf_counter

from benchmarks import Row
from codesign.arch import load_arch
from codesign.arch.pim_channel import forget
from codesign.evaluate import evaluate
from codesign.trace.workload import load_workload

GOAL_S = 2.0
RUNS = 3


def main() -> list[Row]:
    """Seconds for GPT-2 XL at context 1024: kernels warm, and with channel programs run before."""
    trace = load_workload("gpt2_xl", phase="decode", context=1024)
    machine = load_arch("pim_gpt")
    evaluate(load_workload("gpt2", phase="decode", context=16), machine)
    fresh, again = [], []
    for _ in range(RUNS):
        forget()
        begun = perf_counter()
        result = evaluate(trace, machine)
        fresh.append(perf_counter() - begun)
        begun = perf_counter()
        evaluate(trace, machine)
        again.append(perf_counter() - begun)
    columns = result.counters["mac_columns"]
    return [
        Row(
            "GPT-2 XL token on pim_gpt", min(fresh), "s", GOAL_S, "lower",
            f"{result.latency_s * 1e3:.3f} ms simulated, {columns / 1e6:.1f} M column commands",
        ),
        Row("the same, channel programs known", min(again), "s", GOAL_S, "lower"),
    ]  # fmt: skip
