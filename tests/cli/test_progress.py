"""Is the bar drawn only for a person, only after a while, and never on standard output?"""

from __future__ import annotations

import sys

import pytest

from codesign.cli import progress as module
from codesign.cli.progress import portion, progress_bar


@pytest.fixture
def drawn(capsys, monkeypatch):
    """Report twice and return what appeared on standard error."""

    def draw(*, terminal: bool, quiet: bool = False, patience_s: float = 0.0) -> str:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
        monkeypatch.setattr(module, "PATIENCE_S", patience_s)
        with progress_bar(quiet=quiet) as report:
            report("layer1", 1, 2)
            report("layer2[/]", 2, 2)
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    return draw


def test_a_person_sees_what_is_being_done(drawn) -> None:
    assert "layer2[/]" in drawn(terminal=True)


def test_nobody_else_does(drawn) -> None:
    assert drawn(terminal=False) == ""
    assert drawn(terminal=True, quiet=True) == ""
    assert drawn(terminal=True, patience_s=60.0) == ""


def test_parts_fill_the_bar_once() -> None:
    seen = []
    for number in range(3):
        part = portion(lambda *told: seen.append(told), f"part {number}", number, 3)
        for done in (1, 2):
            part("op", done, 2)
    fractions = [done / total for _, done, total in seen]
    assert fractions == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
