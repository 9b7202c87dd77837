"""`codesign extract`: a trace file from a PyTorch module."""

from __future__ import annotations

from pathlib import Path

import click

from codesign.cli import options
from codesign.cli.console import print_json


@click.command("extract")
@click.argument("source")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the trace goes, such as trace.json.",
)
@click.option(
    "--real", is_flag=True, help="Run real weights and inputs; masks then come from the weights."
)
@options.sparsity
@options.placement_options
@options.size_options
@options.as_json
@options.quiet
def command(
    source: str,
    output: Path,
    real: bool,
    sparsity: str | None,
    placement: options.Placement,
    size: options.Size,
    as_json: bool,
    quiet: bool,
) -> None:
    """Trace a PyTorch module into a file that every verb reads.

    SOURCE is torch:package.module:factory or torch:path/to/file.py:factory; the factory returns an
    nn.Module, or the module and its example inputs. By default nothing is computed: shapes only.
    """
    from codesign.cli import inputs
    from codesign.config import CodesignError
    from codesign.report.quantities import with_unit
    from codesign.trace.io import save_trace

    if not source.startswith("torch:"):
        raise CodesignError(f"extract reads torch:package.module:factory, got {source!r}")
    if not output.parent.is_dir():
        raise CodesignError(f"-o: there is no folder {str(output.parent)!r}")
    dense, weights = inputs.read_module(source, size, real=real)
    trace = inputs.make_sparse(dense, sparsity, placement, weights)
    save_trace(trace, output)
    if as_json:
        facts = {"parameters": trace.parameter_count, "macs": trace.macs, "ops": len(trace)}
        print_json({"workload": trace.name, "trace": str(output), **facts})
    elif not quiet:
        click.echo(
            f"{trace.name}: {len(trace)} operators, {with_unit(trace.macs, 'MAC', 4)}, "
            f"{trace.parameter_count:,} parameters -> {output}"
        )
