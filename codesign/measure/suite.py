"""What a validation says: groups of compared rows with their bounds; and which suites there are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from math import inf
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import codesign.measure
from codesign.config import CodesignError

DATA = "CODESIGN_DATA"
"""Environment variable: a folder with the files that suites compare with."""

_PREFIX = "validate_"

MOST_PAIRS = 48
"""Rows of a group whose numbers are kept for figures."""

TableRow = dict[str, str | int | float | None]


def cell_text(value: str | int | float | None) -> str:
    """A value of a table as pages and terminals show it."""
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else value or ""


@dataclass(frozen=True, slots=True)
class Group:
    """Compared rows of one kind; `mape` is a fraction, None where nothing was compared."""

    name: str
    rows: int
    exact_rows: int
    max_abs_diff: float
    mape: float | None
    bound: str | None
    """What is demanded of the rows, in words; None states no bound."""
    passed: bool
    note: str = ""
    pairs: tuple[tuple[float, float], ...] = ()
    """Ours and theirs of each row, for figures; of many rows, evenly chosen ones."""


@dataclass(frozen=True)
class ValidationReport:
    """One suite's answer; rows, differences and errors are those of the groups that it counts.

    Groups beside them (trends, rows that were left out, other quantities of the same rows) have
    figures of their own. `table` holds printable rows; neighbours of the same `section` belong
    together.
    """

    suite: str
    rows: int
    exact_rows: int
    max_abs_diff: float
    mape: float | None
    groups: tuple[Group, ...]
    passed: bool
    skipped_reason: str | None = None
    """What larger comparison was not made, and why."""
    table: tuple[TableRow, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, field for field, without the pairs of the groups."""
        plain = asdict(self)
        for group in plain["groups"]:
            del group["pairs"]
        return plain


def compare(
    name: str,
    pairs: Iterable[tuple[float, float]],
    *,
    within: float | None = None,
    note: str = "",
) -> Group:
    """A group from pairs of (ours, theirs), with the mean relative error bounded by `within`.

    `within` 0 demands that every pair is equal; None demands nothing.

    >>> compare("cycles", [(100, 100), (99, 110)], within=0.1).max_abs_diff
    11
    """
    found = list(pairs)
    apart = [abs(ours - theirs) for ours, theirs in found]
    relative = [_relative(ours, theirs) for ours, theirs in found]
    largest = max(apart, default=0)
    mean = sum(relative) / len(relative) if relative else None
    return Group(
        name=name,
        rows=len(found),
        exact_rows=sum(difference == 0 for difference in apart),
        max_abs_diff=largest,
        mape=mean,
        bound=None if within is None else _in_words(within),
        passed=within is None or (largest == 0 if within == 0 else (mean or 0.0) <= within),
        note=note,
        pairs=tuple(found[:: -(-len(found) // MOST_PAIRS)] if found else ()),
    )


def left_out(name: str, rows: int, why: str) -> Group:
    """A group of rows that were not compared."""
    return Group(f"left out: {name}", rows, 0, 0, None, None, True, why)


def _relative(ours: float, theirs: float) -> float:
    if ours == theirs:
        return 0.0
    return abs(ours - theirs) / abs(theirs) if theirs else inf


def _in_words(within: float) -> str:
    return "difference 0" if within == 0 else f"mean error at most {within:.0%}"


def report(
    suite: str,
    counted: Sequence[Group],
    beside: Sequence[Group] = (),
    *,
    skipped_reason: str | None = None,
    table: Sequence[TableRow] = (),
) -> ValidationReport:
    """The report whose totals are those of the `counted` groups; groups without rows are left out.

    A bound that is missed in any group, counted or beside, fails the whole.
    """
    groups = tuple(group for group in (*counted, *beside) if group.rows)
    weighed = [(group.rows, group.mape) for group in counted if group.mape is not None]
    rows = sum(group.rows for group in counted)
    return ValidationReport(
        suite=suite,
        rows=rows,
        exact_rows=sum(group.exact_rows for group in counted),
        max_abs_diff=max((group.max_abs_diff for group in counted), default=0),
        mape=sum(n * mean for n, mean in weighed) / rows if weighed else None,
        groups=groups,
        passed=all(group.passed for group in groups),
        skipped_reason=skipped_reason if rows else skipped_reason or "no row could be compared",
        table=tuple(table),
    )


@dataclass(frozen=True)
class Suite:
    """A comparison by name: a module `validate_NAME` with `run(path) -> ValidationReport`.

    Its `DATA_FILE` names the file that it looks for in a folder; without one it takes no data. One
    with `TAKES_FOLDER` reads a folder: that of the name DATA_FILE, or the given one.
    """

    name: str

    @cached_property
    def _module(self) -> ModuleType:
        return import_module(f"{codesign.measure.__name__}.{_PREFIX}{self.name}")

    @property
    def about(self) -> str:
        """One line: what is compared."""
        return (self._module.__doc__ or "").strip().split("\n")[0]

    @property
    def data_file(self) -> str | None:
        return getattr(self._module, "DATA_FILE", None)

    def run(self, data: Path | None = None) -> ValidationReport:
        """Compare with the rows of a file or folder, of the folder CODESIGN_DATA, or our own.

        Raises CodesignError for a path that is not there and for faults of the file.
        """
        return self._module.run(self._file(data))  # type: ignore[no-any-return]

    def _file(self, data: Path | None) -> Path | None:
        if self.data_file is None:
            if data is not None:
                raise CodesignError(f"suite {self.name} takes no data: its numbers are published")
            return None
        if data is None:
            folder = os.environ.get(DATA)
            if not folder:
                return None
            data = Path(folder)
            if not data.is_dir():
                raise CodesignError(f"{DATA}: there is no folder {folder!r}")
            file = data / self.data_file
            return file if file.exists() else None
        file = data / self.data_file if data.is_dir() else data
        if not file.exists() and getattr(self._module, "TAKES_FOLDER", False):
            file = data
        if not file.exists():
            raise CodesignError(f"--data: there is no file {str(file)!r}")
        return file


def suites() -> dict[str, Suite]:
    """Every suite by name: the modules `validate_*` of this package; none is imported yet."""
    names = sorted(
        info.name.removeprefix(_PREFIX)
        for info in iter_modules(codesign.measure.__path__)
        if info.name.startswith(_PREFIX)
    )
    return {name: Suite(name) for name in names}


def without_data(file: str) -> str:
    """Why only the package's own rows were compared."""
    return (
        f"no {file} was given (--data, or a folder in {DATA}): only the package's own sample rows "
        "are compared"
    )
