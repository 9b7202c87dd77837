"""Machines of the literature against what was published of them, machine by machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from codesign.measure.suite import ValidationReport, suites

_PREFIX = "published_"


def run(path: Path | None) -> ValidationReport:
    """Run every suite `published_MACHINE` and join their reports."""
    names = [name for name in suites() if name.startswith(_PREFIX)]
    return joined([suites()[name].run() for name in names])


def joined(reports: Sequence[ValidationReport]) -> ValidationReport:
    """One report of several, whose groups and sections begin with the machine's name."""
    rows = sum(one.rows for one in reports)
    weighed = [(one.rows, one.mape) for one in reports if one.mape is not None]
    compared = sum(count for count, _ in weighed)
    skipped = [one.skipped_reason for one in reports if one.skipped_reason]
    return ValidationReport(
        suite="published",
        rows=rows,
        exact_rows=sum(one.exact_rows for one in reports),
        max_abs_diff=max((one.max_abs_diff for one in reports), default=0),
        mape=sum(count * mean for count, mean in weighed) / compared if compared else None,
        groups=tuple(
            replace(group, name=f"{_machine(one)}: {group.name}")
            for one in reports
            for group in one.groups
        ),
        passed=all(one.passed for one in reports),
        skipped_reason="; ".join(skipped) or None,
        table=tuple(
            {**row, "section": f"{_machine(one)}: {row.get('section')}"}
            for one in reports
            for row in one.table
        ),
    )


def _machine(report: ValidationReport) -> str:
    return report.suite.removeprefix(_PREFIX)
