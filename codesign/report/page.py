"""What a report says, worked out once for its HTML and its Markdown form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Required, TypedDict

from codesign import __version__
from codesign.accuracy import AccuracyPoint
from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.answer import answer, layers_sentence, work_sentence
from codesign.report.closeup import LOAD_HEAD, Closeup, Validation, closeup, validation
from codesign.report.details import Details, scenario_key
from codesign.report.rows import (
    AccuracyNote,
    AssumptionRow,
    Note,
    OpRow,
    ProvenanceRow,
    RunRow,
    UnitRow,
    accuracy_notes,
    assumptions,
    count,
    notes,
    run_head,
    run_row,
    slowest,
    units,
)
from codesign.report.sections import Chapter, area, chapter, speedups
from codesign.report.study import Scenario, Study, study
from codesign.report.svg import Figure
from codesign.report.sweep_part import SweepPart


class Options(TypedDict, total=False):
    """What a report is told beside its results; all but the title may be left out."""

    title: Required[str]
    baseline: int
    """Index of the result that the others are compared with."""
    names: Sequence[str] | None
    """What the results are called, one for each, in place of machine and sparsity."""
    together: bool
    """Whether results of unequal work are compared too, as after changes of a trace."""
    commands: Sequence[str]
    """How the report can be made again."""
    introduction: str
    """Below the title."""
    remarks: Sequence[str]
    """Below the answer."""
    accuracies: Sequence[AccuracyPoint | None] | None
    """What the results' accuracy is, one for each."""
    details: Details
    """What was looked at closely, by scenario."""
    sweeps: Sequence[SweepPart]
    """The studies that the results are points of; the first one gives the answer."""


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
    sweeps: tuple[SweepPart, ...]
    chapters: tuple[Chapter, ...]
    closeups: tuple[Closeup | None, ...]
    """One for each chapter."""
    load_head: tuple[str, ...]
    area: Figure | None
    scenario_facts: tuple[str, ...]
    run_table_head: tuple[str, ...]
    run_tables: tuple[tuple[RunRow, ...], ...]
    accuracy_notes: tuple[AccuracyNote, ...]
    any_accuracy: bool
    work_sentences: tuple[str, ...]
    layer_sentences: tuple[str, ...]
    slowest: tuple[tuple[OpRow, ...], ...]
    units: tuple[tuple[UnitRow, ...], ...]
    notes: tuple[Note, ...]
    validation: Validation
    assumptions: tuple[AssumptionRow, ...]
    provenance: tuple[ProvenanceRow, ...]
    commands: tuple[str, ...]
    version: str = __version__

    @property
    def any_closeup(self) -> bool:
        return any(one is not None for one in self.closeups)

    @property
    def any_layer(self) -> bool:
        return any(one is not None and one.layer is not None for one in self.closeups)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure, in the order of the page."""
        drawn = [self.hero, *(part.hero for part in self.sweeps[1:])]
        for one, close in zip(self.chapters, self.closeups, strict=True):
            drawn += [*one.figures, *(close.figures if close is not None else ())]
        drawn += [f for f in (self.area, self.validation.figure) if f is not None]
        return tuple(drawn)


def page(results: Sequence[Result], options: Options) -> Page:
    """Work out a report.

    Raises CodesignError when there are no results or no such baseline.
    """
    names = options.get("names")
    found = study(
        results, options.get("baseline", 0), names=names, together=options.get("together", False)
    )
    points = options.get("accuracies") or [None] * len(results)
    accuracies = {
        id(result): point
        for result, point in zip(results, points, strict=True)
        if point is not None
    }
    with_accuracy = bool(accuracies) or any(r.accuracy is not None for r in found.results)
    sweeps = tuple(options.get("sweeps", ()))
    scenarios = found.scenarios
    details: Details = options.get("details", {})
    return Page(
        study=found,
        title=options["title"],
        introduction=options.get("introduction", ""),
        remarks=tuple(options.get("remarks", ())),
        facts=_facts(found, sweeps),
        sentences=sweeps[0].sentences if sweeps else answer(found),
        hero=sweeps[0].hero if sweeps else speedups(found),
        sweeps=sweeps,
        chapters=tuple(chapter(found, s, i) for i, s in enumerate(scenarios)),
        closeups=_closeups(scenarios, details),
        load_head=LOAD_HEAD,
        area=area(found),
        scenario_facts=tuple(_scenario_facts(s) for s in scenarios),
        run_table_head=run_head(with_accuracy),
        run_tables=tuple(
            tuple(run_row(s, run, with_accuracy, accuracies.get(id(run.result))) for run in s.runs)
            for s in scenarios
        ),
        accuracy_notes=accuracy_notes(accuracies.values()),
        any_accuracy=with_accuracy,
        work_sentences=tuple(work_sentence(s) for s in scenarios),
        layer_sentences=tuple(layers_sentence(s) for s in scenarios),
        slowest=tuple(slowest(s.fastest) for s in scenarios),
        units=tuple(tuple(row for run in s.runs for row in units(run)) for s in scenarios),
        notes=notes(found),
        validation=validation(found.results),
        assumptions=assumptions(found),
        provenance=tuple(
            ProvenanceRow(
                f"{s.title} · {run.label}", f"{run.result.clock_mhz:,.10g} MHz", run.result
            )
            for s in scenarios
            for run in s.runs
        ),
        commands=tuple(options.get("commands", ())),
    )


def _closeups(scenarios: Sequence[Scenario], details: Details) -> tuple[Closeup | None, ...]:
    found = [details.get(scenario_key(s.baseline.result)) for s in scenarios]
    return tuple(
        None if detail is None else closeup(scenario, detail, f"s{i + 1}")
        for i, (scenario, detail) in enumerate(zip(scenarios, found, strict=True))
    )


def _facts(found: Study, sweeps: Sequence[SweepPart]) -> str:
    results = found.results
    kinds = sorted({f"{r.kind} at {r.fidelity} fidelity" for r in results})
    facts = (
        f"{count(len(results), 'run')} in {count(len(found.scenarios), 'comparison')} on "
        f"{count(len(found.archs), 'machine')}, {' and '.join(kinds)}, "
        f"{sum(len(r.ops) for r in results):,} operators in all."
    )
    studies = [f"{q.one_line(part.points.study.name, 60)}: {part.facts}" for part in sweeps]
    return " ".join([*studies, ("Looked at closely: " if sweeps else "") + facts])


def _scenario_facts(scenario: Scenario) -> str:
    result = scenario.baseline.result
    return (
        f"{q.with_unit(result.macs, 'MAC')} in {count(len(result.ops), 'operator')}, "
        f"{q.with_unit(result.parameters, '')} parameters; "
        f"the baseline is {scenario.baseline.label}."
    )


def contents(found: Page) -> tuple[tuple[str, str], ...]:
    """The sections of a page that has them: id and title."""
    listed: Mapping[str, tuple[str, bool]] = {
        "answer": ("The answer", True),
        "front": ("Front", bool(found.sweeps)),
        "compare": ("Side by side", True),
        "time": ("Time", True),
        "layers": ("Layers", True),
        "roofline": ("Roofline", True),
        "energy": ("Energy and area", True),
        "utilisation": ("Utilisation", True),
        "memory": ("Memory", True),
        "doubts": ("Sensitivity", found.any_closeup),
        "validation": ("Validation", True),
        "notes": ("Notes", True),
        "points": ("All points", bool(found.sweeps)),
        "operators": ("All operators", True),
        "sources": ("Assumptions", True),
        "provenance": ("Provenance", True),
    }
    return tuple((key, title) for key, (title, there) in listed.items() if there)
