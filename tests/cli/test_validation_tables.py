"""Are a validation's tables readable in 80 columns, and is nothing of them lost?"""

from __future__ import annotations

import pytest

from codesign.cli.validate import _show_section

LONG = "a source that is much longer than a column of a table can be"


def printed(capsys: pytest.CaptureFixture[str], rows: list[dict[str, str | float]]) -> list[str]:
    _show_section("a section", rows)
    return capsys.readouterr().out.splitlines()


def row(paper: str, model: str, **more: str) -> dict[str, str | float]:
    first = {"section": "a section", "paper": paper, "model": model}
    return {**first, "simulated": 1.25, "published": 1.5, **more}


def test_long_texts_after_numbers_stand_below_the_table_once(capsys):
    rows = [row("P", f"model{i}", assumed="", source=LONG + " 1" * (i > 1)) for i in range(4)]
    lines = printed(capsys, rows)
    assert max(map(len, lines)) <= 80
    assert [line.split()[-1] for line in lines if line.startswith("P ")] == ["1", "1", "2", "2"]
    assert [line for line in lines if line[0:1].isdigit()] == [
        f"1: source: {LONG}",
        f"2: source: {LONG} 1",
    ]


def test_short_texts_after_numbers_stay_in_their_column(capsys):
    lines = printed(capsys, [row("P", "m", bound="memory"), row("P", "m", bound="")])
    assert lines[2].split() == ["paper", "model", "simulated", "published", "bound"]
    assert lines[4].split() == ["P", "m", "1.250", "1.500", "memory"]


def test_a_table_that_is_too_wide_has_a_heading_for_what_rows_share(capsys):
    wide = {"gpu": "g" * 20, "pattern": "p" * 30}
    rows = [
        {"section": "a section", "paper": paper, **wide, "model": model, "simulated": 1.0}
        for paper, model in (("A", "w" * 20), ("B", "m2"), ("A", "m3"))
    ]
    lines = printed(capsys, rows)
    heading = f" · {'g' * 20} · {'p' * 30}"
    assert lines[4:] == [
        f"A{heading}", f"{'w' * 20}      1.000", f"m3{' ' * 24}1.000",
        f"B{heading}", f"m2{' ' * 24}1.000",
    ]  # fmt: skip
    rows[2]["gpu"] = "other" * 4
    assert any("m3" in line and "otherother" in line for line in printed(capsys, rows))
