"""Measured runs in one SQLite file: what is there is not measured again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from codesign.accuracy.proxy import Proxy
from codesign.accuracy.train import Recipe, Run
from codesign.config import CodesignError, fingerprint

_TABLE = """
CREATE TABLE IF NOT EXISTS measured_runs (
    key TEXT PRIMARY KEY,
    recipe TEXT NOT NULL,
    timing TEXT NOT NULL,
    accuracy REAL,
    loss REAL,
    density REAL,
    cpu_s REAL NOT NULL,
    error TEXT
) WITHOUT ROWID
"""
_PROXIES = """
CREATE TABLE IF NOT EXISTS proxies (
    key TEXT PRIMARY KEY,
    recipe TEXT NOT NULL,
    output_error REAL NOT NULL,
    loss_change REAL NOT NULL,
    layer_errors TEXT NOT NULL
) WITHOUT ROWID
"""
_BUSY_S = 60.0


class RunStore:
    """Runs by the key of their recipe; several processes may read and add at once.

    Raises CodesignError with the file's name when the disk or the file's content is in the way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CodesignError(f"{path.parent}: {error.strerror}") from None
        with self._database() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(_TABLE)
            db.execute(_PROXIES)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as db, db:
                yield db
        except sqlite3.Error as error:
            raise CodesignError(f"{self.path}: {error}") from None

    def add(self, run: Run) -> None:
        """Keep a run, in place of a failure of the same recipe; an earlier run stays."""
        with self._database() as db:
            db.execute(
                "INSERT INTO measured_runs VALUES (?, ?, ?, ?, ?, ?, ?, NULL) "
                "ON CONFLICT (key) DO UPDATE SET timing = excluded.timing, "
                "accuracy = excluded.accuracy, loss = excluded.loss, density = excluded.density, "
                "cpu_s = excluded.cpu_s, error = NULL WHERE error IS NOT NULL",
                (
                    run.recipe.key, json.dumps(asdict(run.recipe)), run.timing, run.accuracy,
                    run.loss, run.density, run.cpu_s,
                ),
            )  # fmt: skip

    def fail(self, recipe: Recipe, error: str) -> None:
        """Keep the reason why a recipe has no figures."""
        with self._database() as db:
            db.execute(
                "INSERT OR IGNORE INTO measured_runs VALUES (?, ?, '', NULL, NULL, NULL, 0, ?)",
                (recipe.key, json.dumps(asdict(recipe)), error),
            )

    def get(self, recipe: Recipe) -> Run | None:
        """The run of a recipe; None if it has not been measured, or failed."""
        with self._database() as db:
            row = db.execute(
                "SELECT timing, accuracy, loss, density, cpu_s FROM measured_runs "
                "WHERE key = ? AND error IS NULL",
                (recipe.key,),
            ).fetchone()
        return None if row is None else Run(recipe, *row)

    def runs(self) -> list[Run]:
        """All measured runs, in order of their keys."""
        with self._database() as db:
            rows = db.execute(
                "SELECT recipe, timing, accuracy, loss, density, cpu_s FROM measured_runs "
                "WHERE error IS NULL ORDER BY key"
            ).fetchall()
        return [Run(Recipe(**json.loads(text)), *rest) for text, *rest in rows]

    def mark(self) -> str:
        """Another text once a run or a proxy has come, which may change what a design is said."""
        with self._database() as db:
            rows = db.execute(
                "SELECT key FROM measured_runs WHERE error IS NULL UNION ALL "
                "SELECT key FROM proxies ORDER BY key"
            ).fetchall()
        return fingerprint([key for (key,) in rows])

    def failures(self) -> list[tuple[Recipe, str]]:
        """Recipes that gave no figures, and why."""
        with self._database() as db:
            rows = db.execute(
                "SELECT recipe, error FROM measured_runs WHERE error IS NOT NULL ORDER BY key"
            ).fetchall()
        return [(Recipe(**json.loads(text)), str(error)) for text, error in rows]

    def add_proxy(self, found: Proxy) -> None:
        """Keep what the proxies say of a recipe; what they said before stays."""
        with self._database() as db:
            db.execute(
                "INSERT OR IGNORE INTO proxies VALUES (?, ?, ?, ?, ?)",
                (
                    found.recipe.key, json.dumps(asdict(found.recipe)), found.output_error,
                    found.loss_change, json.dumps(dict(found.layer_errors)),
                ),
            )  # fmt: skip

    def proxies(self) -> list[Proxy]:
        """All that proxies said, in order of the keys of recipes."""
        with self._database() as db:
            rows = db.execute(
                "SELECT recipe, output_error, loss_change, layer_errors FROM proxies ORDER BY key"
            ).fetchall()
        return [
            Proxy(Recipe(**json.loads(text)), error, change, json.loads(layers))
            for text, error, change, layers in rows
        ]
