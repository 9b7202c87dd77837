"""Figures and rows of what was looked at closely: a layer's steps, doubtful numbers, validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.details import Detail
from codesign.report.doubts import Change, Doubt
from codesign.report.figures import Lane, timeline
from codesign.report.layer import LANES, MaskLoad
from codesign.report.ranges import Range, ranges
from codesign.report.scatter import Axis, Spot, scatter
from codesign.report.study import Scenario
from codesign.report.svg import PALETTE, Figure
from codesign.report.validation import Compared, about
from codesign.units import HZ_PER_MHZ

_MOST_RANGES = 14
_EVEN = 1.005
NEAR = 0.2
"""How far the dashed lines of the validation figure are from equal."""


@dataclass(frozen=True, slots=True)
class LoadRow:
    """One operator's mask as a line of a table."""

    op: str
    pattern: str
    kept: str
    rows: str
    waits: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class DoubtRow:
    """One doubtful number as a line of a table."""

    arch: str
    path: str
    value: str
    status: str
    ratios: str
    effect: str
    matters: bool


@dataclass(frozen=True)
class Closeup:
    """What one scenario shows of its detail."""

    layer: Figure | None
    layer_text: str
    loads: tuple[LoadRow, ...]
    load_text: str
    doubts: Figure | None
    doubt_text: str
    doubt_rows: tuple[DoubtRow, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(drawn for drawn in (self.layer, self.doubts) if drawn is not None)


LOAD_HEAD = (
    "operator",
    "pattern",
    "kept",
    "kept in a row: least, mean, most",
    *(f"slowest of {lanes} rows over the mean" for lanes in LANES),
    "mask",
)


def closeup(scenario: Scenario, detail: Detail, prefix: str) -> Closeup:
    """Draw a scenario's detail; figure names begin with the prefix."""
    figure, text = _layer(detail, prefix)
    return Closeup(
        figure,
        text,
        tuple(_load_row(load) for load in detail.loads),
        _load_text(detail),
        _doubt_figure(scenario, detail, prefix),
        _doubt_text(detail),
        _doubt_rows(detail),
    )


def _layer(detail: Detail, prefix: str) -> tuple[Figure | None, str]:
    layer = detail.layer
    if layer is None:
        return None, ""
    seconds = 1 / (layer.clock_mhz * HZ_PER_MHZ)
    factor, unit = q.si_scale(layer.cycles * seconds, "s")
    step = seconds * factor
    lanes = []
    for i, (unit_name, spans) in enumerate(layer.units):
        marks = [
            (
                span.start_cycle * step,
                span.end_cycle * step,
                f"{q.one_line(unit_name, 40)}, {q.one_line(span.action or 'holds', 40)}: cycles "
                f"{span.start_cycle:,} to {span.end_cycle:,}"
                + (f", {span.steps:,} steps" if span.steps > 1 else ""),
            )
            for span in spans
        ]
        lanes.append(Lane(q.one_line(unit_name, 30), marks, i % len(PALETTE)))
    name = q.one_line(layer.op, 60)
    shown = timeline(
        f"{prefix}-layer",
        f"{name} from close by",
        f"{detail.run}: the layer's steps on each unit when it runs alone, its inputs ready.",
        lanes,
        layer.cycles * step or 1.0,
        f"time ({unit})",
        separate=True,
    )
    return shown, (
        f"{name} ({q.one_line(layer.shape, 60)}, {q.one_line(layer.mapping, 60)}) takes "
        f"{layer.cycles:,} cycles in {layer.steps:,} steps when it runs alone."
    )


def _load_row(load: MaskLoad) -> LoadRow:
    return LoadRow(
        load.op,
        load.pattern,
        q.share(load.density),
        f"{load.least:,}, {q.significant(load.mean)}, {load.most:,}",
        tuple(q.ratio(wait) for wait in load.waits),
        ("real" if load.real else "sampled") + (", first rows" if load.cut else ""),
    )


def _load_text(detail: Detail) -> str:
    if not detail.loads:
        return f"{detail.run} makes use of no sparse weights: there is no mask to balance."
    worst = max(detail.loads, key=lambda load: load.waits[-1])
    if worst.waits[-1] < _EVEN:
        return f"The masks of {detail.run} fill every row alike: no lane waits for a fuller one."
    return (
        f"Where {LANES[-1]} rows of weights wait for the fullest of them, {detail.run} takes up to "
        f"{q.ratio(worst.waits[-1])} the time of evenly filled rows ({q.one_line(worst.op, 60)})."
    )


def _doubt_figure(scenario: Scenario, detail: Detail, prefix: str) -> Figure | None:
    found = detail.doubts
    if found is None or not found.rows:
        return None
    first = next(iter(found.goals))
    shown = [doubt for doubt in found.rows if doubt.ratios(first)][:_MOST_RANGES]
    title = q.quantity(first).title
    rows = []
    for doubt in shown:
        by_factor = {c.factor: c.ratio for c in doubt.changes if c.metric == first}
        rows.append(
            Range(
                _doubt_name(doubt),
                [(ratio, f"×{factor:g}: {q.ratio(ratio)}") for factor, ratio in by_factor.items()],
                doubt.matters,
            )
        )
    return ranges(
        f"{prefix}-doubts",
        f"{scenario.title}: what doubtful numbers do to the answer",
        f"{title.capitalize()} of {detail.doubted[0]} over that of {detail.doubted[found.other]} "
        "when a number is halved (circle) or doubled (square), at tile fidelity; the dashed line "
        "is the answer as it stands, a star marks a number that changes which run is best.",
        rows,
        found.ratio,
        f"{title} ratio",
    )


def _doubt_name(doubt: Doubt) -> str:
    return q.one_line(f"{doubt.arch}: {doubt.assumption.path}", 48)


def _doubt_text(detail: Detail) -> str:
    found = detail.doubts
    if found is None:
        return "There is one run, so no number can change an order."
    if not found.rows:
        return "No number of these machines is marked as unverified or assumed."
    many = [doubt for doubt in found.rows if doubt.matters]
    machines = f"{len(found.rows)} unverified or assumed numbers"
    if not many:
        return (
            f"None of the {machines}, halved or doubled alone, changes which run is best in "
            f"{' or '.join(q.quantity(name).title for name in found.goals)}."
        )
    named = ", ".join(_doubt_name(doubt) for doubt in many[:3])
    rest = f" and {len(many) - 3} more" if len(many) > 3 else ""
    return (
        f"Of {machines}, halved or doubled alone, {len(many)} "
        f"{'changes' if len(many) == 1 else 'change'} which run is best: {named}{rest}."
    )


def _doubt_rows(detail: Detail) -> tuple[DoubtRow, ...]:
    found = detail.doubts
    if found is None:
        return ()
    first = next(iter(found.goals))
    rows = []
    for doubt in found.rows:
        ratios = [f"×{c.factor:g}: {q.ratio(c.ratio)}" for c in doubt.changes if c.metric == first]
        effects = [_effect(change, detail.doubted) for change in doubt.changes]
        rows.append(
            DoubtRow(
                doubt.arch,
                doubt.assumption.path,
                f"{doubt.assumption.value:,.6g}",
                doubt.assumption.status,
                ", ".join(ratios),
                "; ".join(effect for effect in effects if effect) or "no change of order",
                doubt.matters,
            )
        )
    return tuple(rows)


def _effect(change: Change, runs: Sequence[str]) -> str:
    title = q.quantity(change.metric).title
    if change.best_changes:
        return f"×{change.factor:g}: {runs[change.best]} becomes best in {title}"
    if change.rank_correlation < 1:
        return f"×{change.factor:g}: order in {title} changes (tau {change.rank_correlation:.2f})"
    return ""


@dataclass(frozen=True)
class Validation:
    """How far the simulations of a report's machine families are from others' numbers."""

    figure: Figure | None
    rows: tuple[Compared, ...]
    missing: tuple[str, ...]
    """Families that nothing is compared with."""


def validation(results: Sequence[Result]) -> Validation:
    """What the package's own comparisons say of the machines of some results."""
    families = list(dict.fromkeys(result.machine for result in results))
    rows = about(families)
    kinds = list(dict.fromkeys(one.suite for one in rows))
    by_group = len(kinds) == 1 and len(rows) <= len(PALETTE)
    if by_group:
        kinds = [q.one_line(one.name, 60) for one in rows]
    spots = [
        Spot(
            theirs,
            ours / theirs,
            i if by_group else kinds.index(one.suite),
            _compared_text(one, ours, theirs),
        )
        for i, one in enumerate(rows)
        for ours, theirs in one.pairs
        if ours > 0 and theirs > 0
    ]
    figure = None
    if spots:
        figure = scatter(
            "validation-scatter",
            "Simulated over published or measured, machine by machine",
            "Each mark is a row of a comparison: on the solid line both numbers are equal, the "
            f"dashed lines are {NEAR:.0%} above and below.",
            spots,
            Axis("published or measured, in the row's unit"),
            Axis("simulated over theirs"),
            kinds=kinds,
            levels=(1.0, 1 + NEAR, 1 - NEAR),
        )
    covered = {family for one in rows for family in one.families}
    return Validation(figure, rows, tuple(f for f in families if f not in covered))


def _compared_text(one: Compared, ours: float, theirs: float) -> str:
    off = q.divide(ours - theirs, theirs)
    return f"{one.suite}, {one.name}: simulated {ours:,.5g}, theirs {theirs:,.5g} ({off:+.1%})"
