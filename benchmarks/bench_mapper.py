"""What does a search for mappings cost, and how much faster or leaner is what it finds?"""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import codesign
from benchmarks import Row
from codesign.evaluate import evaluate
from codesign.metrics.objective import Goal
from codesign.planning import network_chooser

GOALS: tuple[Goal, ...] = ("latency", "edp")
NETWORK: dict[str, dict[str, Any]] = {
    "": {},
    ", maps kept": {"keep_on_chip": True},
    ", work fused": {"fuse": True},
    ", both": {"keep_on_chip": True, "fuse": True},
}
"""Decisions about the whole network."""


def main() -> list[Row]:
    """Seconds of CPU for a network, and its latency and EDP over those of the default mapping.

    ZigZag's search for ResNet-18 on a TPU-like array took 49.8 CPU seconds.
    """
    rows = []
    for workload in ("resnet50", "bert_base"):
        trace = codesign.load_workload(workload)
        for arch in ("dense_systolic", "sat"):
            machine = codesign.load_arch(arch)
            usual = evaluate(trace, machine)
            for goal, (named, decisions) in product(GOALS, NETWORK.items()):
                begun = time.process_time()
                chooser = network_chooser(
                    trace, machine, mapper="search", objective=goal, **decisions
                )
                found = evaluate(trace, machine, chooser=chooser)
                spent = time.process_time() - begun
                gain = (
                    usual.cycles / found.cycles
                    if goal == "latency"
                    else usual.edp_js / found.edp_js
                )
                rows.append(
                    Row(f"{workload} on {arch}, {goal} over default{named}", gain, "x", 1.0)
                )
                rows.append(Row("  CPU time of search and run", spent, "s", 5.0, "lower"))
    return rows
