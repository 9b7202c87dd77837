"""Tables of the how-to pages, written from machine files and models when the site is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from codesign.arch import families, list_archs, load_arch
from codesign.arch.base import AnyMachine
from codesign.config import Spec

_FIGURES = 6


def machines(family: str) -> str:
    """The files of a family: name, clock, node, what it is."""
    rows = []
    for name, machine in _all():
        if machine.spec.machine == family:
            spec = machine.spec
            rows.append(
                (f"`{name}`", f"{spec.clock_mhz:g}", f"{spec.technology.node_nm:g}",
                 spec.description)
            )  # fmt: skip
    return table(("machine", "MHz", "nm", "what it is"), rows)


def parameters(name: str) -> str:
    """Every number and choice of a machine's file: value, meaning, status, source."""
    machine = load_arch(name)
    meanings = dict(_meanings(type(machine.spec)))
    rows = []
    for path, value in [*machine.spec.numbers(), *machine.spec.choices()]:
        source = machine.spec.source_of(path)
        status, text = ("", "") if source is None else (source.status, source.source)
        rows.append((f"`{path}`", _shown(value), meanings.get(path, ""), status, text))
    return table(("field", "value", "meaning", "status", "source"), rows)


def overview() -> str:
    """All families with their machines."""
    rows = []
    for family in sorted(families()):
        names = [f"`{name}`" for name, machine in _all() if machine.spec.machine == family]
        rows.append((f"[{family}]({family}.md)", ", ".join(names)))
    return table(("family", "machine files"), rows)


WRITERS: Mapping[str, Callable[..., str]] = {
    "machines": machines,
    "parameters": parameters,
    "families": overview,
}
"""What a line `<!-- table: NAME ARGUMENT -->` of a page stands for."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _shown(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.{_FIGURES}g}" if isinstance(value, float) else f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _all() -> Iterator[tuple[str, AnyMachine]]:
    for name, _ in list_archs():
        yield name, load_arch(name)


def _meanings(spec: type[Spec], above: str = "") -> Iterator[tuple[str, str]]:
    """The description of every field, by dotted path."""
    for name, field in spec.model_fields.items():
        path = above + name
        if field.description:
            yield path, field.description
        for inner in _specs_in(field):
            yield from _meanings(inner, path + ".")


def _specs_in(field: FieldInfo) -> Iterator[type[Spec]]:
    waiting: list[Any] = [field.annotation]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, Spec):
            yield kind
        waiting += getattr(kind, "__args__", ())
