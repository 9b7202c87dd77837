"""What does a search for mappings cost, and how much faster or leaner is what it finds?"""

from __future__ import annotations

import time
from itertools import product

import codesign
from benchmarks import Row
from codesign.evaluate import evaluate
from codesign.metrics.objective import Goal
from codesign.planning import network_chooser

GOALS: tuple[Goal, ...] = ("latency", "edp")


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
            for goal, keep in product(GOALS, (False, True)):
                begun = time.process_time()
                chooser = network_chooser(
                    trace, machine, mapper="search", objective=goal, keep_on_chip=keep
                )
                found = evaluate(trace, machine, chooser=chooser)
                spent = time.process_time() - begun
                gain = (
                    usual.cycles / found.cycles
                    if goal == "latency"
                    else usual.edp_js / found.edp_js
                )
                kept = ", maps kept" if keep else ""
                rows.append(Row(f"{workload} on {arch}, {goal} over default{kept}", gain, "x", 1.0))
                rows.append(Row("  CPU time of search and run", spent, "s", 5.0, "lower"))
    return rows
