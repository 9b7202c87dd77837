"""DRAM commands and requests per second of processor time, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import Row
from codesign.measure.dram_traces import requests
from codesign.memory import dram, simulate_commands, simulate_located, stream_cycles
from codesign.memory.streams import _stream

COMMANDS = 1_000_000
REQUESTS = 500_000
ROUNDS = 3
TILE_BYTES = 1 << 16

PEERS_PER_S = {
    ("ddr4_2400", "stream"): (526e3, 232e3),
    ("ddr4_2400", "random"): (226e3, 119e3),
    ("gddr6_14000", "stream"): (913e3, 260e3),
    ("gddr6_14000", "random"): (153e3, 65e3),
    ("hbm2_2000", "stream"): (518e3, 223e3),
    ("hbm2_2000", "random"): (175e3, 66e3),
}
"""Requests/s of Ramulator 2.1 and DRAMsim3, one run each on a busy 2-core EPYC."""


def rate(work: Callable[[], object], amount: int) -> float:
    """Amount per second of processor time, the best of a few rounds after one that compiles."""
    work()
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return amount / best


def main() -> list[Row]:
    spec = dram("ddr4_2400")
    turns = COMMANDS // 8
    program = np.tile(np.array([0, 3, 3, 3, 3, 3, 3, 1]), turns)
    bank = np.repeat(np.arange(turns) % spec.organisation.banks, 8)
    still = np.zeros(COMMANDS, dtype=np.int64)
    rows = [
        Row(
            "DRAM commands in order",
            rate(lambda: simulate_commands(spec, program, bank, still, still), COMMANDS) / 1e6,
            "M/s",
            20.0,
        )
    ]
    for (name, pattern), (ramulator, dramsim) in PEERS_PER_S.items():
        spec = dram(name)
        shape = spec.organisation
        trace = requests(pattern, REQUESTS, shape.bank_groups, shape.banks_per_group, shape.columns)
        ours = rate(partial(simulate_located, spec, trace.where), REQUESTS)
        rows.append(
            Row(
                f"FR-FCFS requests, {name} {pattern}",
                ours / 1e6,
                "M/s",
                5.0,
                baseline=f"{ours / ramulator:.0f}x Ramulator 2.1, {ours / dramsim:.0f}x DRAMsim3",
            )
        )
    spec = dram("hbm2e_3200")

    def new_tile() -> None:
        _stream.cache_clear()
        stream_cycles(spec, TILE_BYTES)

    new = 1e6 / rate(new_tile, 1)
    known = 1e6 / rate(lambda: [stream_cycles(spec, TILE_BYTES) for _ in range(1000)], 1000)
    rows.append(Row("64 KiB tile through HBM2E, first time", new, "us", 2000.0, "lower"))
    rows.append(Row("64 KiB tile through HBM2E, known", known, "us", 20.0, "lower"))
    return rows
