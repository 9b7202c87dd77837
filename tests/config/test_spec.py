"""Does a Spec take exactly what its fields allow, from a file and from overrides?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import (
    CodesignError,
    ConfigError,
    Spec,
    did_you_mean,
    leaves,
    load_spec,
    parse_override,
    parse_yaml,
    shipped,
    validate_spec,
)
from codesign.units import BITS_PER_BYTE, DTYPE_BYTES, DTypeName, dtype_bits
from tests.config.sample_spec import Array, Dram, Flow, Machine, Sram

TEXT = """
name: x
clock_mhz: 500
array: {rows: 16, flow: os}
memories:
  - {kind: sram, capacity_bytes: 1024}
  - {kind: dram, bandwidth_bytes_per_cycle: 64}
shape: [3, 4]
energy_pj: {mac.fp16: 0.5, mac.int8: 0.1}
pattern: 2:4
"""


def test_a_file_becomes_the_value_that_it_describes(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text(TEXT)
    machine = load_spec(Machine, path)
    assert machine == Machine(
        name="x",
        clock_mhz=500.0,
        array=Array(rows=16, flow=Flow.OUTPUT),
        memories=(
            Sram(kind="sram", capacity_bytes=1024),
            Dram(kind="dram", bandwidth_bytes_per_cycle=64.0),
        ),
        shape=(3, 4),
        energy_pj={"mac.fp16": 0.5, "mac.int8": 0.1},
        pattern="2:4",
    )
    assert isinstance(machine.clock_mhz, float)
    assert machine.memories[1].kind == "dram"


def test_overrides_reach_every_kind_of_place() -> None:
    document = parse_yaml(TEXT)
    before = repr(document.data)
    machine = load_spec(
        Machine,
        document,
        {
            "array.rows": 64,
            "memories.0.capacity_bytes": np.int64(4096),
            "memories.1": {"kind": "sram", "capacity_bytes": 8},
            "energy_pj.mac.int8": 0.25,
            "shape": (5, 6),
            "gated": False,
            "pattern": None,
        },
    )
    assert machine.array == Array(rows=64, flow=Flow.OUTPUT)
    assert [memory.capacity_bytes for memory in machine.memories if memory.kind == "sram"] == [
        4096,
        8,
    ]
    assert machine.energy_pj == {"mac.fp16": 0.5, "mac.int8": 0.25}
    assert (machine.shape, machine.pattern) == ((5, 6), None)
    assert repr(document.data) == before


def test_an_override_of_an_unwritten_mapping_keeps_the_defaults_beside_it() -> None:
    machine = load_spec(Machine, parse_yaml("name: x"), {"array.cols": 2})
    assert machine.array == Array(rows=4, cols=2)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("arry.rows", 3, "--set: arry: unknown key; did you mean 'array'?"),
        ("array.row", 3, "--set: array.row: unknown key; did you mean 'rows'?"),
        ("array.rows", 0, "--set: array.rows: must be > 0 (got 0)"),
        ("array.rows", "64", "--set: array.rows: must be an integer (got '64'); did you mean 64?"),
        ("name.x", 1, "--set: name.x: name is a single value, nothing lies below it (got 'x')"),
        ("memories.2.kind", "a", "--set: memories.2: the list has no such entry, only 0 to 1"),
        ("memories.-1", 1, "--set: memories.-1: the list has no such entry, only 0 to 1"),
        (
            "memories.0.kind",
            "dram2",
            "--set: memories.0.kind: must be one of 'sram', 'dram' (got 'dram2'); "
            "did you mean 'dram'?",
        ),
        ("clock_mhz", float("inf"), "--set: clock_mhz: must be a finite number (got inf)"),
        ("name", "\ud800", None),
        ("name", object(), None),
        ("name", 10**30, None),
        ("energy_pj", {1: 2}, "<text>: the keys of a mapping must be text"),
    ],
)
def test_a_wrong_override_is_named(path: str, value: object, message: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        load_spec(Machine, parse_yaml(TEXT), {path: value})
    if message is not None:
        assert str(caught.value) == message


def test_faults_of_file_and_overrides_come_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load_spec(
            Machine, parse_yaml("name: 1\ngatd: true", "f.yaml"), {"array.rows": -1, "shape.5": 1}
        )
    assert str(caught.value).split("\n") == [
        "f.yaml:1: name: must be text (got 1)",
        "f.yaml:2: gatd: unknown key; did you mean 'gated'?",
        "--set: shape.5: the list has no such entry, only 0 to 1",
        "--set: array.rows: must be > 0 (got -1)",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("array.rows=64", ("array.rows", 64)),
        (" a = 1e9 ", ("a", 1e9)),
        ("a=2:4", ("a", "2:4")),
        ("a=b=c", ("a", "b=c")),
        ("a=[1, {b: 2:4}]", ("a", [1, {"b": "2:4"}])),
        ("a=null", ("a", None)),
        ("a=''", ("a", "")),
        ("a=yes", ("a", "yes")),
        ("a=block(32x32, 0.8)", ("a", "block(32x32, 0.8)")),
    ],
)
def test_an_override_is_read_by_the_rules_of_the_files(text: str, value: object) -> None:
    assert parse_override(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "=1",
        "a..b=1",
        ".=1",
        "",
        "a=",
        "a= # b",
        "a=010",
        "a=*b",
        "a=x: 1",
        "a=- 1",
        "a=[1",
        "a=!t 1",
        "a=1\n---\n2",
        "a=\0",
    ],
)
def test_a_broken_override_is_a_user_error_without_a_line(text: str) -> None:
    with pytest.raises(CodesignError, match=r"^--set: "):
        parse_override(text)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30)
    | st.text("a.=[]{}:,'\"*&!#-01e \n", max_size=20)
    | st.builds(
        "{}={}".format, st.sampled_from(["clock_mhz", "array.rows"]), st.text("0123.e-", max_size=4)
    )
)
def test_any_override_text_gives_a_value_or_a_user_error(text: str) -> None:
    try:
        path, value = parse_override(text)
        machine = load_spec(Machine, parse_yaml(TEXT), {path: value})
    except CodesignError:
        return
    if path in ("clock_mhz", "array.rows"):
        assert attrgetter(path)(machine) == value
    else:
        assert path.split(".")[0] in Machine.model_fields


FIELDS = list(Machine.model_fields)
SCALARS: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**53, 10**25, 0.5, 1.0, 64.0, float("inf"), float("nan")])
    | st.sampled_from(
        ["1", "1.0", "yes", "ws", "os", "sram", "dram", "fp16", "2:4", "", "\ud800", "x"]
    )
)
KEYS = st.sampled_from(
    [*FIELDS, *Array.model_fields, "kind", "capacity_bytes", "bandwidth_bytes_per_cycle"]
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
MEMORY = st.fixed_dictionaries(
    {"kind": st.sampled_from(["sram", "dram", "sran"])},
    optional={"capacity_bytes": SCALARS, "bandwidth_bytes_per_cycle": SCALARS},
)
NEAR = st.fixed_dictionaries(
    {"name": st.just("x") | SCALARS},
    optional={
        "clock_mhz": SCALARS,
        "gated": SCALARS,
        "array": st.dictionaries(st.sampled_from(list(Array.model_fields)), SCALARS),
        "memories": st.lists(MEMORY, max_size=2),
        "shape": st.lists(SCALARS, min_size=1, max_size=3),
        "energy_pj": st.dictionaries(KEYS, SCALARS, max_size=2),
        "limit": SCALARS,
        "dtype": SCALARS,
    },
)


def same(given_: Any, held: Any) -> bool:
    """Every given value stands in the Spec, with its type; an integer may stand as a float."""
    if isinstance(given_, dict):
        return all(
            same(v, held[k] if isinstance(held, Mapping) else getattr(held, k))
            for k, v in given_.items()
        )
    if isinstance(given_, list):
        return len(given_) == len(held) and all(map(same, given_, held))
    if isinstance(given_, int) and not isinstance(given_, bool) and isinstance(held, float):
        return given_ == held
    if isinstance(held, Flow):
        return given_ == held.value
    return given_ == held and type(given_) is type(held)


@settings(max_examples=500, deadline=None)
@given(NEAR | st.dictionaries(KEYS, NESTED, max_size=4) | NESTED)
def test_any_data_is_refused_by_name_or_held_unchanged(data: Any) -> None:
    try:
        machine = validate_spec(Machine, data)
    except CodesignError:
        return
    assert same(data, machine)


def test_leaves_come_in_declared_order() -> None:
    document = parse_yaml(
        "energy_pj: {mac: 1}\nname: x\nmemories: [{kind: sram, capacity_bytes: 8}]"
    )
    assert list(leaves(load_spec(Machine, document))) == [
        ("name", "x"),
        ("clock_mhz", 1000.0),
        ("gated", False),
        ("array.rows", 4),
        ("array.cols", 8),
        ("array.flow", "ws"),
        ("memories.0.kind", "sram"),
        ("memories.0.capacity_bytes", 8),
        ("shape.0", 1),
        ("shape.1", 1),
        ("energy_pj.mac", 1.0),
        ("dtype", "fp16"),
    ]


def test_keys_that_are_not_text_are_refused_when_a_spec_is_written() -> None:
    with pytest.raises(TypeError, match="keys of a mapping must be text"):

        class Wrong(Spec):
            energy_pj: tuple[dict[int, float], ...] | None = None


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Array().rows = 3  # type: ignore[misc]


def test_suggestions() -> None:
    names = ["rows", "cols", "clock_mhz", "dram_bytes", "dram_banks"]
    assert did_you_mean("Rows", names) == "rows"
    assert did_you_mean("colums", names) == "cols"
    assert did_you_mean("clock", names) == "clock_mhz"
    assert did_you_mean("dram-bytes", names) == "dram_bytes"
    assert did_you_mean("q" * 10**6, names) is None


def test_every_data_type_has_whole_bits() -> None:
    assert set(get_args(DTypeName)) == set(DTYPE_BYTES)
    for name, (numerator, denominator) in DTYPE_BYTES.items():
        assert dtype_bits(name) * denominator == BITS_PER_BYTE * numerator
    assert (dtype_bits("tf32"), dtype_bits("bf16"), dtype_bits("int4"), dtype_bits("bool")) == (
        32,
        16,
        4,
        1,
    )


def test_shipped_folders_of_a_checkout_lie_beside_the_package() -> None:
    assert shipped("workloads") == Path(__file__).parents[2] / "workloads"


def test_configuration_is_cheap_to_import() -> None:
    heavy = "{'numpy', 'numba', 'torch', 'click'}"
    code = f"import sys, codesign.config; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
