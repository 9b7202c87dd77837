"""From pydantic's errors to faults: the path meant, the rule in our words, a suggestion."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from codesign.yaml12 import Fault, KeyPath, did_you_mean, dotted, plain_scalar, show


class EntryError(ValueError):
    """What a validator of a whole Spec finds wrong with one entry of it, at a path of keys."""

    def __init__(self, path: KeyPath, rule: str) -> None:
        super().__init__(rule)
        self.path = path


def is_class(annotation: object, base: type) -> bool:
    """Whether an annotation is a class below another."""
    return isinstance(annotation, type) and issubclass(annotation, base)


def alternatives(annotation: object) -> tuple[Any, ...]:
    """The alternatives of an annotation, without None and without metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(arm for part in get_args(annotation) for arm in alternatives(part))
    return () if annotation is type(None) else (annotation,)


def key_types(annotation: object) -> Iterator[Any]:
    """The types of the keys of every mapping within an annotation."""
    for arm in alternatives(annotation):
        if is_class(get_origin(arm), Mapping):
            yield from alternatives(get_args(arm)[0])
        if get_origin(arm) is not Literal:
            for part in get_args(arm):
                yield from key_types(part)


def fields_of(arm: Any) -> dict[str, Any]:
    """The fields of a model by the key that a file uses; none for other annotations."""
    return (
        {info.alias or name: info for name, info in arm.model_fields.items()}
        if is_class(arm, BaseModel)
        else {}
    )


def _choices(annotation: object) -> list[object]:
    """The values that a Literal or an Enum allows."""
    return [
        choice
        for arm in alternatives(annotation)
        for choice in (
            get_args(arm)
            if get_origin(arm) is Literal
            else [member.value for member in arm]
            if is_class(arm, Enum)
            else ()
        )
    ]


def fitting(arms: Sequence[Any], data: object) -> tuple[Any, ...]:
    """The alternatives whose tags agree with `data`; all of them when none does."""
    given = data if isinstance(data, Mapping) else {}

    def agrees(arm: Any) -> bool:
        choices = ((name, _choices(info.annotation)) for name, info in fields_of(arm).items())
        return all(
            given.get(name) in allowed for name, allowed in choices if allowed and name in given
        )

    return tuple(arm for arm in arms if agrees(arm)) or tuple(arms)


def child(arms: Sequence[Any], key: str | int) -> tuple[Any, ...]:
    """The alternatives for the entry `key` of a value that is one of `arms`."""
    for arm in arms:
        arguments = get_args(arm)
        if isinstance(key, str) and key in fields_of(arm):
            return alternatives(fields_of(arm)[key].annotation)
        if isinstance(key, str) and is_class(get_origin(arm), Mapping):
            return alternatives(arguments[1])
        if isinstance(key, int) and arguments and is_class(get_origin(arm), Sequence):
            last = len(arguments) - 1 - (arguments[-1] is Ellipsis)
            return alternatives(arguments[min(key, last)])
    return ()


def locate(
    cls: type[BaseModel], data: object, location: Sequence[str | int]
) -> tuple[KeyPath, tuple[Any, ...]]:
    """The path in `data` that pydantic's location means, and the alternatives around it.

    A location also names the alternative that was tried where a field has several; a path does not.
    """
    path: KeyPath = ()
    arms: tuple[Any, ...] = (cls,)
    within = arms
    for part in location:
        if len(arms) > 1:
            arms = tuple(a for a in arms if getattr(a, "__name__", "") == part) or fitting(
                arms, data
            )
            arms = arms[:1]
        elif part != "[key]":
            within, arms = arms, child(arms, part)
            path = (*path, part)
            data = entry_of(data, part)
    return path, within


def is_of_another(cls: type[BaseModel], data: object, location: Sequence[str | int]) -> bool:
    """Whether an error is of an alternative that has fewer of the given keys than another one."""
    arms: tuple[Any, ...] = (cls,)
    for part in location:
        if len(arms) > 1:
            given = set(data) if isinstance(data, Mapping) else set()
            shared = [len(given & set(fields_of(arm))) for arm in arms]
            tried = [i for i, arm in enumerate(arms) if getattr(arm, "__name__", "") == part]
            if tried and shared[tried[0]] < max(shared):
                return True
            arms = tuple(arms[i] for i in tried) or fitting(arms, data)[:1]
        elif part != "[key]":
            arms = child(arms, part)
            data = entry_of(data, part)
    return False


def entry_of(data: object, key: str | int) -> object:
    """What lies under a key or an index of plain data, or None."""
    if isinstance(data, Mapping):
        return data.get(key)
    return (
        data[key]
        if isinstance(data, list | tuple) and isinstance(key, int) and key < len(data)
        else None
    )


_RULES: Final = {
    "missing": "a required key is missing",
    "extra_forbidden": "unknown key",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "finite_number": "must be a finite number",
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must have at least {min_length} characters",
    "string_pattern_mismatch": "must be of the form {pattern}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "a required key is missing",
    "value_error": "{error}",
}


def is_echo(details: ErrorDetails) -> bool:
    """Whether a list is too short only because its faulty entries, told apart, do not count."""
    bound = details.get("ctx", {}).get("min_length", 0)
    return details["type"] == "too_short" and len(details["input"]) >= bound


def fault_of(
    details: ErrorDetails, path: KeyPath, within: Sequence[Any], data: object
) -> tuple[Fault, KeyPath]:
    """The fault that one of pydantic's errors means, still without its place in a file."""
    kind, value = details["type"], details["input"]
    refused = details.get("ctx", {}).get("error")
    if isinstance(refused, EntryError):
        return Fault("", None, dotted((*path, *refused.path)), str(refused)), (*path, *refused.path)
    context: dict[str, Any] = {
        name: int(bound) if isinstance(bound, float) and bound.is_integer() else bound
        for name, bound in details.get("ctx", {}).items()
    }
    rule = _RULES[kind].format(**context) if kind in _RULES else details["msg"]
    suggestion: str | None = None
    shown: str | None = show(value)
    if kind.startswith("union_tag"):
        key = context["discriminator"].strip("'")
        path, value = (*path, key), context.get("tag")
        shown = show(value)
    if kind == "value_error" and isinstance(value, Mapping):
        shown = None
    elif kind in ("too_short", "string_too_short") and not value:
        rule, shown = "must not be empty", None
    elif kind in ("missing", "union_tag_not_found"):
        shown = None
        if path and isinstance(path[-1], int):
            rule = "an entry of the list is missing"
    elif kind == "extra_forbidden":
        shown = None
        parent = data
        for part in path[:-1]:
            parent = entry_of(parent, part)
        known = [name for arm in fitting(within, parent) for name in fields_of(arm)]
        suggestion = did_you_mean(str(path[-1]), known)
    elif kind == "bool_type":
        suggestion = _SWITCHES.get(value.casefold()) if isinstance(value, str) else None
    elif kind in ("int_type", "float_type"):
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        suggestion = _number_meant(value, key, whole=kind == "int_type")
    elif isinstance(value, str) and (
        words := context.get("expected", context.get("expected_tags"))
    ):
        suggestion = did_you_mean(value, re.findall("'([^']*)'", words))
    return Fault("", None, dotted(path), rule, shown, suggestion), path


_SWITCHES: Final = {
    "yes": "true",
    "on": "true",
    "true": "true",
    "no": "false",
    "off": "false",
    "false": "false",
}


_BINARY: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNITS: Final[Mapping[str, Mapping[str, Fraction]]] = {
    "mhz": {"khz": Fraction(1, 1000), "mhz": Fraction(1), "ghz": Fraction(1000)},
    "bytes": {
        prefix + ending: Fraction(factor)
        for prefix, factor in _BINARY.items()
        for ending in ("", "b", "ib", "byte", "bytes")
        if prefix + ending
    },
}
"""What a written unit counts in the unit that ends a key; prefixes of bytes are binary."""


def _without_unit(text: str, key: str) -> str:
    """The number that text such as `256K` or `0.8 GHz` says in the unit that ends the key."""
    found = re.fullmatch(r"([0-9.]+) ?([a-zA-Z0-9]+)", text)
    unit = key.rpartition("_")[2]
    factor = _UNITS.get(unit, {unit: Fraction(1)}).get(found[2].casefold()) if found else None
    if found is None or factor is None:
        return text
    try:
        number = Fraction(found[1]) * factor
    except ValueError:
        return text
    return str(int(number)) if number.denominator == 1 else str(float(number))


def _number_meant(value: object, key: str, *, whole: bool) -> str | None:
    """The number that quoted text, text with underscores or a unit, or a whole float stands for."""
    text = value.strip().replace("_", "") if isinstance(value, str) else str(value)
    text = _without_unit(text, key)
    try:
        number = plain_scalar(text)
    except ValueError:
        return None
    if isinstance(number, float) and whole and number.is_integer():
        return str(int(number))
    if isinstance(number, bool) or not isinstance(number, int if whole else int | float):
        return None
    return text if math.isfinite(number) else None
