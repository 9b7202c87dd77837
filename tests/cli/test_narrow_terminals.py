"""Are names and numbers of a table whole in a pipe, and on a terminal of 80 columns?"""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

import codesign
from codesign.cli import console, tables
from codesign.cli.console import show, table

NAME = "model.layers.0-31.post_attention_layernorm.backward_weight"


class Terminal(io.StringIO):
    """Standard output of 80 columns that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=out))
    return out


def long_table(*numbers: str):
    grid = table("layer", *numbers)
    grid.add_row(NAME, *("underfilled 55%" for _ in numbers))
    return grid


def test_an_indented_name_is_whole(capsys):
    grid = table("layer", "cycles")
    grid.add_row("layers.0-31", "1")
    grid.add_row(f"  {NAME}", "2,345")
    grid.columns[1].min_width = 80
    show(grid)
    assert any(line.startswith(f"  {NAME} ") for line in capsys.readouterr().out.splitlines())


def test_a_pipe_has_every_name_and_number_on_one_line(capsys):
    show(long_table("a", "b", "c", "d"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "layernorm" in line]
    assert line.split() == [NAME, *("underfilled", "55%") * 4]


def test_a_narrow_terminal_gets_the_first_table_that_fits_or_the_last(terminal):
    show(long_table("a", "b", "c", "d"), long_table("a"), long_table())
    out = terminal.getvalue()
    assert NAME in out
    assert out.count("underfilled 55%") == 1
    show(long_table("a", "b"), long_table("c", "d"))
    assert terminal.getvalue().removeprefix(out).split()[:3] == ["layer", "c", "d"]


def test_layers_of_a_language_model_are_whole_on_80_columns(terminal):
    trace = codesign.load_workload("llama2_7b", phase="decode", context=15)
    result = codesign.evaluate(trace, codesign.load_arch("sat"), fidelity="tile")
    show(*(tables.by_layer(result, without=columns) for columns in tables.SPARED))
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    names = [line.split()[0] for line in lines if line.strip()]
    for name in ("layers.0-31", "attention.kv_write", "mlp.multiply", "lm_head", "total"):
        assert name in names
    assert names.count("layers.0-31") == 1
