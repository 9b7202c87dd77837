"""A bar for work that lasts, shown only to a person who watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Report = Callable[[str, int, int], None]
"""Called with what is being done, how many parts are done, and how many there are."""

PATIENCE_S = 1.0


_RESOLUTION = 1000


def portion(report: Report, name: str, number: int, parts: int) -> Report:
    """A function that takes the reports of part `number` of several and passes on those of all."""

    def of_part(_: str, done: int, total: int) -> None:
        report(name, number * _RESOLUTION + done * _RESOLUTION // total, parts * _RESOLUTION)

    return of_part


def _silent(stage: str, done: int, total: int) -> None:
    pass


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Report]:
    """A function that takes reports and, after a second, draws a bar for whoever watches."""
    if quiet or not sys.stderr.isatty():
        yield _silent
        return
    began = time.monotonic()
    shown: list[Any] = []
    with ExitStack() as stack:

        def report(stage: str, done: int, total: int) -> None:
            if not shown:
                if time.monotonic() - began < PATIENCE_S:
                    return
                from rich.console import Console
                from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

                bar = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    TimeRemainingColumn(),
                    console=Console(stderr=True),
                    transient=True,
                )
                shown.extend((stack.enter_context(bar), bar.add_task("", total=None)))
            shown[0].update(shown[1], description=stage, completed=done, total=total)

        yield report
