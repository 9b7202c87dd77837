"""From runs to figures: which numbers each section of a report draws."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codesign.metrics.result import OpResult, Result
from codesign.report import figures
from codesign.report import quantities as q
from codesign.report.figures import Column, Lane, Point
from codesign.report.stacks import Stack, stacked
from codesign.report.study import (
    BOUNDS,
    FINE,
    LATENCY,
    MATMULS,
    METRICS,
    Run,
    Scenario,
    Study,
    cycles_by,
    cycles_by_work,
    layer_groups,
    training_part,
)
from codesign.report.svg import PALETTE, Figure

_STRIPS = 160
_BOARDS = 8
"""Boards whose energy one line tells."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """The figures of one scenario."""

    scenario: Scenario
    comparison: Figure
    work: Figure
    layers: Figure
    rooflines: tuple[Figure, ...]
    timeline: Figure
    heat: Figure
    energy: Figure
    traffic: Figure

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            self.comparison,
            self.work,
            self.layers,
            *self.rooflines,
            self.timeline,
            self.heat,
            self.energy,
            self.traffic,
        )


def chapter(found: Study, scenario: Scenario, index: int) -> Chapter:
    """All figures of a scenario; their names begin with its number."""
    prefix = f"s{index + 1}"
    return Chapter(
        scenario,
        comparison(found, scenario, prefix),
        work(scenario, prefix),
        layers(scenario, prefix),
        tuple(
            roofline(scenario, run, f"{prefix}-roofline-{i + 1}")
            for i, run in enumerate(scenario.machines[:6])
        ),
        timeline(scenario, prefix),
        heat(scenario, prefix),
        energy(scenario, prefix),
        traffic(found, scenario, prefix),
    )


def speedups(found: Study) -> Figure:
    """The one picture: how many times as fast as the baseline each run is, in every scenario."""
    labels = found.labels
    columns = []
    for scenario in found.scenarios:
        speed = {run.label: scenario.speedup_over_baseline(run) for run in scenario.runs}
        values = [speed.get(label, math.nan) for label in labels]
        columns.append(_ratios(scenario.title, labels, values, scenario.best(LATENCY)))
    return figures.bars(
        "speedup",
        "Speed relative to the baseline",
        "Longer is faster; the dashed line is the baseline, the star marks the fastest.",
        labels,
        columns,
        colours=[_colour(found, label) for label in labels],
        reference=1.0,
    )


def _ratios(
    title: str, labels: Sequence[str], values: Sequence[float], best: Collection[str]
) -> Column:
    """A panel of ratios to the baseline; the runs named in `best` are marked."""
    return Column(
        title, values, [q.ratio(v) for v in values], [labels.index(label) for label in best]
    )


def comparison(found: Study, scenario: Scenario, prefix: str) -> Figure:
    """Latency, energy, energy-delay product and area over those of the baseline."""
    labels = [run.label for run in scenario.runs]
    columns = []
    for metric in METRICS:
        values = [scenario.ratio(run, metric) for run in scenario.runs]
        columns.append(_ratios(metric.name, labels, values, scenario.best(metric)))
    return figures.bars(
        f"{prefix}-comparison",
        f"{scenario.title}: relative to {scenario.baseline.label}",
        "Shorter is better; the dashed line is the baseline, the star marks the best.",
        labels,
        columns,
        colours=[_colour(found, label) for label in labels],
        reference=1.0,
    )


def work(scenario: Scenario, prefix: str) -> Figure:
    """Time by part of the training step, or by kind of operator."""
    by = "part of the training step" if scenario.phase == "training" else "kind of operator"
    return _time_stacks(
        f"{prefix}-work",
        f"{scenario.title}: time by {by}",
        "An operator's time is what it adds to the run's end; the parts add up to the latency.",
        [(run.label, cycles_by_work(scenario, run), run, False) for run in scenario.runs],
        _parts(scenario),
    )


def _parts(scenario: Scenario) -> tuple[str, ...]:
    """The parts of the time of a scenario, in the order that gives them their colours."""
    seen = {part: None for run in scenario.runs for part in cycles_by_work(scenario, run)}
    return tuple(seen)


def layers(scenario: Scenario, prefix: str, most: int = 16) -> Figure:
    """Time of the slowest groups of layers, split by what bounds their operators."""
    runs = scenario.shown
    grouped = [layer_groups(run.ops, FINE) for run in runs]
    slow = sorted(
        grouped[-1], key=lambda name: (-sum(op.cycles for op in grouped[-1][name]), name)
    )[:most]
    shown = [name for name in grouped[-1] if name in slow]
    rows = []
    for name in shown:
        for i, (run, groups) in enumerate(zip(runs, grouped, strict=True)):
            rows.append((name, cycles_by(groups.get(name, []), _bound), run, i > 0))
    pair = " above, ".join(run.label for run in runs) + (" below" if len(runs) > 1 else "")
    left_out = len(grouped[-1]) - len(shown)
    rest = f" The {left_out} fastest groups are left out." if left_out else ""
    return _time_stacks(
        f"{prefix}-layers",
        f"{scenario.title}: time per layer and what bounds it",
        f"{pair}.{rest}",
        rows,
        BOUNDS,
    )


def _time_stacks(
    name: str,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Mapping[str, int], Run, bool]],
    keys: Sequence[str],
) -> Figure:
    seconds = [_seconds(run.result) for _, _, run, _ in rows]
    longest = max(
        (sum(parts.values()) * s for (_, parts, _, _), s in zip(rows, seconds, strict=True)),
        default=0.0,
    )
    factor, unit = q.si_scale(longest, "s")
    stacks = [
        Stack(
            label,
            {part: cycles * s * factor for part, cycles in parts.items()},
            q.with_unit(sum(parts.values()) * s, "s"),
            below,
        )
        for (label, parts, _, below), s in zip(rows, seconds, strict=True)
    ]
    return stacked(
        name,
        title,
        description,
        stacks,
        f"time ({unit})",
        lambda v: f"{q.significant(v)} {unit}",
        keys=keys,
    )


def roofline(scenario: Scenario, run: Run, name: str) -> Figure:
    """Every matrix product of a run: its rate over its work per byte; alike ones as one mark."""
    result = run.result
    kinds = list(dict.fromkeys([*BOUNDS, *(op.bound_by for op in run.ops)]))
    alike: dict[tuple[object, ...], list[OpResult]] = {}
    for op in run.ops:
        span = op.end_cycle - op.start_cycle
        if op.kind in MATMULS and op.executed_macs and op.dram_bytes and span > 0:
            key = (
                op.bound_by,
                round(math.log10(op.executed_macs / op.dram_bytes), 2),
                round(math.log10(op.executed_macs / span), 2),
            )
            alike.setdefault(key, []).append(op)
    points = []
    for members in alike.values():
        first = members[0]
        span = sum(op.end_cycle - op.start_cycle for op in members)
        issued = 2.0 * sum(op.executed_macs for op in members)
        rate = issued / (span * _seconds(result))
        intensity = issued / sum(op.dram_bytes for op in members)
        more = f" and {len(members) - 1} alike" if len(members) > 1 else ""
        points.append(
            Point(
                intensity,
                rate,
                kinds.index(first.bound_by),
                q.divide(sum(op.cycles for op in members), result.cycles),
                f"{q.one_line(first.name, 60)}{more}: {q.with_unit(rate, 'FLOP/s')}, "
                f"{q.significant(intensity)} FLOP/B, {first.bound_by}",
            )
        )
    return figures.roofline(
        name,
        run.label,
        f"{scenario.title}: every matrix product; the area of a mark is its share of the time.",
        points,
        kinds=kinds,
        peak_flop_per_s=result.peak_tops * 1e12,
        dram_bytes_per_s=dram_bytes_per_s(result),
    )


def dram_bytes_per_s(result: Result) -> float:
    """The highest rate of the DRAM link while it was busy, over operators; 0 when not known."""
    rates = [0.0]
    for op in result.ops:
        busy = sum(cycles for unit, cycles in op.busy_cycles.items() if unit.startswith("dram"))
        if busy and op.dram_bytes:
            rates.append(op.dram_bytes / busy)
    return max(rates) * result.clock_mhz * 1e6


def timeline(scenario: Scenario, prefix: str) -> Figure:
    """When each kind of work ran in the fastest run."""
    run = scenario.fastest
    factor, unit = q.si_scale(run.result.latency_s, "s")
    step = _seconds(run.result) * factor
    lanes: dict[str, list[tuple[float, float, str]]] = {}
    for op in run.ops:
        key = training_part(op) if scenario.phase == "training" else op.kind
        text = f"{q.one_line(op.name, 60)}: {op.cycles:,} cycles, {op.bound_by}"
        lanes.setdefault(key, []).append((op.start_cycle * step, op.end_cycle * step, text))
    order = _parts(scenario)
    return figures.timeline(
        f"{prefix}-timeline",
        f"{scenario.title}: what ran when",
        f"The fastest run, {run.label}.",
        [Lane(key, lanes[key], order.index(key)) for key in sorted(lanes, key=order.index)],
        run.result.cycles * step or 1.0,
        f"time ({unit})",
    )


def heat(scenario: Scenario, prefix: str) -> Figure:
    """Use of the MAC array along every run; the mean of a strip is the run's utilisation."""
    return figures.heat(
        f"{prefix}-utilisation",
        f"{scenario.title}: use of the MAC array along the run",
        "Full colour is full use: MACs issued over MACs that the array could issue. "
        "At the right, the whole run.",
        [
            (run.label, utilisation_along(run.result).tolist(), q.share(run.result.utilisation))
            for run in scenario.runs
        ],
        "from the first to the last cycle of each run",
    )


def utilisation_along(result: Result, strips: int = _STRIPS) -> np.ndarray:
    """Utilisation in equal parts of the run; each operator's MACs are spread over its span."""
    bins = np.zeros(strips)
    if not result.cycles or not result.executed_macs:
        return bins
    edges = np.linspace(0, result.cycles, strips + 1)
    for op in result.ops:
        if op.executed_macs and op.end_cycle > op.start_cycle:
            inside = np.clip(edges, op.start_cycle, op.end_cycle)
            bins += np.diff(inside) * (op.executed_macs / (op.end_cycle - op.start_cycle))
    return bins / bins.sum() * strips * result.utilisation if bins.any() else bins


def energy(scenario: Scenario, prefix: str) -> Figure:
    """Energy of every run by part of the machine."""
    factor, unit = q.si_scale(max(run.result.energy_j for run in scenario.runs), "J")
    return stacked(
        f"{prefix}-energy",
        f"{scenario.title}: energy by part",
        "Leakage is its own part where the machine states it." + _boards(scenario),
        [
            Stack(
                run.label,
                {part: joules * factor for part, joules in run.result.energy_j_by_part.items()},
                q.with_unit(run.result.energy_j, "J"),
            )
            for run in scenario.runs
        ],
        f"energy ({unit})",
        lambda v: f"{q.significant(v)} {unit}",
    )


def _boards(scenario: Scenario) -> str:
    """Energy and power at the supply of boards, which the parts of the devices are not all of."""
    told = [
        f"{run.label} {q.with_unit(joule, 'J')} ({q.with_unit(joule / run.result.latency_s, 'W')})"
        for run in scenario.runs
        if (joule := run.result.board_energy_j) is not None and run.result.latency_s > 0
    ]
    more = f" and {len(told) - _BOARDS} more" if len(told) > _BOARDS else ""
    return f" At the board: {'; '.join(told[:_BOARDS])}{more}." if told else ""


def area(found: Study) -> Figure | None:
    """Area of every machine by part; None when no machine states an area."""
    machines = {r.arch: r for r in found.results if r.area_mm2 > 0}
    if not machines:
        return None
    return stacked(
        "area",
        "Area by part",
        "On-chip area of each machine.",
        [Stack(arch, r.area_mm2_by_part, q.area(r.area_mm2)) for arch, r in machines.items()],
        "area (mm²)",
        q.area,
    )


def traffic(found: Study, scenario: Scenario, prefix: str) -> Figure:
    """Bytes that moved at every memory, a panel for each."""
    labels = [run.label for run in scenario.runs]
    memories = list(dict.fromkeys(m for run in scenario.runs for m in run.result.bytes_by_memory))
    columns = []
    for memory in memories[:8]:
        values = [float(run.result.bytes_by_memory.get(memory, 0)) for run in scenario.runs]
        columns.append(Column(memory, values, [q.with_unit(v, "B") for v in values]))
    return figures.bars(
        f"{prefix}-traffic",
        f"{scenario.title}: bytes moved by memory",
        "Each panel has its own scale.",
        labels,
        columns,
        colours=[_colour(found, label) for label in labels],
    )


def _bound(op: OpResult) -> str:
    return op.bound_by


def _seconds(result: Result) -> float:
    """Seconds of a cycle."""
    return q.divide(result.latency_s, result.cycles) if result.cycles else 0.0


def _colour(found: Study, label: str) -> int:
    return found.archs.index(found.of(label)[0][1].result.arch) % (len(PALETTE) - 1)
