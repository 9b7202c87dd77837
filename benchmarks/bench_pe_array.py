"""How many PE cycles per second does the stepped systolic array run on one core?"""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks import Row
from benchmarks.timing import best
from codesign.kernels.pe_array import run_output_stationary, run_weight_stationary

M, N, K = 512, 256, 512
EDGE = 32
GROUP_SIZE = 8
KEPT = 2
RUNS = 3
GOAL_G_PE_CYCLES_PER_S = 0.3


def main() -> list[Row]:
    """PEs times cycles per second of processor time, dense and 2:8, both dataflows."""
    rng = np.random.default_rng(1)
    a = rng.integers(-9, 10, (M, K))
    rows = []
    for pattern, group_size, kept in (("dense", 1, 1), ("2:8", GROUP_SIZE, KEPT)):
        groups = K // group_size
        order = np.argsort(rng.random((N, groups, group_size)), axis=2)
        b = (
            rng.integers(1, 9, (N, groups, kept)),
            np.ascontiguousarray(order[:, :, :kept]),
            np.full((N, groups), kept, dtype=np.int64),
            group_size,
            EDGE,
            EDGE,
        )
        for name, run, options in (
            ("weight-stationary", run_weight_stationary, (1, True, False)),
            ("output-stationary", run_output_stationary, (1, 1, True, False, True)),
        ):
            cycles = run(a, *b, *options)[2].max()
            seconds = best(partial(run, a, *b, *options), RUNS).processor
            value = EDGE * EDGE * cycles / seconds / 1e9
            goal = GOAL_G_PE_CYCLES_PER_S
            rows.append(Row(f"stepped array, {name}, {pattern}", value, "G PE cycles/s", goal))
    return rows
