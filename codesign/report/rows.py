"""The lines of a report's tables: runs, operators, units, notes, assumptions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from codesign.accuracy import AccuracyPoint
from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.answer import explanation
from codesign.report.study import METRICS, Run, Scenario, Study, busy_shares


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a comparison, with its ratio to the baseline's."""

    text: str
    ratio: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a comparison."""

    label: str
    baseline: bool
    cells: tuple[Cell, ...]
    explanation: str


@dataclass(frozen=True, slots=True)
class OpRow:
    """One operator of a run."""

    name: str
    phase: str
    shape: str
    pattern: str
    mapping: str
    time: str
    share: str
    utilisation: str
    bound_by: str


@dataclass(frozen=True, slots=True)
class UnitRow:
    """One unit of a machine: how long it was held and waited for."""

    run: str
    name: str
    share: str
    busy: str
    stall: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line about operators, and the runs that it is about."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class AssumptionRow:
    """A number of a machine file that nobody published."""

    arch: str
    path: str
    value: str
    status: str
    source: str


@dataclass(frozen=True, slots=True)
class ProvenanceRow:
    """What a run was made of and with."""

    run: str
    clock: str
    result: Result


@dataclass(frozen=True, slots=True)
class AccuracyNote:
    """Where an accuracy comes from."""

    what: str
    kind: str
    citation: str
    note: str


def run_head(with_accuracy: bool) -> tuple[str, ...]:
    """The heads of the table of runs."""
    return (
        "run",
        *(metric.name for metric in METRICS),
        *(("accuracy",) if with_accuracy else ()),
        "power",
        "use of array",
        "dense rate",
        "effective rate",
        "DRAM traffic",
        "bound by (share of time)",
    )


def run_row(
    scenario: Scenario, run: Run, with_accuracy: bool, point: AccuracyPoint | None
) -> RunRow:
    """One run of a scenario; the cells are those of `run_head`."""
    result = run.result
    cells = []
    for metric in METRICS:
        value = metric.value(result)
        best = scenario.best(metric)
        shown = q.ratio(scenario.ratio(run, metric)) if run is not scenario.baseline else ""
        cells.append(
            Cell(
                metric.text(value),
                shown,
                run.label in best,
            )
        )
    if with_accuracy:
        cells.append(_accuracy_cell(result, point))
    cells += [
        Cell(q.with_unit(result.power_w, "W")),
        Cell(q.share(result.utilisation)),
        Cell(q.with_unit(result.dense_tops * 1e12, "OP/s")),
        Cell(q.with_unit(result.effective_tops * 1e12, "OP/s")),
        Cell(q.with_unit(result.dram_bytes, "B")),
    ]
    return RunRow(run.label, run is scenario.baseline, tuple(cells), explanation(run))


def _accuracy_cell(result: Result, point: AccuracyPoint | None) -> Cell:
    if point is None:
        return Cell(q.MISSING if result.accuracy is None else f"{result.accuracy * 100:.1f} %")
    share = point.metric.endswith("%")
    unit, factor = (" %", 100.0) if share else ("", 1.0)
    lost = "" if point.drop is None else f"lost {q.significant(point.drop * factor)}{unit}"
    if point.value is None:
        return Cell(lost or q.MISSING, point.kind)
    shown = f"{q.significant(point.value * factor)}{unit}"
    return Cell(shown, ", ".join(part for part in (lost, point.kind) if part))


def accuracy_notes(points: Iterable[AccuracyPoint]) -> tuple[AccuracyNote, ...]:
    """Each source of accuracies once."""
    found: dict[tuple[str, str, str, str, str], list[str]] = {}
    for point in points:
        source = point.model, point.metric, point.kind, point.citation, point.note
        of = "dense" if point.pattern == "dense" else f"{point.pattern} by {point.method}"
        found.setdefault(source, []).append(of)
    return tuple(
        AccuracyNote(f"{model}, {metric}: {', '.join(dict.fromkeys(of))}", kind, citation, note)
        for (model, metric, kind, citation, note), of in found.items()
    )


def slowest(run: Run, most: int = 10) -> tuple[OpRow, ...]:
    """The operators that take most of the time."""
    result = run.result
    ranked = sorted(run.ops, key=lambda op: (-op.cycles, op.start_cycle))[:most]
    return tuple(
        OpRow(
            op.name,
            op.phase,
            op.shape,
            op.pattern,
            op.mapping,
            q.with_unit(op.cycles * q.divide(result.latency_s, result.cycles), "s"),
            q.share(q.divide(op.cycles, result.cycles)),
            q.share(op.utilisation),
            op.bound_by,
        )
        for op in ranked
    )


def units(run: Run) -> tuple[UnitRow, ...]:
    """How long each unit of a run was held and waited for."""
    result = run.result
    return tuple(
        UnitRow(
            run.label,
            unit,
            q.share(part) if part <= 1 else f"{part:,.1f} at once",
            f"{result.busy_cycles[unit]:,}",
            f"{result.stall_cycles.get(unit, 0):,}",
        )
        for unit, part in busy_shares(run).items()
    )


def notes(found: Study) -> tuple[Note, ...]:
    """Every note once, with the runs and the number of operators that it is about."""
    operators: dict[str, dict[str, list[int]]] = {}
    for scenario in found.scenarios:
        for run in scenario.runs:
            counts = Counter(op.note for op in run.ops if op.note)
            for note in run.result.notes:
                counts.setdefault(note, 0)
            for note, count in counts.items():
                operators.setdefault(note, {}).setdefault(run.label, []).append(count)
    return tuple(
        Note(text, f"({'; '.join(_where(label, counts) for label, counts in runs.items())})")
        for text, runs in operators.items()
    )


def _where(label: str, counts: Sequence[int]) -> str:
    times = "" if len(counts) == 1 else f", {len(counts)} comparisons"
    about = f", {count(sum(counts), 'operator')}" if sum(counts) else ""
    return f"{label}{times}{about}"


def assumptions(found: Study) -> tuple[AssumptionRow, ...]:
    """Every doubtful number of the machines once."""
    rows = {
        AssumptionRow(
            result.arch,
            assumption.path,
            f"{assumption.value:,.6g}" if math.isfinite(assumption.value) else q.MISSING,
            assumption.status,
            assumption.source,
        ): None
        for result in found.results
        for assumption in result.assumptions
    }
    return tuple(rows)


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural where that is due."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
