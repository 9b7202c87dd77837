"""Results as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from codesign.metrics.result import OpResult, Result
from codesign.report.quantities import clean

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def results_csv(results: Sequence[Result]) -> str:
    """One row for each result: every scalar field, then energy, area and bytes by part."""
    scalars = [
        f.name
        for f in fields(Result)
        if not f.name.endswith(("_by_part", "_by_memory"))
        and f.name not in ("ops", "assumptions", "notes", "busy_cycles", "stall_cycles")
    ]
    tables = ("energy_j_by_part", "area_mm2_by_part", "bytes_by_memory", "busy_cycles")
    keys = [
        (table, key)
        for table in tables
        for key in dict.fromkeys(k for r in results for k in getattr(r, table))
    ]
    head = [*scalars, *(f"{table}.{key}" for table, key in keys)]
    rows = (
        [
            *(getattr(r, name) for name in scalars),
            *(getattr(r, table).get(key, "") for table, key in keys),
        ]
        for r in results
    )
    return _csv(head, rows)


def ops_csv(results: Sequence[Result]) -> str:
    """One row for each operator of each result."""
    run = ("workload", "arch", "sparsity", "phase")
    names = [f.name for f in fields(OpResult) if f.name not in _OP_TABLES]
    head = [*(f"run_{name}" for name in run), *names, "energy_pj"]
    rows = (
        [
            *(getattr(result, name) for name in run),
            *(getattr(op, name) for name in names),
            op.energy_pj,
        ]
        for result in results
        for op in result.ops
    )
    return _csv(head, rows)


_OP_TABLES = frozenset({"busy_cycles", "bytes_by_memory", "energy_pj_by_part"})


def results_json(results: Sequence[Result], *, with_ops: bool = True) -> str:
    """A list of results, field for field; numbers that are not finite become null."""
    listed = [finite(result.to_dict()) for result in results]
    if not with_ops:
        for result in listed:
            result["ops"] = []
    return json.dumps(listed, indent=1, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The value as JSON that browsers read: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([cell(name) for name in head])
    writer.writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = clean(value)
    return "'" + text if text.startswith(_FORMULA) else text
