"""`codesign warmup`: every kernel compiled once, so that no later run waits for the compiler."""

from __future__ import annotations

import time
from contextlib import suppress

import click

from codesign.cli import options
from codesign.cli.progress import progress_bar

_TINY = "gemm:8,8,16"
_PATTERNS = ("dense", "2:4", "unstructured(0.5)")


@click.command("warmup")
@options.quiet
def command(quiet: bool) -> None:
    """Compile all kernels into the cache.

    Runs a tiny product on every shipped machine, dense and sparse, in every fidelity.
    """
    from codesign.arch import list_archs, load_arch
    from codesign.cli import inputs
    from codesign.config import CodesignError
    from codesign.evaluate import evaluate
    from codesign.kernels import cache_folder

    began = time.monotonic()
    traces = [
        inputs.make_sparse(inputs.read_trace(_TINY, size), text, options.Placement())
        for size in (options.Size(phase="training"), options.Size())
        for text in _PATTERNS
    ]
    machines = [(name, load_arch(name)) for name, _ in list_archs()]
    work = [
        (name, machine, trace, fidelity)
        for name, machine in machines
        for trace in [t for t in traces if all(map(machine.supports, t))][: len(_PATTERNS)]
        for fidelity in options.FIDELITIES
    ]
    with progress_bar(quiet=quiet) as progress:
        for number, (name, machine, trace, fidelity) in enumerate(work):
            progress(f"{name} {fidelity}", number, len(work))
            with suppress(CodesignError):  # a machine may lack a fidelity
                evaluate(trace, machine, fidelity=fidelity)
    if not quiet:
        click.echo(f"kernels are compiled in {cache_folder()} ({time.monotonic() - began:.1f} s)")
