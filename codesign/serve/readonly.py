"""Reading a study's SQLite file while others write it: no lock that they feel, no change."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Query = Callable[[sqlite3.Connection], T]
Stamp = tuple[tuple[int, int] | None, ...]
"""Time of change and size of the file and of its log; equal stamps, equal content."""

_BUSY_S = 2.0
_LONGEST_S = 20.0
_STEPS_BETWEEN_LOOKS = 50_000


def stamp(path: Path) -> Stamp:
    """What changes when a study gets points; None for a file that is not there."""
    return tuple(_mark(each) for each in (path, _log(path)))


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def read(path: Path, query: Query[T]) -> T:
    """What a query finds in one consistent state of the file.

    A file without a log is nobody's: it is read as it lies, which leaves no files beside it and
    works in a folder that cannot be written; if it changed meanwhile, it is read again through the
    log. Raises sqlite3.Error, also for a query of more than 20 s.
    """
    before = stamp(path)
    if before[1] is None:
        try:
            found = _asked(path, "mode=ro&immutable=1", query)
        except sqlite3.Error:
            if stamp(path) == before:
                raise
        else:
            if stamp(path) == before:
                return found
    return _asked(path, "mode=ro", query)


def _asked(path: Path, mode: str, query: Query[T]) -> T:
    late = time.monotonic() + _LONGEST_S
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)) as db:
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA query_only=ON")
        db.set_progress_handler(lambda: time.monotonic() > late, _STEPS_BETWEEN_LOOKS)
        db.execute("BEGIN")
        return query(db)
