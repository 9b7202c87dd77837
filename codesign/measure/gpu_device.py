"""The CUDA device that times: events, graphs, an L2 that is flushed, and the board's sensors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from codesign.config import CodesignError
from codesign.measure.gpu_board import Board
from codesign.measure.gpu_timing import Launch, Sample, measure_energy, measure_latency

_FLUSH_L2S, _FLUSH_LEAST_BYTES = 4, 1 << 28
"""A flush writes several times the L2, and takes longer than the host needs for a launch."""
_SAMPLE_S = 0.005
_WARM_LAUNCHES = 3


def timer() -> torch.cuda.Event:
    """An event that times."""
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


class Events:
    """Pairs of CUDA events around repeats that were queued."""

    def __init__(self, pairs: Sequence[tuple[torch.cuda.Event, torch.cuda.Event]]) -> None:
        self._pairs = pairs

    def done(self) -> bool:
        """Whether the last event has passed."""
        return bool(self._pairs[-1][1].query())  # type: ignore[no-untyped-call]

    def times_us(self) -> list[float]:
        """Time between the events of each pair; resolution about 0.5 us."""
        self._pairs[-1][1].synchronize()
        return [1e3 * start.elapsed_time(end) for start, end in self._pairs]


class CudaDevice:
    """The current CUDA device; raises CodesignError where there is none."""

    def __init__(self, board: Board | None = None) -> None:
        if not torch.cuda.is_available():
            raise CodesignError(
                "torch finds no CUDA device here; `codesign measure --dry-run` prints the plan"
            )
        self.properties: Any = torch.cuda.get_device_properties()
        self.board = board or Board(str(self.properties.uuid))
        size = max(_FLUSH_L2S * self.properties.L2_cache_size, _FLUSH_LEAST_BYTES)
        self._flush = torch.empty(size // 4, dtype=torch.int32, device="cuda")
        self.flush_us = 0.0
        self.captured = True
        self.flush_us = median(self.start(self._flush.zero_, 5, cold=False).times_us())

    def record(self, launch: Launch, copies: int) -> Launch:
        """Launches as one CUDA graph; one by one where they cannot be captured."""
        for _ in range(_WARM_LAUNCHES):
            launch()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                for _ in range(copies):
                    launch()
        except RuntimeError:
            self.captured = False
            torch.cuda.synchronize()

            def one_by_one() -> None:
                for _ in range(copies):
                    launch()

            return one_by_one
        self.captured = True
        replay: Callable[[], None] = graph.replay
        replay()
        torch.cuda.synchronize()
        return replay

    def start(self, body: Launch, repeats: int, *, cold: bool) -> Events:
        """Queue repeats between events; a flush before each when cold."""
        pairs = []
        for _ in range(repeats):
            start, end = timer(), timer()
            if cold:
                self._flush.zero_()
            start.record()
            body()
            end.record()
            pairs.append((start, end))
        return Events(pairs)

    def sample(self) -> Sample:
        """The board's state after a short sleep, so that sampling does not take a core."""
        time.sleep(_SAMPLE_S)
        return self.board.sample()

    def energy_j(self) -> float | None:
        """The board's counter."""
        return self.board.energy_j()

    def now_s(self) -> float:
        """The host's clock."""
        return time.perf_counter()

    def rest(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def release(self) -> None:
        """Give cached memory back, so that one point does not crowd the next."""
        torch.cuda.empty_cache()


def versions(driver: str) -> Mapping[str, str]:
    """What results depend on; empty text for what is absent."""
    from importlib.metadata import PackageNotFoundError, version

    from codesign import __version__

    def package(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    number = torch.backends.cusparselt.version() if torch.backends.cusparselt.is_available() else ""
    return {
        "codesign": __version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "triton": package("triton"),
        "cusparselt": str(number or ""),
        "driver": driver,
    }


def _copy_us(device: Any, where: str, size_bytes: int) -> float:
    """Time of a copy; its memory is free again afterwards."""
    origin = torch.empty(size_bytes // 4, dtype=torch.int32, device=where).fill_(7)
    timed, _ = measure_latency(device, partial(torch.empty_like(origin).copy_, origin), cold=False)
    return timed.median_us


def ceilings(
    device: Any,
    where: str = "cuda",
    *,
    copy_bytes: int = 1 << 33,
    size: int = 8192,
) -> dict[str, float]:
    """Measured limits of a board: copy, bf16 product on random data and on zeros, launch, idle."""
    found = {}
    found["copy_bytes_per_s"] = 2 * copy_bytes / _copy_us(device, where, copy_bytes) * 1e6
    a = torch.randn(size, size, device=where).to(torch.bfloat16)
    b, out = a.flip(0).contiguous(), torch.empty_like(a)
    for name, fill in (("random", None), ("zeros", 0.0)):
        if fill is not None:
            a.fill_(fill)
            b.fill_(fill)
        timed, _ = measure_latency(device, partial(torch.mm, a, b.t(), out=out), cold=False)
        found[f"bf16_{name}_flop_per_s"] = 2 * size**3 / timed.median_us * 1e6
    small = torch.zeros(1, device=where)
    alone, _ = measure_latency(device, small.zero_, cold=True)
    found["smallest_launch_cold_us"] = alone.median_us
    many, _ = measure_latency(device, small.zero_, cold=False)
    found["smallest_launch_graph_us"] = many.median_us
    streamed = device.start(lambda: [small.zero_() for _ in range(100)], 10, cold=False)
    found["smallest_launch_stream_us"] = median(streamed.times_us()) / 100
    idle, _ = measure_energy(device, None, seconds=5.0)
    found["idle_w"] = idle.energy_j / idle.seconds
    found["flush_us"] = device.flush_us
    return found
