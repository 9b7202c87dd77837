"""What is wrong with the parameters of a sweep: every path and listed value is tried beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from codesign.arch import families
from codesign.config import (
    CodesignError,
    ConfigError,
    Document,
    Spec,
    did_you_mean,
    leaves,
    load_spec,
)
from codesign.spec_errors import fields_of
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
from codesign.trace.io import load_trace
from codesign.trace.sparsify import METHODS, STORED, as_stored, sparsify
from codesign.trace.transform import require_sparsity
from codesign.trace.workload import find_workload, load_workload, workload_names, workload_spec
from codesign.units import DTYPE_BYTES

_CHOICES: Mapping[str, type[Spec]] = {
    "workload": WorkloadChoice,
    "arch": ArchChoice,
    "sparsity": SparsityChoice,
    "mapping": MappingChoice,
}
_MOST_CHECKED = 200
"""Listed values of a parameter that are tried on the machine before the sweep begins."""


Found = tuple[tuple[str | int, ...], object, str, str | None]
"""Where below a parameter, which value, the rule, and what was meant."""


def path_faults(
    path: str, parameter: Parameter, study: Study, machines: Mapping[str, Document]
) -> Iterator[Found]:
    """What is wrong with a parameter's path, and with its values there."""
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
            yield from choice_faults(root, key, parameter, study)
    elif root == "arch":
        yield from _arch_faults(rest.removeprefix("set."), parameter, study, machines)
    elif root == "workload":
        yield from _workload_faults(rest.removeprefix("set."), parameter, study)
    else:
        near = did_you_mean(rest, fields)
        yield (), None, f"{root} has {', '.join(fields)}", f"{root}.{near}" if near else None


def choice_faults(root: str, key: str, parameter: Parameter, study: Study) -> Iterator[Found]:
    """Values that a key of a design's section cannot have."""
    kind = _CHOICES[root]
    for where, value in _samples(parameter):
        required = {} if root in ("sparsity", "mapping") or key == "name" else {"name": "x"}
        try:
            load_spec(kind, Document({**required, key: value}))
            if root == "workload" and key == "name":
                _known_workload(study.located(str(value)))
            if root == "sparsity" and key == "pattern":
                if value == STORED:
                    _require_stored(parameter, study)
                else:
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
            yield where, value, one_line(error), None


def _known_workload(name: str) -> None:
    if name not in workload_names() and not name.startswith("gemm:"):
        path = find_workload(name)
        if not path.is_file():
            raise CodesignError(f"{path}: there is no such file")
        if path.suffix == ".json":
            load_trace(path)


def _require_stored(parameter: Parameter, study: Study) -> None:
    only = parameter.when.get("workload", parameter.when.get("workload.name"))
    for name in _workloads(study):
        if only is None or name in only:
            as_stored(load_workload(study.located(name)))


def _arch_faults(
    rest: str, parameter: Parameter, study: Study, machines: Mapping[str, Document]
) -> Iterator[Found]:
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
                yield where, value, f"{name}: {one_line(error)}", None


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


def _workload_faults(rest: str, parameter: Parameter, study: Study) -> Iterator[Found]:
    only = parameter.when.get("workload", parameter.when.get("workload.name"))
    for name in _workloads(study):
        if only is not None and name not in only:
            continue
        if name.startswith("gemm:"):
            yield (), None, f"{name} has no hyper-parameters", None
            continue
        for where, value in _samples(parameter):
            try:
                workload_spec(study.located(name), {rest: value})
            except ConfigError as error:
                first = error.faults[0]
                keys = [path for path, _ in leaves(workload_spec(study.located(name)))]
                fields = [f for f in WorkloadChoice.model_fields if f != "set"]
                near = did_you_mean(rest, [*fields, *keys])
                unknown = rest.split(".")[0] not in {key.split(".")[0] for key in keys}
                if unknown:
                    rule = f"the workload {name} has no such value"
                    yield (), None, rule, f"workload.{near}" if near else None
                    break
                yield where, value, f"{name}: {first.rule}", first.suggestion
            except CodesignError as error:
                yield where, value, one_line(error), None


def glob_faults(study: Study) -> Iterator[Found]:
    """Globs of layers that match no layer of a workload, tried with a pattern that all have."""
    listed = study.parameters.get("sparsity.where")
    globs: list[tuple[tuple[str | int, ...], object]] = [
        (("sparsity", "where"), study.base_sparsity.where)
    ]
    if listed is not None:
        globs = [(("parameters", "sparsity.where", *where), v) for where, v in _samples(listed)]
    globs = [(where, text) for where, text in globs if isinstance(text, str) and text != "*"]
    chosen = study.base_workload
    for name in _workloads(study) if globs else ():
        try:
            trace = load_workload(study.located(name), batch=chosen.batch, overrides=chosen.set)
        except CodesignError:
            continue
        for where, text in globs:
            try:
                sparsify(trace, "1:2", where=str(text).split(","), method="dense")
            except CodesignError as error:
                yield where, text, f"{name}: {one_line(error)}", None


def _workloads(study: Study) -> list[str]:
    named = study.parameters.get("workload", study.parameters.get("workload.name"))
    return [study.base_workload.name] if named is None else [str(v) for v in named.values or ()]


def _samples(parameter: Parameter) -> list[tuple[tuple[str | int, ...], Scalar]]:
    """Values to try: those listed, or the ends of the range."""
    if parameter.values is not None:
        return [(("values", i), v) for i, v in enumerate(parameter.values[:_MOST_CHECKED])]
    assert parameter.min is not None
    assert parameter.max is not None
    kind = int if parameter.shape.startswith("int") else float
    return [(("min",), kind(parameter.min)), (("max",), kind(parameter.max))]


def _typed(parameter: Parameter, kind: type, rule: str) -> Iterator[Found]:
    for where, value in _samples(parameter):
        if type(value) is not kind:
            yield where, value, rule, None


def is_numeric(parameter: Parameter) -> bool:
    """Whether a parameter takes numbers only."""
    values = parameter.values or ()
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def one_line(error: CodesignError) -> str:
    """The first faults of an error on one line, without the file's name."""
    if isinstance(error, ConfigError):
        return "; ".join(str(replace(fault, file="file")) for fault in error.faults[:3])
    return str(error)
