"""From a sweep file to a checked sweep: every fault with its line, before the first point runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from codesign.config import (
    OVERRIDE,
    CodesignError,
    ConfigError,
    Document,
    Fault,
    did_you_mean,
    load_spec,
    load_yaml,
    parse_override,
    shipped,
)
from codesign.sweep import accuracy
from codesign.sweep.design import Base, read_base
from codesign.sweep.faults import faults_of
from codesign.sweep.parameters import Found
from codesign.sweep.study import ROOTS, Study


def sweep_names() -> list[str]:
    """The names of all shipped sweeps, sorted."""
    return sorted(path.stem for path in (shipped("workloads") / "sweeps").glob("*.yaml"))


def find_sweep(name_or_path: str) -> Path:
    """The file of a shipped sweep, or the given path. Raises CodesignError with a suggestion."""
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        return Path(name_or_path)
    names = sweep_names()
    if name_or_path in names:
        return shipped("workloads") / "sweeps" / f"{name_or_path}.yaml"
    near = did_you_mean(name_or_path, names)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
    raise CodesignError(f"no sweep {name_or_path[:80]!r}; {hint} (a file ends in .yaml)")


def read_study(path: Path, assignments: Sequence[str] = ()) -> Base:
    """A sweep file with assignments `path=value,value` put in, checked, with the files it names.

    An assignment whose path is that of a design sets the values of a parameter, any other one sets
    a key of the sweep. Raises ConfigError with every fault.
    """
    document = load_yaml(path)
    try:
        overrides = _overrides(document, assignments)
        study = load_spec(Study, document, overrides).read_from(path.parent)
    except ConfigError as error:
        raise ConfigError([_of_assignment(fault, assignments) for fault in error.faults]) from None
    return check_study(study, document)


def _of_assignment(fault: Fault, assignments: Sequence[str]) -> Fault:
    """A fault of a value that was set, told by the words that set it."""
    if fault.file != OVERRIDE:
        return fault
    path = fault.path.removeprefix("parameters.")
    named = [text for text in assignments if path.startswith(text.partition("=")[0].strip())]
    return replace(fault, file=max(named, key=len, default=fault.path)[:80], path="")


def _overrides(document: Document, assignments: Sequence[str]) -> dict[str, object]:
    overrides: dict[str, object] = {}
    given = document.data.get("parameters")
    parameters: dict[str, object] = dict(given) if isinstance(given, Mapping) else {}
    for text in assignments:
        path, _, value = text.partition("=")
        if not all(path.strip().split(".")) or not value.strip():
            raise CodesignError(f"{text[:80]!r} is not of the form KEY=VALUE,VALUE")
        root = path.strip().partition(".")[0]
        if root in ROOTS:
            key, values = parse_override(f"{path}=[{value}]")
            parameters[key] = {"values": values}
            overrides["parameters"] = parameters
        else:
            key, one = parse_override(text)
            overrides[key] = one
    return overrides


def check_study(study: Study, document: Document) -> Base:
    """A sweep with the files that it names. Raises ConfigError with every fault of its content."""
    faults = [_at_its_line(found, document) for found in faults_of(study)]
    if faults:
        raise ConfigError(faults)
    base = read_base(study)
    if study.accuracy is not None:
        accuracy.require_source(study.accuracy)
    return base


def _at_its_line(found: Found, document: Document) -> Fault:
    """A fault with the line of its path, or of what stands around it."""
    path, value, rule, meant = found
    around = (path[:n] for n in range(len(path), 0, -1))
    line = next((document.lines[each] for each in around if each in document.lines), None)
    shown = None if value is None else repr(value)[:80]
    return Fault(document.name, line, ".".join(map(str, path)), rule, shown, meant)
