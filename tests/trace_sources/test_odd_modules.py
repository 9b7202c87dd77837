"""Is somebody told when a module is written so that a trace cannot say all that it does?"""

from __future__ import annotations

import pytest

from codesign.cli import main

torch = pytest.importorskip("torch")

MODULES = """
import torch
from torch import nn

class InAList(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(8, 8, batch_first=True)
        self.others = [nn.Linear(8, 8)]
    def forward(self, x):
        return self.others[0](self.first(x)[0])

class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)
    def forward(self, x):
        return self.head(torch.fft.fft(x).abs())

class Alone(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(8, 8))
    def forward(self):
        return self.w @ self.w.t()

def in_a_list(): return InAList(), torch.ones(1, 2, 8)
def spectrum(): return Spectrum(), torch.ones(2, 8)
def alone(): return Alone()
made = nn.Linear(8, 8)
def scripted(): return torch.jit.script(nn.Linear(8, 8)), torch.ones(2, 8)
def asks():
    class Asks(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else x * 2
    return Asks(), torch.ones(2, 8)
"""


@pytest.fixture
def told(tmp_path, capsys):
    """The exit code of an extraction and what it says on standard error."""
    (tmp_path / "odd.py").write_text(MODULES)

    def run(factory: str, *options: str) -> tuple[int, str]:
        source = f"torch:{tmp_path / 'odd.py'}:{factory}"
        code = main(["extract", source, "-o", str(tmp_path / "trace.json"), *options])
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("factory", "options", "said"),
    [
        ("in_a_list", (), "note: matrices of product are no parameters of the module"),
        ("spectrum", (), "note: work on complex numbers is not counted: _fft_r2c"),
        ("asks", ("--assume", "1"), "note: a value was assumed: 1.0 in Asks"),
        ("alone", (), ""),
        ("spectrum", ("--quiet",), ""),
    ],
)
def test_a_trace_says_what_it_lacks(told, factory, options, said) -> None:
    code, err = told(factory, *options)
    assert code == 0
    assert err.startswith(said)
    assert bool(err) == bool(said)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("made", "this is a Linear that is already made; name a function that makes it"),
        ("scripted", "the factory returns a ScriptModule"),
        ("asks", "extract it with real inputs (--real), or assume a value (--assume 0)"),
    ],
)
def test_what_cannot_be_followed_is_refused(told, factory, said) -> None:
    code, err = told(factory)
    assert code == 2
    assert said in err
