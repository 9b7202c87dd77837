"""What is wrong with the content of a sweep: one function for each kind of fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from codesign.arch import families, find_arch, list_archs
from codesign.config import CodesignError, Document, did_you_mean, load_spec, load_yaml
from codesign.sweep import accuracy
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
from codesign.sweep.study import Parameter, Study, is_file_name

_NEEDS_ACCURACY = "needs the key accuracy: published, measured or proxy"


def faults_of(study: Study) -> Iterator[Found]:
    """Every fault of a sweep: its path, the value, the rule, and what was meant."""
    for kind in _KINDS:
        yield from kind(study)
    machines, broken = _machines(study)
    yield from broken
    for path, parameter in study.parameters.items():
        for each in (path, *parameter.also):
            for below, value, rule, meant in path_faults(each, parameter, study, machines):
                yield ("parameters", path, *below), value, rule, meant
    yield from glob_faults(study)


def _metrics(study: Study) -> Iterator[Found]:
    known = _figures(study)
    for name in study.metrics:
        if name in accuracy.FIGURES and study.accuracy is None:
            yield ("metrics", name), None, _NEEDS_ACCURACY, None
        elif name not in known:
            rule = f"is no figure of a design: {', '.join(known)}"
            yield ("metrics", name), None, rule, did_you_mean(name, known)


def _figures(study: Study) -> list[str]:
    return [*FIGURES, *(accuracy.FIGURES if study.accuracy is not None else ())]


def _constraints(study: Study) -> Iterator[Found]:
    known = _figures(study)
    limits: list[Limit] = []
    for i, text in enumerate(study.constraints):
        try:
            limit = parse_limit(text)
        except CodesignError as error:
            yield ("constraints", i), text, str(error), None
            continue
        limits.append(limit)
        if limit.figure in accuracy.FIGURES and study.accuracy is None:
            yield ("constraints", i), None, f"{limit.figure} {_NEEDS_ACCURACY}", None
        elif limit.figure not in known:
            near = did_you_mean(limit.figure, known)
            yield ("constraints", i), None, f"{limit.figure} is no figure of a design", near
    if both := contradiction(limits):
        yield ("constraints",), None, f"no design keeps {both[0]} and {both[1]}", None


def _base_design(study: Study) -> Iterator[Found]:
    workload, sparsity = study.base_workload, study.base_sparsity
    for root, key, given in (
        ("workload", "name", workload.name),
        ("workload", "dtype", workload.dtype),
        ("sparsity", "pattern", sparsity.pattern),
        ("sparsity", "method", sparsity.method),
    ):
        if given is not None:
            one = Parameter(values=(given,))
            for _, value, rule, meant in choice_faults(root, key, one, study):
                yield (root, key), value, rule, meant


def _set_twice(study: Study) -> Iterator[Found]:
    taken: dict[str, str] = {}
    for path, parameter in study.parameters.items():
        for each in (path, *parameter.also):
            place = each.replace(".set.", ".", 1)
            if place in taken:
                yield ("parameters", path), None, f"{each} is set by {taken[place]} as well", None
            taken[place] = path


def _conditions(study: Study) -> Iterator[Found]:
    for path, parameter in study.parameters.items():
        for other, allowed in parameter.when.items():
            where = ("parameters", path, "when", other)
            if other not in study.parameters or other == path:
                near = did_you_mean(other, [known for known in study.parameters if known != path])
                yield where, None, "is no other parameter", near
                continue
            listed = study.parameters[other].values
            for value in allowed:
                if listed is not None and value not in listed:
                    near = did_you_mean(str(value), [str(known) for known in listed])
                    yield where, value, f"{other} never has this value", near


def _method(study: Study) -> Iterator[Found]:
    for path, parameter in study.parameters.items():
        if study.method == "grid" and parameter.values is None:
            rule = "a grid needs values, not a range; or take method random"
            yield ("parameters", path), None, rule, None
        if study.method == "cmaes" and not is_numeric(parameter):
            rule = "CMA-ES takes numbers only; or take method tpe or nsga2"
            yield ("parameters", path), None, rule, None
    if study.method == "cmaes" and len(study.metrics) > 1:
        yield ("metrics",), None, "CMA-ES has one metric; or take method nsga2 or tpe", None
    if study.method != "grid" and study.run_cap is None:
        rule = f"{study.method} needs run_cap: how many points"
        yield ("method",), study.method, rule, None


def _execution(study: Study) -> Iterator[Found]:
    execution = study.execution
    if execution.address is not None and execution.executor != "ray":
        yield ("execution", "address"), None, "an address is for the executor ray", None
    if execution.executor in ("serial", "thread") and execution.memory_bytes:
        rule = "only worker processes can be limited: executor process"
        yield ("execution", "memory_bytes"), None, rule, None
    if study.output is not None and Path(study.output).is_dir():
        yield ("output",), study.output, "is a folder; name a file", None


def _promotion(study: Study) -> Iterator[Found]:
    order = ("tile", "row", "cycle")
    if study.promote and order.index(study.promote.fidelity) <= order.index(study.fidelity):
        rule = f"is no closer than the sweep's own fidelity, {study.fidelity}"
        yield ("promote", "fidelity"), study.promote.fidelity, rule, None


_KINDS: tuple[Callable[[Study], Iterator[Found]], ...] = (
    _metrics, _constraints, _base_design, _set_twice, _conditions, _method, _execution, _promotion,
)  # fmt: skip


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
