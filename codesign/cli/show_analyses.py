"""What `codesign show` prints of the analyses of a study: importance, doubt, equal budgets."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

from codesign.cli.console import print_json, show, table
from codesign.cli.points import points_table, value_text

if TYPE_CHECKING:
    from codesign.sweep.study import Study


def importance(shares: dict[str, dict[str, float]], study: Study, *, as_json: bool) -> None:
    """How much each parameter explains of each metric."""
    if as_json:
        print_json({"importance": shares})
        return
    grid = table("parameter", *study.metrics)
    for path in study.parameters:
        grid.add_row(path, *(f"{shares[path][name]:.3f}" for name in study.metrics))
    show(grid)
    show("share of a metric's variance (of its logarithm) that the parameter explains by itself")


def sensitivity(changes: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Which doubtful numbers of the machines change the order of the best points: a line each."""
    if as_json:
        print_json({"sensitivity": list(changes)})
        return
    if not changes:
        show("the machines have no unverified or assumed number that the sweep leaves alone")
        return
    for arch in dict.fromkeys(change["arch"] for change in changes):
        own = [change for change in changes if change["arch"] == arch]
        grid = table(str(arch), "status", "best changes in", "value", "half", "twice", left=3)
        grid.padding = 0
        for path in dict.fromkeys(change["path"] for change in own):
            of_path = [change for change in own if change["path"] == path]
            grid.add_row(*_doubt(path, of_path))
        show(grid)
    show(
        "half, twice: Kendall's tau between the points' order before and after, the least of all "
        "metrics; 1 is no change"
    )


def _doubt(path: str, changes: Sequence[dict[str, Any]]) -> list[str]:
    """The line of one number of a machine."""
    best = dict.fromkeys(c["metric"].split("_")[0] for c in changes if c["best_changes"])
    taus = {
        factor: [c["rank_correlation"] for c in changes if c["factor"] == factor]
        for factor in (0.5, 2.0)
    }
    least = [f"{min(found):.3f}" if found else "-" for found in taus.values()]
    return [path, changes[0]["status"], ", ".join(best), f"{changes[0]['value']:g}", *least]


def iso(rows: Sequence[dict[str, object]], budget: str, *, as_json: bool) -> None:
    """Machines at equal area or power."""
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


def against(
    rows: Sequence[dict[str, Any]], study: Study, choice: str, top: int, *, as_json: bool
) -> None:
    """How many times better designs are than those with one choice."""
    if as_json:
        print_json({"against": choice, "rows": list(rows)})
        return
    parameters = list(study.parameters)
    grid = points_table(parameters, list(study.metrics))
    for row in rows[:top]:
        values = [value_text(row["values"].get(path, "-")) for path in parameters]
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
