"""Specs: frozen, validated values from strict YAML, with every fault of a file named at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from codesign.spec_errors import (
    EntryError,
    child,
    fault_of,
    fields_of,
    fitting,
    is_class,
    is_echo,
    is_of_another,
    key_types,
    locate,
)
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
    read_bytes,
    read_document,
    show,
    suggestion,
)

__all__ = [
    "CodesignError",
    "ConfigError",
    "Document",
    "EntryError",
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
    "suggestion",
    "validate_spec",
]

OVERRIDE: Final = "--set"
"""Stands where a file name would for a value that was set from outside the file."""


class Spec(BaseModel):
    """Base of all that is read from YAML: frozen, strict about types, closed to unknown keys.

    An integer is taken for a float field, no other type for another. `load_spec` also takes a
    YAML list for a tuple field and the value of an Enum for the Enum. The keys of a mapping field
    are text. A validator refuses a value by raising CodesignError or ValueError, one of a
    whole Spec an entry of it by EntryError.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    silent_defaults: ClassVar[frozenset[str]] = frozenset()
    """Fields that are no part of the fingerprint while they have their default."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for name, info in cls.model_fields.items():
            for key in key_types(info.annotation):
                if key is not str and get_origin(key) is not Literal and not is_class(key, Enum):
                    raise TypeError(f"{cls.__name__}.{name}: the keys of a mapping must be text")

    @property
    def fingerprint(self) -> str:
        """Equal for equal content, whatever the order of keys, defaults written out or not."""
        fields = type(self).model_fields
        content = {
            name: getattr(self, name)
            for name in fields
            if name not in self.silent_defaults or getattr(self, name) != fields[name].default
        }
        return fingerprint((type(self).__name__, content))


T = TypeVar("T", bound=Spec)
NO_LINES: Final[Lines] = MappingProxyType({})


def load_spec(
    cls: type[T],
    source: Path | Document,
    overrides: Mapping[str, object] = {},
) -> T:
    """The Spec that a YAML file holds, after the values at the dotted paths `overrides` are put in.

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
        known = {fault.path for fault in faults}
        faults.extend(fault for fault in error.faults if fault.path not in known)
    if faults:
        raise ConfigError(sorted(faults, key=_place))
    return spec


def validate_spec(
    cls: type[T],
    data: object,
    name: str = "<data>",
    lines: Lines = NO_LINES,
) -> T:
    """The Spec that plain data holds; ConfigError has its faults, with the lines of their paths."""
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
            if is_echo(details) or is_of_another(cls, data, details["loc"]):
                continue
            path, arms = locate(cls, data, details["loc"])
            fault, path = fault_of(details, path, arms, data)
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
        raise ConfigError(sorted(found.values(), key=_place)) from None


def _place(fault: Fault) -> tuple[bool, int]:
    return fault.file == OVERRIDE, fault.line or 0


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


def parse_override(text: str) -> tuple[str, object]:
    """The dotted path and the value of `path=value`, the value read as YAML 1.2 in flow style.

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
    try:
        value, composer = compose(written, OVERRIDE, flow_only=True)
        faults = composer.faults
    except ConfigError as error:
        faults = list(error.faults)
    if faults:
        raise ConfigError([dataclasses.replace(fault, line=None, path=path) for fault in faults])
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
        key = ".".join(parts[:size])
        entry = data[key] if key in data else _default(arms, key) if len(parts) > size else None
        arms = child(fitting(arms, data), key)
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
    index = int(parts[0])
    entry, path = _put(data[index], child(arms, index), parts[1:], value, (*above, index))
    return [*data[:index], entry, *data[index + 1 :]], path


def _default(arms: Sequence[Any], key: str) -> object:
    for arm in arms:
        if key in fields_of(arm):
            value = fields_of(arm)[key].get_default(call_default_factory=True)
            if isinstance(value, Spec):
                return value.model_dump(mode="json", by_alias=True)
            return value if isinstance(value, Mapping | list | tuple) else {}
    return {}


def leaves(spec: Spec, *, without: Sequence[str] = ()) -> Iterator[tuple[str, object]]:
    """Dotted path and value of all that is no mapping, list or None in a Spec, in declared order.

    An Enum comes as its value; fields of the Spec named in `without` are passed over.
    """
    for name in type(spec).__pydantic_fields__:
        if name not in without:
            yield from _leaves(getattr(spec, name), (name,))


def _leaves(value: object, path: KeyPath) -> Iterator[tuple[str, object]]:
    if isinstance(value, Spec):
        entries: Any = ((name, getattr(value, name)) for name in type(value).__pydantic_fields__)
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
    """The folder of YAML files that comes with the package, in a checkout or in a wheel."""
    package = Path(__file__).resolve().parent
    root = package.parent
    return root / folder if (root / "pyproject.toml").is_file() else package / "shipped" / folder


def fingerprint(value: object) -> str:
    """Sixteen hexadecimal digits, equal for equal content in every process and key order.

    Takes None, bool, int, float, text, bytes, Enums, lists, tuples, mappings, frozen dataclasses,
    NumPy arrays and scalars, and whatever has a `fingerprint` itself; types are kept apart (1, 1.0,
    True and "1" differ). A dataclass may name fields as `silent_defaults`, as a Spec does. Raises
    TypeError for anything else.

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
        text = hex(value) if isinstance(value, int) else float(value).hex()
        return _frame("int" if isinstance(value, int) else "float", text.encode())
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
        silent: frozenset[str] = getattr(type(value), "silent_defaults", frozenset())
        content = {
            f.name: entry
            for f in dataclasses.fields(value)  # type: ignore[arg-type]
            if (entry := getattr(value, f.name)) != f.default or f.name not in silent
        }
        return _frame("dataclass " + kind, _encode(content))
    raise TypeError(f"a {kind} has no fingerprint")


def _frame(kind: str, content: bytes) -> bytes:
    return f"{kind}:{len(content)}:".encode() + content


def _encode_array(value: Any) -> bytes:
    """An array with its type and shape; a NumPy scalar like the Python number."""
    import numpy as np

    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return _encode(value.item())
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufcSU":
        raise TypeError(f"a {type(value).__name__} of this type has no fingerprint")
    ordered = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return _frame(f"array {ordered.dtype.str} {ordered.shape}", ordered.tobytes())
