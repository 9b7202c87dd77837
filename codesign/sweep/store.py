"""One SQLite file for each study: every point with its configuration and its outcome, once."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codesign.config import CodesignError

FORMAT = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS study (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS points (
    key TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    fidelity TEXT NOT NULL,
    "values" TEXT NOT NULL,
    config TEXT NOT NULL,
    metrics TEXT NOT NULL,
    error TEXT,
    seed INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    arch_fingerprint TEXT NOT NULL,
    trace_fingerprint TEXT NOT NULL,
    version TEXT NOT NULL,
    stored_at REAL NOT NULL
);
"""
_COLUMNS = (
    "key", "number", "fidelity", '"values"', "config", "metrics", "error", "seed", "duration_s",
    "arch_fingerprint", "trace_fingerprint", "version",
)  # fmt: skip
_BUSY_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """A point and what became of it."""

    key: str
    number: int
    fidelity: str
    values: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    error: str | None
    seed: int
    duration_s: float
    arch_fingerprint: str
    trace_fingerprint: str
    version: str
    texts: tuple[str, str, str] | None = field(default=None, repr=False, compare=False)
    """Values, configuration and metrics as JSON, where that is at hand."""

    @property
    def numbers(self) -> dict[str, float]:
        """What limits can be set on: parameters that are numbers, metrics, number, duration."""
        own = {name: v for name, v in self.values.items() if isinstance(v, int | float)}
        return {**own, **self.metrics, "number": self.number, "duration_s": self.duration_s}


class Store:
    """The points of one study; several processes may read and add at once.

    A commit is complete or absent whatever kills the process. Every method raises CodesignError
    with the file's name when the disk, the permissions or the file's content do not allow what it
    does.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        if not create and not path.is_file():
            raise CodesignError(f"{path}: there is no study here")
        if path.is_dir():
            raise CodesignError(f"{path} is a folder; name the file of a study")
        if create:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CodesignError(f"{path.parent}: {error.strerror}") from None
        with self._explained():
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            try:
                self._open(create)
            except BaseException:
                self._db.close()
                raise

    def _open(self, create: bool) -> None:
        check = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise CodesignError(f"{self.path}: the study is damaged ({check}); {_RESCUE}")
        if not create:
            found = self._db.execute(
                "SELECT count(*) FROM sqlite_master WHERE name IN ('study', 'points')"
            ).fetchone()[0]
            if found != 2:
                raise CodesignError(f"{self.path} is a database, but not of a study")
        else:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)
            self._db.execute("INSERT OR IGNORE INTO study VALUES ('format', ?)", (str(FORMAT),))
        given = self.note("format")
        if given != str(FORMAT):
            raise CodesignError(
                f"{self.path} has format {given}, this version of codesign reads format {FORMAT}"
            )

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, key: str) -> str | None:
        """A text that was kept beside the points."""
        with self._explained():
            found = self._db.execute("SELECT value FROM study WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def keep(self, key: str, text: str) -> None:
        """Keep a text beside the points, in place of an earlier one of the same name."""
        with self._explained():
            self._db.execute("INSERT OR REPLACE INTO study VALUES (?, ?)", (key, text))

    def add(self, rows: Sequence[Row]) -> int:
        """Add rows in one transaction and return how many were written.

        A point that is there already stays as it is, unless it failed and the new row did not.
        """
        if not rows:
            return 0
        now = time.time()
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        with self._explained():
            before = self._db.total_changes
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    f"INSERT INTO points ({', '.join(_COLUMNS)}, stored_at) VALUES ({marks}) "
                    "ON CONFLICT (key) DO UPDATE SET metrics = excluded.metrics, "
                    "error = excluded.error, duration_s = excluded.duration_s, "
                    "arch_fingerprint = excluded.arch_fingerprint, "
                    "trace_fingerprint = excluded.trace_fingerprint, "
                    "stored_at = excluded.stored_at "
                    "WHERE points.error IS NOT NULL AND excluded.error IS NULL",
                    [(*_packed(row), now) for row in rows],
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            return self._db.total_changes - before

    def find(self, keys: Sequence[str]) -> dict[str, Row]:
        """The rows of the points that are there, by key."""
        found: dict[str, Row] = {}
        with self._explained():
            for start in range(0, len(keys), 500):
                some = keys[start : start + 500]
                rows = self._db.execute(
                    f"SELECT {', '.join(_COLUMNS)} FROM points "
                    f"WHERE key IN ({', '.join('?' * len(some))})",
                    list(some),
                )
                found |= {row[0]: _unpacked(row) for row in rows}
        return found

    def rows(self, fidelity: str | None = None) -> list[Row]:
        """All rows, of one fidelity or of all, in the order of their numbers."""
        with self._explained():
            found = self._db.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM points "
                "WHERE ? IS NULL OR fidelity = ? ORDER BY number, fidelity, key",
                (fidelity, fidelity),
            ).fetchall()
        return [_unpacked(row) for row in found]

    def count(self) -> int:
        """How many points there are."""
        with self._explained():
            return int(self._db.execute("SELECT count(*) FROM points").fetchone()[0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise CodesignError(f"{self.path}: {_meaning(error)}") from error


_RESCUE = "move it away, or rescue its rows with: sqlite3 FILE .recover"


def _meaning(error: sqlite3.Error) -> str:
    text = str(error)
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_NOTADB" or name.startswith("SQLITE_CORRUPT") or "malformed" in text:
        return f"the study is damaged ({text}); {_RESCUE}"
    if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR_WRITE"):
        return (
            "no space is left on the disk; what was committed is safe: free some space, "
            "then go on with --resume"
        )
    if name.startswith("SQLITE_READONLY"):
        return "the study cannot be written: the file or its folder is read-only"
    if name.startswith("SQLITE_CANTOPEN"):
        return "the study cannot be opened: is its folder there, and may it be written?"
    if name.startswith("SQLITE_BUSY"):
        return f"another process has held the study for more than {_BUSY_S:g} s"
    if name.startswith("SQLITE_IOERR"):
        return f"the disk failed ({text}, {name}); what was committed is safe"
    return text


def _packed(row: Row) -> tuple[Any, ...]:
    texts = row.texts or map(compact_json, (row.values, row.config, row.metrics))
    return (
        row.key, row.number, row.fidelity, *texts, row.error, row.seed, row.duration_s,
        row.arch_fingerprint, row.trace_fingerprint, row.version,
    )  # fmt: skip


def _unpacked(row: Sequence[Any]) -> Row:
    key, number, fidelity, values, config, metrics, *rest = row
    return Row(
        key, number, fidelity, json.loads(values), json.loads(config), json.loads(metrics), *rest
    )


compact_json = json.JSONEncoder(separators=(",", ":")).encode


def columns(rows: Iterable[Row]) -> tuple[list[str], list[str]]:
    """Parameters and metrics that some row has, in the order in which they come first."""
    parameters: dict[str, None] = {}
    metrics: dict[str, None] = {}
    for row in rows:
        parameters |= dict.fromkeys(row.values)
        metrics |= dict.fromkeys(row.metrics)
    return list(parameters), list(metrics)


_FACTS = (
    "number", "fidelity", "error", "seed", "duration_s", "key", "arch_fingerprint",
    "trace_fingerprint", "version",
)  # fmt: skip


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line for each row: its parameters, its metrics, and the facts of its evaluation."""
    parameters, metrics = columns(rows)
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*parameters, *metrics, *_FACTS])
        for row in rows:
            writer.writerow(
                [row.values.get(name, "") for name in parameters]
                + [row.metrics.get(name, "") for name in metrics]
                + [getattr(row, name) for name in _FACTS]
            )


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    """The columns of the CSV with their types; parameters of mixed types become text.

    Raises CodesignError without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise CodesignError("Parquet needs pyarrow: pip install 'codesign[data]'") from None
    parameters, metrics = columns(rows)
    table = {name: _column([row.values.get(name) for row in rows]) for name in parameters}
    table |= {name: _column([row.metrics.get(name) for row in rows]) for name in metrics}
    table |= {name: [getattr(row, name) for row in rows] for name in _FACTS}
    parquet.write_table(pyarrow.table(table), path)


def _column(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {float} or kinds <= {bool} or kinds <= {str}:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else str(value) for value in values]
