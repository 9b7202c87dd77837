"""What does an N:M method add to a dense training step, and what does one-shot pruning cost?

    python -m benchmarks.bench_prune [--size 4096] [--sequences 128] [--length 2048]

prunes one square layer with SparseGPT and Wanda and simulates it on some machines.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import Row
from codesign import load_arch, load_workload
from codesign.arch.base import AnyMachine
from codesign.evaluate import evaluate
from codesign.prune.registry import sparsifier
from codesign.trace.op import Trace

GOAL_RATIO = 1.3
NM_METHODS = (
    "nm_magnitude", "ste", "sr_ste", "sdgp", "sdwp", "bdwp", "bimask", "slope", "tmask", "fst",
    "s_ste", "step", "pgf",
)  # fmt: skip
TOKENS, WIDTH, ROUNDS = 1024, 512, 5
MACHINES = ("sat", "s4", "a100_sxm_80gb", "cpu_epyc9654", "dense_systolic")


def main() -> list[Row]:
    """Medians of the quotient of a sparse and a dense step, run in turns, for 2:4.

    On a CPU it is processor time on one thread, which other work on the machine disturbs least.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = "GPU" if device.type == "cuda" else "CPU, one thread"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for name in NM_METHODS:
        ratio, dense_ms = overhead(name, "2:4", device)
        title = f"a 2:4 training step with {name}, times the dense one"
        compared = f"dense {dense_ms:.1f} ms, {TOKENS} tokens, {where}"
        rows.append(Row(title, ratio, "x", GOAL_RATIO, "lower", compared))
    torch.set_num_threads(threads)
    return rows


def overhead(name: str, pattern: str, device: torch.device) -> tuple[float, float]:
    """Median of sparse over dense step time, and the dense step in milliseconds."""
    dense, sparse = _Run("dense", "dense", device), _Run(name, pattern, device)
    for run in (dense, sparse):
        run.step()
    pairs = [(dense.step(), sparse.step()) for _ in range(ROUNDS)]
    return (
        statistics.median(b / a for a, b in pairs),
        1000 * statistics.median(a for a, _ in pairs),
    )


class _Run:
    """A transformer's feed-forward network of three layers with AdamW and one method."""

    def __init__(self, name: str, pattern: str, device: torch.device) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH), nn.GELU(),
            nn.Linear(WIDTH, WIDTH),
        ).to(device)  # fmt: skip
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        options = {"latest": 0.0} if name == "step" else {}
        self.method = sparsifier(name, pattern, **options)
        self.method.attach(self.model, steps=1000, optimizer=self.optimizer)
        self.x = torch.randn(TOKENS, WIDTH, device=device)

    def step(self) -> float:
        """Seconds of one step."""
        _wait(self.x)
        clock = time.perf_counter if self.x.is_cuda else time.process_time
        began = clock()
        self.optimizer.zero_grad()
        self.model(self.x).square().mean().backward()
        self.method.after_backward()
        self.optimizer.step()
        self.method.after_step()
        _wait(self.x)
        return clock() - began


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def calibration(size: int, sequences: int, length: int, seed: int = 0) -> Iterator[Tensor]:
    """Correlated tokens with channels of very different size, one sequence at a time."""
    random = torch.Generator().manual_seed(seed)
    scale = torch.exp(torch.randn(size, generator=torch.Generator().manual_seed(0)))
    for _ in range(sequences):
        x = torch.randn(length, size, generator=random)
        yield (x + 0.7 * x.roll(1, 1)) * scale


def prune_layer(size: int, sequences: int, length: int) -> None:
    """Print time, memory, error and simulated latency of magnitude, Wanda and SparseGPT."""
    print(f"{size} x {size}, {sequences} x {length} calibration tokens")
    trace = load_workload(f"gemm:{length},{size},{size}")
    machines = {name: load_arch(name) for name in MACHINES}
    dense = latencies(trace, machines)
    print("dense: " + ", ".join(f"{name} {1e3 * s:.4g} ms" for name, s in dense.items()))
    methods = {
        (name, pattern): sparsifier(name, pattern).attach(_layer(size))
        for pattern in ("2:4", "unstructured(0.5)")
        for name in ("magnitude_uniform", "wanda", "sparsegpt")
    }
    seen = dict.fromkeys(("wanda", "sparsegpt"), _Clock())
    for x in calibration(size, sequences, length):
        for name in seen:
            method, clock = methods[name, "2:4"], _Clock.now()
            method.observe(method.targets[0], x)
            seen[name] += clock.past()
    held_out = next(calibration(size, 1, length, seed=1))
    wanted = held_out @ _layer(size).weight.detach().t()
    for name in seen:  # both patterns from the same sums
        other = methods[name, "unstructured(0.5)"].targets[0]
        other.state = dict(methods[name, "2:4"].targets[0].state)
    for (name, pattern), method in methods.items():
        clock = _Clock.now()
        with torch.no_grad():
            method.fit()
        fitted = clock.past()
        method.finish()
        found = held_out @ method.targets[0].weight.detach().t()
        error = float((found - wanted).norm() / wanted.norm())
        ratios = {
            key: dense[key] / s for key, s in latencies(method.sparsify(trace), machines).items()
        }
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{name} {pattern}: seeing tokens {seen.get(name, _Clock())}, masks and repair "
            f"{fitted}, process peak {peak_gib:.2f} GiB, relative output error {error:.4f}; "
            "speed-up " + ", ".join(f"{key} {ratio:.2f}x" for key, ratio in ratios.items()),
            flush=True,
        )


@dataclass(frozen=True)
class _Clock:
    """Time on the wall and of the processors; on a busy machine only the second means much."""

    wall_s: float = 0.0
    processor_s: float = 0.0

    @classmethod
    def now(cls) -> _Clock:
        return cls(time.perf_counter(), time.process_time())

    def past(self) -> _Clock:
        """Since this time."""
        now = _Clock.now()
        return _Clock(now.wall_s - self.wall_s, now.processor_s - self.processor_s)

    def __add__(self, other: _Clock) -> _Clock:
        return _Clock(self.wall_s + other.wall_s, self.processor_s + other.processor_s)

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s (processors {self.processor_s:.1f} s)"


def latencies(trace: Trace, machines: Mapping[str, AnyMachine]) -> dict[str, float]:
    """Simulated seconds on each machine."""
    return {name: evaluate(trace, machine).latency_s for name, machine in machines.items()}


def _layer(size: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(size, size, bias=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    given = parser.parse_args()
    prune_layer(given.size, given.sequences, given.length)
