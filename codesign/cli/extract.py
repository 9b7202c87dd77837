"""`codesign extract`: a trace file from a model that is written elsewhere, or run otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from codesign.cli import options
from codesign.cli.console import next_step, print_json
from codesign.cli.suggest import Count, OneOf

_RECIPE = (
    click.option("--chunk", type=Count(1, 1 << 24), metavar="N",
                 help="Prefill in pieces of N tokens."),
    click.option("--steps", type=Count(1, 1 << 20), metavar="N",
                 help="N decode steps in a row, from --context cached tokens on."),
    click.option("--samples", type=Count(1, 1 << 20), default=8, show_default=True, metavar="N",
                 help="Decode steps that stand for all; work and bytes are exact for any number."),
    click.option("--draft", type=Count(1, 1 << 20), metavar="N",
                 help="A decode step that verifies N guessed tokens."),
    click.option("--lora-rank", type=Count(1, 1 << 16), metavar="R",
                 help="Train adapters of rank R alone, on the layers that --lora matches."),
    click.option("--lora", multiple=True, default=("*.attention.*",), metavar="GLOB",
                 help="Layers with adapters, such as '*.mlp.*'; repeatable. "
                      "[default: *.attention.*]"),
    click.option("--tensor-parallel", type=Count(1, 1 << 16), metavar="N",
                 help="What one of N devices runs, with its all-reduces."),
    click.option("--accumulate", type=Count(1, 1 << 16), metavar="N",
                 help="Train on N batches before the weights are updated."),
    click.option("--recompute", multiple=True, metavar="GLOB",
                 help="Numbered layers whose activations are computed again, such as '*' or "
                      "'layers.1*'; repeatable."),
    click.option("--weights-dtype", metavar="NAME", help="Data type of the weights."),
    click.option("--activations-dtype", metavar="NAME", help="Data type of activations."),
    click.option("--cache-dtype", metavar="NAME", help="Data type of keys and values."),
    click.option("--gradients-dtype", metavar="NAME", help="Data type of gradients."),
)  # fmt: skip


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a Recipe to a command, which receives them as `recipe`."""

    @wraps(command)
    def collected(**given: Any) -> None:
        from codesign.trace.recipe import Recipe

        command(recipe=Recipe(**{f.name: given.pop(f.name) for f in fields(Recipe)}), **given)

    for option in reversed(_RECIPE):
        collected = option(collected)
    return collected


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
@click.option(
    "--via", type=OneOf("auto", "shapes", "module", what="way"), default="auto", show_default=True,
    help="Read a hf: configuration by its numbers, or run the module of transformers.",
)  # fmt: skip
@click.option(
    "--assume", type=float, metavar="VALUE",
    help="What a tensor without a value counts as where a module asks for one (.item(), if).",
)  # fmt: skip
@recipe_options
@options.sparsity
@options.placement_options
@options.size_options
@options.as_json
@options.quiet
def command(
    source: str,
    output: Path,
    real: bool,
    via: str,
    assume: float | None,
    recipe: Any,
    sparsity: str | None,
    placement: options.Placement,
    size: options.Size,
    as_json: bool,
    quiet: bool,
) -> None:
    """Trace a model into a file that every verb reads.

    SOURCE is a workload's name or file, or torch:package.module:factory,
    torch:path/to/file.py:factory, hf:config.json, onnx:model.onnx, checkpoint:model.safetensors,
    scalesim:topology.csv. A factory returns an nn.Module, or the module and its example inputs. By
    default nothing is computed: shapes only.
    """
    from codesign.cli import inputs
    from codesign.config import CodesignError
    from codesign.report.quantities import with_unit
    from codesign.trace.io import save_trace
    from codesign.trace.totals import traffic

    if not output.parent.is_dir():
        raise CodesignError(f"-o: there is no folder {str(output.parent)!r}")
    dense, weights = inputs.read_source(
        source, size, real=real, via=via, assume=assume, recipe=recipe
    )
    trace = inputs.make_sparse(dense, sparsity, placement, weights)
    save_trace(trace, output)
    touched = traffic(trace).total
    if as_json:
        facts = {
            "parameters": trace.parameter_count, "macs": trace.macs, "bytes": touched,
            "ops": len(trace), "masks": len(trace.masks),
        }  # fmt: skip
        print_json({"workload": trace.name, "trace": str(output), **facts})
    elif not quiet:
        click.echo(
            f"{trace.name}: {len(trace)} operators, {with_unit(trace.macs, 'MAC', 4)}, "
            f"{with_unit(touched, 'B', 4)}, {trace.parameter_count:,} parameters -> {output}"
        )
        for remark in _remarks(trace.meta):
            click.echo(f"note: {remark}", err=True)
        next_step(f"codesign workload show {output}, codesign simulate {output} --arch NAME")


def _remarks(meta: Mapping[str, object]) -> list[str]:
    """What a reader of the trace should know of how it was made."""
    said = {
        "assumed_values": "a value was assumed: {}",
        "weights_outside_of_the_module": (
            "matrices of {} are no parameters of the module, so that they count as no weights; "
            "modules belong in an nn.ModuleList, tensors in an nn.Parameter"
        ),
        "not_counted": "work on complex numbers is not counted: {}",
        "products_without_weights": "the checkpoint has no weights for {} products",
    }
    return [text.format(meta[key]) for key, text in said.items() if key in meta]
