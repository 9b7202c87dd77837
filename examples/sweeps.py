"""Run the shipped sweeps into one folder of stores, small enough for a few minutes of CPU.

    python examples/sweeps.py [--out runs/sweeps] [--only NAME ...] [--workers N]

Each store OUT/NAME.db is what `codesign sweep NAME -o OUT/NAME.db` makes, with `run_cap` below for
the sweeps that would take longer. One that is there already is gone on with, so that a second call
costs nothing; `rm -r OUT` begins again. `codesign show` and `codesign report` read the stores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from codesign.cli.console import show
from codesign.sweep.check import find_sweep, read_study, sweep_names
from codesign.sweep.run import Sweep, prepare
from codesign.sweep.store import Store

RUN_CAPS = {"resnet50_sat": 1_000, "s4_bert_area": 400}
"""Points of sweeps that are larger as they ship."""


def main(out: Path, names: list[str], workers: int | None) -> None:
    """Run the sweeps `names` into stores of `out` and print a line for each."""
    for name in names:
        given = [f"run_cap={RUN_CAPS[name]}"] if name in RUN_CAPS else []
        if workers is not None:
            given.append(f"execution.workers={workers}")
        base = read_study(find_sweep(name), given)
        path = out / f"{name}.db"
        began = time.monotonic()
        with Store(path) as store:
            prepare(store, base, resume=True)
            progress = Sweep(base, store).run()
        show(
            f"{path}: {progress.evaluated:,} points evaluated, {progress.answered:,} were there, "
            f"{progress.failed:,} failed, front of {len(progress.front)}, "
            f"{time.monotonic() - began:.1f} s"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sweeps"))
    parser.add_argument("--only", nargs="+", choices=sweep_names(), default=sweep_names())
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    main(arguments.out, arguments.only, arguments.workers)
