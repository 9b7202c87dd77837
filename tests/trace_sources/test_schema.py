"""Does the committed schema describe the traces that are written?"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from codesign.trace.io import save_trace
from codesign.trace.op import Op
from codesign.trace.schema import trace_schema
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

COMMITTED = Path(__file__).parents[2] / "docs" / "trace.schema.json"
TYPES = {"integer": int, "string": str, "boolean": bool, "array": list, "object": dict,
         "number": (int, float), "null": type(None)}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], where: str = "trace") -> list[str]:
    """What of a value breaks a schema of the few forms that ours has."""
    if "anyOf" in schema:
        tried = [faults(value, each, where) for each in schema["anyOf"]]
        return [] if [] in tried else tried[-1]
    if "const" in schema:
        return [] if value == schema["const"] else [f"{where}: {value!r}"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{where}: {value!r}"]
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    flag = isinstance(value, bool) and "boolean" not in names
    if flag or not any(isinstance(value, TYPES[name]) for name in names):
        return [f"{where}: {value!r} is no {names}"]
    found: list[str] = []
    if isinstance(value, dict):
        found += [f"{where}: no {key}" for key in schema.get("required", ()) if key not in value]
        for key, entry in value.items():
            known = schema.get("properties", {}).get(key, schema["additionalProperties"])
            found += [f"{where}.{key}"] if known is False else faults(entry, known, key)
    elif isinstance(value, list):
        found += [text for entry in value for text in faults(entry, schema["items"], where)]
    elif "minimum" in schema and value < schema["minimum"]:
        found.append(f"{where}: {value}")
    return found


def test_the_committed_schema_is_fresh() -> None:
    assert json.loads(COMMITTED.read_text()) == trace_schema(), (
        "python -m codesign.trace.schema > docs/trace.schema.json renews it"
    )


@pytest.mark.parametrize(
    ("name", "phase"), [("resnet18", "training"), ("llama3_8b", "decode"), ("bert_base", None)]
)
def test_traces_are_as_the_schema_says(tmp_path: Path, name: str, phase: str | None) -> None:
    path = tmp_path / "trace.json"
    save_trace(sparsify(load_workload(name, phase=phase), "2:4"), path)
    content = json.loads(path.read_text())
    assert faults(content, trace_schema()) == []
    content["ops"][0]["m"] = -1
    content["ops"][1]["colour"] = "red"
    content["ops"][2]["kind"] = "gem"
    assert len(faults(content, trace_schema())) == 3


def test_every_field_of_an_operator_is_in_it() -> None:
    known = trace_schema()["properties"]["ops"]["items"]["properties"]
    assert list(known) == [field.name for field in fields(Op)]
