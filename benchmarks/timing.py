"""Time of the fastest of some runs."""

from __future__ import annotations

from collections.abc import Callable
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter, process_time
from typing import NamedTuple


class Seconds(NamedTuple):
    """The least of some runs: of processors, child processes among them, and of the wall clock."""

    processor: float
    wall: float


def best(work: Callable[[], object], runs: int) -> Seconds:
    """Least seconds of some runs after a first one, which may compile."""
    work()
    processor, wall = [], []
    for _ in range(runs):
        start, at = _processor_seconds(), perf_counter()
        work()
        processor.append(_processor_seconds() - start)
        wall.append(perf_counter() - at)
    return Seconds(min(processor), min(wall))


def _processor_seconds() -> float:
    children = getrusage(RUSAGE_CHILDREN)
    return process_time() + children.ru_utime + children.ru_stime
