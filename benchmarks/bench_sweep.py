"""How many points per second does a sweep of ResNet-50 on SAT give, with memory that stays flat?"""

from __future__ import annotations

import resource
from bisect import bisect_left
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks import Row
from codesign.sweep.check import find_sweep, read_study
from codesign.sweep.run import Progress, Sweep, prepare
from codesign.sweep.store import Store

TILE_POINTS, ROW_POINTS, FEWER = 10_000, 1_000, 400
_WINDOW_S = 2.0


def main() -> list[Row]:
    """Rates of 10,000 points at tile and 1,000 at row fidelity; goals are of the sweeps' issue.

    The goals hold for two cores that do nothing else; CPU time per point is printed beside them.
    Rates are those of the whole command, its workers' start included. Two workers are compared with
    one in the quickest two seconds of each, so that neither the start nor what else the machine
    does for a moment counts.
    """
    rows = []
    for fidelity, points, goal in (("tile", TILE_POINTS, 500.0), ("row", ROW_POINTS, 20.0)):
        one = _measured(fidelity, points if fidelity == "tile" else FEWER, 1)
        small_mib = _largest_child_mib()
        two = _measured(fidelity, points, 2)
        rows += [
            Row(f"{points:,} points, {fidelity}, 2 workers", two.points_per_s, "points/s", goal),
            Row("  CPU time of a point, driver included", two.cpu_ms, "ms", 2e3 / goal, "lower"),
            Row("  2 workers over 1", two.steady_per_s / one.steady_per_s, "x", 1.8),
        ]
        if fidelity == "row":
            grown = _largest_child_mib() / small_mib
            rows.append(Row(f"  memory of a worker over that of {FEWER} points", grown, "x", 1.2,
                            "lower"))  # fmt: skip
    rows.append(Row("largest worker", _largest_child_mib(), "MiB", 1024.0, "lower"))
    return rows


class _Measured(NamedTuple):
    points_per_s: float
    """From the first to the last, with the start of the workers."""
    steady_per_s: float
    """In the quickest `_WINDOW_S`."""
    cpu_ms: float
    """Of a point, driver and workers together."""


def _measured(fidelity: str, points: int, workers: int) -> _Measured:
    given = [f"fidelity={fidelity}", f"run_cap={points}", f"execution.workers={workers}"]
    base = read_study(find_sweep("resnet50_sat"), given)
    before, marks = _cpu_s(), list[tuple[float, int]]()

    def note(progress: Progress) -> None:
        if progress.evaluated > (marks[-1][1] if marks else 0):
            marks.append((progress.seconds, progress.evaluated))

    with TemporaryDirectory() as folder, Store(Path(folder) / "s.db") as store:
        prepare(store, base, resume=False)
        last = Sweep(base, store, report=note).run()
    cpu_ms = (_cpu_s() - before) / points * 1e3
    return _Measured(last.points_per_s, _best_rate(marks), cpu_ms)


def _best_rate(marks: list[tuple[float, int]]) -> float:
    """Points per second in the quickest `_WINDOW_S`, or from the first answer to the last."""
    seconds = [second for second, _ in marks]
    ends = [bisect_left(seconds, second + _WINDOW_S) for second in seconds]
    windows = [(i, end) for i, end in enumerate(ends) if end < len(marks)]
    return max(
        (marks[end][1] - marks[i][1]) / (seconds[end] - seconds[i])
        for i, end in windows or [(0, len(marks) - 1)]
    )


def _largest_child_mib() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
