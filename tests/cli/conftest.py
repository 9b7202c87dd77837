"""The command line run in this process, with the simulator or a stand-in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pytest

from codesign.cli import main
from codesign.metrics.result import Result


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def codesign(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command line and return its exit code and both streams."""

    def run(*arguments: str) -> Ran:
        code = main(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a given function in the place of the simulator."""

    import codesign.planning  # noqa: F401  # what it takes from the simulator is the real one

    def put(evaluate: Callable[..., Result]) -> None:
        fake = ModuleType("codesign.evaluate")
        fake.evaluate = evaluate  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "codesign.evaluate", fake)

    return put
