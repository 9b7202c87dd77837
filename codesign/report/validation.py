"""How far each machine's simulation is from published or measured numbers, kept for reports.

`python -m codesign.report.validation` runs every suite on the numbers that the package holds and
writes validation.json, so that a report needs no minute to say how good its machines are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from codesign.measure.suite import ValidationReport, suites

FILE = "validation.json"
FAMILIES = {
    "sat": ("sat", "dense_systolic"),
    "scalesim": ("dense_systolic", "sat"),
    "stonne": ("dense_systolic",),
    "published_s4": ("s4",),
    "published_cpu": ("cpu_sparse",),
    "published_wafer": ("wafer_scale",),
    "published_gpu": ("tensor_core",),
    "gpu": ("tensor_core",),
    "pim": ("pim_gpt", "aim_gddr6", "hbm_pim"),
    "aim": ("aim_gddr6",),
    "dram": ("pim_gpt", "aim_gddr6", "hbm_pim"),
}
"""The machine families that each suite is about; `published` joins others and is left out."""
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Compared:
    """One group of rows of a suite."""

    suite: str
    families: tuple[str, ...]
    name: str
    rows: int
    exact_rows: int
    mean_error: float | None
    """Mean relative error as a fraction; None where the rows were left out."""
    bound: str | None
    passed: bool
    note: str
    pairs: tuple[tuple[float, float], ...]
    """Simulated and published or measured, in the row's own unit."""


def records(reports: Iterable[ValidationReport]) -> list[Compared]:
    """The groups of some suites' answers that compared something."""
    return [
        Compared(
            report.suite,
            FAMILIES[report.suite],
            group.name,
            group.rows,
            group.exact_rows,
            None if group.mape is None else _short(group.mape),
            group.bound,
            group.passed,
            group.note,
            tuple((_short(ours), _short(theirs)) for ours, theirs in group.pairs),
        )
        for report in reports
        for group in report.groups
        if group.mape is not None
    ]


def as_json(found: Iterable[Compared]) -> str:
    """The records as the file holds them, one a line."""
    keys = Compared.__dataclass_fields__
    lines = [json.dumps({key: getattr(one, key) for key in keys}) for one in found]
    return "[\n" + ",\n".join(lines) + "\n]\n"


@cache
def kept() -> tuple[Compared, ...]:
    """The records that the package holds."""
    text = (files("codesign.report") / FILE).read_text(encoding="utf-8")
    return tuple(
        Compared(
            **{
                **one,
                "families": tuple(one["families"]),
                "pairs": tuple((ours, theirs) for ours, theirs in one["pairs"]),
            }
        )
        for one in json.loads(text)
    )


def about(families: Sequence[str]) -> tuple[Compared, ...]:
    """The records that are about some machine families."""
    return tuple(one for one in kept() if set(one.families) & set(families))


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def main() -> None:
    """Run every suite on the package's own numbers and print the file."""
    sys.stdout.write(as_json(records(suites()[name].run() for name in FAMILIES)))


if __name__ == "__main__":
    main()
