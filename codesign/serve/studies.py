"""What the page shows of a study: how far it is, its points, one design in full."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from codesign.config import CodesignError
from codesign.report.reproduce import tokens
from codesign.report.svg import PALETTE
from codesign.serve import readonly
from codesign.serve.folder import STORES, Folder
from codesign.sweep.analysis import finest, knee_of
from codesign.sweep.limits import parse_limit
from codesign.sweep.run import front_of
from codesign.sweep.store import Row
from codesign.sweep.study import Study

MOST_POINTS = 20_000
"""Points of a study that a page gets; of more, those with the smallest numbers."""
_ALIVE_S = 15.0
_RATE_OVER_S = 30.0
_NOT_A_STUDY = "a database, but not of a study"

Json = dict[str, Any]
T = TypeVar("T")
_Counts = tuple[Study, int, int, int, float | None]


def overview(folder: Folder) -> list[Json]:
    """One entry for each study of the folder; a file that cannot be read says why."""
    entries = []
    for name in folder.names(STORES):
        try:
            entries.append({"name": name, **_summary(folder.find(name, STORES))})
        except CodesignError as error:
            if str(error) != _NOT_A_STUDY:
                entries.append({"name": name, "problem": str(error)})
    return entries


def _summary(path: Path) -> Json:
    study, points, own, failed, newest = _counted(path, readonly.stamp(path))
    return {
        **_about(study),
        "points": points,
        "failed": failed,
        **_progress(study, own, newest),
    }


@lru_cache(maxsize=256)
def _counted(path: Path, _: readonly.Stamp) -> _Counts:
    """A study and the counts of its points, looked up again when the file's stamp is another."""

    def ask(db: sqlite3.Connection) -> _Counts:
        study = _study(db)
        points, own, failed, newest = db.execute(
            "SELECT count(*), sum(fidelity = ?), sum(error IS NOT NULL), max(stored_at) "
            "FROM points",
            (study.fidelity,),
        ).fetchone()
        return study, points, own or 0, failed or 0, None if newest is None else float(newest)

    return _read(path, ask)


def _about(study: Study) -> Json:
    return {
        "study": study.name,
        "description": study.description,
        "method": study.method,
        "workload": study.base_workload.name,
        "arch": study.base_arch.name,
        "fidelity": study.fidelity,
    }


def _progress(study: Study, done: int, newest: float | None) -> Json:
    planned = planned_points(study)
    idle_s = math.inf if newest is None else time.time() - newest
    return {
        "done": done,
        "planned": planned,
        "running": idle_s < _ALIVE_S and (planned is None or done < planned),
        "stored_at": newest,
    }


def planned_points(study: Study) -> int | None:
    """How many designs a study proposes; None where only its sampler knows."""
    if study.method != "grid":
        return study.run_cap
    lists = [parameter.values for parameter in study.parameters.values()]
    if None in lists:
        return study.run_cap
    size = math.prod(len(values) for values in lists if values is not None)
    return size if study.run_cap is None else min(size, study.run_cap)


def points(path: Path, state: str = "", since: float = 0.0) -> Json:
    """The points of a study that were stored at or after `since` (s since 1970), and its facts.

    Equal `state`, nothing new: only `unchanged` is answered. The front is that of all points, or
    of those that were promoted where some were. Raises CodesignError for a file that cannot be
    read.
    """
    now = repr(readonly.stamp(path))
    if state == now:
        return {"unchanged": True}
    study, rows, stored_at, total = _read(path, _all_points)
    try:
        front = front_of(finest(rows, rows), study)
        middle = knee_of(front, study) if front else None
    except (TypeError, ValueError) as error:
        raise CodesignError(f"a metric is no number, or a fidelity unknown ({error})") from None
    own = sum(row.fidelity == study.fidelity for row in rows)
    newest = max(stored_at, default=None)
    fresh = [(row, at) for row, at in zip(rows, stored_at, strict=True) if at >= since]
    limited = [parse_limit(text).figure for text in study.constraints]
    return {
        **_about(study),
        **_progress(study, own, newest),
        "state": now,
        "metrics": study.metrics,
        "wanted": list(dict.fromkeys([*study.metrics, *limited])),
        "constraints": study.constraints,
        "parameters": list(study.parameters),
        "palette": PALETTE,
        "total": total,
        "shown": len(rows),
        "failed": sum(row.error is not None for row in rows),
        "points_per_s": _rate(stored_at),
        "front": [row.key for row in front],
        "knee": None if middle is None else middle.key,
        "points": [{**_plain(row), "stored_at": at} for row, at in fresh],
    }


def _rate(stored_at: Sequence[float]) -> float:
    """Points per second of the last half minute of work."""
    newest = max(stored_at, default=0.0)
    recent = [at for at in stored_at if at > newest - _RATE_OVER_S]
    span_s = newest - min(recent, default=newest)
    return (len(recent) - 1) / span_s if span_s > 0 else 0.0


def _all_points(db: sqlite3.Connection) -> tuple[Study, list[Row], list[float], int]:
    study = _study(db)
    total = int(db.execute("SELECT count(*) FROM points").fetchone()[0])
    rows, stored_at = [], []
    for key, number, fidelity, values, metrics, error, duration_s, at in db.execute(
        'SELECT key, number, fidelity, "values", metrics, error, duration_s, stored_at FROM points '
        "ORDER BY number, fidelity, key LIMIT ?",
        (MOST_POINTS,),
    ):
        rows.append(
            Row(
                key=str(key), number=int(number), fidelity=str(fidelity), values=_object(values),
                config={}, metrics=_object(metrics), error=None if error is None else str(error),
                seed=0, duration_s=float(duration_s), arch_fingerprint="", trace_fingerprint="",
                version="",
            )
        )  # fmt: skip
        stored_at.append(float(at))
    return study, rows, stored_at, total


def _plain(row: Row) -> Json:
    return {
        "key": row.key,
        "number": row.number,
        "fidelity": row.fidelity,
        "values": row.values,
        "metrics": row.metrics,
        "error": row.error,
        "duration_s": row.duration_s,
    }


def design(path: Path, key: str) -> Json:
    """One point with its whole configuration and the command that runs it again.

    Raises CodesignError where there is no such point.
    """

    def ask(db: sqlite3.Connection) -> tuple[Study, Row] | None:
        found = db.execute(
            'SELECT number, fidelity, "values", config, seed, arch_fingerprint, '
            "trace_fingerprint, version FROM points WHERE key = ?",
            (key,),
        ).fetchone()
        if found is None:
            return None
        number, fidelity, values, config, seed, *marks = found
        arch_fingerprint, trace_fingerprint, version = map(str, marks)
        return _study(db), Row(
            key=key, number=number, fidelity=fidelity, values=_object(values),
            config=_object(config), metrics={}, error=None, seed=seed, duration_s=0.0,
            arch_fingerprint=arch_fingerprint, trace_fingerprint=trace_fingerprint, version=version,
        )  # fmt: skip

    found = _read(path, ask)
    if found is None:
        raise CodesignError("no such point")
    study, row = found
    try:
        command = " ".join(tokens(row, study))
    except (KeyError, TypeError, AttributeError):
        command = None
    names = ("key", "config", "seed", "arch_fingerprint", "trace_fingerprint", "version")
    return {**{name: getattr(row, name) for name in names}, "command": command}


def _study(db: sqlite3.Connection) -> Study:
    tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    if not all(db.execute(tables, (name,)).fetchone()[0] for name in ("study", "points")):
        raise CodesignError(_NOT_A_STUDY)
    text = db.execute("SELECT value FROM study WHERE key = 'study'").fetchone()
    if text is None:
        raise CodesignError("the study was never begun")
    return Study.model_validate_json(text[0])


def _object(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise CodesignError("a point is not as a sweep stores it")
    return found


def _read(path: Path, query: readonly.Query[T]) -> T:
    try:
        return readonly.read(path, query)
    except sqlite3.Error as error:
        raise CodesignError(f"cannot be read: {error}") from error
    except CodesignError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise CodesignError(f"holds what no sweep stores ({type(error).__name__})") from error
