"""`codesign validate`: how far simulations are from published or measured numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table
from codesign.cli.suggest import unknown

if TYPE_CHECKING:
    from codesign.measure.suite import Suite, TableRow, ValidationReport

_SHOWN = 40
"""Rows of one section that are printed."""


@click.command("validate")
@click.argument("suite", required=False)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help=(
        "A file of the suite's form to compare with, or a folder that holds it. "
        "[default: the folder CODESIGN_DATA, else the suite's own sample rows]"
    ),
)
@click.option("--list", "as_list", is_flag=True, help="List the suites.")
@options.as_json
def command(suite: str | None, data: Path | None, as_list: bool, as_json: bool) -> None:
    """Compare simulations with published or measured numbers.

    Exits with 1 when a stated bound is missed.
    """
    from codesign.config import CodesignError
    from codesign.measure.suite import suites

    known = suites()
    if as_list:
        _show_suites(known, as_json=as_json)
        return
    if suite is None:
        raise CodesignError(f"name a suite: {', '.join(known)}")
    if suite not in known:
        raise CodesignError(unknown("suite", suite, list(known)))
    if data is not None and not data.exists():
        raise CodesignError(f"--data: there is no file {str(data)!r}")
    report = known[suite].run(data)
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    if not report.passed:
        raise click.exceptions.Exit(1)


def _show_suites(known: dict[str, Suite], *, as_json: bool) -> None:
    about = {name: found.about for name, found in known.items()}
    if as_json:
        print_json({"suites": about})
        return
    grid = table("suite", "what it compares", left=2)
    for name, text in about.items():
        grid.add_row(name, text)
    show(grid)


def _show(report: ValidationReport) -> None:
    grid = table("group", "rows", "exact", "largest", "mean", "bound")
    for group in report.groups:
        mean = "" if group.mape is None else f"{group.mape:.2%}"
        largest = "" if group.mape is None else f"{group.max_abs_diff:,.6g}"
        bound = "" if group.bound is None else f"{group.bound}{'' if group.passed else ' MISSED'}"
        grid.add_row(group.name, str(group.rows), str(group.exact_rows), largest, mean, bound)
    show(grid)
    for group in report.groups:
        if group.note:
            show(f"{group.name}: {group.note}")
    for section, rows in groupby(report.table, key=lambda row: row.get("section")):
        _show_section(str(section), list(rows))
    if report.skipped_reason:
        show(f"\n{report.skipped_reason}")
    verdict = "within every stated bound" if report.passed else "OUTSIDE a stated bound"
    mean = "" if report.mape is None else f", mean error {report.mape:.2%}"
    show(f"\n{report.suite}: {report.exact_rows} of {report.rows} rows exact{mean}; {verdict}")


_FEW = 5
"""With more columns than this, heads stand word under word."""


def _show_section(section: str, rows: Sequence[TableRow]) -> None:
    columns = [name for name in rows[0] if name != "section"]
    left = sum(isinstance(rows[0][name], str) for name in columns)
    show()
    heads = [name.replace(" ", "\n") if len(columns) > _FEW else name for name in columns]
    grid = table(*heads, left=max(1, left), title=section)
    for row in rows[:_SHOWN]:
        grid.add_row(*(_cell(row.get(name)) for name in columns))
    show(grid)
    if len(rows) > _SHOWN:
        show(f"... and {len(rows) - _SHOWN} more (--json has them all)")


def _cell(value: str | int | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else value or ""
