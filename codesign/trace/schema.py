"""The JSON Schema of trace files: `python -m codesign.trace.schema > docs/trace.schema.json`."""

from __future__ import annotations

import json
import sys
from dataclasses import MISSING, Field, fields
from typing import Any

from codesign.trace.io import FORMAT, VERSION
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.window import Conv
from codesign.units import DTYPE_BYTES

_COUNT = {"type": "integer", "minimum": 0, "exclusiveMaximum": 1 << 63}
_TEXT = {"type": "string"}


def trace_schema() -> dict[str, Any]:
    """What `save_trace` writes and `load_trace` reads, as JSON Schema 2020-12."""
    mask = {"rows": _COUNT, "cols": _COUNT, "packed": {**_TEXT, "contentEncoding": "base64"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Trace of codesign, version {VERSION}",
        "type": "object",
        "additionalProperties": False,
        "required": ["format", "version", "name", "ops"],
        "properties": {
            "format": {"const": FORMAT},
            "version": {"const": VERSION},
            "name": _TEXT,
            "meta": {
                "type": "object",
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
            "parameters": {"type": "object", "additionalProperties": _COUNT},
            "ops": {"type": "array", "items": _fields_of(Op, ["name", "kind", "phase"])},
            "masks": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": list(mask),
                    "properties": mask,
                },
            },
        },
    }


def _fields_of(kind: type, required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": {field.name: _field(field) for field in fields(kind)},
    }


def _field(field: Field[Any]) -> dict[str, Any]:
    name = field.name
    if name.endswith("_dtype"):
        return {"enum": list(DTYPE_BYTES)}
    match name:
        case "kind":
            return {"enum": [kind.value for kind in Kind]}
        case "phase":
            return {"enum": [phase.value for phase in Phase]}
        case "conv":
            sizes = [f.name for f in fields(Conv) if f.default is MISSING]
            return {"anyOf": [{"type": "null"}, _fields_of(Conv, sizes)]}
        case "weight":
            return {"type": ["string", "null"]}
        case "deps":
            return {"type": "array", "items": _TEXT}
    if name.startswith("padding"):
        return {"type": "integer"}
    if field.type == "bool":
        return {"type": "boolean"}
    return _COUNT if field.type == "int" else _TEXT


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trace_schema(), indent=1) + "\n")
