"""Strict YAML 1.2: text to plain values with their lines, or to every fault found in it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

KeyPath = tuple[str | int, ...]
Lines = Mapping[KeyPath, int]

MAX_BYTES: Final = 16 << 20
MAX_NODES: Final = 200_000
"""Values in one document after aliases are expanded."""
MAX_DEPTH: Final = 100
MAX_INTEGER: Final = 2**63 - 1
MAX_SHOWN: Final = 100
"""Faults that a message spells out."""


class CodesignError(ValueError):
    """A user's mistake, told in full by its text.

    It is a ValueError so that validators of Specs may raise it.
    """


def dotted(path: KeyPath) -> str:
    """The text of a path: `levels.0.bytes`."""
    return ".".join(map(str, path))


def show(value: object) -> str:
    """A value as a message shows it: short, on one line."""
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)} key{'s' if len(value) != 1 else ''}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    words = {True: "true", False: "false", None: "null"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input, where it stands and what may have been meant."""

    file: str
    line: int | None
    path: str
    rule: str
    value: str | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        where = [self.file if self.line is None else f"{self.file}:{self.line}"]
        path = self.path if self.path.isprintable() else repr(self.path)
        text = ": ".join([*where, *([path[:200]] if path else []), self.rule])
        if self.value is not None:
            text += f" (got {self.value})"
        if self.suggestion is not None:
            bare = self.suggestion in ("true", "false") or _FLOAT.fullmatch(self.suggestion)
            text += f"; did you mean {self.suggestion if bare else repr(self.suggestion)}?"
        return text


class ConfigError(CodesignError):
    """The faults of one input, all of them, one in each line of the text."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        shown = [str(fault) for fault in self.faults[:MAX_SHOWN]]
        if len(self.faults) > MAX_SHOWN:
            shown.append(f"and {len(self.faults) - MAX_SHOWN} more")
        super().__init__("\n".join(shown))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Fault, ...]]]:
        return ConfigError, (self.faults,)


_MOST_MEANT: Final = 5
"""No more candidates are named at once."""


def did_you_mean(word: str, candidates: Sequence[str]) -> str | None:
    """The candidate that `word` was probably meant to be.

    >>> did_you_mean("rowz", ["cols", "rows"])
    'rows'
    """
    asked = word[:100].casefold().replace("-", "_")
    names = {name.casefold().replace("-", "_"): name for name in reversed(candidates)}
    close = difflib.get_close_matches(asked, names, n=1)
    begins = [name for name in names if name.startswith(asked + "_")]
    return names[close[0]] if close else names[begins[0]] if len(begins) == 1 else None


def suggestion(word: str, candidates: Sequence[str]) -> str:
    """The end of a message about a word that is none of the candidates; empty where none is near.

    Several candidates that go on where the word ends are all named.

    >>> suggestion("rowz", ["cols", "rows"])
    "; did you mean 'rows'?"
    >>> suggestion("h100", ["h100_pcie", "h100_sxm", "h200"])
    "; did you mean 'h100_pcie' or 'h100_sxm'?"
    """
    begun = word[:100].casefold().replace("-", "_") + "_"
    longer = [repr(name) for name in candidates if name.casefold().startswith(begun)]
    if 1 < len(longer) <= _MOST_MEANT:
        return f"; did you mean {', '.join(longer[:-1])} or {longer[-1]}?"
    near = did_you_mean(word, candidates)
    return f"; did you mean {near!r}?" if near else ""


@dataclass(frozen=True)
class Document:
    """The content of one YAML text: mappings with text keys, lists, scalars; not to be changed.

    `lines` gives the line, from 1, on which the entry at each path begins.
    """

    data: dict[str, Any]
    lines: Lines = field(default_factory=dict)
    name: str = "<text>"


_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"([-+]?)0+([0-9]+)")
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def plain_scalar(text: str) -> object:
    """The value of a plain scalar in YAML 1.2's core schema; ValueError says why it has none."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    if zeros := _LEADING_ZERO.fullmatch(text):
        sign, digits = zeros.groups()
        octal = f" or {sign}0o{digits}" if set(digits) <= set("01234567") else ""
        raise ValueError(f"a leading zero is ambiguous: write {sign}{digits}{octal}")
    if _INTEGER.fullmatch(text):
        if len(text) > 40 or abs(whole := int(text, 0)) > MAX_INTEGER:
            raise ValueError("the number is out of the range of a 64-bit integer")
        return whole
    if _FLOAT.fullmatch(text):
        value = float(text)
        mantissa = re.split("[eE]", text)[0]
        if math.isinf(value) or (value == 0 and mantissa.strip("+-0.")):
            raise ValueError("the number is out of the range of a 64-bit float")
        return value
    if special := _NOT_FINITE.fullmatch(text):
        return float(special[1] + "inf") if special[2] else math.nan
    return text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class Composer:
    """Turns the events of one YAML document into values; collects the faults it can go on after."""

    def __init__(self, text: str, name: str, flow_only: bool) -> None:
        self.name = name
        self.flow_only = flow_only
        self.faults: list[Fault] = []
        self.lines: dict[KeyPath, int] = {}
        self.nodes = 0
        self.anchors: dict[str, tuple[object, int, int]] = {}
        self.events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)

    def fault(self, event: Any, path: KeyPath, rule: str, value: str | None = None) -> None:
        self.faults.append(Fault(self.name, _line(event), dotted(path), rule, value))

    def stop(self, event: Any, path: KeyPath, rule: str) -> ConfigError:
        self.fault(event, path, rule)
        return ConfigError(self.faults)

    def document(self) -> object:
        next(self.events)
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            raise self.stop(start, (), "the text is empty; a mapping is needed")
        if start.version not in (None, (1, 2)) or start.tags:
            raise self.stop(start, (), "no directive but '%YAML 1.2' is read")
        top = next(self.events)
        self.lines[()] = _line(top)
        value, _ = self.value(top, (), 0)
        next(self.events)
        if not isinstance(after := next(self.events), yaml.StreamEndEvent):
            raise self.stop(after, (), "a second document begins; one file holds one document")
        return value

    def value(self, event: Any, path: KeyPath, depth: int) -> tuple[object, int]:
        """The value that begins with `event`, and how many levels it has."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.stop(event, path, f"more than {MAX_NODES} values (aliases expanded)")
        if depth > MAX_DEPTH:
            raise self.stop(event, path, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path, depth)
        if event.tag is not None:
            self.fault(event, path, f"tags are not read: remove {event.tag!r}")
        if self.flow_only and isinstance(event, yaml.CollectionStartEvent) and not event.flow_style:
            raise self.stop(
                event, path, "write a list as [a, b], a mapping as {a: b}, text with ': ' in quotes"
            )
        before, height = self.nodes, 1
        value: object
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            items: list[object] = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                inner = (*path, len(items))
                self.lines[inner] = _line(item)
                entry, levels = self.value(item, inner, depth + 1)
                items.append(entry)
                height = max(height, levels + 1)
            value = items
        else:
            value, height = self.mapping(path, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.nodes - before, height)
        return value, height

    def mapping(self, path: KeyPath, depth: int) -> tuple[dict[str, object], int]:
        entries: dict[str, object] = {}
        height = 1
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise self.stop(event, path, "a key must be plain or quoted text")
            key, plain = event.value, event.implicit[0]
            inner = (*path, key)
            self.text(event, inner)
            if plain and _CONSTANTS.get(key, key) is None:
                self.fault(event, inner, "a key is empty or null")
            if plain and key == "<<":
                self.fault(event, inner, "merge keys (<<) are no YAML 1.2: write the keys out")
            line = _line(event)
            if key in entries:
                first = self.lines[inner]
                self.fault(event, inner, f"duplicate key: the first is on line {first}")
                inner = (*inner, "")  # keeps the lines of the first entry
            self.lines[inner] = line
            value, levels = self.value(next(self.events), inner, depth + 1)
            entries.setdefault(key, value)
            height = max(height, levels + 1)
        return entries, height

    def alias(self, event: Any, path: KeyPath, depth: int) -> tuple[object, int]:
        if event.anchor not in self.anchors:
            rule = (
                f"nothing earlier is marked &{event.anchor} (text that begins with * needs quotes)"
            )
            raise self.stop(event, path, rule)
        value, size, height = self.anchors[event.anchor]
        self.nodes += size
        if self.nodes > MAX_NODES or depth + height > MAX_DEPTH:
            raise self.stop(
                event, path, f"aliases expand to over {MAX_NODES} values or {MAX_DEPTH} levels"
            )
        return value, height

    def text(self, event: Any, path: KeyPath) -> str:
        text: str = event.value
        if not text.isascii() and _SURROGATE.search(text):
            raise self.stop(event, path[:-1], "half of a surrogate pair is no character")
        return text

    def scalar(self, event: Any, path: KeyPath) -> object:
        text = self.text(event, path)
        if not event.implicit[0]:
            return text
        try:
            return plain_scalar(text)
        except ValueError as error:
            self.fault(event, path, str(error), text[:80])
            return text


def compose(source: str | bytes, name: str, *, flow_only: bool = False) -> tuple[object, Composer]:
    """Any YAML value and its composer, which holds lines and the faults that did not stop it."""
    composer: Composer | None = None
    text = _decode(source, name)
    try:
        composer = Composer(text, name, flow_only)
        return composer.document(), composer
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        rule = (error.problem or "unreadable").replace("\n", " ")
        line = None if mark is None else mark.line + 1
        if mark is not None and _character(text, mark.line, mark.column) == "\t":
            rule = "a tab where YAML wants spaces"
        earlier = composer.faults if composer else []
        raise ConfigError([*earlier, Fault(name, line, "", f"not YAML: {rule}")]) from None
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError([Fault(name, None, "", f"not YAML: {reason}")]) from None


def _decode(source: str | bytes, name: str) -> str:
    if len(source) > MAX_BYTES:
        raise ConfigError([Fault(name, None, "", f"larger than {MAX_BYTES} bytes")])
    if isinstance(source, bytes):
        try:
            text = source.decode("utf-8")
        except UnicodeDecodeError as error:
            line = source.count(b"\n", 0, error.start) + 1
            rule = "not UTF-8 text"
            raise ConfigError(
                [Fault(name, line, "", rule, f"byte 0x{source[error.start]:02x}")]
            ) from None
    else:
        text = source
    if bad := _FORBIDDEN.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        what = (
            "a byte-order mark" if bad[0] == "\ufeff" else "a control or line-separator character"
        )
        rule = f"{what} may not stand in the text"
        raise ConfigError([Fault(name, line, "", rule, f"U+{ord(bad[0]):04X}")])
    return text


def _character(text: str, line: int, column: int) -> str:
    rows = text.splitlines()
    return rows[line][column : column + 1] if line < len(rows) else ""


def read_document(source: str | bytes, name: str) -> tuple[Document, list[Fault]]:
    """The document, and the faults that did not stop it; ConfigError for those that did."""
    value, composer = compose(source, name)
    if not isinstance(value, dict):
        rule = "the top level must be a mapping of keys to values"
        composer.faults.append(Fault(name, composer.lines[()], "", rule, show(value)))
        raise ConfigError(composer.faults)
    return Document(value, composer.lines, name), composer.faults


def parse_yaml(text: str | bytes, name: str = "<text>") -> Document:
    """The mapping that a YAML 1.2 text (core schema) holds; ConfigError names what is wrong in it.

    >>> parse_yaml("pattern: 2:4\\nclock_hz: 1e9").data
    {'pattern': '2:4', 'clock_hz': 1000000000.0}
    """
    document, faults = read_document(text, name)
    if faults:
        raise ConfigError(faults)
    return document


def read_bytes(source: Path) -> bytes:
    """The content of a file, cut off when it is longer than any document may be."""
    try:
        with source.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        beside = source.parent
        names = sorted(p.name for p in beside.iterdir()) if beside.is_dir() else []
        fault = Fault(str(source), None, "", "no such file", None, did_you_mean(source.name, names))
    except IsADirectoryError:
        fault = Fault(str(source), None, "", "a folder, not a file")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fault = Fault(str(source), None, "", f"cannot be read: {reason}")
    raise ConfigError([fault])


def load_yaml(source: Path) -> Document:
    """The mapping that the YAML file `source` holds; ConfigError names what is wrong in it."""
    return parse_yaml(read_bytes(source), str(source))
