"""From the words of a command line to traces and machines."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codesign.cli.options import Placement, Size

if TYPE_CHECKING:
    from codesign.arch.base import AnyMachine
    from codesign.evaluate import Chooser
    from codesign.metrics.result import Result
    from codesign.report.cases import Case
    from codesign.trace.op import Trace
    from codesign.trace.projection import Weights
    from codesign.trace.recipe import Recipe


def read_trace(source: str, size: Size) -> Trace:
    """The dense trace of a workload's name or file, `gemm:M,N,K`, or a source of `extract`."""
    return read_source(source, size)[0]


def read_source(
    source: str,
    size: Size,
    *,
    real: bool = False,
    via: str = "auto",
    assume: float | None = None,
    recipe: Recipe | None = None,
) -> tuple[Trace, Weights | None]:
    """The trace of a source run as the recipe says and, with `real`, its weights.

    Raises CodesignError for sizes that the source does not have.
    """
    from codesign.trace.extract import SOURCES

    if size.optimizer is not None and size.phase != "training":
        from codesign.config import CodesignError

        raise CodesignError("--optimizer is of a training step: add --phase training")
    foreign = source.partition(":")[0] in SOURCES
    if not foreign and (real or via != "auto" or assume is not None):
        from codesign.config import CodesignError

        option = "--real" if real else "--via" if via != "auto" else "--assume"
        raise CodesignError(f"{option} is for {', '.join(f'{kind}:' for kind in SOURCES)}")
    weights: list[Weights] = []

    def plain() -> Trace:
        if not foreign:
            from codesign.trace.workload import load_workload

            return load_workload(source, **_asked(size))
        trace, found = _foreign(source, size, real=real, via=via, assume=assume)
        weights.append(found)
        return trace

    if recipe is None:
        trace = plain()
    else:
        from codesign.trace import model
        from codesign.trace.recipe import follow

        asked = _asked(size)
        phase = asked.pop("phase", None)
        if recipe.made_by and "image" in asked:
            from codesign.config import CodesignError

            raise CodesignError(f"--image does not go with {recipe.made_by[0]}")
        whole = model.Size(**{key: value for key, value in asked.items() if key != "image"})
        trace = follow(recipe, source, phase, whole, plain)
    return trace, weights[0] if real and weights else None


def _foreign(
    source: str, size: Size, *, real: bool, via: str, assume: float | None
) -> tuple[Trace, Weights]:
    from codesign.config import CodesignError
    from codesign.trace.extract import extract_with_weights

    asked = _asked(size)
    if "image" in asked:
        raise CodesignError("--image is for workloads by name")
    return extract_with_weights(source, real=real, via=via, assume=assume, **asked)


def _asked(size: Size) -> dict[str, Any]:
    return {key: value for key, value in asdict(size).items() if value is not None}


def make_sparse(
    trace: Trace, pattern: str | None, placement: Placement, weights: Weights | None = None
) -> Trace:
    """The trace with patterns on its weights; itself without one and for `stored`.

    `dense` takes off what sparsity the trace has.

    Forms of weights and changes (`trace.transform`) rewrite the layers that `where` names. A
    `where` of the form GLOB=PATTERN has a pattern of its own; the others take `pattern`, which
    goes everywhere when there are no others. With `weights` the trace gets their masks. Raises
    CodesignError when there is nothing to place.
    """
    from codesign.config import CodesignError
    from codesign.sparsity.pattern import parse_pattern
    from codesign.trace import transform
    from codesign.trace.sparsify import STORED, as_stored, sparsify, without_sparsity

    if pattern == STORED:
        try:
            return as_stored(trace)
        except CodesignError as error:
            raise CodesignError(f"--sparsity {error}") from None
    if pattern is not None and transform.is_change(pattern):
        if weights is not None or any("=" in glob for glob in placement.where):
            raise CodesignError(f"{pattern[:40]!r} takes no real weights and no GLOB=PATTERN")
        return transform.make_sparse(
            trace, pattern, placement.where or "*", method=placement.method
        )
    common = None if pattern is None else parse_pattern(pattern)
    if common is not None and common.is_dense:
        trace, common = without_sparsity(trace), None
        if not any("=" in glob for glob in placement.where):
            return trace
    split = [text.partition("=") for text in placement.where]
    rules = {glob: parse_pattern(own) if given else common for glob, given, own in split}
    if common is not None and all(given for _, given, _ in split):
        rules["*"] = common
    placed = {glob: rule for glob, rule in rules.items() if rule is not None}
    if len(placed) < len(rules) or (placement.method and not rules):
        option = "--where" if rules else "--method"
        raise CodesignError(f"{option} places a pattern, and there is none: add --sparsity 2:4")
    if not placed:
        return trace
    if len(set(placed.values())) == 1:
        (only,) = set(placed.values())
        where = list(placed)
        return sparsify(trace, only, where=where, method=placement.method, weights=weights)
    return sparsify(trace, placed, method=placement.method, weights=weights)


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


def read_mapper(trace: Trace, machine: AnyMachine, **how: Any) -> Chooser | None:
    """What decides mappings, as the options say; None for the machine's own.

    Says on standard error how many mappings an exhaustive search has to try. Raises CodesignError
    where these are too many, or operators are to be placed on a machine that has one core.
    """
    from codesign.arch.cores import CoresMachine
    from codesign.config import CodesignError
    from codesign.mapper.search import count_mappings
    from codesign.planning import network_chooser

    if how["mapper"] == "exhaustive":
        count = count_mappings(trace, machine)
        click.echo(f"exhaustive: up to {count:,} mappings to simulate", err=True)

    if how["place"] and machine.cores == 1:
        several = "; try --set cores=4" if isinstance(machine, CoresMachine) else ""
        raise CodesignError(f"--place: {machine.spec.name} has no cores to choose from{several}")
    return network_chooser(trace, machine, **how)


def read_evaluate(timeline: Path | None, *, quiet: bool) -> Callable[..., Result]:
    """The evaluation of a trace, which also writes a timeline where a file is named."""
    if timeline is None:
        from codesign.evaluate import evaluate

        return evaluate
    from codesign.report.perfetto import evaluate_into

    def told(*run: Any, **how: Any) -> Result:
        result, held = evaluate_into(timeline, *run, **how)
        if not quiet:
            click.echo(f"timeline: {timeline}, {held}; open it at ui.perfetto.dev", err=True)
        return result

    return told


def leave_report(cases: Sequence[Case], folder: Path, *, quiet: bool, **told: Any) -> None:
    """Write index.html, results.json and details.json into the folder; say so on standard error.

    `told` are options of `codesign.report.html.write_report`.
    """
    from codesign.report.details import details
    from codesign.report.html import write_report
    from codesign.report.stored import DETAILS, RESULTS, details_json
    from codesign.report.tables import results_json

    results = [case.result for case in cases]
    close = details(cases, baseline=told.get("baseline", 0), together=told.get("together", False))
    told = {"commands": [command_line()], "details": close, **told}
    write_report(results, folder / "index.html", **told)
    (folder / RESULTS).write_text(results_json(results), encoding="utf-8")
    (folder / DETAILS).write_text(details_json(close), encoding="utf-8")
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


def output_file(path: Path | None) -> Path | None:
    """The file, known to have a folder before the work begins."""
    if path is not None and not path.parent.is_dir():
        from codesign.config import CodesignError

        raise CodesignError(f"{str(path)!r}: there is no folder {str(path.parent)!r}")
    return path


def command_line() -> str:
    """The command that is being run, as it can be pasted into a shell."""
    return shlex.join(["codesign", *sys.argv[1:]])
