"""From a sweep file to a checked sweep: every fault with its line, before the first point runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from codesign.arch import families, find_arch, list_archs
from codesign.config import (
    CodesignError,
    ConfigError,
    Document,
    Fault,
    Spec,
    did_you_mean,
    leaves,
    load_spec,
    load_yaml,
    parse_override,
    shipped,
)
from codesign.spec_errors import fields_of
from codesign.sweep import accuracy
from codesign.sweep.design import Base, read_base
from codesign.sweep.figures import FIGURES
from codesign.sweep.limits import parse_limit
from codesign.sweep.study import (
    ROOTS,
    ArchChoice,
    MappingChoice,
    Parameter,
    Scalar,
    SparsityChoice,
    Study,
    WorkloadChoice,
)
from codesign.trace.sparsify import METHODS
from codesign.trace.transform import require_sparsity
from codesign.trace.workload import find_workload, workload_names, workload_spec
from codesign.units import DTYPE_BYTES

_CHOICES: Mapping[str, type[Spec]] = {
    "workload": WorkloadChoice,
    "arch": ArchChoice,
    "sparsity": SparsityChoice,
    "mapping": MappingChoice,
}
_MOST_CHECKED = 200
"""Listed values of a parameter that are tried on the machine before the sweep begins."""


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
    a
    key of the sweep. Raises ConfigError with every fault.
    """
    document = load_yaml(path)
    overrides = _overrides(document, assignments)
    study = load_spec(Study, document, overrides)
    return check_study(study, document)


def _overrides(document: Document, assignments: Sequence[str]) -> dict[str, object]:
    overrides: dict[str, object] = {}
    given = document.data.get("parameters")
    parameters: dict[str, object] = dict(given) if isinstance(given, Mapping) else {}
    for text in assignments:
        path, _, value = text.partition("=")
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
    for i, text in enumerate(study.constraints):
        try:
            limit = parse_limit(text)
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
    for root, key, given in (
        ("workload", "name", study.base_workload.name),
        ("workload", "dtype", study.base_workload.dtype),
        ("sparsity", "pattern", study.base_sparsity.pattern),
        ("sparsity", "method", study.base_sparsity.method),
    ):
        if given is not None:
            for found in _choice_faults(root, key, Parameter(values=(given,))):
                yield fault((root, key), found[2], found[1], found[3])
    machines, broken = _machines(study)
    for wrong in broken:
        yield fault(wrong[0], wrong[2], wrong[1], wrong[3])
    taken: dict[str, str] = {}
    for path, parameter in study.parameters.items():
        where = ("parameters", path)
        for each in (path, *parameter.also):
            if each in taken:
                yield fault(where, f"{each} is set by {taken[each]} as well")
            taken[each] = path
            for wrong in _path_faults(each, parameter, study, machines):
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
        if study.method == "cmaes" and not _numeric(parameter):
            yield fault(where, "CMA-ES takes numbers only; or take method tpe or nsga2")
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


_Found = tuple[tuple[str | int, ...], object, str, str | None]
"""Where below a parameter, which value, the rule, and what was meant."""


def _machines(study: Study) -> tuple[dict[str, Document], list[_Found]]:
    """The machine files that a sweep names, and what is wrong with their names and with `set`."""
    found: dict[str, Document] = {}
    broken: list[_Found] = []
    chosen = study.parameters.get("arch", study.parameters.get("arch.name"))
    key = "arch" if "arch" in study.parameters else "arch.name"
    names: list[tuple[tuple[str | int, ...], object]] = [(("arch",), study.base_arch.name)]
    if chosen is not None and chosen.values is not None:
        names = [(("parameters", key, "values", i), v) for i, v in enumerate(chosen.values)]
    for where, name in names:
        try:
            document = load_yaml(find_arch(str(name)))
            family = families().get(str(document.data.get("machine")))
            if family is None:
                raise CodesignError(f"{name}: no family {document.data.get('machine')!r}")
            load_spec(family.spec_type, document, study.base_arch.set)
        except CodesignError as error:
            near = did_you_mean(str(name), [known for known, _ in list_archs()])
            broken.append((where, name, _one_line(error), near))
        except OSError as error:
            broken.append((where, name, str(error.strerror), None))
        else:
            found[str(name)] = document
    return found, broken


def _path_faults(
    path: str, parameter: Parameter, study: Study, machines: Mapping[str, Document]
) -> Iterator[_Found]:
    if path == "seed":
        yield from _typed(parameter, int, "a seed is a whole number")
        return
    root, _, rest = path.partition(".")
    if root not in ROOTS:
        rule = f"a parameter's path begins with {', '.join(ROOTS)}, or is seed"
        meant = did_you_mean(root, ROOTS)
        yield (), None, rule, None if meant is None else path.replace(root, meant, 1)
        return
    bare = {"workload": "name", "arch": "name", "sparsity": "pattern", "mapping": "mapper"}[root]
    key = rest or bare
    fields = [name for name in _CHOICES[root].model_fields if name != "set"]
    if key in fields:
        if key == "name" and root == "arch":
            yield from _typed(parameter, str, "a machine is named by text")
        else:
            yield from _choice_faults(root, key, parameter)
    elif root == "arch":
        yield from _arch_faults(rest.removeprefix("set."), parameter, study, machines)
    elif root == "workload":
        yield from _workload_faults(rest.removeprefix("set."), parameter, study)
    else:
        near = did_you_mean(rest, fields)
        yield (), None, f"{root} has {', '.join(fields)}", f"{root}.{near}" if near else None


def _choice_faults(root: str, key: str, parameter: Parameter) -> Iterator[_Found]:
    kind = _CHOICES[root]
    for where, value in _samples(parameter):
        required = {} if root in ("sparsity", "mapping") or key == "name" else {"name": "x"}
        try:
            load_spec(kind, Document({**required, key: value}))
            if root == "workload" and key == "name":
                _known_workload(str(value))
            if root == "sparsity" and key == "pattern":
                require_sparsity(str(value))
            if root == "sparsity" and key == "method" and value not in METHODS:
                near = did_you_mean(str(value), list(METHODS))
                yield where, value, f"is one of {', '.join(METHODS)}", near
            if root == "workload" and key == "dtype" and value not in DTYPE_BYTES:
                near = did_you_mean(str(value), list(DTYPE_BYTES))
                yield where, value, f"is one of {', '.join(DTYPE_BYTES)}", near
        except ConfigError as error:
            first = error.faults[0]
            yield where, value, first.rule, first.suggestion
        except CodesignError as error:
            yield where, value, _one_line(error), None


def _known_workload(name: str) -> None:
    if name not in workload_names() and not name.startswith("gemm:"):
        path = find_workload(name)
        if not path.is_file():
            raise CodesignError(f"{path}: there is no such file")


def _arch_faults(
    rest: str, parameter: Parameter, study: Study, machines: Mapping[str, Document]
) -> Iterator[_Found]:
    """Tries the values on every machine that the parameter is there for."""
    only = parameter.when.get("arch", parameter.when.get("arch.name"))
    for name, document in machines.items():
        if only is not None and name not in only:
            continue
        family = families()[str(document.data["machine"])]
        paths = [path for path, _ in leaves(load_spec(family.spec_type, document))]
        for where, value in _samples(parameter):
            try:
                load_spec(family.spec_type, document, {**study.base_arch.set, rest: value})
            except ConfigError as error:
                unknown = next((f for f in error.faults if "unknown" in f.rule), None)
                if unknown is not None or not _is_field(family.spec_type, rest):
                    near = did_you_mean(rest, paths) or _same_tail(rest, paths)
                    rule = f"the machine {name} has no such value"
                    yield (), None, rule, f"arch.{near}" if near else None
                    break
                first = error.faults[0]
                yield where, value, f"{name}: {first.rule}", first.suggestion
            except CodesignError as error:
                yield where, value, f"{name}: {_one_line(error)}", None


def _same_tail(path: str, paths: Sequence[str]) -> str | None:
    tail = path.split(".")[-1]
    near = [known for known in paths if known.split(".")[-1] == tail]
    return near[0] if len(near) == 1 else None


def _is_field(kind: Any, path: str) -> bool:
    """Whether a dotted path names a field of a Spec, or lies below one that is no Spec."""
    head, _, rest = path.partition(".")
    fields = fields_of(kind)
    if head not in fields:
        return False
    inner = fields[head].annotation
    return not rest or not fields_of(inner) or _is_field(inner, rest)


def _workload_faults(rest: str, parameter: Parameter, study: Study) -> Iterator[_Found]:
    named = study.parameters.get("workload", study.parameters.get("workload.name"))
    names = [study.base_workload.name] if named is None else [str(v) for v in named.values or ()]
    only = parameter.when.get("workload", parameter.when.get("workload.name"))
    for name in names:
        if only is not None and name not in only:
            continue
        if name.startswith("gemm:"):
            yield (), None, f"{name} has no hyper-parameters", None
            continue
        for where, value in _samples(parameter):
            try:
                workload_spec(name, {rest: value})
            except ConfigError as error:
                first = error.faults[0]
                keys = [path for path, _ in leaves(workload_spec(name))]
                fields = [f for f in WorkloadChoice.model_fields if f != "set"]
                near = did_you_mean(rest, [*fields, *keys])
                unknown = rest.split(".")[0] not in {key.split(".")[0] for key in keys}
                if unknown:
                    rule = f"the workload {name} has no such value"
                    yield (), None, rule, f"workload.{near}" if near else None
                    break
                yield where, value, f"{name}: {first.rule}", first.suggestion
            except CodesignError as error:
                yield where, value, _one_line(error), None


def _samples(parameter: Parameter) -> list[tuple[tuple[str | int, ...], Scalar]]:
    """Values to try: those listed, or the ends of the range."""
    if parameter.values is not None:
        return [(("values", i), v) for i, v in enumerate(parameter.values[:_MOST_CHECKED])]
    assert parameter.min is not None
    assert parameter.max is not None
    kind = int if parameter.shape.startswith("int") else float
    return [(("min",), kind(parameter.min)), (("max",), kind(parameter.max))]


def _typed(parameter: Parameter, kind: type, rule: str) -> Iterator[_Found]:
    for where, value in _samples(parameter):
        if type(value) is not kind:
            yield where, value, rule, None


def _numeric(parameter: Parameter) -> bool:
    values = parameter.values or ()
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _one_line(error: CodesignError) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(str(replace(fault, file="file")) for fault in error.faults[:3])
    return str(error)
