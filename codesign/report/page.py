"""What a report says, worked out once for its HTML and its Markdown form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from codesign import __version__
from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.answer import (
    answer,
    explanation,
    layers_sentence,
    work_sentence,
)
from codesign.report.sections import Chapter, area, chapter, speedups
from codesign.report.study import METRICS, Run, Scenario, Study, busy_shares, study
from codesign.report.svg import Figure


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


@dataclass(frozen=True, kw_only=True)
class Page:
    """The contents of a report in reading order; the templates name these fields."""

    study: Study
    title: str
    introduction: str
    remarks: tuple[str, ...]
    facts: str
    sentences: tuple[str, str, str]
    hero: Figure
    chapters: tuple[Chapter, ...]
    area: Figure | None
    scenario_facts: tuple[str, ...]
    run_table_head: tuple[str, ...]
    run_tables: tuple[tuple[RunRow, ...], ...]
    any_accuracy: bool
    work_sentences: tuple[str, ...]
    layer_sentences: tuple[str, ...]
    slowest: tuple[tuple[OpRow, ...], ...]
    units: tuple[tuple[UnitRow, ...], ...]
    notes: tuple[Note, ...]
    assumptions: tuple[AssumptionRow, ...]
    provenance: tuple[ProvenanceRow, ...]
    commands: tuple[str, ...]
    version: str = __version__

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure, in the order of the page."""
        ends = (self.area,) if self.area else ()
        return (self.hero, *(f for c in self.chapters for f in c.figures), *ends)


def page(
    results: Sequence[Result],
    *,
    title: str,
    baseline: int = 0,
    commands: Sequence[str] = (),
    introduction: str = "",
    remarks: Sequence[str] = (),
) -> Page:
    """Work out a report; `baseline` is the index of the result that the others are compared with.

    Raises CodesignError when there are no results or no such baseline.
    """
    found = study(results, baseline)
    with_accuracy = any(result.accuracy is not None for result in found.results)
    scenarios = found.scenarios
    return Page(
        study=found,
        title=title,
        introduction=introduction,
        remarks=tuple(remarks),
        facts=_facts(found),
        sentences=answer(found),
        hero=speedups(found),
        chapters=tuple(chapter(found, s, i) for i, s in enumerate(scenarios)),
        area=area(found),
        scenario_facts=tuple(_scenario_facts(s) for s in scenarios),
        run_table_head=(
            "run",
            *(metric.name for metric in METRICS),
            *(("accuracy",) if with_accuracy else ()),
            "power",
            "use of array",
            "dense rate",
            "effective rate",
            "DRAM traffic",
            "bound by (share of time)",
        ),
        run_tables=tuple(
            tuple(_run_row(s, run, with_accuracy) for run in s.runs) for s in scenarios
        ),
        any_accuracy=with_accuracy,
        work_sentences=tuple(work_sentence(s) for s in scenarios),
        layer_sentences=tuple(layers_sentence(s) for s in scenarios),
        slowest=tuple(_slowest(s.fastest) for s in scenarios),
        units=tuple(tuple(row for run in s.runs for row in _units(run)) for s in scenarios),
        notes=_notes(found),
        assumptions=_assumptions(found),
        provenance=tuple(
            ProvenanceRow(
                f"{s.title} · {run.label}", f"{run.result.clock_mhz:,.10g} MHz", run.result
            )
            for s in scenarios
            for run in s.runs
        ),
        commands=tuple(commands),
    )


def _facts(found: Study) -> str:
    results = found.results
    kinds = sorted({f"{r.kind} at {r.fidelity} fidelity" for r in results})
    return (
        f"{_count(len(results), 'run')} in {_count(len(found.scenarios), 'comparison')} on "
        f"{_count(len(found.archs), 'machine')}, {' and '.join(kinds)}, "
        f"{sum(len(r.ops) for r in results):,} operators in all."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _scenario_facts(scenario: Scenario) -> str:
    result = scenario.baseline.result
    return (
        f"{q.with_unit(result.macs, 'MAC')} in {_count(len(result.ops), 'operator')}, "
        f"{q.with_unit(result.parameters, '')} parameters; "
        f"the baseline is {scenario.baseline.label}."
    )


def _run_row(scenario: Scenario, run: Run, with_accuracy: bool) -> RunRow:
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
        cells.append(
            Cell(q.MISSING if result.accuracy is None else f"{result.accuracy * 100:.1f} %")
        )
    cells += [
        Cell(q.with_unit(result.power_w, "W")),
        Cell(q.share(result.utilisation)),
        Cell(q.with_unit(result.dense_tops * 1e12, "OP/s")),
        Cell(q.with_unit(result.effective_tops * 1e12, "OP/s")),
        Cell(q.with_unit(result.dram_bytes, "B")),
    ]
    return RunRow(run.label, run is scenario.baseline, tuple(cells), explanation(scenario, run))


def _slowest(run: Run, most: int = 10) -> tuple[OpRow, ...]:
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


def _units(run: Run) -> tuple[UnitRow, ...]:
    result = run.result
    return tuple(
        UnitRow(
            run.label,
            unit,
            q.share(part),
            f"{result.busy_cycles[unit]:,}",
            f"{result.stall_cycles.get(unit, 0):,}",
        )
        for unit, part in busy_shares(run).items()
    )


def _notes(found: Study) -> tuple[Note, ...]:
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
    about = f", {_count(sum(counts), 'operator')}" if sum(counts) else ""
    return f"{label}{times}{about}"


def _assumptions(found: Study) -> tuple[AssumptionRow, ...]:
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
