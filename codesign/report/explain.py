"""What a word means: a metric, a field of machine files, a pattern, a method, a machine, a term."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from codesign.config import CodesignError, Spec, load_spec, load_yaml, suggestion

_DATA = Path(__file__).with_name("glossary.yaml")


class Metric(Spec):
    """A figure of a result."""

    unit: str
    what: str


class Glossary(Spec):
    """The words of the data file; `suffixes` are the units that names of fields end with."""

    metrics: dict[str, Metric]
    terms: dict[str, str]
    fields: dict[str, str]
    suffixes: dict[str, str]


@dataclass(frozen=True)
class Explanation:
    """A word of one kind, what it means, and rows of (label, text) about it."""

    kind: str
    name: str
    what: str
    rows: tuple[tuple[str, str], ...] = ()
    example: str = ""


@cache
def glossary() -> Glossary:
    """The words of the data file."""
    return load_spec(Glossary, load_yaml(_DATA))


def explain(word: str) -> list[Explanation]:
    """All that a word means, most particular first.

    Raises CodesignError with the nearest words for one that means nothing here.

    >>> [(found.kind, found.name) for found in explain("edp_js")]
    [('metric', 'edp_js')]
    """
    word = word.strip()
    found = [meaning for look in _LOOKS for meaning in look(word)]
    if not found or "." in word:
        found += _field(word)
    if found:
        return found
    raise CodesignError(
        f"nothing is called {word[:60]!r}"
        + suggestion(word, [name for names in vocabulary().values() for name in names])
        + " (`codesign explain` lists the words)"
    )


def vocabulary() -> dict[str, list[str]]:
    """Every word that can be explained, by kind."""
    from codesign.arch import families, list_archs
    from codesign.report.pattern_pages import catalogue
    from codesign.trace.sparsify import METHODS
    from codesign.trace.transform import CHANGES
    from codesign.trace.workload import list_workloads

    return {
        "metric": list(glossary().metrics),
        "term": list(glossary().terms),
        "machine": [name for name, _ in list_archs()],
        "family": sorted(families()),
        "workload": [name for name, _ in list_workloads()],
        "kind of sparsity": [page.slug for page in catalogue()],
        "change": list(CHANGES),
        "method": list(METHODS),
        "field": sorted(_fields()),
    }


def _metric(word: str) -> Iterator[Explanation]:
    metric = glossary().metrics.get(word)
    if metric is not None:
        rows = (("unit", metric.unit),) if metric.unit else ()
        yield Explanation("metric", word, metric.what, rows)


def _term(word: str) -> Iterator[Explanation]:
    if word in glossary().terms:
        yield Explanation("term", word, glossary().terms[word])


def _machine(word: str) -> Iterator[Explanation]:
    from codesign.arch import list_archs, load_arch

    path = dict(list_archs()).get(word)
    if path is not None:
        spec = load_arch(path).spec
        rows = (
            ("family", spec.machine),
            ("clock", f"{spec.clock_mhz:g} MHz, {spec.technology.node_nm} nm"),
            ("doubtful", f"{_doubtful(spec)} of {len(spec.numbers())} numbers"),
        )
        shown = f"codesign arch show {word}"
        yield Explanation("machine", word, spec.description.strip(), rows, shown)


def _family(word: str) -> Iterator[Explanation]:
    from codesign.arch import families, list_archs, load_arch

    machine = families().get(word)
    if machine is not None:
        about = (sys.modules[machine.__module__].__doc__ or "").strip().split("\n\n")[0]
        names = [name for name, _ in list_archs() if load_arch(name).spec.machine == word]
        rows = (("machines", ", ".join(names)),)
        shown = f"codesign arch schema {word}"
        yield Explanation("family", word, about.replace("\n", " "), rows, shown)


def _doubtful(spec: Any) -> int:
    sources = (spec.source_of(path) for path, _ in spec.numbers())
    return sum(source.status in ("unverified", "assumed") for source in sources if source)


def _workload(word: str) -> Iterator[Explanation]:
    from codesign.trace.workload import list_workloads

    facts = dict(list_workloads()).get(word)
    if facts is not None:
        rows = tuple(
            (key, str(value)) for key, value in facts.items() if value and key != "description"
        )
        about = str(facts["description"] or "")
        yield Explanation("workload", word, about, rows, f"codesign workload show {word}")


def _sparsity(word: str) -> Iterator[Explanation]:
    """Pages whose name is the word, or whose forms are of the kind of the word."""
    from codesign.report.pattern_pages import catalogue

    kind = _kind_of(word)
    for page in catalogue():
        if word == page.slug or (kind and kind in map(_kind_of, page.texts)):
            rows = (
                ("written", ", ".join(page.texts)),
                ("stored", page.stored),
                ("source", page.source),
                ("note", page.note),
            )
            yield Explanation("kind of sparsity", page.title, page.what, rows, page.example)


def _kind_of(text: str) -> str:
    """The name before the brackets, or N:M; empty for what is no pattern's text."""
    from codesign.sparsity.pattern import parse_pattern

    name, bracket, _ = text.partition("(")
    if bracket:
        return name
    try:
        return type(parse_pattern(text)).__name__
    except CodesignError:
        return ""


def _change(word: str) -> Iterator[Explanation]:
    from codesign.trace.transform import CHANGES

    change = CHANGES.get(word.partition("(")[0])
    if change is not None:
        rows = (("written", change.form),)
        yield Explanation("change", word.partition("(")[0], change.about, rows)


def _method(word: str) -> Iterator[Explanation]:
    from codesign.trace.sparsify import METHODS

    if word not in METHODS:
        return
    from codesign.prune.registry import SPARSIFIERS

    rule = METHODS[word]
    sides = {
        "weights in forward": rule.forward,
        "weights in backward-data": rule.backward_data,
        "output gradients in backward-data": rule.output_gradient,
        "gradients in backward-weight": rule.backward_weight,
        "inputs in forward": rule.inputs,
    }
    rows = [("sparse", ", ".join(name for name, sparse in sides.items() if sparse) or "nothing")]
    what = "Which products of a training step are sparse."
    kind = SPARSIFIERS.get(word)
    if kind is not None:
        what = (kind.__doc__ or what).strip().split("\n\n")[0].replace("\n    ", " ")
        rows += [("paper", kind.paper), ("masks", kind.timing.replace("_", " "))]
        rows.append(("patterns", ", ".join(pattern.__name__ for pattern in kind.patterns)))
    yield Explanation("method", word, what, tuple(rows))


def _field(word: str) -> Iterator[Explanation]:
    """Fields of machine files whose dotted path is the word or ends with it."""
    known = _fields()
    for path in [path for path in sorted(known) if path == word or path.endswith(f".{word}")]:
        rows = [("type", known[path].kind)]
        last = "_" + path.rpartition(".")[2]
        ends = [end for end in glossary().suffixes if last.endswith(end)]
        unit = glossary().suffixes[max(ends, key=len)] if ends else ""
        rows += [("unit", unit)] if unit else []
        rows += [(text, ", ".join(names)) for text, names in known[path].stated.items()]
        what = known[path].what or glossary().fields.get(path, "")
        rows.append(("of", ", ".join(known[path].families)))
        first = next(iter(known[path].stated.values()))[0]
        example = f"codesign simulate resnet50 --arch {first} --set {path}=VALUE"
        yield Explanation("field", path, what, tuple(rows), example)


@dataclass
class _Known:
    kind: str
    what: str
    families: list[str]
    stated: dict[str, list[str]]
    """Value with its status -> the machines that state it."""


@cache
def _fields() -> dict[str, _Known]:
    """Numbers of all shipped machine files by dotted path, with value, status and source."""
    from codesign.arch import list_archs, load_arch

    known: dict[str, _Known] = {}
    for name, path in list_archs():
        spec = load_arch(path).spec
        for dotted, value in spec.numbers():
            entry = known.setdefault(dotted, _Known(*_declared(type(spec), dotted), [], {}))
            if spec.machine not in entry.families:
                entry.families.append(spec.machine)
            source = spec.source_of(dotted)
            told = f"{value:.7g}" + (f", {source.status}" if source else "")
            entry.stated.setdefault(told, []).append(name)
    return known


def _declared(model: type[BaseModel], dotted: str) -> tuple[str, str]:
    """Type with bounds, and description, of the field that a dotted path leads to."""
    kind, what = "number", ""
    at: Any = model
    for part in dotted.split("."):
        field = getattr(at, "model_fields", {}).get(part)
        if field is None:
            return kind, what
        bounds = [str(bound) for bound in field.metadata if "Strict" not in str(bound)]
        what = field.description or ""
        kind = "whole number" if field.annotation is int else "number"
        kind = ", ".join([kind, *(_bound(text) for text in bounds)])
        at = _model_in(field.annotation)
    return kind, what


def _model_in(annotation: Any) -> Any:
    """The Spec within an annotation such as `Link | None`."""
    inside = (annotation, *getattr(annotation, "__args__", ()))
    return next((t for t in inside if isinstance(t, type) and issubclass(t, BaseModel)), None)


def _bound(text: str) -> str:
    signs = {"Ge": ">=", "Gt": ">", "Le": "<=", "Lt": "<"}
    name, _, inside = text.partition("(")
    return f"{signs[name]} {inside.partition('=')[2].rstrip(')')}" if name in signs else text


_LOOKS: tuple[Callable[[str], Iterator[Explanation]], ...] = (
    _metric, _machine, _family, _workload, _method, _sparsity, _change, _term,
)  # fmt: skip
