"""What a report says of a sweep: its answer, its front, its tables, its points."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from codesign.report import quantities as q
from codesign.report.embedded import embeddable, points_data
from codesign.report.points import (
    Group,
    Points,
    design,
    design_text,
    difference_text,
    keeps_limits,
    short,
    shown,
    telling_parameter,
    value,
)
from codesign.report.reproduce import tokens
from codesign.report.rows import count
from codesign.report.scatter import Axis, Spot, scatter
from codesign.report.study import geometric_mean
from codesign.report.svg import PALETTE, Figure
from codesign.sweep.analysis import normalised
from codesign.sweep.store import Row

MOST_GROUPS = 4
"""Groups whose front a report lists; of more, evenly chosen ones."""
_MOST_ROWS = 16


@dataclass(frozen=True, slots=True)
class FrontRow:
    """A point of a front as a line of a table."""

    number: int
    cells: tuple[str, ...]
    marks: str
    command: str


@dataclass(frozen=True, slots=True)
class FrontTable:
    """The front of one group."""

    title: str
    facts: str
    head: tuple[str, ...]
    """The point, its figures, its parameters; what it is comes last."""
    rows: tuple[FrontRow, ...]


@dataclass(frozen=True)
class SweepPart:
    """One study, worked out."""

    points: Points
    facts: str
    sentences: tuple[str, str, str]
    hero: Figure
    fronts: tuple[FrontTable, ...]
    shares: tuple[tuple[str, tuple[str, ...]], ...]
    """Parameter, and how much of each metric it explains by itself."""
    machines: tuple[tuple[str, str, str, str], ...]
    """At equal area: machine, points, runs per second and mm², ratio to the first."""
    failures: tuple[tuple[int, str], ...]
    data: str
    left_out: int
    """Points of the study that `data` has no room for."""

    @property
    def metric_titles(self) -> tuple[str, ...]:
        return tuple(q.quantity(name).title for name in self.points.study.metrics)


def sweep_part(found: Points, index: int = 0) -> SweepPart:
    """Work out the part of a report that is about one study, the report's `index`-th."""
    data = points_data(found)
    return SweepPart(
        found,
        _facts(found),
        _sentences(found),
        front_figure(found, f"front-{index + 1}"),
        tuple(_front_table(found, group) for group in detailed(found)),
        tuple(
            (path, tuple(q.share(part) for part in parts.values()))
            for path, parts in found.shares.items()
        ),
        _machines(found),
        tuple((row.number, q.one_line(row.error or "", 300)) for row in found.failed[:_MOST_ROWS]),
        embeddable(data),
        data["left_out"],
    )


def detailed(found: Points) -> tuple[Group, ...]:
    """The groups that are shown in detail."""
    groups = found.groups
    if len(groups) <= MOST_GROUPS:
        return groups
    places = sorted({i * (len(groups) - 1) // (MOST_GROUPS - 1) for i in range(MOST_GROUPS)})
    return tuple(groups[i] for i in places)


def picked(found: Points, group: Group) -> list[tuple[str, Row]]:
    """The points of a group that are followed operator by operator, each with what it is.

    The baseline comes first; then the best of the first metric, the knee and, where there is one
    group only, the best of the other metrics.
    """
    goals = list(found.study.metrics.items())
    chosen = {group.baseline.key: ("baseline", group.baseline)}
    wanted = [("best " + q.quantity(goals[0][0]).title, group.best(*goals[0]))]
    if group.knee is not None:
        wanted.append(("knee", group.knee))
    if len(found.groups) == 1:
        wanted += [("best " + q.quantity(name).title, group.best(name, g)) for name, g in goals[1:]]
    for what, row in wanted:
        if group.front:
            chosen.setdefault(row.key, (what, row))
    return list(chosen.values())


def _facts(found: Points) -> str:
    study = found.study
    closeness = Counter(row.fidelity for row in found.rows)
    followed = " and ".join(f"{n:,} at {name} fidelity" for name, n in closeness.items())
    failed = f", {len(found.failed):,} failed" if found.failed else ""
    groups = f" in {len(found.groups):,} workloads" if len(found.groups) > 1 else ""
    limits = f"; limits: {', '.join(study.constraints)}" if study.constraints else ""
    return (
        f"{len(found.rows) + len(found.failed):,} points{groups} ({followed}{failed}), chosen by "
        f"{study.method}, over {len(study.parameters)} parameters{limits}."
    )


def _sentences(found: Points) -> tuple[str, str, str]:
    if not any(group.front for group in found.groups):
        limits = ", ".join(found.study.constraints)
        return (
            f"No point keeps the limits ({limits}).",
            "There is no front to show.",
            _explained(found),
        )
    if len(found.groups) == 1:
        return *_single(found, found.groups[0]), _explained(found)
    return *_several(found), _explained(found)


def _single(found: Points, group: Group) -> tuple[str, str]:
    name, goal = next(iter(found.study.metrics.items()))
    known = q.quantity(name)
    best, base = group.best(name, goal), group.baseline
    designs = len({row.number for row in group.rows})
    verb = "lowest" if goal == "minimize" else "highest"
    within = " within the limits" if found.study.constraints else ""
    first = (
        f"Point {best.number} has the {verb} {known.title}{within} of {count(designs, 'design')} "
        f"for {group.title}: {known.text(value(best, name))}"
    )
    if best.key == base.key:
        first += f" ({design_text(best)}); it is also the design to compare with."
        its = ""
    else:
        apart = _apart(q.divide(value(best, name), value(base, name)))
        first += f", {apart} the {known.text(value(base, name))} of point {base.number}."
        its = f"It has {difference_text(best, base)}. "
    if len(group.front) == 1 or group.knee is None:
        return first, f"{its}No other design is better in any wanted figure."
    figures = ", ".join(
        f"{q.quantity(m).title} {q.quantity(m).text(value(group.knee, m))}"
        for m in found.study.metrics
    )
    return first, (
        f"{its}{len(group.front):,} designs form the front; its knee, which gives up least of all "
        f"figures at once, is point {group.knee.number}: {figures}."
    )


def _apart(ratio: float) -> str:
    """How far a figure is from another one."""
    if not math.isfinite(ratio) or ratio <= 0:
        return "not comparable with"
    if ratio == 1:
        return "equal to"
    return f"{q.ratio(1 / ratio)} less than" if ratio < 1 else f"{q.ratio(ratio)} as much as"


def _several(found: Points) -> tuple[str, str]:
    name, goal = next(iter(found.study.metrics.items()))
    known = q.quantity(name)
    with_front = [group for group in found.groups if group.front]
    wins = Counter(design(group.best(name, goal)) for group in with_front)
    often = max(wins.values())
    winner = max((d for d in wins if wins[d] == often), key=lambda d: -_mean(found, d, name))
    example = next(g.best(name, goal) for g in with_front if design(g.best(name, goal)) == winner)
    base = design_text(found.groups[0].baseline)
    verb = "lowest" if goal == "minimize" else "highest"
    mean = _mean(found, winner, name)
    first = (
        f"The design with {design_text(example)} has the {verb} {known.title} in {often} of "
        f"{len(found.groups)} workloads; "
    )
    if winner == design(found.groups[0].baseline):
        first += "it is also the design that others are measured against."
    else:
        first += f"its {known.title} is {_apart(mean)} that of {base} in the geometric mean."
    if often < len(with_front):
        rest = [(d, n) for d, n in wins.most_common() if d != winner]
        other = next(
            g.best(name, goal) for g in with_front if design(g.best(name, goal)) == rest[0][0]
        )
        second = f"The one with {design_text(other)} has it in {rest[0][1]}"
        second += f", {len(rest) - 1} other designs in the rest" if len(rest) > 1 else ""
    else:
        second = "No other design has it anywhere"
    sizes = [len(group.front) for group in found.groups]
    between = (
        f"{min(sizes)}" if min(sizes) == max(sizes) else f"between {min(sizes)} and {max(sizes)}"
    )
    noun = "point" if max(sizes) == 1 else "points"
    return first, f"{second}; each workload's front has {between} {noun}."


def _mean(found: Points, wanted: tuple[tuple[str, Any], ...], name: str) -> float:
    """Geometric mean over groups of a design's figure over its baseline's."""
    ratios = []
    for group in found.groups:
        rows = [row for row in group.rows if design(row) == wanted]
        if rows:
            ratios.append(q.divide(value(rows[-1], name), value(group.baseline, name)))
    return geometric_mean(ratios)


def _explained(found: Points) -> str:
    told = []
    for name in found.study.metrics:
        shares = {path: parts[name] for path, parts in found.shares.items()}
        if shares and max(shares.values()) > 0:
            path = max(shares, key=lambda p: shares[p])
            told.append((q.quantity(name).title, f"{short(path)} ({q.share(shares[path])})"))
    if not told:
        return "No parameter explains by itself how the points differ."
    (title, path), rest = told[0], [f"{title} on {path}" for title, path in told[1:]]
    listed = f"{title.capitalize()} depends most on {path}"
    if rest:
        listed = f"{', '.join([listed, *rest[:-1]])} and {rest[-1]}"
    return f"{listed}: what a parameter explains by itself of the variance between designs."


def front_figure(found: Points, name: str) -> Figure:
    """The first two wanted figures of all points, and the front where they are all that counts."""
    metrics = list(found.study.metrics)
    across = metrics[0]
    up = (
        metrics[1]
        if len(metrics) > 1
        else next((m for m in ("energy_j", "area_mm2", "power_w") if m != across), across)
    )
    kinds, kind_of = _kinds(found)
    fronts = {row.key for group in found.groups for row in group.front}
    spots = [
        Spot(
            value(row, across),
            value(row, up),
            kind_of(row),
            _tip(found, row),
            row.key in fronts,
        )
        for row in found.rows
    ]
    lines = []
    if len(metrics) == 2 and len(found.groups) <= len(PALETTE):
        lines = [
            [(value(row, across), value(row, up)) for row in group.front]
            for group in found.groups
            if len(group.front) > 1
        ]
    known = q.quantity(across), q.quantity(up)
    drawn = "The line joins the front" if lines else "Large marks are on a front"
    hidden = " Marks that would hide each other are drawn once."
    return scatter(
        name,
        f"{known[1].title.capitalize()} over {known[0].title}, {len(found.rows):,} points",
        f"{drawn}; colour and shape: {_kind_title(found)}.{hidden}",
        spots,
        Axis.of(known[0]),
        Axis.of(known[1]),
        kinds=kinds,
        lines=lines,
    )


def _tip(found: Points, row: Row) -> str:
    figures = ", ".join(
        f"{q.quantity(m).title} {q.quantity(m).text(value(row, m))}" for m in found.metrics
    )
    return f"point {row.number}: {figures}; {design_text(row)}"


def _kind_title(found: Points) -> str:
    path = telling_parameter(found)
    return "all alike" if path is None else short(path)


def _kinds(found: Points) -> tuple[list[str], Any]:
    path = telling_parameter(found)
    if path is None:
        return ["points"], lambda _: 0
    kinds = list(dict.fromkeys(shown(row.values.get(path)) for row in found.rows))
    return kinds, lambda row: kinds.index(shown(row.values.get(path)))


def _front_table(found: Points, group: Group) -> FrontTable:
    equal_area = all(name in group.baseline.metrics for name in ("latency_s", "area_mm2"))
    metrics = found.metrics
    paths = found.design_parameters
    rows = list(group.front[:_MOST_ROWS])
    for extra in (group.knee, group.baseline):
        if extra is not None and extra.key not in {row.key for row in rows}:
            rows.append(extra)
    marked = {group.baseline.key: "baseline"}
    best = {
        group.best(name, goal).key: f"best {q.quantity(name).title}"
        for name, goal in reversed(found.study.metrics.items())
    }
    table = []
    for row in rows:
        marks = [best.get(row.key) if group.front else None, marked.get(row.key)]
        if group.knee is not None and row.key == group.knee.key:
            marks.append("knee")
        if row.key not in {other.key for other in group.front}:
            marks.append("not on the front" if keeps_limits(row, found.study) else "breaks limits")
        figures = [q.quantity(name).text(value(row, name)) for name in metrics]
        if equal_area:
            figures.append(q.ratio(_per_area(row) / _per_area(group.baseline)))
        table.append(
            FrontRow(
                row.number,
                (*figures, *(shown(row.values.get(path)) for path in paths)),
                ", ".join(mark for mark in marks if mark),
                " ".join(tokens(row, found.study)),
            )
        )
    left = len(group.front) - min(len(group.front), _MOST_ROWS)
    facts = f"{len(group.front):,} of {len(group.rows):,} points are on the front"
    return FrontTable(
        group.title,
        facts + (f"; {left:,} of them are in the table of all points only." if left else "."),
        (
            "point",
            *(q.quantity(name).title for name in metrics),
            *(("speed at equal area",) if equal_area else ()),
            *map(short, paths),
        ),
        tuple(table),
    )


def _per_area(row: Row) -> float:
    taken = value(row, "latency_s") * value(row, "area_mm2")
    batch = float(row.config["workload"].get("batch") or 1)
    return q.divide(batch, taken) if taken else math.nan


def _machines(found: Points) -> tuple[tuple[str, str, str, str], ...]:
    """Machines at equal area, where a study of one workload has several."""
    names = {str(row.config["arch"]["name"]) for row in found.rows}
    if len(found.groups) > 1 or len(names) < 2:
        return ()
    ranked = normalised(found.rows, found.study, "area")
    return tuple(
        (
            str(one["arch"]),
            f"{one['points']:,}, best is {one['best']}",
            q.significant(one["runs_per_s"]),
            q.ratio(one["ratio"]),
        )
        for one in ranked
    )
