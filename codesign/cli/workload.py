"""`codesign workload`: what the shipped and the user's workloads hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli import options
from codesign.cli.console import aligned, print_json, show, table
from codesign.cli.groups import Group, indented, layer_groups
from codesign.cli.suggest import VerbGroup

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.trace.op import Op, Trace


@click.group("workload", cls=VerbGroup)
def command() -> None:
    """List and show workloads."""


@command.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the shipped workloads."""
    from codesign.report.quantities import MISSING, with_unit
    from codesign.trace.workload import list_workloads

    rows = list(list_workloads())
    if as_json:
        print_json({"workloads": [{"name": name, **facts} for name, facts in rows]})
        return
    grid = table("workload", "what it is", "parameters", "MACs", left=2)
    for name, facts in rows:
        counts = [facts["parameters"], facts["macs"]]
        published = [with_unit(float(n), "") if isinstance(n, int) else MISSING for n in counts]
        grid.add_row(name, str(facts["description"]), *published)
    show(grid)
    show("also: a YAML file, a trace, gemm:M,N,K, and the sources of `codesign extract`")


@command.command("show")
@options.workload
@options.size_options
@options.as_json
@click.option("--per-op", is_flag=True, help="One row for each operator.")
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Also draw the graph of operators there.",
)  # fmt: skip
def show_(
    workload: str,
    size: options.Size,
    as_json: bool,
    per_op: bool,
    svg: Path | None,
) -> None:
    """Show the operators of a workload, with no machine in sight."""
    from codesign.cli import inputs
    from codesign.report.quantities import with_unit
    from codesign.trace.totals import intensity_flop_per_byte, traffic

    trace = inputs.read_trace(workload, size)
    if svg is not None:
        from codesign.report.trace_graph import trace_graph

        svg.write_text(trace_graph(trace), encoding="utf-8")
    if as_json:
        print_json(_plain(trace))
        return
    known = ", ".join(f"{key} {value}" for key, value in trace.meta.items() if value is not None)
    show(f"{trace.name} · {known}" if known else trace.name, bold=True)
    show(_operators(trace) if per_op else _layers(trace))
    show(
        f"{trace.parameter_count:,} parameters, {with_unit(trace.macs, 'MAC', 4)} "
        f"({with_unit(2 * trace.macs, 'FLOP', 4)}), {len(trace)} operators"
    )
    touched = traffic(trace)
    shares = ((touched.weights, "weights"), (touched.products, "other operands of products"))
    parts = [f"{with_unit(size, 'B', 4)} of {name}" for size, name in shares]
    show(
        f"{with_unit(touched.total, 'B', 4)} touched ({', '.join(parts)}), "
        f"{intensity_flop_per_byte(trace):.4g} FLOP/B"
    )


def _plain(trace: Trace) -> dict[str, object]:
    from codesign.trace.totals import intensity_flop_per_byte, traffic

    touched = traffic(trace)
    return {
        "workload": trace.name,
        "meta": dict(trace.meta),
        "parameters": trace.parameter_count,
        "macs": trace.macs,
        "bytes": touched.total,
        "weight_bytes": touched.weights,
        "flop_per_byte": intensity_flop_per_byte(trace),
        "fingerprint": trace.fingerprint,
        "ops": [
            {
                "name": op.name,
                "layer": op.layer,
                "kind": op.kind.value,
                "phase": op.phase.value,
                "m": op.m,
                "n": op.n,
                "k": op.k,
                "groups": op.groups,
                "repeats": op.repeats,
                "elements": op.elements,
                "weight": op.weight,
                "pattern": str(op.b_pattern),
                "macs": op.macs,
                "bytes": traffic([op]).total,
                "deps": list(op.deps),
            }
            for op in trace.ops
        ],
    }


def _layers(trace: Trace) -> Table:
    grid = table("layer", "kinds", "ops", "parameters", "MMAC", "share", left=2)
    groups = layer_groups(
        trace.ops, weight=lambda op: op.macs, likeness=lambda op: (op.kind, op.phase, _size(op))
    )
    shown = [*groups, Group("total", trace.ops)]
    macs = [sum(op.macs for op in group.ops) for group in shown]
    labels = indented([group.label for group in shown])
    texts = aligned([each / 1e6 for each in macs])
    for group, work, text, (heading, label) in zip(shown, macs, texts, labels, strict=True):
        if group is shown[-1]:
            grid.add_section()
        if heading is not None:
            grid.add_row(heading)
        tensors = {op.weight for op in group.ops if op.weight is not None}
        count = sum(trace.parameters.get(tensor, 0) for tensor in tensors)
        grid.add_row(
            label,
            ", ".join(dict.fromkeys(op.kind.value for op in group.ops if op.is_matmul)),
            str(len(group.ops)),
            f"{trace.parameter_count if group is shown[-1] else count:,}",
            text,
            f"{work / trace.macs:.0%}" if trace.macs else "",
        )
    return grid


def _operators(trace: Trace) -> Table:
    grid = table("operator", "kind", "phase", "size", "MMAC", left=3)
    for op, text in zip(trace.ops, aligned([op.macs / 1e6 for op in trace.ops]), strict=True):
        grid.add_row(op.name, op.kind.value, op.phase.value, _size(op), text)
    return grid


def _size(op: Op) -> str:
    if not op.is_matmul:
        return f"{op.elements:,}"
    product = f"{op.m}x{op.n}x{op.k}"
    return f"{op.groups} x {product}" if op.groups > 1 else product
