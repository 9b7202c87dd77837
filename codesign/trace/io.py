"""Traces as JSON files: versioned, exact, and quick to read."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import Pattern, parse_pattern
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.window import Conv
from codesign.units import DTYPE_BYTES

FORMAT = "codesign-trace"
VERSION = 1
MAX_OPERATORS = 2_000_000
"""More take minutes and tens of gigabytes to hold, whatever comes after."""

_MARK = b'"kind"'
_BLOCK_BYTES = 1 << 24

_OP_FIELDS = {f.name: f for f in fields(Op)}
_CONV_FIELDS = {f.name for f in fields(Conv)}
_INTEGERS = {f.name for f in fields(Op) if f.type == "int"}
_FLAGS = {f.name for f in fields(Op) if f.type == "bool"}
_TEXTS = {"name", "layer", "function", "a_dtype", "b_dtype", "c_dtype"}


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace to a JSON file, its masks as packed bits in base64."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": trace.name,
        "meta": dict(trace.meta),
        "parameters": dict(trace.parameters),
        "ops": [_op_to_json(op) for op in trace],
        "masks": {
            name: {
                "rows": mask.rows,
                "cols": mask.cols,
                "packed": b64encode(mask.packed.tobytes()).decode(),
            }
            for name, mask in trace.masks.items()
        },
    }
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def load_trace(path: Path) -> Trace:
    """Read what `save_trace` wrote; CodesignError names what is wrong with any other file."""
    try:
        count = _operators(path)
        if count > MAX_OPERATORS:
            raise CodesignError(
                f"{path}: about {count:,} operators, {MAX_OPERATORS:,} at most; give equal layers "
                "as `repeats` of one"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except CodesignError:
        raise
    except OSError as error:
        raise CodesignError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise CodesignError(f"{path}: this is no JSON text: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        meant = ""
        if isinstance(content, dict) and "model_type" in content:
            meant = f"; a configuration of Hugging Face is read as hf:{path}"
        raise CodesignError(f'{path}: this is no saved trace (no "format": "{FORMAT}"){meant}')
    if content.get("version") != VERSION:
        raise CodesignError(
            f"{path}: a trace of version {content.get('version')!r}, this program reads {VERSION}"
        )
    try:
        return _trace(content)
    except CodesignError as error:
        raise CodesignError(f"{path}: {error}") from None


def _operators(path: Path) -> int:
    """How many operators a file seems to hold, without parsing it."""
    count, kept = 0, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            text = kept + block
            count += text.count(_MARK)
            kept = text[max(0, len(text) - len(_MARK) + 1) :]
    return count


def _trace(content: dict[str, Any]) -> Trace:
    known = {"format", "version", "name", "meta", "parameters", "ops", "masks"}
    if unknown := set(content) - known:
        raise CodesignError(f"unknown key {min(unknown)!r}")
    name = content.get("name")
    ops, parameters = content.get("ops"), content.get("parameters", {})
    meta, masks = content.get("meta", {}), content.get("masks", {})
    if not isinstance(name, str) or not isinstance(ops, list):
        raise CodesignError("a trace has a name and a list of ops")
    if not all(isinstance(part, dict) for part in (parameters, meta, masks)):
        raise CodesignError("parameters, meta and masks are objects")
    if not all(_is_count(value) for value in parameters.values()):
        raise CodesignError("parameters are counted in whole numbers")
    if not all(isinstance(value, str | int | float) for value in meta.values()):
        raise CodesignError("meta holds texts and numbers")
    return Trace(
        name=name,
        ops=tuple(_op_from_json(index, entry) for index, entry in enumerate(ops)),
        parameters=parameters,
        masks={op: _mask_from_json(op, entry) for op, entry in masks.items()},
        meta=meta,
    )


def _op_to_json(op: Op) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, field in _OP_FIELDS.items():
        value = getattr(op, name)
        if field.default is not MISSING and value == field.default:
            continue
        if isinstance(value, Conv):
            value = _conv_to_json(value)
        elif isinstance(value, Pattern):
            value = str(value)
        out[name] = value
    return out


def _conv_to_json(conv: Conv) -> dict[str, Any]:
    silent = Conv.silent_defaults
    return {
        field.name: value
        for field in fields(Conv)
        if (value := getattr(conv, field.name)) != field.default or field.name not in silent
    }


def _op_from_json(index: int, entry: object) -> Op:
    where = f"ops[{index}]"
    if not isinstance(entry, dict):
        raise CodesignError(f"{where} is no object")
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in _OP_FIELDS:
            raise CodesignError(f"{where}: unknown key {key!r}")
        values[key] = _field(f"{where}.{key}", key, value)
    for key in ("name", "kind", "phase"):
        if key not in values:
            raise CodesignError(f"{where}: {key} is missing")
    return Op(**values)


def _field(where: str, key: str, value: Any) -> Any:
    if key in _INTEGERS and not _is_count(value):
        raise CodesignError(f"{where} is a whole number from 0, got {value!r:.40}")
    if key in _TEXTS and not isinstance(value, str):
        raise CodesignError(f"{where} is a text, got {value!r:.40}")
    if key in _FLAGS and not isinstance(value, bool):
        raise CodesignError(f"{where} is true or false, got {value!r:.40}")
    if key.endswith("_dtype") and value not in DTYPE_BYTES:
        raise CodesignError(f"{where}: no data type {value!r:.40}")
    match key:
        case "kind" | "phase":
            choices = Kind if key == "kind" else Phase
            if value not in list(choices):
                raise CodesignError(f"{where} is one of {', '.join(choices)}, got {value!r:.40}")
            return choices(value)
        case "conv":
            return None if value is None else _conv_from_json(where, value)
        case "a_pattern" | "b_pattern":
            return parse_pattern(value)
        case "weight":
            if value is not None and not isinstance(value, str):
                raise CodesignError(f"{where} is a text, got {value!r:.40}")
        case "deps":
            if not isinstance(value, list) or not all(isinstance(dep, str) for dep in value):
                raise CodesignError(f"{where} is a list of operator names")
            return tuple(value)
    return value


def _conv_from_json(where: str, value: Any) -> Conv:
    if not isinstance(value, dict) or not set(value) <= _CONV_FIELDS:
        raise CodesignError(f"{where} has fields that a convolution has not")
    for key, size in value.items():
        if key == "transposed":
            if not isinstance(size, bool):
                raise CodesignError(f"{where}.{key} is true or false, got {size!r:.40}")
            continue
        padding = key.startswith("padding") and _is_count(abs(size) if type(size) is int else None)
        if not (padding or (_is_count(size) and size >= 1)):
            raise CodesignError(f"{where}.{key} is a whole number from 1, got {size!r:.40}")
    try:
        return Conv(**value)
    except TypeError as error:
        raise CodesignError(f"{where}: {error}") from None


def _mask_from_json(op: str, entry: object) -> Mask:
    if not isinstance(entry, dict) or not {"rows", "cols", "packed"} == set(entry):
        raise CodesignError(f"masks[{op!r}] has rows, cols and packed")
    rows, cols, packed = entry["rows"], entry["cols"], entry["packed"]
    if not _is_count(rows) or not _is_count(cols) or not isinstance(packed, str):
        raise CodesignError(
            f"masks[{op!r}]: rows and cols are whole numbers, packed is base64 text"
        )
    try:
        content = b64decode(packed, validate=True)
    except ValueError as error:
        raise CodesignError(f"masks[{op!r}]: {error}") from None
    return Mask.from_packed(content, rows, cols)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
