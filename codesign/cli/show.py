"""`codesign show`: the points of a study, its front, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table
from codesign.cli.headings import in_lines, legend, short_names
from codesign.cli.suggest import Count, OneOf

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.sweep.store import Row
    from codesign.sweep.study import Study


@click.command("show")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--pareto", is_flag=True, help="Only the front, with its knee and hypervolume.")
@click.option("--by", metavar="PATH", help="With --pareto: a front for each value of a parameter.")
@click.option(
    "--where",
    "wheres",
    multiple=True,
    metavar="FIGURE<=NUMBER",
    help="Only such points; repeatable.",
)
@click.option("--sort", metavar="NAME", help="By a figure or parameter; -NAME for largest first.")
@click.option("--top", type=Count(1, 10**9), default=20, show_default=True, metavar="N")
@click.option("--fidelity", type=OneOf(*options.FIDELITIES, what="fidelity"))
@click.option("--failed", is_flag=True, help="The points that failed, and why.")
@click.option("--importance", is_flag=True, help="How much each parameter explains of each metric.")
@click.option(
    "--sensitivity", is_flag=True, help="Which unverified numbers change the ranking of the front."
)
@click.option(
    "--iso", type=OneOf("area", "power", what="budget"), help="Machines at equal area or power."
)
@click.option(
    "--against",
    metavar="PATH=VALUE",
    help="How many times better designs are than those with this value (sparsity=dense).",
)
@click.option("--csv", "csv", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@options.as_json
def command(
    run: Path,
    pareto: bool,
    by: str | None,
    wheres: tuple[str, ...],
    sort: str | None,
    top: int,
    fidelity: str | None,
    failed: bool,
    importance: bool,
    sensitivity: bool,
    iso: str | None,
    against: str | None,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
) -> None:
    """Show the points that a sweep has stored."""
    from codesign.sweep import analysis
    from codesign.sweep.run import stored_study
    from codesign.sweep.store import Store, write_csv, write_parquet

    with Store(run, create=False) as store:
        study = stored_study(store)
        rows = store.rows(fidelity)
        if sensitivity:
            changes = analysis.sensitivity(store, study)
            _sensitivity(changes, as_json=as_json)
            return
    found = analysis.chosen(rows, wheres, sort, failed=failed)
    if pareto:
        fronts = analysis.fronts(analysis.finest(found, rows), study, by)
        found = [row for front in fronts for row in front]
    if csv is not None:
        write_csv(found, csv)
    if parquet is not None:
        write_parquet(found, parquet)
    if importance:
        _importance(analysis.importance(rows, study), study, as_json=as_json)
    elif iso is not None:
        _iso(analysis.normalised(rows, study, iso), iso, as_json=as_json)
    elif against is not None:
        _against(analysis.against(found, study, against), study, against, top, as_json=as_json)
    elif as_json:
        print_json({"study": study.name, "points": [_plain(row) for row in found]})
    elif failed:
        _failures(found[:top])
    elif csv is None and parquet is None:
        good = sum(row.error is None for row in rows)
        show(f"{study.name} · {len(rows):,} points, {len(rows) - good:,} failed", bold=True)
        show(front_table(found[:top], study))
        if len(found) > top:
            show(f"and {len(found) - top:,} more; --top shows them")
        if pareto and found and by is None:
            _front_facts(found, rows, study)


_WIDE = 8
"""Columns of a front beyond which they stand close."""


def front_table(rows: Sequence[Row], study: Study) -> Table:
    """One line for each point: its number, its parameters, the metrics that are wanted; below it
    what the short names of parameters stand for.
    """
    from codesign.sweep.limits import parse_limit

    limited = [parse_limit(text).figure for text in study.constraints]
    metrics = list(dict.fromkeys([*study.metrics, *limited]))
    parameters = list(study.parameters)
    short = short_names(parameters)
    figures = [name.replace("_", "\n") for name in metrics]
    grid = table("point", *map(in_lines, short.values()), *figures, left=1 + len(parameters))
    grid.caption, grid.caption_justify = legend(short), "left"
    if len(grid.columns) > _WIDE:
        grid.padding = 0
    several = len({row.fidelity for row in rows}) > 1
    for row in rows:
        values = [_value(row.values.get(path, "-")) for path in parameters]
        figures = [f"{row.metrics[name]:.4g}" if name in row.metrics else "-" for name in metrics]
        point = f"{row.number} {row.fidelity}" if several else str(row.number)
        grid.add_row(point, *values, *figures)
    return grid


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _front_facts(found: Sequence[Row], rows: Sequence[Row], study: Study) -> None:
    from codesign.sweep import analysis

    middle = analysis.knee_of(found, study)
    if middle is not None:
        show(f"\nknee: point {middle.number}")
    volume = analysis.relative_hypervolume(found, rows, study)
    show(f"hypervolume: {volume:.4f} of the box between the best and worst values of all points")


def _plain(row: Row) -> dict[str, object]:
    return {
        "number": row.number,
        "fidelity": row.fidelity,
        "values": dict(row.values),
        "metrics": dict(row.metrics),
        "error": row.error,
        "key": row.key,
        "seed": row.seed,
        "arch_fingerprint": row.arch_fingerprint,
        "trace_fingerprint": row.trace_fingerprint,
        "version": row.version,
        "duration_s": row.duration_s,
    }


def _failures(rows: Sequence[Row]) -> None:
    grid = table("point", "values", "error", left=3)
    for row in rows:
        values = ", ".join(f"{path}={value}" for path, value in row.values.items())
        grid.add_row(str(row.number), values, row.error or "")
    show(grid)


def _importance(shares: dict[str, dict[str, float]], study: Study, *, as_json: bool) -> None:
    if as_json:
        print_json({"importance": shares})
        return
    grid = table("parameter", *study.metrics)
    for path in study.parameters:
        grid.add_row(path, *(f"{shares[path][name]:.3f}" for name in study.metrics))
    show(grid)
    show("share of a metric's variance (of its logarithm) that the parameter explains by itself")


def _sensitivity(changes: Sequence[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print_json({"sensitivity": list(changes)})
        return
    grid = table(
        "machine", "path", "status", "value", "times", "metric", "rank order", "best", left=3
    )
    for change in changes:
        grid.add_row(
            str(change["arch"]), str(change["path"]), str(change["status"]),
            f"{change['value']:g}", f"{change['factor']:g}", str(change["metric"]),
            f"{change['rank_correlation']:.3f}", "changes" if change["best_changes"] else "same",
        )  # fmt: skip
    show(grid)
    show("rank order: Kendall's tau between the points' order before and after; 1 is no change")


def _iso(rows: Sequence[dict[str, object]], budget: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"iso": budget, "rows": list(rows)})
        return
    unit = "mm2" if budget == "area" else "W"
    grid = table("machine", "points", f"runs/s/{unit}", "over the first", "best point")
    for row in rows:
        grid.add_row(
            str(row["arch"]), str(row["points"]), f"{row['runs_per_s']:.4g}",
            f"{row['ratio']:.3f}", str(row["best"]),
        )  # fmt: skip
    show(grid)


def _against(
    rows: Sequence[dict[str, Any]], study: Study, choice: str, top: int, *, as_json: bool
) -> None:
    if as_json:
        print_json({"against": choice, "rows": list(rows)})
        return
    parameters = list(study.parameters)
    short = [path.removeprefix("arch.").removeprefix("workload.") for path in parameters]
    grid = table("point", *short, *study.metrics, left=1 + len(parameters))
    for row in rows[:top]:
        values = [_value(row["values"].get(path, "-")) for path in parameters]
        better = [_times(row["times_better"].get(name)) for name in study.metrics]
        grid.add_row(str(row["number"]), *values, *better)
    show(grid)
    if len(rows) > top:
        show(f"and {len(rows) - top:,} more; --top shows them")
    show(f"times better than the same design with {choice}; below 1 it is worse")
    for name in study.metrics:
        found = [row["times_better"][name] for row in rows if name in row["times_better"]]
        if found:
            wins = sum(value > 1 for value in found)
            show(
                f"{name}: better in {wins:,} of {len(found):,}, "
                f"{geometric_mean(found):.3f} times in the geometric mean"
            )


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
