"""`codesign warmup`: every kernel compiled once, so that no later run waits for the compiler."""

from __future__ import annotations

import time

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
    from codesign.evaluate import evaluate
    from codesign.kernels import cache_folder

    began = time.monotonic()
    dense = inputs.read_trace(_TINY, options.Size(phase="training"))
    traces = [inputs.make_sparse(dense, text, options.Placement()) for text in _PATTERNS]
    work = [
        (name, trace, fidelity)
        for name, _ in list_archs()
        for trace in traces
        for fidelity in options.FIDELITIES
    ]
    with progress_bar(quiet=quiet) as progress:
        for number, (name, trace, fidelity) in enumerate(work):
            progress(f"{name} {fidelity}", number, len(work))
            evaluate(trace, load_arch(name), fidelity=fidelity)
    if not quiet:
        click.echo(f"kernels are compiled in {cache_folder()} ({time.monotonic() - began:.1f} s)")
