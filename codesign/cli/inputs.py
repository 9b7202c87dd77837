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
    """The trace with patterns on its weights; itself for the pattern `dense`.

    A `where` of the form GLOB=PATTERN has a pattern of its own; the others take `pattern`, which
    goes everywhere when there are no others. Raises CodesignError when there is nothing to place.
    """
    from codesign.config import CodesignError
    from codesign.sparsity.pattern import parse_pattern
    from codesign.trace.sparsify import sparsify

    common = None if pattern is None else parse_pattern(pattern)
    if common is not None and common.is_dense:
        return trace
    split = [text.partition("=") for text in placement.where]
    rules = {glob: parse_pattern(own) if given else common for glob, given, own in split}
    if common is not None and all(given for _, given, _ in split):
        rules["*"] = common
    placed = {glob: rule for glob, rule in rules.items() if rule is not None}
    if len(placed) < len(rules) or (placement.method and not rules):
        option = "--where" if rules else "--method"
        raise CodesignError(f"{option} places a pattern, and there is none: add --sparsity 2:4")
    return sparsify(trace, placed, method=placement.method) if placed else trace


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
        from codesign.config import CodesignError

        if folder.exists() and not folder.is_dir():
            raise CodesignError(f"-o: {str(folder)!r} is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def command_line() -> str:
    """The command that is being run, as it can be pasted into a shell."""
    return shlex.join(["codesign", *sys.argv[1:]])
