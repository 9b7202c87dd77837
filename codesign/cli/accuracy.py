"""`codesign accuracy`: what sparsity costs in accuracy, measured on small tasks or published."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table
from codesign.cli.progress import progress_bar
from codesign.cli.suggest import Count, VerbGroup

if TYPE_CHECKING:
    from codesign.accuracy.train import Run


def _shared_store(_: click.Context, __: click.Parameter, given: Path | None) -> Path:
    from codesign.accuracy.lookup import STORE

    return given or STORE


store_option = click.option(
    "--store", type=click.Path(dir_okay=False, path_type=Path), callback=_shared_store,
    metavar="FILE", show_default="runs/accuracy.db",
    help="The SQLite file of runs; what it has is not measured again.",
)  # fmt: skip

model_option = click.option(
    "--model", required=True, help="A model of the task (`codesign accuracy list`)."
)  # fmt: skip
jobs_option = click.option(
    "--jobs", type=Count(1, 256), default=1, show_default=True, metavar="N",
    help="Processes that share the runs, each on one thread.",
)  # fmt: skip


@click.group("accuracy", cls=VerbGroup)
def command() -> None:
    """Measure or look up what sparsity costs in accuracy."""


@command.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List tasks, their models, and the methods."""
    from codesign.accuracy.disk_tasks import KINDS
    from codesign.accuracy.tasks import tasks
    from codesign.config import CodesignError
    from codesign.prune.registry import SPARSIFIERS

    known: list[dict[str, str | int]] = []
    for name, make in tasks().items():
        try:
            task = make()
        except CodesignError as error:
            known.append({"name": name, "models": "", "lacks": str(error)})
            continue
        known.append({
            "name": name, "models": ", ".join(task.models),
            "steps": task.steps, "counts": task.sample,
        })  # fmt: skip
    methods: list[dict[str, str]] = [
        {
            "name": name, "timing": kind.timing, "paper": kind.paper,
            "patterns": ", ".join(pattern.__name__ for pattern in kind.patterns),
        }
        for name, kind in SPARSIFIERS.items()
    ]  # fmt: skip
    places = [{"name": f"{kind}:{what}"} for kind, (what, _) in KINDS.items()]
    if as_json:
        print_json({"tasks": known, "on_disk": places, "methods": methods})
        return
    grid = table("task", "models", "accuracy counts", "steps", left=3)
    for row in known:
        if "lacks" in row:
            grid.add_row(str(row["name"]), str(row["lacks"]), "", "")
        else:
            grid.add_row(*(str(row[key]) for key in ("name", "models", "counts", "steps")))
    show(grid)
    show("on your disk: " + ", ".join(place["name"] for place in places) + "\n")
    grid = table("method", "timing", "patterns", "paper", left=4)
    for method in methods:
        grid.add_row(*(str(method[key]) for key in ("name", "timing", "patterns", "paper")))
    show(grid)


@command.command("run")
@click.argument("task")
@model_option
@click.option("--method", required=True, help="A sparsifier (`codesign accuracy list`).")
@options.sparsity
@click.option(
    "--seeds", type=Count(1, 1000), default=5, show_default=True, metavar="N",
    help="Runs with seeds 0 to N-1.",
)  # fmt: skip
@click.option(
    "--steps", type=Count(0), default=None, metavar="N",
    help="Steps of training. [default: the task's]",
)  # fmt: skip
@jobs_option
@store_option
@options.quiet
@options.as_json
def run_(
    task: str, model: str, method: str, sparsity: str | None, seeds: int, steps: int | None,
    jobs: int, store: Path, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measure one method at one pattern over several seeds."""
    from codesign.accuracy import tasks
    from codesign.accuracy.grid import measure, spread
    from codesign.accuracy.store import RunStore
    from codesign.accuracy.train import as_row, recipe
    from codesign.config import CodesignError

    on = tasks.task(task)
    wanted = [
        (on, recipe(on, model, method, sparsity or "dense", seed, steps)) for seed in range(seeds)
    ]
    runs: list[Run] = []
    kept = RunStore(store)
    with progress_bar(quiet=quiet or as_json) as report:
        runs.extend(measure(wanted, kept, jobs=jobs, report=report))
    runs.sort(key=lambda run: run.recipe.seed)
    if not runs:
        reasons = {what.key: reason for what, reason in kept.failures()}
        raise CodesignError(reasons.get(wanted[0][1].key, "no run gave a figure"))
    mean, deviation = spread([run.accuracy for run in runs])
    if as_json:
        print_json({
            "task": task, "model": model, "method": method, "sparsity": wanted[0][1].pattern,
            "kind": "measured", "seeds": len(runs), "accuracy_mean": mean,
            "accuracy_deviation": deviation, "density": spread([r.density for r in runs])[0],
            "runs": [as_row(run) for run in runs],
        })  # fmt: skip
        return
    grid = table("seed", "accuracy %", "loss", "density", "processor s")
    for run in runs:
        grid.add_row(
            str(run.recipe.seed), f"{100 * run.accuracy:.2f}", f"{run.loss:.4f}",
            f"{run.density:.4f}", f"{run.cpu_s:.1f}",
        )  # fmt: skip
    show(grid)
    noise = "" if deviation is None else f" ± {100 * deviation:.2f}"
    show(f"measured: {100 * mean:.2f}{noise} % of {on.sample}, mean ± deviation of {len(runs)}")
    if len(runs) < len(wanted):
        show(f"{len(wanted) - len(runs)} of {len(wanted)} runs failed")


@command.command("proxy")
@click.argument("task")
@model_option
@click.option("--method", required=True, help="A sparsifier that prunes at once.")
@options.sparsity
@click.option(
    "--seeds", type=Count(1, 1000), default=5, show_default=True, metavar="N",
    help="Dense models with seeds 0 to N-1.",
)  # fmt: skip
@store_option
@options.as_json
def proxy_(
    task: str, model: str, method: str, sparsity: str | None, seeds: int, store: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Estimate what a method costs from the errors of layers, without evaluating the sparse model.

    Prints the output error of the layers, the change of the loss and of the perplexity that a local
    fit predicts, and, if the store has measured runs of other models, the accuracy lost by their
    curve, with the error that these estimates had.
    """
    from codesign.accuracy import accuracy_of, tasks
    from codesign.accuracy.grid import estimate, spread
    from codesign.accuracy.store import RunStore
    from codesign.accuracy.train import recipe

    on = tasks.task(task)
    wanted = [(on, recipe(on, model, method, sparsity or "dense", seed)) for seed in range(seeds)]
    found = estimate(wanted, RunStore(store))
    pattern = wanted[0][1].pattern
    point = accuracy_of("proxy", f"{task}_{model}", method, pattern, store=store)
    error, _ = spread([each.output_error for each in found])
    change, deviation = spread([each.loss_change for each in found])
    if as_json:
        print_json({
            "task": task, "model": model, "method": method, "sparsity": pattern, "kind": "proxy",
            "seeds": len(found), "output_error": error, "loss_change": change,
            "perplexity_factor": math.exp(change),
            "accuracy": None if point is None else asdict(point),
            "layers": {
                name: spread([each.layer_errors[name] for each in found])[0]
                for name in found[0].layer_errors
            },
        })  # fmt: skip
        return
    grid = table("layer", "relative output error", left=1)
    for name in found[0].layer_errors:
        grid.add_row(name, f"{spread([each.layer_errors[name] for each in found])[0]:.4f}")
    grid.add_row("root mean square", f"{error:.4f}")
    show(grid)
    noise = "" if deviation is None else f" ± {deviation:.3f}"
    show(
        f"estimated: loss {change:+.3f}{noise} nats, perplexity times {math.exp(change):.3f}, "
        f"mean of {len(found)}"
    )
    if point is None or point.drop is None:
        show("no accuracy: the store lacks dense runs of this model or measured runs of others")
    else:
        off = "" if point.error is None else f" ± {100 * point.error:.1f}"
        show(f"estimated: {100 * point.drop:.1f}{off} points of accuracy lost; {point.citation}")


@command.command("published")
@click.option("--model", default=None, help="Only this model.")
@click.option("--method", default=None, help="Only this method.")
@options.sparsity
@click.option(
    "--machine-pattern", default=None, metavar="PATTERN",
    help="Only points whose every mask a machine of this pattern takes.",
)  # fmt: skip
@options.as_json
def published_(
    model: str | None, method: str | None, sparsity: str | None, machine_pattern: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Show published accuracies, each with its source."""
    from codesign.accuracy.published import points

    found = points(model=model, method=method, pattern=sparsity, machine=machine_pattern)
    if as_json:
        print_json({"kind": "published", "points": [{**asdict(p), "loss": p.loss} for p in found]})
        return
    if not found:
        show("nothing is published here for that")
        return
    for group in dict.fromkeys(point.comparable_with for point in found):
        of = [point for point in found if point.comparable_with == group]
        first = of[0]
        show(first.source, bold=True)
        show(f"{first.protocol} · {first.dataset}, {first.metric}, {first.better} is better")
        grid = table("model", "method", "pattern", "dense", "sparse", "change", left=3)
        for point in of:
            values = ("" if v is None else f"{v:g}" for v in (point.dense, point.sparse))
            change = "" if point.change is None else f"{point.change:+g}"
            grid.add_row(point.model, point.method, point.pattern, *values, change)
        show(grid)
        if first.dense_status == "unverified":
            show(f"the dense figures are unverified: {first.note}")
    show("compare inside one table only: sources and protocols differ")


@command.command("report")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reports/accuracy"),
    metavar="FOLDER", show_default=True, help="Where the table and the plot go.",
)  # fmt: skip
@click.option(
    "--minutes", type=Count(0, 10**6), default=30, show_default=True, metavar="N",
    help="Measure what the grid lacks for as long; 0 only writes.",
)  # fmt: skip
@jobs_option
@store_option
@options.quiet
@options.as_json
def report_(out: Path, minutes: int, jobs: int, store: Path, quiet: bool, as_json: bool) -> None:
    """Measure the grid of methods and patterns as time allows, and write its table and plot."""
    from codesign.accuracy import curves, grid
    from codesign.accuracy.proxy_error import errors, pairs
    from codesign.accuracy.store import RunStore
    from codesign.report.accuracy import markdown, plot

    wanted = grid.full_grid()
    recipes = [what for _, what in wanted]
    until_s = time.monotonic() + 60 * minutes
    with progress_bar(quiet=quiet or as_json) as report:
        runs = list(grid.measure(
            wanted, RunStore(store), jobs=jobs, until_s=until_s,
            report=report,
        ))  # fmt: skip
    cells = curves.cells(runs)
    lacking = curves.missing(recipes, runs)
    found = curves.findings(cells, grid.MODELS, grid.PATTERNS)
    estimates = grid.estimate(grid.at_once(wanted), RunStore(store), until_s=until_s)
    proxied = pairs(estimates, runs)
    speed_ups = _bdwp_on_sat() if any(c.method == "bdwp" for c in cells) else {}
    out.mkdir(parents=True, exist_ok=True)
    (out / "accuracy.svg").write_text(
        plot(cells, grid.MODELS, grid.PATTERNS).standalone(), encoding="utf-8"
    )
    (out / "accuracy.md").write_text(
        markdown(
            cells, found, lacking,
            wanted=len(recipes), models=grid.MODELS, patterns=grid.PATTERNS,
            speed_ups=speed_ups, proxied=proxied, cpu_s=sum(run.cpu_s for run in runs),
        ),
        encoding="utf-8",
    )  # fmt: skip
    if as_json:
        print_json({
            "runs": len(runs), "wanted": len(recipes),
            "missing": {f"{task} {model}": n for (task, model), n in lacking.items()},
            "bdwp_speed_up_on_sat": speed_ups,
            "processor_s": sum(run.cpu_s for run in runs),
            "findings": [asdict(each) for each in found],
            "proxies": [asdict(each) for each in errors(proxied)],
            "cells": [
                {
                    "task": c.task, "model": c.model, "method": c.method, "sparsity": c.pattern,
                    "accuracy_mean": c.mean, "accuracy_deviation": c.deviation,
                    "seeds": len(c.by_seed), "density": c.density,
                }
                for c in cells
            ],
            "files": [str(out / name) for name in ("accuracy.md", "accuracy.svg")],
        })  # fmt: skip
        return
    show(f"{len(runs)} of {len(recipes)} runs; {out / 'accuracy.md'}, {out / 'accuracy.svg'}")
    for (task, model), number in lacking.items():
        show(f"missing: {number} of {task} {model}; the same command goes on")


def _bdwp_on_sat() -> dict[str, list[float]]:
    """Dense over BDWP cycles of a training step of each validated network on SAT, by pattern."""
    from codesign.measure.validate_sat import IMAGES, PATTERNS, Case, speedup_over_dense

    return {
        pattern: [speedup_over_dense(Case(model, pattern=pattern)) for model in IMAGES]
        for pattern in PATTERNS
    }
