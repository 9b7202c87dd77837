"""From the words of a command line to traces and machines."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codesign.cli.options import Placement, Size

if TYPE_CHECKING:
    from codesign.arch.base import AnyMachine
    from codesign.metrics.result import Result
    from codesign.trace.op import Trace


def read_trace(source: str, size: Size) -> Trace:
    """The dense trace of a workload's name or file, `gemm:M,N,K`, or `torch:module:factory`."""
    asked = {key: value for key, value in asdict(size).items() if value is not None}
    if source.startswith("torch:"):
        from codesign.trace.extract import extract

        return extract(source, **asked)
    from codesign.trace.workload import load_workload

    return load_workload(source, **asked)


def make_sparse(trace: Trace, pattern: str | None, placement: Placement) -> Trace:
    """The trace with a pattern on its weights; itself where no pattern, or `dense`, is asked for.

    Raises CodesignError when there is a placement and nothing to place.
    """
    from codesign.config import CodesignError
    from codesign.sparsity.pattern import parse_pattern
    from codesign.trace.sparsify import sparsify

    if pattern is None and (placement.where or placement.method):
        option = "--where" if placement.where else "--method"
        raise CodesignError(f"{option} places a pattern, and there is none: add --sparsity 2:4")
    asked = parse_pattern(pattern or "dense")
    if asked.is_dense:
        return trace
    return sparsify(trace, asked, where=list(placement.where) or "*", method=placement.method)


def read_machine(name: str, assignments: Sequence[str]) -> AnyMachine:
    """A machine by name or file, with the `PATH=VALUE` assignments applied.

    Raises CodesignError for an assignment that is malformed, names no field, or comes twice.
    """
    from codesign.arch import load_arch
    from codesign.config import CodesignError, parse_override

    overrides: dict[str, object] = {}
    for text in assignments:
        path, value = parse_override(text)
        if path in overrides:
            raise CodesignError(f"--set: {path} is given twice")
        overrides[path] = value
    return load_arch(name, overrides)


def leave_report(
    results: Sequence[Result], folder: Path, title: str, *, quiet: bool, baseline: int = 0
) -> None:
    """Write index.html and results.json into the folder, and say so on standard error."""
    from codesign.report.html import write_report

    write_report(
        results, folder / "index.html", title=title, baseline=baseline, commands=[command_line()]
    )
    content = json.dumps([result.to_dict() for result in results], indent=1)
    (folder / "results.json").write_text(content + "\n", encoding="utf-8")
    if not quiet:
        click.echo(f"report: {folder / 'index.html'}", err=True)


def report_folder(folder: Path | None) -> Path | None:
    """The folder made ready before the work begins, so that a full disk or a typo costs no time."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def command_line() -> str:
    """The command that is being run, as it can be pasted into a shell."""
    return shlex.join(["codesign", *sys.argv[1:]])
