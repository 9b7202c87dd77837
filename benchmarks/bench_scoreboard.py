"""How many steps per second does the scoreboard run on one core?"""

from __future__ import annotations

from time import process_time

import numpy as np

from benchmarks import Row
from codesign.kernels.scoreboard import run_steps

STEPS = 2_000_000
UNITS = 8
REACH = 64
"""Dependencies lie at most this many rows back."""
RUNS = 5


def program(by_arrival: int) -> tuple[np.ndarray, ...]:
    """Arguments of run_steps: two dependencies each, `by_arrival` of the units serve by arrival."""
    rng = np.random.default_rng(1)
    deps = np.where(np.arange(STEPS) < REACH, 0, 2)
    rows = np.repeat(np.arange(STEPS), deps)
    return (
        (np.arange(STEPS) % UNITS).astype(np.int32),
        rng.integers(1, 50, STEPS),
        rng.integers(0, 4, STEPS),
        np.concatenate([[0], np.cumsum(deps)]),
        rows - rng.integers(1, REACH, len(rows)),
        np.ones(UNITS, dtype=np.int64),
        (np.arange(UNITS) < by_arrival).astype(np.int8),
    )


def main() -> list[Row]:
    """Million steps per second of processor time; the first run may compile and does not count."""
    rows = []
    for by_arrival, goal in ((0, 40.0), (1, 8.0), (4, 8.0)):
        tables = program(by_arrival)
        run_steps(*tables)
        seconds = []
        for _ in range(RUNS):
            start = process_time()
            run_steps(*tables)
            seconds.append(process_time() - start)
        name = f"scoreboard, {by_arrival} of {UNITS} units in order of arrival"
        rows.append(Row(name, STEPS / min(seconds) / 1e6, "M steps/s", goal))
    return rows
