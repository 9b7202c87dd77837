"""Tables of design points, and what is said where no point will do."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING

from codesign.cli.console import table
from codesign.cli.headings import in_lines, legend, short_names

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.sweep.store import Row
    from codesign.sweep.study import Study

_WIDE = 8
"""Columns of a table beyond which they stand close."""


def points_table(parameters: Sequence[str], figures: Sequence[str]) -> Table:
    """A table without rows: a point's number, parameters and figures; below it what the short
    names of parameters stand for.
    """
    short = short_names(parameters)
    heads = [name.replace("_", "\n") for name in figures]
    grid = table("point", *map(in_lines, short.values()), *heads, left=1 + len(parameters))
    grid.caption, grid.caption_justify = legend(short), "left"
    if len(grid.columns) > _WIDE:
        grid.padding = 0
    return grid


def front_table(rows: Sequence[Row], study: Study) -> Table:
    """One line for each point: its number, its parameters, the metrics that are wanted."""
    from codesign.sweep.limits import parse_limit

    limited = [parse_limit(text).figure for text in study.constraints]
    metrics = list(dict.fromkeys([*study.metrics, *limited]))
    parameters = list(study.parameters)
    grid = points_table(parameters, metrics)
    several = len({row.fidelity for row in rows}) > 1
    for row in rows:
        values = [value_text(row.values.get(path, "-")) for path in parameters]
        figures = [f"{row.metrics[name]:.4g}" if name in row.metrics else "-" for name in metrics]
        point = f"{row.number} {row.fidelity}" if several else str(row.number)
        grid.add_row(point, *values, *figures)
    return grid


def value_text(value: object) -> str:
    """A parameter's value in a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def nothing_kept(rows: Sequence[Row], constraints: Sequence[str]) -> str:
    """What is said of points of which none is on the front: the nearest, and what it breaks."""
    from codesign.sweep.run import nearest

    found = nearest(rows, constraints)
    if found is None:
        return "no point was evaluated without an error; --failed says why" if rows else "no points"
    row, broken = found
    values = ", ".join(f"{path}={value_text(value)}" for path, value in row.values.items())
    breaks = [
        f"{limit.figure} is {row.numbers.get(limit.figure, nan):.4g}, not {limit.sign} "
        f"{limit.value:g}"
        for limit in broken
    ]
    return (
        f"no point keeps all constraints; nearest is point {row.number} ({values}):\n"
        + "\n".join(f"  {line}" for line in breaks)
    )
