"""`codesign validate`: how far simulations are from published or measured numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli import options
from codesign.cli.console import least_width, lines, print_json, show, table, width
from codesign.cli.suggest import unknown

if TYPE_CHECKING:
    from rich.table import Table

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
_LONG = 24
"""Characters of a text that still stands in a column after numbers."""
_NOTE = "note "
"""Head of the numbers of texts below a table; no column of a suite ends with a blank."""


def _show_section(section: str, rows: Sequence[TableRow]) -> None:
    """Print a table; long texts after its numbers stand below it.

    One that is too wide is put under a heading for each value of its first column, with all that
    is the same below it.
    """
    from codesign.measure.suite import cell_text

    columns = [name for name in rows[0] if name != "section"]
    shown = [{name: cell_text(row.get(name)) for name in columns} for row in rows[:_SHOWN]]
    texts = [name for name in columns if isinstance(rows[0][name], str)]
    leading = [*takewhile(texts.__contains__, columns)]
    told = [
        name
        for name in texts
        if name not in leading and any(len(cells[name]) > _LONG for cells in shown)
    ]
    notes = _notes(shown, told)
    kept = [name for name in columns if name not in told]
    show()
    grid = _grid(section, kept, leading, texts, shown)
    same = _same_below_first(leading, shown) if least_width(grid) > width() else []
    if len(same) > 1:
        _show_grouped(section, [name for name in kept if name not in same], same, texts, shown)
    else:
        show(grid)
    for number, text in enumerate(notes, 1):
        show(f"{number}: {text}")
    if len(rows) > _SHOWN:
        show(f"... and {len(rows) - _SHOWN} more (--json has them all)")


def _notes(shown: Sequence[dict[str, str]], told: Sequence[str]) -> list[str]:
    """Texts that rows share, each of which gets the number of its own as `note`."""
    found: list[str] = []
    for cells in shown if told else ():
        text = "; ".join(f"{name}: {cells[name]}" for name in told if cells[name])
        if text and text not in found:
            found.append(text)
        cells[_NOTE] = str(found.index(text) + 1) if text else ""
    return found


def _grid(
    section: str | None,
    columns: Sequence[str],
    leading: Sequence[str],
    texts: Sequence[str],
    shown: Sequence[dict[str, str]],
) -> Table:
    names = [*columns, *([_NOTE] if _NOTE in shown[0] else [])]
    grid = table(
        *(_head(name, names, shown) for name in names), left=max(1, len(leading)), title=section
    )
    for column, name in zip(grid.columns, names, strict=True):
        if name in texts:
            column.justify = "left"
    for cells in shown:
        grid.add_row(*(cells[name] for name in names))
    return grid


def _head(name: str, names: Sequence[str], shown: Sequence[dict[str, str]]) -> str:
    narrow = max(len(cells[name]) for cells in shown) < len(name)
    return name.strip().replace(" ", "\n") if narrow and len(names) > _FEW else name.strip()


def _same_below_first(leading: Sequence[str], shown: Sequence[dict[str, str]]) -> list[str]:
    """The leading columns whose value the first column's decides."""
    return [
        name
        for name in leading
        if len({(cells[leading[0]], cells[name]) for cells in shown})
        == len({cells[leading[0]] for cells in shown})
    ]


def _show_grouped(
    section: str,
    columns: Sequence[str],
    same: Sequence[str],
    texts: Sequence[str],
    shown: Sequence[dict[str, str]],
) -> None:
    groups: dict[str, list[dict[str, str]]] = {}
    for cells in shown:
        groups.setdefault(" · ".join(cells[name] for name in same), []).append(cells)
    ordered = [cells for group in groups.values() for cells in group]
    leading = [*takewhile(texts.__contains__, columns)]
    printed = lines(_grid(None, columns, leading, texts, ordered))
    rows = iter(printed[len(printed) - len(ordered) :])
    show(section, bold=True)
    for line in printed[: len(printed) - len(ordered)]:
        show(line)
    for heading, group in groups.items():
        show(heading)
        for _ in group:
            show(next(rows))
