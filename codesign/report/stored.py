"""What runs leave in a folder, read again: results.json and details.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from codesign.config import CodesignError
from codesign.metrics.result import OpResult, Result
from codesign.report.details import Detail, Details

RESULTS, DETAILS = "results.json", "details.json"

_RESULTS = TypeAdapter(list[Result])
_DETAILS = TypeAdapter(dict[str, Detail])


def read_results(path: Path) -> list[Result]:
    """The results of a file that `results_json` wrote, or of the folder that holds one.

    Raises CodesignError for a file that is not there or holds something else.
    """
    file = path / RESULTS if path.is_dir() else path
    listed = _read(file)
    if not isinstance(listed, list) or not listed:
        raise CodesignError(f"{file} holds no list of results")
    floats = {kind: _floats(kind) for kind in (Result, OpResult)}
    for row in listed:
        if isinstance(row, dict):
            _with_nan(row, floats[Result])
            for op in row.get("ops") or ():
                if isinstance(op, dict):
                    _with_nan(op, floats[OpResult])
    try:
        return _RESULTS.validate_python(listed)
    except ValidationError as error:
        raise CodesignError(f"{file}: {_first(error)}") from None


def read_details(path: Path) -> Details:
    """What was looked at closely in a run's folder; nothing where the folder holds no such file."""
    file = (path if path.is_dir() else path.parent) / DETAILS
    if not file.exists():
        return {}
    try:
        return _DETAILS.validate_python(_read(file))
    except ValidationError as error:
        raise CodesignError(f"{file}: {_first(error)}") from None


def details_json(details: Details) -> str:
    """The text of details.json."""
    return _DETAILS.dump_json(dict(details)).decode() + "\n"


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CodesignError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise CodesignError(f"{file} is no JSON: {error}") from None


def _floats(kind: type[Result] | type[OpResult]) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind) if field.type == "float")


def _with_nan(row: dict[str, Any], names: frozenset[str]) -> None:
    """Put back what JSON has no number for."""
    for name in names & row.keys():
        if row[name] is None:
            row[name] = math.nan


def _first(error: ValidationError) -> str:
    found: Mapping[str, Any] = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"])
    more = f" (and {error.error_count() - 1} more faults)" if error.error_count() > 1 else ""
    return f"{place}: {found['msg']}{more}"
