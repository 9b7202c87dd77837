"""How long do the masks of seven billion weights take: drawn, counted from a file, simulated?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from benchmarks import Row
from codesign.arch import load_arch
from codesign.evaluate import evaluate, sampled_mask
from codesign.sparsity.mask import Mask
from codesign.trace.checkpoint import count_nonzeros
from codesign.trace.op import Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.tensor_file import save_masks
from codesign.trace.workload import load_workload

GB = 1e9
PATTERNS = ("unstructured(0.7)", "2:4")
MACHINES = ("sat", "s4")
PREFILL = "prefill"


def main() -> list[Row]:
    """Seconds and memory of one decode step of Llama-2-7B, and of prefill on the machine that makes
    most steps of it, each task in a process of its own.

    Compiled code is in the cache where a machine was simulated before.
    """
    rows: list[Row] = []
    for task in (*(f"draw {pattern}" for pattern in PATTERNS), "count", *MACHINES, PREFILL):
        command = [sys.executable, "-m", "benchmarks.bench_masks", task]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows += [Row(*row) for row in json.loads(run.stdout)]
    return rows


def measure(task: str) -> list[Row]:
    """One task: `draw PATTERN`, `count`, PREFILL, or the name of a machine."""
    if task == PREFILL:
        trace = sparsify(load_workload("llama2_7b", phase="prefill", seq=2048), PATTERNS[0])
        work = partial(evaluate, trace, load_arch("sat"))
        return _timed(f"prefill of 2,048 tokens, masks {PATTERNS[0]}, on sat", 60, work)
    verb, _, pattern = task.partition(" ")
    trace = sparsify(load_workload("llama2_7b", phase="decode"), pattern or PATTERNS[0])
    if verb == "draw":
        return _timed(f"masks {pattern} drawn", 60, partial(_draw, trace))
    if verb == "count":
        with TemporaryDirectory() as folder:
            path = Path(folder) / "masks.safetensors"
            save_masks(path, _shapes(trace), _masks(trace))
            return _timed("non-zeros counted from a file", 10, partial(count_nonzeros, path))
    work = partial(evaluate, trace, load_arch(verb))
    return _timed(f"masks {PATTERNS[0]} drawn and simulated on {verb}", 60, work)


def _shapes(trace: Trace) -> dict[str, tuple[int, int]]:
    return {str(op.weight): (op.n, op.k) for op in trace if not op.b_pattern.is_dense}


def _masks(trace: Trace) -> Iterator[tuple[str, Mask]]:
    for op in trace:
        if not op.b_pattern.is_dense:
            yield str(op.weight), sampled_mask(op, 0)


def _draw(trace: Trace) -> int:
    return sum(mask.size for _, mask in _masks(trace))


def _timed(name: str, goal_s: float, work: Callable[[], object]) -> list[Row]:
    start, start_cpu = perf_counter(), process_time()
    work()
    elapsed, processor = perf_counter() - start, process_time() - start_cpu
    memory = getrusage(RUSAGE_SELF).ru_maxrss * 1024 / GB
    return [
        Row(f"{name}, elapsed", elapsed, "s", goal_s, "lower"),
        Row(f"{name}, processor", processor, "s", goal_s, "lower"),
        Row(f"{name}, memory at most", memory, "GB", 2, "lower"),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
