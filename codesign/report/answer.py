"""Sentences that say what the numbers say."""

from __future__ import annotations

import math

from codesign.report import quantities as q
from codesign.report.study import (
    AREA,
    ENERGY,
    FINE,
    Run,
    Scenario,
    Study,
    cycles_by,
    cycles_by_work,
    layer_groups,
)

_WAITS = {
    "compute": "work in the MAC array",
    "memory": "waiting for memory",
    "sustained rate": "work in the MAC array at its sustained rate",
    "vector": "vector work",
    "imbalance": "waiting for the slowest lane",
    "underfilled": "array work that leaves part of the array empty",
    "weight load": "loading of stationary weights",
    "selection": "selection of the weights to keep",
    "update": "the optimiser's update",
    "latency": "waiting for results that it depends on",
}


def answer(found: Study) -> tuple[str, str, str]:
    """Who is fastest and by how much, what bounds it, and what it costs in energy and area."""
    label = found.winner
    runs = found.of(label)
    return _fastest(found, label), _bound([run for _, run in runs]), _cost(found, label)


def _fastest(found: Study, label: str) -> str:
    runs = found.of(label)
    scenario, run = runs[0]
    if len(found.scenarios) == 1:
        took = f"{label} runs {scenario.title} in {q.with_unit(run.result.latency_s, 's')}"
        if len(scenario.runs) == 1:
            return f"{took}; there is nothing to compare it with."
        if run is scenario.baseline:
            return f"{took}, and nothing compared with it is faster."
        base = scenario.baseline
        return (
            f"{label} is the fastest on {scenario.title}: "
            f"{q.with_unit(run.result.latency_s, 's')}, "
            f"{q.ratio(scenario.speedup_over_baseline(run))} the speed of {base.label} "
            f"({q.with_unit(base.result.latency_s, 's')})."
        )
    if all(len(s.runs) == 1 for s in found.scenarios):
        return (
            f"Each of the {len(found.scenarios)} workloads ran once; there is nothing to compare."
        )
    wins = sum(s.fastest.result.latency_s == r.result.latency_s for s, r in runs)
    where = (
        f"in all {len(found.scenarios)} comparisons"
        if wins == len(found.scenarios)
        else f"in {wins} of {len(found.scenarios)} comparisons and the best on average"
    )
    baselines = {s.baseline.label for s, _ in runs}
    against = baselines.pop() if len(baselines) == 1 else "the baseline"
    if all(run is s.baseline for s, run in runs):
        return f"{label}, the baseline, is the fastest {where}."
    speedups = [s.speedup_over_baseline(r) for s, r in runs]
    return (
        f"{label} is the fastest {where}: {q.ratio(found.mean_speedup(label))} the speed of "
        f"{against} in the geometric mean, between {q.ratio(min(speedups))} "
        f"and {q.ratio(max(speedups))}."
    )


def _bound(runs: list[Run]) -> str:
    fractions: dict[str, float] = {}
    for run in runs:
        for bound, cycles in cycles_by(run.ops, lambda op: op.bound_by).items():
            part = q.divide(cycles, sum(op.cycles for op in run.ops)) / len(runs)
            fractions[bound] = fractions.get(bound, 0.0) + part
    ranked = sorted(fractions.items(), key=lambda item: (-item[1], item[0]))
    parts = [
        f"{q.share(part)} {_WAITS.get(bound) or q.one_line(bound, 40)}"
        for bound, part in ranked
        if part >= 0.005
    ]
    used = sum(run.result.utilisation for run in runs) / len(runs)
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    mean = ", averaged over the comparisons" if len(runs) > 1 else ""
    return (
        f"Its time is {listed}{mean}; over the whole run its array does {q.share(used)} of the "
        "multiply-accumulates that it could."
    )


def _cost(found: Study, label: str) -> str:
    runs = found.of(label)
    scenario, run = runs[0]
    single = len(runs) == 1
    mean = "" if single else " in the geometric mean"
    energy = found.mean_ratio(label, ENERGY)
    mm2 = AREA.value(run.result)
    if all(run is s.baseline for s, run in runs):
        spent = (
            f"It takes {q.with_unit(run.result.energy_j, 'J')}"
            if single
            else "Its energy is listed below"
        )
        return spent + (f" and {q.area(mm2)} of modelled silicon." if math.isfinite(mm2) else ".")
    text = f"It takes {q.ratio(energy)} the energy of the baseline{mean}"
    size = scenario.ratio(run, AREA)
    if not math.isfinite(size):
        return f"{text}; its area is not known."
    base = AREA.value(scenario.baseline.result)
    if mm2 == base:
        return f"{text} and the same modelled area, {q.area(mm2)}."
    per_area = q.ratio(q.divide(found.mean_speedup(label), size))
    return (
        f"{text} and {q.ratio(size)} its modelled area ({q.area(mm2)} against {q.area(base)}"
        f"{_dies(run, scenario.baseline)}), which makes {per_area} its speed per square millimetre "
        "of it."
    )


def _dies(*runs: Run) -> str:
    """The dies that makers state, of which the modelled cells and macros are a part."""
    known = {run.result.arch: run.result.die_mm2 for run in runs if run.result.die_mm2 is not None}
    parts = [f"{q.one_line(arch, 40)} {q.area(mm2)}" for arch, mm2 in known.items()]
    return f"; whole die: {', '.join(parts)}" if parts else ""


def work_sentence(scenario: Scenario) -> str:
    """Where the time of the fastest run goes, against the baseline."""
    run = scenario.fastest
    parts = {k: v for k, v in cycles_by_work(scenario, run).items() if v}
    total = sum(parts.values())
    ranked = sorted(parts.items(), key=lambda item: -item[1])[:3]
    listed = ", ".join(
        f"{q.one_line(name, 40)} {q.share(q.divide(cycles, total))}" for name, cycles in ranked
    )
    return f"Of the time of {run.label}: {listed}."


def layers_sentence(scenario: Scenario) -> str:
    """How much of the fastest run the three slowest groups of layers take."""
    run = scenario.fastest
    groups = {
        name: sum(op.cycles for op in ops) for name, ops in layer_groups(run.ops, FINE).items()
    }
    total = sum(groups.values())
    slowest = sorted(groups.items(), key=lambda item: (-item[1], item[0]))[:3]
    names = ", ".join(q.one_line(name, 40) for name, _ in slowest)
    part = q.divide(sum(cycles for _, cycles in slowest), total)
    return (
        f"On {run.label}, {names} take {q.share(part)} of the time "
        f"({len(groups)} {'group' if len(groups) == 1 else 'groups'} of layers)."
    )


def explanation(run: Run) -> str:
    """One line on what bounds a run."""
    by_bound = cycles_by(run.ops, lambda op: op.bound_by)
    total = sum(by_bound.values())
    listed = ", ".join(
        f"{q.one_line(bound, 40)} {q.share(q.divide(cycles, total))}"
        for bound, cycles in list(by_bound.items())[:3]
        if cycles
    )
    dense = len({op.note for op in run.ops if op.note})
    note = f"; {dense} kinds of note below" if dense > 1 else "; see the notes" if dense else ""
    return f"{listed or run.result.bound_by}{note}"
