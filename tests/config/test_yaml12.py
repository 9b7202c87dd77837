"""Does a YAML text mean what YAML 1.2 says, with no value changed or dropped on the way?"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codesign import yaml12
from codesign.config import CodesignError, parse_yaml

PARSERS = [getattr(yaml, name) for name in ("CSafeLoader", "SafeLoader") if hasattr(yaml, name)]

SCALARS: list[tuple[str, object]] = [
    ("2:4", "2:4"),
    ("12:30:00", "12:30:00"),
    ("1e9", 1e9),
    ("1E9", 1e9),
    ("1.0e9", 1e9),
    ("1e-3", 1e-3),
    ("1e+3", 1e3),
    (".5", 0.5),
    ("-.5", -0.5),
    ("5.", 5.0),
    ("+1.5", 1.5),
    ("007.5", 7.5),
    ("0", 0),
    ("-0", 0),
    ("+12", 12),
    ("-12", -12),
    ("0x1F", 31),
    ("0o17", 15),
    ("0X1F", "0X1F"),
    ("0b11", "0b11"),
    ("-0x1F", "-0x1F"),
    ("9223372036854775807", 2**63 - 1),
    ("1_000", "1_000"),
    ("1e", "1e"),
    ("e9", "e9"),
    (".", "."),
    ("-", [None]),
    ("+", "+"),
    ("..", ".."),
    ("1.2.3", "1.2.3"),
    ("１２", "１２"),
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("tRUE", "tRUE"),
    ("false", False),
    ("yes", "yes"),
    ("No", "No"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("null", None),
    ("Null", None),
    ("~", None),
    ("", None),
    ("none", "none"),
    ("2024-01-31", "2024-01-31"),
    ("=", "="),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("inf", "inf"),
    ("nan", "nan"),
    ("'1'", "1"),
    ('"true"', "true"),
    ("''", ""),
    ("block(32x32, 0.8)", "block(32x32, 0.8)"),
    ("[1, 2:4, 1e3]", [1, "2:4", 1e3]),
    ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
    ("|\n  text\n", "text\n"),
]


@pytest.fixture(params=PARSERS, ids=lambda parser: parser.__name__)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml12, "_PARSER", request.param)


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_scalar_has_the_value_of_yaml_1_2(text: str, value: object) -> None:
    separator = "\n" if text == "-" else " "
    found = parse_yaml(f"key:{separator}{text}\n").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(parse_yaml("key: .nan").data["key"])


@pytest.mark.usefixtures("_parser")
def test_every_entry_knows_its_line() -> None:
    document = parse_yaml(
        "# head\na: 1\nb:\n  - x: 1\n    y: [1,\n        2]\n  - &z {q: 1}\n  - *z\n"
    )
    assert document.lines[()] == 2
    assert document.lines["b",] == 3
    assert document.lines["b", 0, "y"] == 5
    assert document.lines["b", 0, "y", 1] == 6
    assert document.lines["b", 2] == 8
    assert document.data["b"][2] == {"q": 1}


def test_a_key_is_its_text() -> None:
    assert parse_yaml("8: a\n010: b\n0.5: c\non: d\ntrue: e").data == {
        "8": "a",
        "010": "b",
        "0.5": "c",
        "on": "d",
        "true": "e",
    }


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize("text", ['a: "\\ud800"', '"\\udfff": a', 'a: "\\U00110000"'])
def test_an_escape_that_is_no_character_is_refused(text: str) -> None:
    with pytest.raises(CodesignError, match="<text>"):
        parse_yaml(text)


def test_an_alias_counts_the_levels_that_it_brings() -> None:
    def nested(levels: int, inner: str) -> str:
        return "[" * levels + inner + "]" * levels

    assert parse_yaml(f"a: &a {nested(40, '1')}\nb: {nested(50, '*a')}")
    with pytest.raises(CodesignError, match="aliases expand to over 200000 values or 100 levels"):
        parse_yaml(f"a: &a {nested(60, '1')}\nb: {nested(50, '*a')}")


PIECES = [
    "a", "b", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&x ", "*x", "010", "1e9", '"', "'",
    "#", "|", ">", "?", "!t ", "---\n", "...\n", "%YAML 1.2\n", "\t", "<<", "~", "\\ud800",
]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(PIECES),
        max_size=25,
    ).map(lambda parts: "k: " + "".join(parts)),
    st.text(":-[]{},&*'\"#|>?!%~ \n01.eab", max_size=12).map(lambda text: f"k: {text}"),
)


def unambiguous(value: Any) -> str:
    """A text of a value that another reading of the same text must have too."""
    return json.dumps(value, sort_keys=False)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example('a: "\\U00110000"')
@example("a: &x [*x]")
@example("? [a]\n: b")
def test_any_text_gives_a_mapping_that_reads_back_or_a_user_error(text: str) -> None:
    try:
        data = parse_yaml(text).data
    except CodesignError:
        return
    assert unambiguous(parse_yaml(json.dumps(data, ensure_ascii=False)).data) == unambiguous(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
@example(b"\xff\xfea\x00")
@example(b"a: \xed\xa0\x80")
def test_any_bytes_give_a_mapping_or_a_user_error(content: bytes) -> None:
    with suppress(CodesignError):
        assert isinstance(parse_yaml(content).data, dict)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_what_both_parsers_accept_is_the_same(text: str) -> None:
    found = []
    for parser in PARSERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml12, "_PARSER", parser)
            try:
                document = parse_yaml(text)
            except CodesignError:
                return
            found.append((unambiguous(document.data), document.lines))
    assert found[0] == found[-1]


PRINTABLE = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\u2028\u2029\ufffe\uffff"
    ),
    max_size=8,
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(PRINTABLE, VALUES, max_size=4))
def test_data_written_as_json_is_read_unchanged(data: dict[str, Any]) -> None:
    assert unambiguous(parse_yaml(json.dumps(data, ensure_ascii=False)).data) == unambiguous(data)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), min_size=1), st.data())
@settings(max_examples=50, deadline=None)
def test_a_repeated_key_is_never_swallowed(data: dict[str, int], draw: st.DataObject) -> None:
    rows = [f"{key}: {value}" for key, value in data.items()]
    again = draw.draw(st.sampled_from(rows))
    rows.insert(draw.draw(st.integers(0, len(rows))), again)
    with pytest.raises(CodesignError, match="duplicate key"):
        parse_yaml("\n".join(rows))
