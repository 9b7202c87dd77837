"""How many workers can one driver feed? A model of the rate, beside a simulated queue."""

from __future__ import annotations

import heapq
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import Row
from codesign.sweep.check import find_sweep, read_study
from codesign.sweep.design import Point
from codesign.sweep.engine import Engine, Outcome
from codesign.sweep.figures import FIGURES
from codesign.sweep.run import Sweep, prepare
from codesign.sweep.store import Store

SEND_S = 0.002
"""A task there and back, assumed: a Ray task on a local network."""
TASK_S = 0.5
WORKERS = (1, 10, 100, 1000)


class Nothing(Engine):
    """Answers at once, so that what is left is the driver."""

    def evaluate(self, point: Point) -> Outcome:
        return Outcome(point.key, dict.fromkeys(FIGURES, 1.0), None, 0.0)


def main() -> list[Row]:
    """The driver's time for a point, and the model's rate over that of the simulation."""
    driver_s = driver_seconds(4000)
    rows = [Row("driver's time for a point", driver_s * 1e3, "ms", 0.5, "lower")]
    for point_s in (0.001, 0.05, 1.0):
        for workers in WORKERS:
            modelled = model(workers, point_s, driver_s)
            simulated = simulate(workers, point_s, driver_s)
            name = f"{workers:,} workers, {point_s:g} s a point: {simulated:,.0f}/s, model over it"
            rows.append(Row(name, modelled / simulated, "x", 1.15, "lower"))
    return rows


def driver_seconds(points: int) -> float:
    """Seconds that the driver spends on a point of a grid."""
    given = [f"run_cap={points}", "execution.executor=serial"]
    base = read_study(find_sweep("resnet50_sat"), given)
    with TemporaryDirectory() as folder, Store(Path(folder) / "s.db") as store:
        prepare(store, base, resume=False)
        begun = time.process_time()
        Sweep(base, store, engine=Nothing).run()
        return (time.process_time() - begun) / points


def model(workers: int, point_s: float, driver_s: float) -> float:
    """Points per second: as fast as the workers, and no faster than the driver."""
    per_task = max(1, int(TASK_S / point_s))
    return min(
        workers / (point_s + SEND_S / per_task), 1 / (driver_s + SEND_S / per_task / workers)
    )


def simulate(workers: int, point_s: float, driver_s: float, tasks_each: int = 40) -> float:
    """Points per second of a queue: one driver prepares and stores, a worker holds two tasks."""
    per_task = max(1, int(TASK_S / point_s))
    tasks = max(200, tasks_each * workers)
    now, sent, done = 0.0, 0, 0
    free = [0.0] * workers
    finished: list[tuple[float, int]] = []
    waiting = [2 * workers]
    while done < tasks:
        while sent < tasks and waiting[0] > 0:
            now += driver_s * per_task / 2
            at = heapq.heappop(free)
            end = max(at, now + SEND_S / 2) + per_task * point_s + SEND_S / 2
            heapq.heappush(free, end)
            heapq.heappush(finished, (end, sent))
            sent, waiting[0] = sent + 1, waiting[0] - 1
        end, _ = heapq.heappop(finished)
        now = max(now, end) + driver_s * per_task / 2
        done, waiting[0] = done + 1, waiting[0] + 1
    return tasks * per_task / now
