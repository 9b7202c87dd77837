"""Everything that can be turned on a machine, and the machine with one thing turned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from codesign.arch.base import AnyMachine
from codesign.config import ConfigError, Document, Spec, load_spec

_LABELS = frozenset({"machine", "name", "description", "sources", "anchors"})
_SILICON = ("technology", "energy")

Changes = Mapping[str, object]
"""Values by dotted path."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A number, switch, choice or list of choices of a machine file, and other values for it."""

    path: str
    value: object
    alternatives: tuple[object, ...]

    @property
    def only_silicon(self) -> bool:
        """Whether energy and area alone may depend on it: a process, an energy, a kind of cell."""
        section, *_, name = self.path.split(".")[0], self.path.split(".")[-1]
        return section in _SILICON or "pj" in name.split("_") or isinstance(self.value, str)

    @property
    def is_choice(self) -> bool:
        """Whether it is a word or a switch, on which other knobs can depend."""
        return isinstance(self.value, bool | str)


def knobs(machine: AnyMachine) -> list[Knob]:
    """Every field of a machine file that says something about the machine, optional ones too."""
    return list(_knobs(machine.spec, ()))


def _knobs(spec: Spec, above: tuple[str, ...]) -> Iterator[Knob]:
    for name, info in type(spec).model_fields.items():
        if not above and name in _LABELS:
            continue
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from _knobs(value, (*above, name))
            continue
        alternatives = tuple(_alternatives(info.annotation, value))
        if alternatives:
            yield Knob(".".join((*above, name)), value, alternatives)


def _alternatives(annotation: Any, value: object) -> Iterator[object]:
    words = [word for word in _words(annotation) if isinstance(word, str)]
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        tried = (value // 2, 2 * value, value // 16, value // 256, value + 1, value + 4)
        yield from (other for other in dict.fromkeys(tried) if other != value)
    elif isinstance(value, float):
        yield from (2 * value, value / 2) if value else (1.0,)
    elif value is None and {int, float} & set(get_args(annotation)):
        yield 1
    elif isinstance(value, str):
        yield from (word for word in words if word != value)
    elif isinstance(value, tuple) and words:
        yield from ([word] for word in words if (word,) != value)


def _words(annotation: Any) -> Iterator[object]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _words(part)


def turned(machine: AnyMachine, changes: Changes) -> AnyMachine:
    """The machine with values replaced by dotted path; an absent number that is set gets a source.

    Raises ConfigError where the machine's specification does not allow a value.
    """
    plain = machine.spec.model_dump(mode="json")
    new = {path: value for path, value in changes.items() if machine.spec.source_of(path) is None}
    source = {"status": "chosen", "source": "set by the conformance suite"}
    sources = {**plain["sources"], **{p: source for p, v in new.items() if _is_number(v)}}
    overrides = {**changes, "sources": sources}
    spec = load_spec(type(machine.spec), Document(plain, name=machine.spec.name), overrides)
    return type(machine)(spec)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def neighbours(machine: AnyMachine, knob: Knob, beside: Changes) -> Iterator[AnyMachine]:
    """The machine with a knob at each of its other values that are allowed."""
    for value in knob.alternatives:
        try:
            yield turned(machine, {**beside, knob.path: value})
        except ConfigError:
            continue
