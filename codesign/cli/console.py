"""How values are printed: plain consoles, tables, columns of numbers, one JSON object."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Sequence
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ASCII = str.maketrans({"×": "x", "²": "2", "µ": "u", "·": ",", "–": "-", "—": "-", "…": "..."})
_FALLBACK = "codesign.ascii"


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is printed for characters that the terminal's encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_ASCII)
    return lacking.encode("ascii", "backslashreplace").decode(), error.end


def tolerate_encodings() -> None:
    """Make the standard streams print something readable whatever their encoding."""
    codecs.register_error(_FALLBACK, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_FALLBACK)


_WIDEST = 1000


def show(thing: str | Table = "", *narrower: Table, bold: bool = False) -> None:
    """Print to standard output; text is never markup.

    A pipe is 80 columns wide, or as wide as the words of a text or table need: no path is broken.
    A terminal too narrow for a table gets the first of the `narrower` ones that fits, or the last.
    """
    from rich.table import Table

    out = _console()
    if isinstance(thing, Table):
        needed = {grid: least_width(grid) for grid in (thing, *narrower)}
        if sys.stdout.isatty():
            thing = next((grid for grid in needed if needed[grid] <= out.width), [*needed][-1])
        else:
            out.width = max(out.width, needed[thing])
    elif not sys.stdout.isatty():
        out.width = max(out.width, *map(len, thing.split()), 0)
    with out.capture() as captured:
        out.print(thing, style="bold" if bold else None)
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().split("\n")))


def lines(grid: Table) -> list[str]:
    """A table's lines with no cell folded."""
    out = _console()
    out.width = _WIDEST
    with out.capture() as captured:
        out.print(grid)
    return [line.rstrip() for line in captured.get().splitlines()]


def width() -> int:
    """Columns of the terminal; 80 in a pipe."""
    return _console().width


def _console() -> Console:
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def least_width(grid: Table) -> int:
    """Columns that a table needs where every word of its texts stands whole."""
    from rich.measure import Measurement

    out = _console()
    _keep_whole(grid)
    return Measurement.get(out, out.options.update(width=_WIDEST), grid).minimum


def _keep_whole(grid: Table) -> None:
    """Say how wide columns are that do not wrap or are indented: rich measures words alone."""
    from rich.cells import cell_len

    for column in grid.columns:
        texts = [str(each) for each in (column.header, *column.cells)]
        rows = [line for text in texts for line in text.splitlines()]
        if column.no_wrap:
            column.min_width = max(map(cell_len, rows), default=0)
        elif any(row.startswith(" ") for row in rows):
            firsts = (
                row[: len(row) - len(row.lstrip())] + row.split()[0] for row in rows if row.strip()
            )
            column.min_width = max(map(cell_len, firsts), default=0)


def next_step(text: str, *, quiet: bool = False) -> None:
    """Suggest a command on standard error, to people alone."""
    if sys.stderr.isatty() and sys.stdout.isatty() and not quiet:
        sys.stderr.write(f"next: {text}\n")


def table(*columns: str, left: int = 1, title: str | None = None) -> Table:
    """An empty table whose first `left` columns hold text and the others numbers."""
    from rich import box
    from rich.table import Table

    grid = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, name in enumerate(columns):
        if index < left:
            grid.add_column(name, overflow="fold")
        else:
            grid.add_column(name, justify="right", no_wrap=True)
    return grid


def print_json(value: Any) -> None:
    """One JSON object on standard output; numbers that are not finite become null."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False, ensure_ascii=False)
    sys.stdout.write(text + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def in_unit(values: Sequence[float], unit: str, significant: int = 4) -> tuple[str, list[str]]:
    """The SI unit that suits the largest of a column's numbers, and the numbers in it.

    >>> in_unit([0.0042, 0.0001], "s")
    ('ms', ['4.200', '0.100'])
    """
    from codesign.report.quantities import si_scale

    factor, prefixed = si_scale(max(map(abs, values), default=0.0), unit)
    return prefixed, aligned([value * factor for value in values], significant)


def aligned(values: Sequence[float], significant: int = 4) -> list[str]:
    """A column of numbers with the decimals that give the largest its significant digits.

    >>> aligned([12.3456, 0.5, 0.0])
    ['12.35', '0.50', '0']
    """
    largest = max((abs(value) for value in values), default=0.0)
    decimals = significant - 1 - floor(log10(largest)) if largest > 0 else 0
    decimals = min(max(decimals, 0), 9)
    return [f"{value:,.{decimals}f}" if value else "0" for value in values]
