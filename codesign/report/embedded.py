"""The per-operator table as compact data inside a page."""

from __future__ import annotations

import json
import math
from typing import Any

from codesign.report.quantities import clean
from codesign.report.study import Study

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
    data = {"text": TEXT_COLUMNS, "numbers": NUMBER_COLUMNS, "strings": list(strings), "runs": runs}
    return (
        json.dumps(data, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    )


def _short(value: int | float) -> int | float | None:
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() else rounded
