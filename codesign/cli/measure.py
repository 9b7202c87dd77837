"""`codesign measure`: kernels on the NVIDIA GPU of this machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table
from codesign.cli.suggest import OneOf

if TYPE_CHECKING:
    from codesign.measure.gpu_plan import Run
    from codesign.measure.gpu_results import Results

RUNS = ("ceilings", "gemm", "energy")


@click.command("measure")
@click.argument("run", required=False, type=OneOf(*RUNS, what="run"))
@click.option(
    "--dry-run", is_flag=True, help="Print the plan, or the points of RUN; no GPU needed."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    default="measurements/results.json",
    metavar="FILE",
    show_default=True,
    help="Where rows are appended.",
)
@click.option(
    "--split",
    type=click.Path(path_type=Path, dir_okay=False),
    default="measurements/split.json",
    metavar="FILE",
    show_default=True,
    help="The frozen split of the plan's points into fitted and held out.",
)
@click.option("--freeze", is_flag=True, help="Write the split; before the first measurement only.")
@click.option(
    "--only", "only", multiple=True, metavar="KERNEL", help="Points of this kernel; repeatable."
)
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(min=30.0),
    default=540.0,
    show_default=True,
    metavar="SECONDS",
    help="Time that the run may take; a later call goes on where it stopped.",
)
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="Write the dense and 2:4 rows for `codesign validate gpu --data`; measures nothing.",
)
@click.option("--cold", is_flag=True, help="Export times with a cold L2.")
@options.as_json
def command(
    run: str | None,
    dry_run: bool,
    results: Path,
    split: Path,
    freeze: bool,
    only: tuple[str, ...],
    limit_s: float,
    export: Path | None,
    cold: bool,
    as_json: bool,
) -> None:
    """Measure kernels on the NVIDIA GPU of this machine.

    RUN is ceilings, gemm or energy; each takes at most nine minutes and appends its rows to the
    results. Needs the extra `gpu`.
    """
    from codesign.config import CodesignError
    from codesign.measure.gpu_plan import KERNELS, run_named, runs

    for name in only:
        if name not in KERNELS:
            from codesign.cli.suggest import unknown

            raise CodesignError(unknown("kernel", name, list(KERNELS)))
    if freeze:
        _freeze(split, results)
    elif export is not None:
        _export(export, results, cold=cold)
    elif dry_run:
        _show_plan(runs() if run is None else (run_named(run),), only, as_json=as_json)
    elif run is None:
        raise CodesignError(f"name a run: {', '.join(RUNS)}; --dry-run prints the plan")
    else:
        _measure(run, results, split, limit_s, only, as_json=as_json)


def _export(export: Path, results: Path, *, cold: bool) -> None:
    from codesign.measure.gpu_results import csv_text, read_results

    text = csv_text(read_results(results), cold=cold)
    export.write_text(text, encoding="utf-8")
    show(f"{export}: {len(text.splitlines()) - 1} rows of {results}")


def _freeze(split: Path, results: Path) -> None:
    from codesign.config import CodesignError
    from codesign.measure.gpu_plan import split_text
    from codesign.measure.gpu_results import read_results

    if read_results(results).latency:
        raise CodesignError(f"{results} has measured rows: their split stays what it was")
    split.parent.mkdir(parents=True, exist_ok=True)
    split.write_text(split_text(), encoding="utf-8")
    show(f"{split}: the split is frozen")


def _show_plan(plan: tuple[Run, ...], only: tuple[str, ...], *, as_json: bool) -> None:
    from codesign.measure.gpu_plan import held_out

    chosen = {
        one.name: [point for point in one.points if not only or point.kernel in only]
        for one in plan
    }
    if as_json:
        print_json(
            {
                "runs": [
                    {
                        "name": one.name,
                        "about": one.about,
                        "estimated_s": one.estimated_s,
                        "repeats": len(one.repeats),
                        "points": {p.key: " ".join(held_out(p)) or "fit" for p in chosen[one.name]},
                    }
                    for one in plan
                ]
            }
        )
        return
    grid = table("run", "what", "points", "repeats", "held out", "minutes", left=2)
    for one in plan:
        points = chosen[one.name]
        kept_out = sum(bool(held_out(point)) for point in points)
        sizes = (str(len(points)), str(len(one.repeats)), str(kept_out))
        grid.add_row(one.name, one.about, *sizes, f"{one.estimated_s / 60:.1f}")
    show(grid)
    counts = Counter((p.kernel, p.dtype) for points in chosen.values() for p in points)
    if counts:
        show()
        kinds = table("kernel", "type", "points", left=2)
        for (kernel, dtype), count in sorted(counts.items()):
            kinds.add_row(kernel, dtype, str(count))
        show(kinds)
    if len(plan) == 1:
        for point in chosen[plan[0].name]:
            show(f"{point.key}  [{' '.join(held_out(point)) or 'fit'}]")


def _measure(
    run: str,
    results: Path,
    split: Path,
    limit_s: float,
    only: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    from codesign.measure.gpu_session import measure

    found = measure(
        run,  # type: ignore[arg-type]
        results,
        split,
        limit_s=limit_s,
        only=only,
        say=lambda text: click.echo(text, err=True),
    )
    _show_session(found, results, as_json=as_json)


def _show_session(found: Results, path: Path, *, as_json: bool) -> None:
    session = found.sessions[-1]
    rows = [row for row in found.latency if row.session == session.id]
    energies = [row for row in found.energy if row.session == session.id]
    counters = [row for row in found.counters if row.session == session.id]
    if as_json:
        print_json(
            {
                "session": session.model_dump(mode="json"),
                "latency": [row.model_dump(mode="json") for row in rows],
                "energy": [row.model_dump(mode="json") for row in energies],
                "counters": [row.model_dump(mode="json") for row in counters],
            }
        )
        return
    for name, value in session.ceilings.items():
        show(f"{name}: {value:,.4g}")
    failed = sum(bool(row.failed) for row in rows)
    show(
        f"{len(rows) - failed} times, {failed} failures, {len(energies)} energies and "
        f"{len(counters)} sets of counters appended to {path}"
    )
