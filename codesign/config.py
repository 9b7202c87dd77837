"""Specs: frozen, validated values read from strict YAML, with every fault of a file named at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from codesign.yaml12 import (
    MAX_DEPTH,
    MAX_INTEGER,
    CodesignError,
    ConfigError,
    Document,
    Fault,
    KeyPath,
    Lines,
    compose,
    did_you_mean,
    dotted,
    load_yaml,
    parse_yaml,
    plain_scalar,
    read_bytes,
    read_document,
    show,
)

__all__ = [
    "CodesignError",
    "ConfigError",
    "Document",
    "Fault",
    "Spec",
    "did_you_mean",
    "fingerprint",
    "leaves",
    "load_spec",
    "load_yaml",
    "parse_override",
    "parse_yaml",
    "shipped",
    "validate_spec",
]

OVERRIDE: Final = "--set"
"""Stands where a file name would for a value that was set from outside the file."""


class Spec(BaseModel):
    """Base of everything that is read from YAML: frozen, strict about types, closed to unknown keys.

    An integer is taken for a float field, no other type for another. `load_spec` also takes a YAML list
    for a tuple field and the value of an Enum for the Enum. The keys of a mapping field are text.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for name, info in cls.model_fields.items():
            for key in _key_types(info.annotation):
                if key is not str and get_origin(key) is not Literal and not _is(key, Enum):
                    raise TypeError(f"{cls.__name__}.{name}: the keys of a mapping must be text")

    @property
    def fingerprint(self) -> str:
        """Equal for equal content, whatever the order of keys and whether defaults were written out."""
        return fingerprint(
            (type(self).__name__, {n: getattr(self, n) for n in type(self).model_fields})
        )


T = TypeVar("T", bound=Spec)


def load_spec(
    cls: type[T],
    source: Path | Document,
    overrides: Mapping[str, object] = {},  # noqa: B006
) -> T:
    """The Spec that a YAML file holds, with the values at the dotted paths `overrides` put in first.

    Raises ConfigError with every fault of the file and of the overrides.
    """
    if isinstance(source, Document):
        document, faults = source, list[Fault]()
    else:
        document, faults = read_document(read_bytes(source), str(source))
    data: object = document.data
    placed: list[KeyPath] = []
    for name, value in overrides.items():
        try:
            data, path = _put(data, (cls,), tuple(name.split(".")), value, ())
            placed.append(path)
        except ConfigError as error:
            faults.extend(error.faults)
    try:
        spec = _validated(cls, data, document.name, document.lines, placed)
    except ConfigError as error:
        faults.extend(error.faults)
    if faults:
        raise ConfigError(faults)
    return spec


def validate_spec(
    cls: type[T],
    data: object,
    name: str = "<data>",
    lines: Lines = {},  # noqa: B006
) -> T:
    """The Spec that plain data holds; ConfigError has its faults, with lines where `lines` has a path."""
    return _validated(cls, data, name, lines, ())


def _validated(cls: type[T], data: object, name: str, lines: Lines, placed: Sequence[KeyPath]) -> T:
    try:
        text = json.dumps(_plain(data, 0))
    except CodesignError as error:
        raise ConfigError([Fault(name, None, "", str(error))]) from None
    try:
        return cls.model_validate_json(text)
    except ValidationError as error:
        found: dict[KeyPath, Fault] = {}
        for details in error.errors(include_url=False):
            path, arms = _locate(cls, data, details["loc"])
            fault, path = _fault(details, path, arms, data)
            if any(path == p[: len(path)] and path not in lines for p in placed) or any(
                path[: len(p)] == p for p in placed
            ):
                fault = dataclasses.replace(fault, file=OVERRIDE)
            else:
                known = next((p for p in _ancestors(path) if p in lines), None)
                line = None if known is None else lines[known]
                fault = dataclasses.replace(fault, file=name, line=line)
            if path in found and found[path].rule != fault.rule:
                fault = dataclasses.replace(found[path], rule=f"{found[path].rule} or {fault.rule}")
            found[path] = fault
        raise ConfigError(sorted(found.values(), key=lambda fault: fault.line or 0)) from None


def _ancestors(path: KeyPath) -> Iterator[KeyPath]:
    return (path[:n] for n in range(len(path), -1, -1))


def _plain(value: object, depth: int) -> object:
    """The value in the types of JSON; CodesignError for one that YAML could not have given."""
    if depth > MAX_DEPTH + 1:
        raise CodesignError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Spec):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise CodesignError("the keys of a mapping must be text")
        return {key: _plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, depth + 1) for entry in value]
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise CodesignError("a number is out of the range of a 64-bit integer")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CodesignError(f"a value of type {type(value).__name__} has no place in a Spec")


# --- which field a path means ---


def _is(annotation: object, base: type) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, base)


def _arms(annotation: object) -> tuple[Any, ...]:
    """The alternatives of an annotation, without None and without metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _arms(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(arm for part in get_args(annotation) for arm in _arms(part))
    return () if annotation is type(None) else (annotation,)


def _key_types(annotation: object) -> Iterator[Any]:
    for arm in _arms(annotation):
        if _is(get_origin(arm), Mapping):
            yield from _arms(get_args(arm)[0])
        if get_origin(arm) is not Literal:
            for part in get_args(arm):
                yield from _key_types(part)


def _fields(arm: Any) -> dict[str, Any]:
    return (
        {info.alias or name: info for name, info in arm.model_fields.items()}
        if _is(arm, BaseModel)
        else {}
    )


def _choices(annotation: object) -> list[object]:
    """The values that a Literal or an Enum allows."""
    return [
        choice
        for arm in _arms(annotation)
        for choice in (
            get_args(arm)
            if get_origin(arm) is Literal
            else [member.value for member in arm]
            if _is(arm, Enum)
            else ()
        )
    ]


def _fitting(arms: Sequence[Any], data: object) -> tuple[Any, ...]:
    """The alternatives whose tags agree with `data`; all of them when none does."""
    given = data if isinstance(data, Mapping) else {}

    def agrees(arm: Any) -> bool:
        choices = ((name, _choices(info.annotation)) for name, info in _fields(arm).items())
        return all(
            given.get(name) in allowed for name, allowed in choices if allowed and name in given
        )

    return tuple(arm for arm in arms if agrees(arm)) or tuple(arms)


def _child(arms: Sequence[Any], key: str | int) -> tuple[Any, ...]:
    """The alternatives for the entry `key` of a value that is one of `arms`."""
    for arm in arms:
        arguments = get_args(arm)
        if isinstance(key, str) and key in _fields(arm):
            return _arms(_fields(arm)[key].annotation)
        if isinstance(key, str) and _is(get_origin(arm), Mapping):
            return _arms(arguments[1])
        if isinstance(key, int) and arguments and _is(get_origin(arm), Sequence):
            last = len(arguments) - 1 - (arguments[-1] is Ellipsis)
            return _arms(arguments[min(key, last)])
    return ()


def _locate(
    cls: type[Spec], data: object, location: Sequence[str | int]
) -> tuple[KeyPath, tuple[Any, ...]]:
    """The path in `data` that pydantic's location means, and the alternatives for the mapping it lies in.

    A location also names the alternative that was tried where a field has several; a path does not.
    """
    path: KeyPath = ()
    arms: tuple[Any, ...] = (cls,)
    within = arms
    for part in location:
        if len(arms) > 1:
            arms = tuple(a for a in arms if getattr(a, "__name__", "") == part) or _fitting(
                arms, data
            )
            arms = arms[:1]
        elif part != "[key]":
            within, arms = arms, _child(arms, part)
            path = (*path, part)
            data = _entry(data, part)
    return path, within


def _entry(data: object, key: str | int) -> object:
    if isinstance(data, Mapping):
        return data.get(key)
    return (
        data[key]
        if isinstance(data, list | tuple) and isinstance(key, int) and key < len(data)
        else None
    )


# --- pydantic's errors in our words ---

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
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "a required key is missing",
    "value_error": "{error}",
}


def _fault(
    details: ErrorDetails, path: KeyPath, within: Sequence[Any], data: object
) -> tuple[Fault, KeyPath]:
    """The fault that one of pydantic's errors means, still without its place in a file."""
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    rule = _RULES[kind].format(**context) if kind in _RULES else details["msg"]
    suggestion: str | None = None
    shown: str | None = show(value)
    if kind.startswith("union_tag"):
        key = context["discriminator"].strip("'")
        path, value = (*path, key), context.get("tag")
        shown = show(value)
    if kind in ("missing", "union_tag_not_found"):
        shown = None
    elif kind == "extra_forbidden":
        shown = None
        parent = data
        for part in path[:-1]:
            parent = _entry(parent, part)
        given = parent if isinstance(parent, Mapping) else {}
        free = [
            name for arm in _fitting(within, parent) for name in _fields(arm) if name not in given
        ]
        suggestion = did_you_mean(str(path[-1]), free)
    elif kind == "bool_type":
        suggestion = _SWITCHES.get(value.casefold()) if isinstance(value, str) else None
    elif kind in ("int_type", "float_type"):
        suggestion = _number_meant(value, whole=kind == "int_type")
    elif isinstance(value, str) and (
        words := context.get("expected", context.get("expected_tags"))
    ):
        suggestion = did_you_mean(value, re.findall("'([^']*)'", words))
    return Fault("", None, dotted(path), rule, shown, suggestion), path


_SWITCHES: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"} | {
    word: word for word in ("true", "false")
}


def _number_meant(value: object, *, whole: bool) -> str | None:
    """The number that quoted text, text with underscores or a float without a fraction stands for."""
    try:
        number = plain_scalar(value.strip().replace("_", "")) if isinstance(value, str) else value
    except ValueError:
        return None
    if isinstance(number, float) and whole and number.is_integer():
        number = int(number)
    wanted = int if whole else int | float
    return str(number) if isinstance(number, wanted) and not isinstance(number, bool) else None


# --- overrides ---


def parse_override(text: str) -> tuple[str, object]:
    """The dotted path and the value of `path=value`, the value by the rules of YAML 1.2 in flow style.

    >>> parse_override("array.rows=64")
    ('array.rows', 64)
    """
    path, equals, written = text.partition("=")
    path = path.strip()
    if not equals or not all(path.split(".")):
        raise CodesignError(f"{OVERRIDE}: {show(text)} is not of the form path=value")
    if not written.strip():
        raise CodesignError(
            f"{OVERRIDE}: {path}: a value is missing after '=' (null and \"\" are values)"
        )
    value, composer = compose(written, f"{OVERRIDE} {path}", flow_only=True)
    if composer.faults:
        raise ConfigError(composer.faults)
    return path, value


def _put(
    data: object, arms: Sequence[Any], parts: tuple[str, ...], value: object, above: KeyPath
) -> tuple[object, KeyPath]:
    """A copy of `data` with `value` below `above` at `parts`, and the path at which it lies.

    A mapping that is not there begins as the default of its field. A key may itself hold dots.
    """
    if not parts:
        return value, above
    if isinstance(data, Mapping):
        size = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in data), 1)
        key: str | int = ".".join(parts[:size])
        entry = data[key] if key in data else _default(arms, key) if len(parts) > size else None
        arms = _child(_fitting(arms, data), key)
        entry, path = _put(entry, arms, parts[size:], value, (*above, key))
        return {**data, key: entry}, path
    here = dotted((*above, parts[0]))
    if not isinstance(data, list | tuple):
        rule = f"{dotted(above) or 'the whole'} is a single value, nothing lies below it"
        raise ConfigError([Fault(OVERRIDE, None, here, rule, show(data))])
    if not re.fullmatch("[0-9]{1,9}", parts[0]) or int(parts[0]) >= len(data):
        rule = (
            f"the list has no such entry, only 0 to {len(data) - 1}"
            if data
            else "the list is empty"
        )
        raise ConfigError([Fault(OVERRIDE, None, here, rule)])
    key = int(parts[0])
    entry, path = _put(data[key], _child(arms, key), parts[1:], value, (*above, key))
    return [*data[:key], entry, *data[key + 1 :]], path


def _default(arms: Sequence[Any], key: str) -> object:
    for arm in arms:
        if key in _fields(arm):
            value = _fields(arm)[key].get_default(call_default_factory=True)
            if isinstance(value, Spec):
                return value.model_dump(mode="json", by_alias=True)
            return value if isinstance(value, Mapping | list | tuple) else {}
    return {}


# --- content ---


def leaves(spec: Spec) -> Iterator[tuple[str, object]]:
    """Dotted path and value of everything in a Spec that is no mapping, list or None, in declared order.

    An Enum comes as its value.
    """
    return _leaves(spec, ())


def _leaves(value: object, path: KeyPath) -> Iterator[tuple[str, object]]:
    if isinstance(value, Spec):
        entries: Any = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        entries = value.items()
    elif isinstance(value, list | tuple):
        entries = enumerate(value)
    else:
        if value is not None:
            yield dotted(path), value.value if isinstance(value, Enum) else value
        return
    for key, entry in entries:
        yield from _leaves(entry, (*path, key))


def shipped(folder: Literal["arch_configs", "workloads"]) -> Path:
    """The folder of YAML files that come with the package, in a source checkout or in an installed wheel."""
    package = Path(__file__).resolve().parent
    root = package.parent
    return root / folder if (root / "pyproject.toml").is_file() else package / "shipped" / folder


def fingerprint(value: object) -> str:
    """Sixteen hexadecimal digits that are equal for equal content, in every process and for every key order.

    Takes None, bool, int, float, text, bytes, Enums, lists, tuples, mappings, frozen dataclasses, NumPy
    arrays and scalars, and whatever has a `fingerprint` itself; types are kept apart (1, 1.0, True and "1"
    differ). Raises TypeError for anything else.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    return hashlib.blake2b(_encode(value), digest_size=8).hexdigest()


def _encode(value: object) -> bytes:
    """An unambiguous byte text: a type, a length, the content."""
    kind = type(value).__name__
    if isinstance(value, Enum):
        return _frame("enum " + kind, _encode(value.value))
    if value is None or isinstance(value, bool):
        return _frame("constant", str(value).encode())
    if type(value).__module__ == "numpy":
        return _encode_array(value)
    if isinstance(value, int | float):
        return _frame("int" if isinstance(value, int) else "float", repr(value).encode())
    if isinstance(value, str):
        return _frame("str", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return _frame("bytes", value)
    if isinstance(own := getattr(value, "fingerprint", None), str):
        return _frame("own " + kind, own.encode())
    if isinstance(value, Mapping):
        pairs = sorted(_encode(key) + _encode(entry) for key, entry in value.items())
        return _frame("mapping", b"".join(pairs))
    if isinstance(value, list | tuple):
        return _frame("list" if isinstance(value, list) else "tuple", b"".join(map(_encode, value)))
    parameters = getattr(type(value), "__dataclass_params__", None)
    if parameters is not None and parameters.frozen:
        content = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
        return _frame("dataclass " + kind, _encode(content))
    raise TypeError(f"a {kind} has no fingerprint")


def _frame(kind: str, content: bytes) -> bytes:
    return f"{kind}:{len(content)}:".encode() + content


def _encode_array(value: Any) -> bytes:
    """An array with its type and shape; a NumPy scalar like the Python number."""
    if not hasattr(value, "shape") or value.dtype.hasobject:
        raise TypeError(
            f"a {type(value).__name__} of {getattr(value, 'dtype', '?')} has no fingerprint"
        )
    if value.shape == () and not hasattr(value, "__setitem__"):
        return _encode(value.item())
    ordered = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
    return _frame(f"array {ordered.dtype.str} {ordered.shape}", ordered.tobytes())
