"""`codesign simulate`: one workload on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli import options
from codesign.cli.console import next_step, print_json, show
from codesign.cli.progress import progress_bar

if TYPE_CHECKING:
    from codesign.metrics.result import Result


@click.command("simulate")
@options.workload
@options.arch
@options.sparsity
@options.placement_options
@options.size_options
@options.set_values
@options.fidelity
@options.mapper_options
@options.seed
@options.as_json
@options.output_folder
@options.quiet
@click.option(
    "--timeline",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Every unit's steps as a trace that ui.perfetto.dev opens.",
)
@click.option("--per-op", is_flag=True, help="One row for each operator.")
@click.option("--assumptions", is_flag=True, help="List the values that nobody published.")
def command(
    workload: str,
    arch: str,
    sparsity: str | None,
    placement: options.Placement,
    size: options.Size,
    assignments: tuple[str, ...],
    fidelity: str,
    mapper: str,
    objective: str,
    budget: int,
    keep_on_chip: bool,
    fuse: bool,
    place: bool,
    seed: int,
    as_json: bool,
    output: Path | None,
    quiet: bool,
    timeline: Path | None,
    per_op: bool,
    assumptions: bool,
) -> None:
    """Run one workload on one machine.

    WORKLOAD is a shipped name (`codesign workload list`), a workload YAML, a trace written by
    `codesign extract`, gemm:M,N,K, or torch:package.module:factory.
    """
    from codesign.cli import inputs

    folder = inputs.report_folder(output)
    timeline = inputs.output_file(timeline)
    machine = inputs.read_machine(arch, assignments)
    trace = inputs.make_sparse(inputs.read_trace(workload, size), sparsity, placement)
    chooser = inputs.read_mapper(
        trace,
        machine,
        fidelity=fidelity,
        seed=seed,
        mapper=mapper,
        objective=objective,
        budget=budget,
        keep_on_chip=keep_on_chip,
        fuse=fuse,
        place=place,
    )
    evaluate = inputs.read_evaluate(timeline, quiet=quiet)
    with progress_bar(quiet=quiet) as progress:
        result = evaluate(
            trace,
            machine,
            fidelity=fidelity,
            seed=seed,
            chooser=chooser,
            progress=progress,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        _show(result, trace.meta, per_op=per_op, assumptions=assumptions)
    if folder is None and timeline is None and not as_json:
        next_step("-o FOLDER leaves a report, --timeline FILE a trace of every unit", quiet=quiet)
    if folder is not None:
        from codesign.report.cases import Case

        title = f"{result.workload} on {result.arch}"
        inputs.leave_report(
            [Case(result, trace, machine, chooser)], folder, quiet=quiet, title=title
        )


def _show(result: Result, meta: Mapping[str, object], *, per_op: bool, assumptions: bool) -> None:
    from codesign.cli import tables

    show(tables.header(result, meta), bold=True)
    rows = tables.by_operator if per_op else tables.by_layer
    show(*(rows(result, without=columns) for columns in tables.SPARED))
    if phases := tables.by_phase(result):
        show()
        show(phases)
    show()
    show(tables.totals(result))
    if remarks := tables.notes(result):
        show("\nnotes", bold=True)
        for remark in remarks:
            show(f"- {remark}")
    if assumptions:
        show()
        show(tables.assumptions(result))
