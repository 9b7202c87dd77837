"""How long does it take to make a trace from shapes, to read one, and to make one sparse?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks import Row
from codesign.trace.io import load_trace, save_trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import list_workloads, load_workload

RUNS = 5


def main() -> list[Row]:
    """Seconds of the fastest of some runs; the goal of the first row is of issue A."""
    large = partial(load_workload, "llama2_70b", phase="training")
    trace = large()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        save_trace(trace, path)
        read_s = _best(partial(load_trace, path))
    small = partial(load_workload, "resnet50", phase="training", batch=32)
    rows = (
        (f"llama2_70b training trace, {len(trace)} operators", _best(large), 0.5),
        ("the same, read from a file", read_s, 0.5),
        ("the same, made 2:8 sparse", _best(partial(sparsify, trace, "2:8")), 0.5),
        ("resnet50 training trace", _best(small), 0.1),
        ("list of all workloads", _best(list_workloads), 0.5),
    )
    return [Row(name, seconds, "s", goal, "lower") for name, seconds, goal in rows]


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)
