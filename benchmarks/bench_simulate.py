"""How long does one simulation of ResNet-50 take, in a warm process and as a command?"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks import Row
from benchmarks.timing import best
from codesign import evaluate, load_arch, load_workload, sparsify

GOAL_WARM_MS = 100.0
GOAL_PROCESS_S = 3.0
GOAL_HELP_S = 0.3
WARM_RUNS, PROCESS_RUNS = 9, 3


def main() -> list[Row]:
    """Processor time of the fastest of some runs, and the wall time of the same beside it.

    Nothing here waits or runs in parallel, so that both agree on an idle machine; the first run,
    which may compile, does not count.
    """
    dense = load_workload("resnet50")
    traces = {"dense": dense, "2:4": sparsify(dense, "2:4")}
    rows = []
    for arch in ("dense_systolic", "sat"):
        machine = load_arch(arch)
        for sparsity, trace in traces.items():
            seconds, wall_s = best(partial(evaluate, trace, machine), WARM_RUNS)
            name = f"ResNet-50 inference {sparsity} on {arch} 32x32, row fidelity, warm"
            wall = f"wall {1000 * wall_s:.0f} ms"
            rows.append(Row(name, 1000 * seconds, "ms", GOAL_WARM_MS, "lower", wall))
    simulate = ("simulate", "resnet50", "--arch", "dense_systolic", "--json")
    for arguments, goal in ((simulate, GOAL_PROCESS_S), (("--help",), GOAL_HELP_S)):
        seconds, wall_s = best(partial(command, *arguments), PROCESS_RUNS)
        name = f"codesign {' '.join(arguments)}, whole process"
        rows.append(Row(name, seconds, "s", goal, "lower", f"wall {wall_s:.2f} s"))
    return rows


def command(*arguments: str) -> None:
    """Run the command line as a process of its own."""
    subprocess.run([sys.executable, "-m", "codesign", *arguments], check=True, capture_output=True)
