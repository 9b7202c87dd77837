"""How long does it take to make a trace from shapes, to read one, and to make one sparse?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import Row
from benchmarks.timing import best
from codesign.trace.io import load_trace, save_trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import list_workloads, load_workload

RUNS = 5


def main() -> list[Row]:
    """Seconds of the fastest of some runs."""
    large = partial(load_workload, "llama2_70b", phase="training")
    trace = large()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        save_trace(trace, path)
        read_s = best(partial(load_trace, path), RUNS).wall
    small = partial(load_workload, "resnet50", phase="training", batch=32)
    rows = (
        (f"llama2_70b training trace, {len(trace)} operators", best(large, RUNS).wall, 0.5),
        ("the same, read from a file", read_s, 0.5),
        ("the same, made 2:8 sparse", best(partial(sparsify, trace, "2:8"), RUNS).wall, 0.5),
        ("resnet50 training trace", best(small, RUNS).wall, 0.1),
        ("list of all workloads", best(list_workloads, RUNS).wall, 0.5),
    )
    return [Row(name, seconds, "s", goal, "lower") for name, seconds, goal in rows]
