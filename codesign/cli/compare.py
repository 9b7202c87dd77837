"""`codesign compare`: one workload on several machines, in several sparsities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codesign.cli import options
from codesign.cli.accuracies import Accuracies, accuracy_options, look_up
from codesign.cli.console import aligned, in_unit, next_step, print_json, show, table
from codesign.cli.progress import portion, progress_bar
from codesign.cli.suggest import unknown

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.metrics.result import Result
    from codesign.report.study import Scenario


@dataclass(frozen=True, slots=True)
class Cell:
    """One machine with one sparsity, as the command line names them."""

    arch: str
    sparsity: str


_PLAIN = frozenset({"batch 1", "seq 1"})
"""Sizes that go without saying."""


@click.command("compare")
@options.workload
@options.archs
@options.sparsities
@click.option(
    "--baseline",
    metavar="NAME[,PATTERN]",
    help="What the others are measured against. [default: the first machine and pattern]",
)
@options.placement_options
@options.size_options
@options.set_values
@options.fidelity
@options.seed
@accuracy_options
@options.as_json
@options.output_folder
@options.quiet
def command(
    workload: str,
    archs: tuple[str, ...],
    sparsities: tuple[str, ...],
    baseline: str | None,
    placement: options.Placement,
    size: options.Size,
    assignments: tuple[str, ...],
    fidelity: str,
    seed: int,
    accuracy_kind: str | None,
    max_drop: float | None,
    as_json: bool,
    output: Path | None,
    quiet: bool,
) -> None:
    """Run one workload on several machines and name the winners.

    Every --arch runs with every --sparsity; a --set applies to all machines.
    """
    if max_drop is not None and accuracy_kind is None:
        raise click.UsageError("--max-drop needs --accuracy: measured, proxy or published")
    from codesign.cli import inputs

    folder = inputs.report_folder(output)
    machines = {arch: inputs.read_machine(arch, assignments) for arch in archs}
    given = inputs.read_trace(workload, size)
    traces = {text: inputs.make_sparse(given, text, placement) for text in sparsities}
    if not traces:
        as_is = inputs.make_sparse(given, None, placement)
        traces = {str(as_is.meta.get("sparsity", "dense")): as_is}
    cells = [Cell(arch, sparsity) for arch in archs for sparsity in sparsities or traces]
    _refuse_repeats(cells)
    first = _baseline(baseline, cells)
    accuracies = left_out = None
    if accuracy_kind is not None:
        patterns = list(dict.fromkeys(cell.sparsity for cell in cells))
        accuracies = look_up(accuracy_kind, given.name, patterns, placement.method)
        reference = cells[first]
        left_out = [
            c for c in cells if c != reference and not accuracies.within(c.sparsity, max_drop)
        ]
        cells = [c for c in cells if c not in left_out]
        first = cells.index(reference)
    from codesign.evaluate import evaluate
    from codesign.report.study import study

    results: list[Result] = []
    with progress_bar(quiet=quiet) as progress:
        for number, cell in enumerate(cells):
            trace, machine = traces[cell.sparsity], machines[cell.arch]
            part = portion(progress, f"{cell.arch} {cell.sparsity}", number, len(cells))
            result = evaluate(trace, machine, fidelity=fidelity, seed=seed, progress=part)
            share = None if accuracies is None else accuracies.share(cell.sparsity)
            results.append(replace(result, accuracy=share))
    (scenario,) = study(results, first, together=True).scenarios
    patterns = [cell.sparsity for cell in cells]
    if as_json:
        print_json(_plain(scenario) | _plain_accuracies(scenario, accuracies, patterns, left_out))
    else:
        _show(scenario, given.meta, accuracies, patterns)
        for cell in left_out or ():
            show(f"left out by --max-drop {max_drop:g}: {cell.arch} · {cell.sparsity}")
    if folder is None and not as_json:
        next_step("-o FOLDER leaves this as a report", quiet=quiet)
    if folder is not None:
        from codesign.report.cases import Case

        cases = [
            Case(result, traces[cell.sparsity], machines[cell.arch])
            for result, cell in zip(results, cells, strict=True)
        ]
        inputs.leave_report(
            cases,
            folder,
            quiet=quiet,
            title=f"{workload} on {', '.join(archs[:-1])}{' and ' if archs[1:] else ''}{archs[-1]}",
            baseline=first,
            together=True,
            accuracies=accuracies and [accuracies.by_pattern.get(p) for p in patterns],
        )


def _refuse_repeats(cells: Sequence[Cell]) -> None:
    for number, cell in enumerate(cells):
        if cell in cells[:number]:
            raise click.UsageError(f"{cell.arch} with {cell.sparsity} is given twice")


def _baseline(asked: str | None, cells: Sequence[Cell]) -> int:
    """Index of the cell that `NAME` or `NAME,PATTERN` names."""
    if asked is None:
        return 0
    for number, cell in enumerate(cells):
        if asked in (cell.arch, f"{cell.arch},{cell.sparsity}"):
            return number
    arch, _, sparsity = asked.partition(",")
    archs = list(dict.fromkeys(cell.arch for cell in cells))
    if arch not in archs:
        raise click.UsageError(f"--baseline: {unknown('compared machine', arch, archs)}")
    patterns = list(dict.fromkeys(cell.sparsity for cell in cells))
    raise click.UsageError(f"--baseline: {unknown('compared pattern', sparsity, patterns)}")


def _plain(scenario: Scenario) -> dict[str, Any]:
    """What `--json` prints: ratios are value over the baseline's value, speed-ups the reverse."""
    from codesign.report.study import AREA, EDP, ENERGY, LATENCY

    metrics = {"latency_s": LATENCY, "energy_j": ENERGY, "edp_js": EDP, "area_mm2": AREA}
    best = {field: scenario.best(metric) for field, metric in metrics.items()}
    result = scenario.baseline.result
    return {
        "workload": result.workload,
        "phase": result.phase,
        "fidelity": result.fidelity,
        "baseline": scenario.baseline.label,
        "winners": {
            field: [run.label for run in scenario.runs if run.label in labels]
            for field, labels in best.items()
        },
        "ratios": [
            {
                "label": run.label,
                "speedup_over_baseline": scenario.speedup_over_baseline(run),
                **{field: scenario.ratio(run, metric) for field, metric in metrics.items()},
            }
            for run in scenario.runs
        ],
        "results": [{"label": run.label, **run.result.to_dict()} for run in scenario.runs],
    }


def _plain_accuracies(
    scenario: Scenario,
    accuracies: Accuracies | None,
    patterns: Sequence[str],
    left_out: Sequence[Cell] | None,
) -> dict[str, Any]:
    if accuracies is None:
        return {}
    return {
        "accuracies": [
            {"label": run.label, "accuracy": accuracies.plain(pattern)}
            for run, pattern in zip(scenario.runs, patterns, strict=True)
        ],
        "left_out": [{"arch": cell.arch, "sparsity": cell.sparsity} for cell in left_out or ()],
    }


def _show(
    scenario: Scenario,
    meta: Mapping[str, object],
    accuracies: Accuracies | None,
    patterns: Sequence[str],
) -> None:
    from codesign.cli.tables import notes, sizes
    from codesign.report.answer import explanation

    what = ", ".join([scenario.title, *(size for size in sizes(meta) if size not in _PLAIN)])
    show(f"{what} · {scenario.baseline.result.fidelity} fidelity", bold=True)
    show(_side_by_side(scenario, accuracies, patterns))
    show(f"speed, energy and EDP are ratios to {scenario.baseline.label}; * is the best")
    show("mm² is of the modelled cells and macros, the same count for every machine\n")
    show(_winners(scenario))
    if accuracies is not None:
        accuracies.tell(scenario, patterns)
    show("\nwhat bounds it, by share of the time", bold=True)
    for run in scenario.runs:
        show(f"{run.label}: {explanation(run)}")
    _show_boards(scenario)
    remarks = {remark: None for run in scenario.runs for remark in notes(run.result)}
    if remarks:
        show("\nnotes", bold=True)
    for remark in remarks:
        show(f"- {remark}")


def _show_boards(scenario: Scenario) -> None:
    """Energy and power at the supply of boards; the table's energy is of the devices alone."""
    from codesign.report import quantities as q

    runs = [run for run in scenario.runs if run.result.board_energy_j is not None]
    if not runs:
        return
    show("\nenergy at the board, beside that of the devices above", bold=True)
    grid = table("", "", "", left=1)
    grid.show_header = False
    for run in runs:
        joule = run.result.board_energy_j or 0.0
        watt = q.divide(joule, run.result.latency_s)
        grid.add_row(run.label, q.with_unit(joule, "J"), q.with_unit(watt, "W"))
    show(grid)


def _side_by_side(
    scenario: Scenario, accuracies: Accuracies | None, patterns: Sequence[str]
) -> Table:
    """A line for each run, ratios to the baseline, the best of each metric marked."""
    from codesign.report import quantities as q
    from codesign.report.study import AREA, EDP, ENERGY, LATENCY, METRICS

    best = {metric.name: scenario.best(metric) for metric in METRICS}
    results = [run.result for run in scenario.runs]
    time_unit, times = in_unit([result.latency_s for result in results], "s")
    energy_unit, energies = in_unit([result.energy_j for result in results], "J")
    areas = aligned([result.area_mm2 for result in results])
    grid = table(
        "machine · sparsity", time_unit, "speed", energy_unit, "energy", "EDP", "mm²", "used",
        *(() if accuracies is None else ("accuracy",)),
    )  # fmt: skip
    for run, time, energy, mm2, pattern in zip(
        scenario.runs, times, energies, areas, patterns, strict=True
    ):
        mark = {name: "*" if run.label in labels else " " for name, labels in best.items()}
        grid.add_row(
            run.label,
            time,
            q.ratio(scenario.speedup_over_baseline(run)) + mark[LATENCY.name],
            energy,
            q.ratio(scenario.ratio(run, ENERGY)) + mark[ENERGY.name],
            q.ratio(scenario.ratio(run, EDP)) + mark[EDP.name],
            mm2 + mark[AREA.name],
            q.share(run.result.utilisation),
            *(() if accuracies is None else (accuracies.column(pattern),)),
        )
    return grid


def _winners(scenario: Scenario) -> Table:
    """The least value of each metric, and who has it."""
    from codesign.report.study import METRICS

    ranking = table("", "", "", left=3)
    ranking.show_header = False
    for metric in METRICS:
        best = scenario.best(metric)
        winners = [run for run in scenario.runs if run.label in best]
        said = "\n".join(run.label for run in winners) or "no difference"
        value = metric.text(metric.value(winners[0].result)) if winners else ""
        ranking.add_row(f"least {metric.name}", value, said)
    return ranking
