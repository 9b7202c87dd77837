"""Do equal contents, and only those, have equal fingerprints, also in another process?"""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import fingerprint, parse_yaml, validate_spec
from tests.config.sample_spec import Array, Machine


class Colour(StrEnum):
    RED = "red"


class Count(IntEnum):
    ONE = 1


@dataclass(frozen=True)
class Point:
    x: int
    y: int


@dataclass(frozen=True)
class Place:
    x: int
    y: int


@dataclass
class Loose:
    x: int


APART: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 0.0, -0.0, 1.5, "1", "", "None", "True", b"1", b"",
    Colour.RED, "red", Count.ONE, [], (), {}, [1], (1,), {"a": 1}, {"a": 1.0}, {"b": 1}, {1: "a"},
    [1, [2]], [[1], 2], [1, 2], ["12"], ["1", "2"], [12], {"a": {}}, {"a": []}, {"a": None},
    Point(1, 2), Place(1, 2), Point(2, 1), {"x": 1, "y": 2}, Array(), Array(rows=9),
    Machine(name="x"),
    np.array([1, 2]), np.array([1.0, 2.0]), np.array([[1, 2]]), np.array([1, 2], dtype=np.int32),
    np.zeros(0), np.zeros((0, 2)), np.array(1), 2**70, float("inf"), float("nan"), "\ud800",
]  # fmt: skip


def test_different_values_differ() -> None:
    prints = [fingerprint(value) for value in APART]
    assert len(set(prints)) == len(APART)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)


def test_the_same_content_is_the_same() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint(OrderedDict(b=2, a=1))
    assert fingerprint({"a": 1}) == fingerprint(MappingProxyType({"a": 1}))
    assert fingerprint(np.int64(3)) == fingerprint(3)
    assert fingerprint(np.float64(0.5)) == fingerprint(0.5)
    assert fingerprint(np.bool_(True)) == fingerprint(True)
    grid = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert fingerprint(grid) == fingerprint(np.asfortranarray(grid))
    assert fingerprint(grid) == fingerprint(grid.astype(">i8"))
    assert fingerprint(grid[:, ::2]) == fingerprint(grid[:, ::2].copy())


def test_a_spec_is_its_content() -> None:
    written = validate_spec(Machine, parse_yaml("gated: false\nname: x\nclock_mhz: 1000").data)
    assert written.fingerprint == Machine(name="x").fingerprint
    assert written.model_copy(update={"clock_mhz": 2.0}).fingerprint != written.fingerprint


@pytest.mark.parametrize("value", [object(), {1, 2}, Loose(1), print, np.array([object()]), [1j]])
def test_what_has_no_stable_content_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no fingerprint"):
        fingerprint(value)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


def exact(value: Any) -> str:
    """A text in which types and contents differ where values do, with keys in order."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{exact(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return type(value).__name__ + "(" + ",".join(map(exact, value)) + ")"
    return repr(value)


@settings(max_examples=300, deadline=None)
@given(NESTED, NESTED)
def test_fingerprints_are_equal_exactly_when_contents_are(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (exact(one) == exact(other))


@pytest.mark.parametrize("seed", ["0", "1"])
def test_another_process_agrees(seed: str) -> None:
    code = (
        "from codesign.config import fingerprint; from tests.config.sample_spec import Machine;"
        "print(fingerprint([{'b': 1, 'a': {'y': 2.5, 'x': None}}, Machine(name='x')]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
    )
    here = fingerprint([{"b": 1, "a": {"y": 2.5, "x": None}}, Machine(name="x")])
    assert ran.stdout.strip() == here == "829d52e79252bb63"
