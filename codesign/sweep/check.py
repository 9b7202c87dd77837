"""From a sweep file to a checked sweep: every fault with its line, before the first point runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from codesign.arch import families, find_arch, list_archs
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
from codesign.sweep.figures import FIGURES
from codesign.sweep.limits import Limit, contradiction, parse_limit
from codesign.sweep.parameters import (
    Found,
    choice_faults,
    glob_faults,
    is_numeric,
    one_line,
    path_faults,
)
from codesign.sweep.study import ROOTS, Parameter, Study, is_file_name


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
    """A sweep file with assignments `path=value,value` put in, checked, with the files that it
    names.

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
    faults = list(_faults(study, document))
    if faults:
        raise ConfigError(faults)
    base = read_base(study)
    if study.accuracy is not None:
        accuracy.require_source(study.accuracy)
    return base


def _faults(study: Study, document: Document) -> Iterator[Fault]:
    def fault(
        path: tuple[str | int, ...], rule: str, value: object = None, suggestion: str | None = None
    ) -> Fault:
        line = next(
            (
                document.lines[path[:n]]
                for n in range(len(path), 0, -1)
                if path[:n] in document.lines
            ),
            None,
        )
        shown = None if value is None else repr(value)[:80]
        name = ".".join(map(str, path))
        return Fault(document.name, line, name, rule, shown, suggestion)

    known = [*FIGURES, *(accuracy.FIGURES if study.accuracy is not None else ())]
    for name in study.metrics:
        if name in accuracy.FIGURES and study.accuracy is None:
            rule = "needs the key accuracy: published, measured or proxy"
            yield fault(("metrics", name), rule)
        elif name not in known:
            near = did_you_mean(name, known)
            yield fault(
                ("metrics", name), f"is no figure of a design: {', '.join(known)}", None, near
            )
    limits: list[Limit] = []
    for i, text in enumerate(study.constraints):
        try:
            limit = parse_limit(text)
            limits.append(limit)
        except CodesignError as error:
            yield fault(("constraints", i), str(error), text)
            continue
        if limit.figure in accuracy.FIGURES and study.accuracy is None:
            rule = f"{limit.figure} needs the key accuracy: published, measured or proxy"
            yield fault(("constraints", i), rule)
        elif limit.figure not in known:
            near = did_you_mean(limit.figure, known)
            rule = f"{limit.figure} is no figure of a design"
            yield fault(("constraints", i), rule, None, near)
    if both := contradiction(limits):
        yield fault(("constraints",), f"no design keeps {both[0]} and {both[1]}")
    if study.output is not None and Path(study.output).is_dir():
        yield fault(("output",), "is a folder; name a file", study.output)
    for root, key, given in (
        ("workload", "name", study.base_workload.name),
        ("workload", "dtype", study.base_workload.dtype),
        ("sparsity", "pattern", study.base_sparsity.pattern),
        ("sparsity", "method", study.base_sparsity.method),
    ):
        if given is not None:
            for found in choice_faults(root, key, Parameter(values=(given,)), study):
                yield fault((root, key), found[2], found[1], found[3])
    machines, broken = _machines(study)
    for wrong in broken:
        yield fault(wrong[0], wrong[2], wrong[1], wrong[3])
    taken: dict[str, str] = {}
    for path, parameter in study.parameters.items():
        where = ("parameters", path)
        for each in (path, *parameter.also):
            place = each.replace(".set.", ".", 1)
            if place in taken:
                yield fault(where, f"{each} is set by {taken[place]} as well")
            taken[place] = path
            for wrong in path_faults(each, parameter, study, machines):
                yield fault((*where, *wrong[0]), wrong[2], wrong[1], wrong[3])
        for other, allowed in parameter.when.items():
            if other not in study.parameters or other == path:
                near = did_you_mean(other, [p for p in study.parameters if p != path])
                yield fault((*where, "when", other), "is no other parameter", None, near)
            elif (listed := study.parameters[other].values) is not None:
                for value in allowed:
                    if value not in listed:
                        near = did_you_mean(str(value), [str(v) for v in listed])
                        rule = f"{other} never has this value"
                        yield fault((*where, "when", other), rule, value, near)
        if study.method == "grid" and parameter.values is None:
            yield fault(where, "a grid needs values, not a range; or take method random")
        if study.method == "cmaes" and not is_numeric(parameter):
            yield fault(where, "CMA-ES takes numbers only; or take method tpe or nsga2")
    for wrong in glob_faults(study):
        yield fault(wrong[0], wrong[2], wrong[1], wrong[3])
    if study.method == "cmaes" and len(study.metrics) > 1:
        yield fault(("metrics",), "CMA-ES has one metric; or take method nsga2 or tpe")
    if study.method != "grid" and study.run_cap is None:
        yield fault(("method",), f"{study.method} needs run_cap: how many points", study.method)
    if study.execution.address is not None and study.execution.executor != "ray":
        yield fault(("execution", "address"), "an address is for the executor ray")
    if study.execution.executor in ("serial", "thread") and study.execution.memory_bytes:
        yield fault(
            ("execution", "memory_bytes"), "only worker processes can be limited: executor process"
        )
    order = ("tile", "row", "cycle")
    if study.promote and order.index(study.promote.fidelity) <= order.index(study.fidelity):
        rule = f"is no closer than the sweep's own fidelity, {study.fidelity}"
        yield fault(("promote", "fidelity"), rule, study.promote.fidelity)


def _machines(study: Study) -> tuple[dict[str, Document], list[Found]]:
    """The machine files that a sweep names, and what is wrong with their names and with `set`."""
    found: dict[str, Document] = {}
    broken: list[Found] = []
    chosen = study.parameters.get("arch", study.parameters.get("arch.name"))
    key = "arch" if "arch" in study.parameters else "arch.name"
    names: list[tuple[tuple[str | int, ...], object]] = [(("arch",), study.base_arch.name)]
    if chosen is not None and chosen.values is not None:
        names = [(("parameters", key, "values", i), v) for i, v in enumerate(chosen.values)]
    for where, name in names:
        try:
            document = load_yaml(find_arch(study.located(str(name))))
            family = families().get(str(document.data.get("machine")))
            if family is None:
                raise CodesignError(f"{name}: no family {document.data.get('machine')!r}")
            load_spec(family.spec_type, document, study.base_arch.set)
        except CodesignError as error:
            shipped_names = [] if is_file_name(str(name)) else [known for known, _ in list_archs()]
            near = did_you_mean(str(name), shipped_names)
            broken.append((where, name, one_line(error), near))
        except OSError as error:
            broken.append((where, name, str(error.strerror), None))
        else:
            found[str(name)] = document
    return found, broken
