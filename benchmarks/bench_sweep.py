"""How many points per second does a sweep of ResNet-50 on SAT evaluate, and does the memory stay
flat?
"""

from __future__ import annotations

import resource
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import Row
from codesign.sweep.check import find_sweep, read_study
from codesign.sweep.run import Sweep, prepare
from codesign.sweep.store import Store

TILE_POINTS, ROW_POINTS = 10_000, 1_000


def main() -> list[Row]:
    """Rates of 10,000 points at tile and 1,000 at row fidelity; goals are of the sweeps' issue.

    The goals hold for two cores that do nothing else; CPU time per point is printed beside them.
    """
    rows = []
    for fidelity, points, goal in (("tile", TILE_POINTS, 500.0), ("row", ROW_POINTS, 20.0)):
        two, cpu_ms = _rate(fidelity, points, 2)
        one, _ = _rate(fidelity, points // 5, 1)
        rows.append(Row(f"{points:,} points, {fidelity}, 2 workers", two, "points/s", goal))
        rows.append(
            Row("  CPU time of a point, driver included", cpu_ms, "ms", 2e3 / goal, "lower")
        )
        rows.append(Row("  2 workers over 1 (a fifth of the points)", two / one, "x", 1.8))
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rows.append(Row("largest worker", peak_mib, "MiB", 1024.0, "lower"))
    return rows


def _rate(fidelity: str, points: int, workers: int) -> tuple[float, float]:
    given = [f"fidelity={fidelity}", f"run_cap={points}", f"execution.workers={workers}"]
    base = read_study(find_sweep("resnet50_sat"), given)
    before = _cpu_s()
    with TemporaryDirectory() as folder, Store(Path(folder) / "s.db") as store:
        prepare(store, base, resume=False)
        progress = Sweep(base, store).run()
    return progress.points_per_s, (_cpu_s() - before) / points * 1e3


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
