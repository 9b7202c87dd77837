"""Rows of a CSV file, read strictly: every fault is told with its file, line and column."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO

from codesign.config import CodesignError, did_you_mean

_MOST = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a file; `cells` by column name, stripped."""

    file: str
    line: int
    cells: Mapping[str, str]

    def fault(self, column: str, rule: str) -> NoReturn:
        """Raise CodesignError that names the cell, and what it holds."""
        held = self.cells[column]
        shown = repr(held[:40]) if held else "nothing"
        raise CodesignError(f"{self.file}:{self.line}: {column}: {rule}, got {shown}")

    def text(self, column: str) -> str:
        return self.cells[column]

    def count(self, column: str, least: int = 1, most: int = _MOST) -> int:
        """A whole number; `8192.0` is one."""
        held = self.cells[column]
        digits, _, zeros = held.partition(".")
        plain = digits.isascii() and digits.isdigit() and len(digits) < 20 and not zeros.strip("0")
        value = int(digits) if plain else -1
        if not least <= value <= most:
            self.fault(column, f"a whole number from {least} to {most}")
        return value

    def number(self, column: str) -> float:
        """A finite number above 0."""
        held = self.cells[column]
        try:
            value = float(held)
        except ValueError:
            value = 0.0
        if not 0 < value < math.inf:
            self.fault(column, "a number above 0")
        return value

    def optional_count(self, column: str, least: int = 0) -> int | None:
        """A whole number, or None where the cell is empty."""
        return self.count(column, least) if self.cells[column] else None

    def choice(self, column: str, known: Sequence[str]) -> str:
        held = self.cells[column]
        if held not in known:
            hint = did_you_mean(held, known)
            self.fault(
                column,
                f"one of {', '.join(known)}" + (f" (did you mean {hint!r}?)" if hint else ""),
            )
        return held


def open_text(path: Path) -> TextIO:
    """A CSV file as text; one whose name ends in `.gz` is unpacked."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A CSV file as text; CodesignError for one that cannot be unpacked or is no UTF-8 text."""
    try:
        with open_text(path) as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CodesignError(f"{path}: not a gzip file ({error})") from None
    except UnicodeDecodeError as error:
        raise CodesignError(f"{path}: not UTF-8 text ({error.reason})") from None


def lacks(path: Path, columns: Sequence[str]) -> list[str]:
    """Those of the columns that the first line of a CSV file does not name."""
    with _opened(path) as file:
        header = {cell.strip() for cell in file.readline().split(",")}
    return [column for column in columns if column not in header]


def read_records(path: Path, columns: Sequence[str]) -> list[Record]:
    """The lines of a CSV file that has at least these columns, in any order.

    Raises CodesignError for a file that is no UTF-8 text, is empty, lacks columns or has one twice,
    and for lines with too few or too many cells.
    """
    name = str(path)
    records: list[Record] = []
    with _opened(path) as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(name, header, columns)
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise CodesignError(
                        f"{name}:{reader.line_num}: {len(row)} cells for {len(header)} columns"
                    )
                cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
                records.append(Record(name, reader.line_num, cells))
        except csv.Error as error:
            raise CodesignError(f"{name}:{reader.line_num}: {error}") from None
    if not records:
        raise CodesignError(f"{name}: no rows below the header")
    return records


def _check_header(name: str, header: Sequence[str], columns: Sequence[str]) -> None:
    if not any(header):
        raise CodesignError(f"{name}: the file is empty; its first line names the columns")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise CodesignError(f"{name}:1: the column {twice[0]!r} comes twice")
    absent = [column for column in columns if column not in header]
    if absent:
        hint = did_you_mean(absent[0], header)
        raise CodesignError(
            f"{name}:1: no column {', '.join(absent)}"
            + (f"; did you mean {absent[0]!r} where it says {hint!r}?" if hint else "")
        )
