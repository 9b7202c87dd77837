"""What `codesign crossover` prints: speed-ups by size, sentences, layers, and their error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING

from codesign.cli.console import show, table, width
from codesign.crossover import words
from codesign.crossover.curve import Curve, Point, Verdict
from codesign.crossover.layers import Gain, Keeping
from codesign.crossover.trust import Trust
from codesign.crossover.words import MARKS, Axis
from codesign.measure.gpu_standings import BUCKETS, Standing, bucket_name
from codesign.report import quantities as q

if TYPE_CHECKING:
    from rich.table import Table

_CELL = 6
"""Columns of a ratio with its mark and the space before it."""
_LEGEND = {
    Verdict.LOSES: "- loses",
    Verdict.CLOSE: "? too close to call, within the error",
    Verdict.SAME: "= no difference",
}


@dataclass(frozen=True)
class Answer:
    """All that is said of one workload; `gains` and `keeps` belong to the curves in order."""

    title: str
    axis: Axis
    curves: Sequence[Curve]
    gains: Sequence[Sequence[Gain]]
    keeps: Sequence[Sequence[Keeping]]
    notes: Sequence[str]


def show_answer(answer: Answer, *, energy: bool) -> None:
    """Print all of it."""
    show(answer.title, bold=True)
    _show_ratios(answer, "speed-up over dense", _speedup, answer.curves)
    verdicts = {curve.verdict(point) for curve in answer.curves for point in curve.points}
    layers = [rows if len(rows) > 1 else () for rows in answer.gains]
    verdicts |= {one for rows in layers for row in rows for one in row.verdicts}
    if legend := [text for verdict, text in _LEGEND.items() if verdict in verdicts]:
        show("; ".join(legend))
    if energy:
        _show_energies(answer)
    show()
    for curve in answer.curves:
        show(f"{words.pays(curve, answer.axis)} {words.bounds(curve, answer.axis)}")
        if energy:
            show(words.energy(curve, answer.axis))
    for curve, rows, keeps in zip(answer.curves, layers, answer.keeps, strict=True):
        if rows:
            _show_layers(curve, rows, answer.axis)
            for line in words.kept_dense(keeps, answer.axis):
                show(line)
    _show_trust([curve.trust for curve in answer.curves])
    if answer.notes:
        show("\nnotes", bold=True)
    for note in answer.notes:
        show(f"- {note}")


def _show_energies(answer: Answer) -> None:
    _show_ratios(
        answer, "energy over dense", lambda _, point: _text(point.energy_ratio), answer.curves
    )
    boards = [curve for curve in answer.curves if curve.points[0].board_energy_ratio is not None]
    _show_ratios(
        answer, "energy at the board over dense",
        lambda _, point: _text(point.board_energy_ratio or 0.0), boards,
    )  # fmt: skip
    show("no measurement says how far energies are off")


def _show_ratios(
    answer: Answer, what: str, text: Callable[[Curve, Point], str], curves: Sequence[Curve]
) -> None:
    for sparsity, alike in groupby(curves, key=lambda curve: curve.sparsity):
        members = list(alike)
        lines = [(curve.arch, [text(curve, point) for point in curve.points]) for curve in members]
        show(f"\n{sparsity}: {what} by {answer.axis.name}")
        for grid in _bands([point.size for point in members[0].points], lines):
            show(grid)


def _bands(sizes: Sequence[int], lines: Sequence[tuple[str, Sequence[str]]]) -> list[Table]:
    """A table with a column for each size, cut into several where that is too wide."""
    name = max(len(label) for label, _ in lines)
    cell = max(_CELL, 1 + max(len(f"{size}") for size in sizes))
    most = max(1, (width() - name) // cell)
    wide = ceil(len(sizes) / ceil(len(sizes) / most))
    grids = []
    for first in range(0, len(sizes), wide):
        here = slice(first, first + wide)
        grid = table("", *(str(size) for size in sizes[here]))
        grid.padding = 0
        for label, cells in lines:
            grid.add_row(label, *cells[here])
        grids.append(grid)
    return grids


def _speedup(curve: Curve, point: Point) -> str:
    return _text(point.speedup) + MARKS[curve.verdict(point)]


def _text(ratio: float) -> str:
    return q.ratio(ratio).removesuffix("×")


def _show_layers(curve: Curve, rows: Sequence[Gain], axis: Axis) -> None:
    lines = [
        (
            row.where,
            [_text(r) + MARKS[v] for r, v in zip(row.speedups, row.verdicts, strict=True)],
        )
        for row in rows
    ]
    show(f"\n{curve.label}: speed-up of layers by {axis.name}")
    for grid in _bands([point.size for point in curve.points], lines):
        show(grid)


def _show_trust(trusts: Sequence[Trust]) -> None:
    found = [one for i, one in enumerate(trusts) if one not in trusts[:i]]
    known = [one for one in found if one.standings]
    show("\nhow far speed-ups are off", bold=True)
    if known:
        show(_errors(known))
        least = min(one.least_rows for trust in known for one in trust.standings)
        show(
            "mean error of the speed-up of measured products of m tokens, and of how many the "
            f"faster kernel was named (`codesign validate gpu`); none has under {least}"
        )
    for one in found:
        if one.remark:
            show(f"{_star(one)}{one.machine}: {one.remark}")


def _errors(known: Sequence[Trust]) -> Table:
    every = [one for trust in known for one in trust.standings]
    buckets = [bucket for bucket in BUCKETS if any(_in(one, bucket) for one in every)]
    grid = table("", *(bucket_name(*bucket) for bucket in buckets))
    for trust in known:
        cells = [
            "".join(
                f"{q.share(one.error)}, {one.right} of {one.products}"
                for one in trust.standings
                if _in(one, bucket)
            )
            for bucket in buckets
        ]
        kind = trust.standings[0]
        grid.add_row(f"{_star(trust)}{trust.machine} {kind.dtype} {kind.pattern}", *cells)
    return grid


def _star(trust: Trust) -> str:
    """Marks the errors of a machine that are not its own."""
    return "* " if trust.standings and not trust.calibrated else ""


def _in(one: Standing, bucket: tuple[int, int]) -> bool:
    return bucket[0] <= one.most_rows <= bucket[1]
