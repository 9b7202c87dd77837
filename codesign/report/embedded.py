"""Operators and points as compact data inside a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codesign.report.points import (
    MOST_POINTS,
    Points,
    keeps_limits,
    short,
    telling_parameter,
    value,
)
from codesign.report.quantities import clean, quantity
from codesign.report.reproduce import tokens
from codesign.report.study import Study
from codesign.sweep.store import Row

TEXT_COLUMNS = ("layer", "name", "kind", "phase", "shape", "pattern", "mapping", "bound_by", "note")
NUMBER_COLUMNS = (
    "cycles",
    "macs",
    "executed_macs",
    "utilisation",
    "dram_bytes",
    "energy_pj",
    "roofline_cycles",
)


def table_data(found: Study) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&`, and only ASCII.

    Strings are listed once; a run's text columns are indices into that list.
    """
    strings: dict[str, int] = {}
    runs = []
    for index, scenario in enumerate(found.scenarios):
        for run in scenario.runs:
            columns: list[list[Any]] = [
                [
                    strings.setdefault(clean(str(getattr(op, name) or "")), len(strings))
                    for op in run.ops
                ]
                for name in TEXT_COLUMNS
            ]
            columns += [[_short(getattr(op, name)) for op in run.ops] for name in NUMBER_COLUMNS]
            runs.append(
                {
                    "scenario": index,
                    "title": clean(scenario.title),
                    "label": clean(run.label),
                    "fastest": run is scenario.fastest,
                    "seconds_per_cycle": run.result.latency_s / max(run.result.cycles, 1),
                    "cycles": run.result.cycles,
                    "columns": columns,
                }
            )
    return embeddable(
        {"text": TEXT_COLUMNS, "numbers": NUMBER_COLUMNS, "strings": list(strings), "runs": runs}
    )


def embeddable(data: object) -> str:
    """JSON that ends no script element and opens no comment, in ASCII."""
    return (
        json.dumps(data, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    )


def points_data(found: Points) -> dict[str, Any]:
    """The points of a study for a page's script, column by column.

    A column is `{"all": value}` where every point has the same, `{"of": values, "at": indices}`
    where values recur, else a plain list; figures have six significant digits.
    """
    rows = _kept(found)
    groups = {row.key: i for i, group in enumerate(found.groups) for row in group.rows}
    fronts = {row.key for group in found.groups for row in group.front}
    names = list(dict.fromkeys([*found.metrics, *(name for row in rows for name in row.metrics)]))
    config = _flat_configs(found, rows)
    commands = [tokens(row, found.study) for row in rows]
    longest = max(map(len, commands))
    path = telling_parameter(found)
    return {
        "file": f"{found.study.name}.csv",
        "colour": None if path is None else _paths(found).index(path),
        "left_out": len(found.rows) - len(rows),
        "groups": [clean(group.title) for group in found.groups],
        "wanted": len(found.metrics),
        "metrics": [_metric(name) for name in names],
        "parameters": [{"name": clean(path), "title": short(path)} for path in _paths(found)],
        "columns": {
            "count": len(rows),
            "number": _column([row.number for row in rows]),
            "fidelity": _column([row.fidelity for row in rows]),
            "group": _column([groups[row.key] for row in rows]),
            "front": _column([int(row.key in fronts) for row in rows]),
            "kept": _column([int(keeps_limits(row, found.study)) for row in rows]),
            "parameters": [
                _column([row.values.get(path) for row in rows]) for path in _paths(found)
            ],
            "metrics": [_column([_short(value(row, name), 6) for row in rows]) for name in names],
        },
        "config": {clean(key): _column(values) for key, values in config.items()},
        "command": [
            _column([line[i] if i < len(line) else "" for line in commands]) for i in range(longest)
        ],
    }


def _paths(found: Points) -> list[str]:
    return list(found.study.parameters)


def _kept(found: Points) -> list[Row]:
    """All points, or the fronts and evenly spaced others where there are too many for a page."""
    if len(found.rows) <= MOST_POINTS:
        return list(found.rows)
    fronts = {row.key for group in found.groups for row in group.front}
    others = [row for row in found.rows if row.key not in fronts]
    room = max(MOST_POINTS - len(fronts), 1)
    even = {others[i * len(others) // room].key for i in range(room)}
    return [row for row in found.rows if row.key in fronts or row.key in even]


def _flat_configs(found: Points, rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Configurations by dotted path, without what the parameters say already."""
    flat = [dict(_leaves(row.config)) for row in rows]
    keys = dict.fromkeys(key for one in flat for key in one)
    said = set(_paths(found)) | {path.replace("arch.", "arch.set.", 1) for path in _paths(found)}
    return {key: [one.get(key) for one in flat] for key in keys if key not in said}


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in data.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{above}{key}.")
        elif inner is not None:
            yield f"{above}{key}", inner


def _metric(name: str) -> dict[str, Any]:
    known = quantity(name)
    return {
        "name": clean(name),
        "title": known.title,
        "unit": known.unit,
        "factor": known.factor,
        "percent": known.percent,
    }


def _column(values: Sequence[Any]) -> Any:
    cleaned = [clean(v) if isinstance(v, str) else v for v in values]
    different = dict.fromkeys((type(v), v) for v in cleaned)
    if len(different) == 1:
        return {"all": cleaned[0]}
    if len(different) <= len(cleaned) // 2:
        at = {key: i for i, key in enumerate(different)}
        return {"of": [v for _, v in different], "at": [at[type(v), v] for v in cleaned]}
    return cleaned


def _short(value: int | float, digits: int = 4) -> int | float | None:
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
