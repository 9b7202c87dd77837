"""`codesign crossover`: does sparsity pay, for this layer or model, on these machines?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codesign.cli import options
from codesign.cli.console import next_step, print_json
from codesign.cli.progress import progress_bar
from codesign.cli.suggest import Counts

if TYPE_CHECKING:
    from codesign.arch.base import AnyMachine
    from codesign.crossover.curve import Curve
    from codesign.crossover.words import Axis
    from codesign.trace.op import Trace

_TOKENS = (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_BATCHES = (1, 4, 16, 64, 256)
_GEMM = "gemm:"


@click.command("crossover")
@options.workload
@options.archs
@click.option(
    "--sparsity",
    "sparsities",
    multiple=True,
    default=("2:4",),
    metavar="PATTERN",
    help="What is compared with dense: block(64x64, 0.9), ...; repeatable. [default: 2:4]",
)
@click.option(
    "--tokens",
    type=Counts(1, 1 << 31),
    metavar="N,N,...",
    help=f"Rows of activations of gemm:N,K. [default: {','.join(map(str, _TOKENS))}]",
)
@click.option(
    "--batch",
    type=Counts(1, 1 << 31),
    metavar="N,N,...",
    help=f"Inputs at once of a model. [default: {','.join(map(str, _BATCHES))}; of a trace, 1]",
)
@options.size_options_without_batch
@options.placement_options
@click.option("--energy", is_flag=True, help="Also what part of the dense energy is taken.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw the speed-ups: FILE.svg, or FILE.png with a Chromium.",
)
@options.set_values
@options.fidelity
@options.seed
@options.as_json
@options.quiet
def command(
    workload: str,
    archs: tuple[str, ...],
    sparsities: tuple[str, ...],
    tokens: tuple[int, ...] | None,
    batch: tuple[int, ...] | None,
    size: options.Size,
    placement: options.Placement,
    energy: bool,
    plot: Path | None,
    assignments: tuple[str, ...],
    fidelity: str,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say from which size on sparsity pays, and how sure that is.

    WORKLOAD is a product gemm:N,K, whose weights meet more and more --tokens, or a model as in
    `codesign simulate`, by --batch. A model is also told which layers to keep dense.
    """
    from codesign.cli import inputs
    from codesign.cli.crossover_tables import Answer, show_answer
    from codesign.crossover.curve import curves
    from codesign.crossover.layers import gains, keepings
    from codesign.crossover.words import BATCH, TOKENS, plain
    from codesign.trace.transform import is_change

    plot = _figure_file(inputs.output_file(plot))
    machines = _machines(archs, assignments)
    sizes = _sizes(workload, tokens, batch)
    given = {each: inputs.read_trace(*_sized(workload, size, each)) for each in sizes}
    nowhere = options.Placement()
    dense = {each: inputs.make_sparse(trace, "dense", nowhere) for each, trace in given.items()}
    sparse = {
        text: {each: inputs.make_sparse(trace, text, placement) for each, trace in given.items()}
        for text in _once(sparsities, "--sparsity")
    }

    def can_choose(sparsity: str) -> bool:
        """Whether single layers can be left out: those of a pattern, placed by one rule."""
        return not is_change(sparsity) and not any("=" in glob for glob in placement.where)

    def only(curve: Curve) -> Callable[[int, Sequence[str]], Trace]:
        """Traces in which only the layers that some globs name are sparse."""
        return lambda each, where: inputs.make_sparse(
            given[each], curve.sparsity, replace(placement, where=tuple(where))
        )

    with progress_bar(quiet=quiet) as progress:
        found = curves(dense, sparse, machines, fidelity=fidelity, seed=seed, progress=progress)
        rows = [gains(curve) for curve in found]
        keeps = [
            keepings(curve, machines[curve.arch], only(curve), fidelity=fidelity, seed=seed)
            if can_choose(curve.sparsity)
            else ()
            for curve in found
        ]
    axis = TOKENS if workload.startswith(_GEMM) else BATCH
    notes = _notes(found, axis)
    if as_json:
        print_json(
            {
                "workload": workload,
                "axis": axis.name,
                **_what(dense[sizes[0]]),
                "fidelity": fidelity,
                "curves": [plain(*one) for one in zip(found, repeat(axis), rows, keeps)],
                "notes": notes,
            }
        )
    else:
        title = _title(workload, _what(dense[sizes[0]]), fidelity)
        show_answer(Answer(title, axis, found, rows, keeps, notes), energy=energy)
    if plot is not None:
        from codesign.crossover.drawing import write_figure

        write_figure(found, axis, plot)
        if not quiet:
            click.echo(f"plot: {plot}", err=True)
    elif not as_json:
        next_step("--plot FILE.svg draws it, `codesign compare` shows one size closer", quiet=quiet)


def _once(texts: Sequence[str], option: str) -> tuple[str, ...]:
    for number, text in enumerate(texts):
        if text in texts[:number]:
            raise click.UsageError(f"{option} {text} is given twice")
    return tuple(texts)


def _machines(archs: Sequence[str], assignments: Sequence[str]) -> dict[str, AnyMachine]:
    """Machines by the name in their file, or by the text of --arch where two have one name."""
    from codesign.cli import inputs

    read = {arch: inputs.read_machine(arch, assignments) for arch in _once(archs, "--arch")}
    names = [machine.spec.name for machine in read.values()]
    return {
        arch if names.count(machine.spec.name) > 1 else machine.spec.name: machine
        for arch, machine in read.items()
    }


def _sizes(
    workload: str, tokens: tuple[int, ...] | None, batch: tuple[int, ...] | None
) -> tuple[int, ...]:
    if workload.startswith(_GEMM):
        if batch is not None:
            raise click.UsageError(f"{workload[:80]} goes by --tokens, a model by --batch")
        return tokens or _TOKENS
    if tokens is not None:
        raise click.UsageError("--tokens is for gemm:N,K; a model goes by --batch (and --seq)")
    saved = workload.endswith(".json")
    return batch or ((1,) if saved else _BATCHES)


def _sized(workload: str, size: options.Size, each: int) -> tuple[str, options.Size]:
    """The workload of one size, as every verb reads it. Raises CodesignError for a gemm:M,N,K."""
    if not workload.startswith(_GEMM):
        return workload, replace(size, batch=each)
    words = [word.strip() for word in workload.removeprefix(_GEMM).split(",")]
    if len(words) > 2 and words[2].isdecimal():
        from codesign.config import CodesignError

        rest = ",".join(words[1:])
        raise CodesignError(
            f"{workload[:80]!r} has its own number of tokens; write {_GEMM}{rest[:80]} --tokens "
            f"{words[0][:20]}, or without --tokens for all sizes"
        )
    if len(words) < 2:
        from codesign.config import CodesignError

        raise CodesignError(f"{workload[:80]!r}: write gemm:N,K or gemm:N,K,dtype (B is KxN)")
    return f"{_GEMM}{each},{','.join(words)}", size


def _figure_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix not in (".svg", ".png"):
        raise click.UsageError(f"--plot: {path.name[:60]!r} ends neither in .svg nor in .png")
    return path


def _what(trace: Trace) -> dict[str, Any]:
    """What of the workload is run, and in which type."""
    return {
        "phase": str(trace.meta.get("phase", "inference")),
        "seq": trace.meta.get("seq"),
        "context": trace.meta.get("context"),
        "dtype": next((op.a_dtype for op in trace if op.is_matmul), None),
    }


def _title(workload: str, what: Mapping[str, Any], fidelity: str) -> str:
    from codesign.cli.tables import sizes

    named = sizes({key: what[key] for key in ("seq", "context")})
    run = ", ".join([what["phase"], *named])
    return " · ".join(filter(None, [workload, run, what["dtype"], f"{fidelity} fidelity"]))


def _notes(found: Sequence[Curve], axis: Axis) -> list[str]:
    """What did not run as asked; of notes that differ in numbers alone, that of the first size."""
    from codesign.cli.tables import notes

    first: dict[tuple[str, str], str] = {}
    for curve in found:
        for point in curve.points:
            for note in notes(point.sparse):
                key = (curve.arch, re.sub(r"[0-9.,]+", "#", note))
                first.setdefault(key, f"{axis.at(point.size)}: {note}")
    return list(first.values())
