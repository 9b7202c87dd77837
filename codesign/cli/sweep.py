"""`codesign sweep`: many designs from one file, their front, and a store to go on from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codesign.cli import options
from codesign.cli.console import next_step, print_json, show
from codesign.cli.suggest import Count, OneOf

if TYPE_CHECKING:
    from codesign.sweep.design import Base
    from codesign.sweep.run import Progress, Report
    from codesign.sweep.store import Store

EXECUTORS = ("serial", "thread", "process", "ray")


@click.command("sweep")
@click.argument("file", metavar="FILE|NAME")
@click.argument("assignments", nargs=-1, metavar="[KEY=VALUE,VALUE...]")
@click.option("--workers", type=Count(1, 4096), metavar="N", help="[default: usable cores]")
@click.option(
    "--executor", type=OneOf(*EXECUTORS, what="executor"), help="Where points are evaluated."
)
@click.option("--address", metavar="HOST:PORT", help="Of a Ray cluster; implies --executor ray.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The store. [default: the file's `output`, or sweeps/NAME.db]",
)
@click.option("--resume", is_flag=True, help="Go on with a store that has points.")
@click.option("--retry-failed", is_flag=True, help="Run points again that failed.")
@click.option("--dry-run", is_flag=True, help="Check the file, say what would run, and stop.")
@options.as_json
@options.quiet
def command(
    file: str,
    assignments: tuple[str, ...],
    workers: int | None,
    executor: str | None,
    address: str | None,
    output: Path | None,
    resume: bool,
    retry_failed: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run many designs from a YAML file and find their front.

    The file is shipped or your own. KEY=VALUE,VALUE gives a parameter other values
    (arch.array.rows=16,32), or a key of the file another one (run_cap=100). Interrupted or killed,
    it goes on with --resume where it was.
    """
    from codesign.sweep.check import find_sweep, read_study

    given = [*assignments]
    if address is not None:
        executor = executor or "ray"
        given.append(f'execution.address="{address}"')
    if executor is not None:
        given.append(f"execution.executor={executor}")
    if workers is not None:
        given.append(f"execution.workers={workers}")
    base = read_study(find_sweep(file), given)
    store_path = output or Path(base.study.output or f"sweeps/{base.study.name}.db")
    if dry_run:
        _describe(base, store_path, as_json=as_json)
        return
    from codesign.sweep.run import Sweep, prepare
    from codesign.sweep.store import Store

    with Store(store_path) as store:
        prepare(store, base, resume=resume)
        with _live(quiet=quiet or as_json) as report:
            sweep = Sweep(base, store, report=report, retry_failed=retry_failed)
            try:
                progress = sweep.run()
            except KeyboardInterrupt:
                click.echo(
                    f"{store.count():,} points are saved in {store_path}; "
                    "--resume goes on with them",
                    err=True,
                )
                raise
        if as_json:
            print_json(_as_json(progress, store_path))
        else:
            _summary(progress, base, store)


def _describe(base: Base, store_path: Path, *, as_json: bool) -> None:
    from codesign.sweep.design import Designs
    from codesign.sweep.executors import usable_cores
    from codesign.sweep.samplers import make_sampler

    study = base.study
    sampler = make_sampler(study)
    first = [Designs(base).active(values) for values in sampler.ask(3)[:3]]
    workers = study.execution.workers or usable_cores()
    if as_json:
        content = {"points": sampler.total, "first": first, "output": str(store_path)}
        print_json({**content, "executor": study.execution.executor, "workers": workers})
        return
    show(f"{study.name} · {sampler.total:,} points by {study.method}", bold=True)
    show(f"{study.execution.executor} executor, {workers} workers, store {store_path}")
    for values in first:
        show("  " + ", ".join(f"{path}={value}" for path, value in values.items()))
    show("  ...")


def _as_json(progress: Progress, store_path: Path) -> dict[str, Any]:
    return {
        "evaluated": progress.evaluated,
        "answered": progress.answered,
        "failed": progress.failed,
        "seconds": progress.seconds,
        "points_per_s": progress.points_per_s,
        "store": str(store_path),
        "front": [{**row.values, **row.metrics} for row in progress.front],
    }


def _summary(progress: Progress, base: Base, store: Store) -> None:
    from codesign.cli.points import front_table, nothing_kept

    show(
        f"{progress.evaluated:,} points evaluated in {progress.seconds:.1f} s "
        f"({progress.points_per_s:,.0f} points/s), {progress.answered:,} from the store, "
        f"{progress.failed:,} failed",
        bold=True,
    )
    if progress.front:
        show(front_table(progress.front, base.study))
    else:
        show(nothing_kept(store.rows(), base.study.constraints))
    show(f"\nstore: {store.path} (codesign show {store.path})")
    next_step(f"codesign show {store.path} --pareto, codesign report {store.path} -o report.html")


_PERIOD_S = 0.25


@contextmanager
def _live(*, quiet: bool) -> Iterator[Report]:
    """A line with rate, time left and the front, for a person who watches."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield _paced(lambda progress: live.update(progress_line(progress), refresh=True))


def _paced(draw: Callable[[Progress], None]) -> Report:
    drawn_at = 0.0

    def report(progress: Progress) -> None:
        nonlocal drawn_at
        if time.monotonic() - drawn_at >= _PERIOD_S:
            drawn_at = time.monotonic()
            draw(progress)

    return report


def progress_line(progress: Progress) -> str:
    """One line: how many of how many, how fast, how much longer, and the best so far."""
    left = progress.total - progress.done
    rate = progress.points_per_s
    eta = f"{left / rate:,.0f} s left" if rate else "starting"
    text = (
        f"{progress.stage} {progress.done:,} of {progress.total:,} · {rate:,.0f}/s · {eta} · "
        f"{progress.failed:,} failed · front of {len(progress.front)}"
    )
    if progress.front:
        best = progress.front[0]
        names = ("latency_s", "energy_j", "area_mm2")
        figures = [f"{name} {best.metrics[name]:.4g}" for name in names if name in best.metrics]
        text += "\nfirst of the front: " + ", ".join(figures)
    return text
