"""`codesign validate`: how far simulations are from published or measured numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table
from codesign.cli.suggest import unknown

if TYPE_CHECKING:
    from codesign.measure.suite import ValidationReport


@click.command("validate")
@click.argument("suite", required=False)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A file of the suite's form to compare with. [default: the suite's own rows]",
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
    report = known[suite](data)
    if as_json:
        print_json(_plain(report))
    else:
        _show(report)
    if not report.passed:
        raise click.exceptions.Exit(1)


def _show_suites(known: dict[str, Any], *, as_json: bool) -> None:
    about = {name: (run.__doc__ or "").strip().splitlines()[0] for name, run in known.items()}
    if as_json:
        print_json({"suites": about})
        return
    grid = table("suite", "what it compares", left=2)
    for name, text in about.items():
        grid.add_row(name, text)
    show(grid)


def _plain(report: ValidationReport) -> dict[str, Any]:
    return {
        "suite": report.suite,
        "rows": report.rows,
        "exact_rows": report.exact_rows,
        "max_abs_diff": report.max_abs_diff,
        "mape": report.mape,
        "passed": report.passed,
        "skipped_reason": report.skipped_reason,
        "groups": [asdict(group) for group in report.groups],
    }


def _show(report: ValidationReport) -> None:
    if report.skipped_reason:
        show(f"{report.suite}: skipped, {report.skipped_reason}")
        return
    grid = table("group", "rows", "exact", "largest", "mean", "bound", "note")
    for group in report.groups:
        bound = "" if group.bound is None else f"{group.bound}"
        mean = "" if group.mape is None else f"{group.mape:.2%}"
        largest = f"{group.max_abs_diff:g}"
        counts = (str(group.rows), str(group.exact_rows))
        grid.add_row(group.name, *counts, largest, mean, bound, group.note or "")
    show(grid)
    verdict = "within every stated bound" if report.passed else "OUTSIDE a stated bound"
    mean = "" if report.mape is None else f", mean error {report.mape:.2%}"
    show(f"{report.suite}: {report.exact_rows} of {report.rows} rows exact{mean}; {verdict}")
