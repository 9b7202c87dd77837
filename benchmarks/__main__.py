"""Runs every bench_*.py beside this file and prints its figures as bars around their goals.

    python -m benchmarks [--only NAME ...] [--json]

A benchmark is a module with `main() -> list[Row]`; NAME is part of a module's name.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from benchmarks import Row

HALF_BAR = 16
FULL_SCALE = 100.0
"""A bar that reaches its end stands for this many times better or worse than the goal."""


def bar(times_goal: float) -> str:
    """A star right of the goal's line when better, left of it when worse; the scale is logarithmic.

    >>> bar(1.0)
    '[................*................]'
    """
    reach = math.log(max(times_goal, 1e-9)) / math.log(FULL_SCALE)
    star = HALF_BAR + round(HALF_BAR * max(-1.0, min(1.0, reach)))
    cells = ["."] * (2 * HALF_BAR + 1)
    cells[HALF_BAR] = "|"
    cells[star] = "*"
    return f"[{''.join(cells)}]"


def run(wanted: list[str]) -> Iterator[Row]:
    """Figures of the benchmarks whose module name contains one of `wanted`, or of all."""
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        if not wanted or any(part in path.stem for part in wanted):
            yield from import_module(f"benchmarks.{path.stem}").main()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--json", action="store_true", help="one object per figure, as a list")
    arguments = parser.parse_args()
    rows = []
    for row in run(arguments.only):
        rows.append(row)
        if not arguments.json:
            against = f"  ({row.baseline})" if row.baseline else ""
            print(
                f"{bar(row.times_goal)} {row.times_goal:8.3g}x goal  {row.name}: "
                f"{row.value:.4g} {row.unit} (goal {row.goal:g}){against}",
                flush=True,
            )
    if arguments.json:
        print(
            json.dumps([{**row._asdict(), "times_goal": row.times_goal} for row in rows], indent=2)
        )
    if not rows:
        sys.exit("no benchmark has such a name")


if __name__ == "__main__":
    main()
