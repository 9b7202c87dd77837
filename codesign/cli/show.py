"""`codesign show`: the points of a study, its front, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli import options, show_analyses
from codesign.cli.console import print_json, show, table
from codesign.cli.points import front_table, nothing_kept
from codesign.cli.suggest import Count, OneOf

if TYPE_CHECKING:
    from codesign.sweep.store import Row
    from codesign.sweep.study import Study


_MOST = 20
"""Points that a table shows, unless more are asked for."""


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
@click.option(
    "--top",
    type=Count(1, 10**9),
    metavar="N",
    help=f"So many points. [default: {_MOST} in a table, all in a file]",
)
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
    top: int | None,
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
    if by is not None and not pareto:
        raise click.UsageError("--by makes fronts: add --pareto")
    most = top or _MOST
    from codesign.sweep import analysis
    from codesign.sweep.run import stored_study
    from codesign.sweep.store import Store, write_csv, write_parquet

    with Store(run, create=False) as store:
        study = stored_study(store)
        rows = store.rows(fidelity)
        if sensitivity:
            changes = analysis.sensitivity(store, study)
            show_analyses.sensitivity(changes, as_json=as_json)
            return
    found = analysis.chosen(rows, wheres, sort, failed=failed)
    limits = (*study.constraints, *wheres)
    if pareto:
        fronts = analysis.fronts(analysis.finest(found, rows), study, by)
        found = [row for front in fronts for row in front]
    written = [path for path in (csv, parquet) if path is not None]
    if written:
        found = found[:top]
    if csv is not None:
        write_csv(found, csv)
    if parquet is not None:
        write_parquet(found, parquet)
    if importance:
        show_analyses.importance(analysis.importance(rows, study), study, as_json=as_json)
    elif iso is not None:
        show_analyses.iso(analysis.normalised(rows, study, iso), iso, as_json=as_json)
    elif against is not None:
        better = analysis.against(found, study, against)
        show_analyses.against(better, study, against, most, as_json=as_json)
    elif as_json:
        content: dict[str, object] = {"study": study.name}
        content["points"] = [_plain(row) for row in found]
        if pareto and found:
            noted = _notes(run, study, found)
            content["notes"] = [{"note": note, "points": own} for note, own in noted.items()]
        elif pareto:
            content["nearest"] = _near(rows, limits)
        print_json(content)
    elif failed:
        _failures(found[:most])
    elif written:
        show(f"{len(found):,} points in {' and '.join(map(str, written))}")
    elif pareto and not found:
        show(nothing_kept(rows, limits))
    else:
        good = sum(row.error is None for row in rows)
        show(f"{study.name} · {len(rows):,} points, {len(rows) - good:,} failed", bold=True)
        show(front_table(found[:most], study))
        if len(found) > most:
            show(f"and {len(found) - most:,} more; --top shows them")
        if pareto and by is None:
            _front_facts(found, rows, study)
        if pareto:
            for note, numbers in _notes(run, study, found[:most]).items():
                points = "point" if len(numbers) == 1 else "points"
                show(f"{points} {', '.join(map(str, numbers))}: {note}")


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


def _notes(path: Path, study: Study, rows: Sequence[Row]) -> dict[str, list[int]]:
    from codesign.sweep.analysis import notes
    from codesign.sweep.store import Store

    with Store(path, create=False) as store:
        return notes(store, study, rows)


def _near(rows: Sequence[Row], limits: Sequence[str]) -> dict[str, object] | None:
    """The point that breaks the limits least, and what it breaks; None where there is none."""
    from codesign.sweep.run import nearest

    found = nearest(rows, limits)
    if found is None:
        return None
    row, broken = found
    breaks = [
        {"limit": str(limit), "figure": limit.figure, "value": row.numbers.get(limit.figure)}
        for limit in broken
    ]
    return {**_plain(row), "breaks": breaks}


def _failures(rows: Sequence[Row]) -> None:
    if not rows:
        show("no point failed")
        return
    grid = table("point", "values", "error", left=3)
    for row in rows:
        values = ", ".join(f"{path}={value}" for path, value in row.values.items())
        grid.add_row(str(row.number), values, row.error or "")
    show(grid)
