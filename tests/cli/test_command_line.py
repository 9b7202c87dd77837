"""Does the command line answer quickly, with the exit code it states and a clean output?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import codesign as package
from codesign.cli import VERBS, root
from codesign.cli import simulate as simulate_verb
from codesign.config import CodesignError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parent.parent)}


def process(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codesign", *arguments]
    environment = {**ENVIRONMENT, **extra}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `codesign simulate` raise."""

    def put(error: BaseException) -> None:
        def callback(**_: object) -> None:
            raise error

        monkeypatch.setattr(simulate_verb.command, "callback", callback)

    return put


RUN = ("simulate", "toy", "--arch", "sat")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_nothing_heavy(verb: str) -> None:
    heavy = ("torch", "numba", "numpy", "scipy", "pandas", "matplotlib", "pydantic")
    program = (
        "import sys; from codesign.cli import main; "
        f"code = main({[*([verb] if verb else []), '--help']!r}); "
        f"print([name for name in {heavy!r} if name in sys.modules], code, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert ran.stderr == "[] 0\n"
    assert ran.stdout.startswith("Usage: codesign")


def test_every_verb_is_there_and_says_what_the_table_says() -> None:
    ctx = click.Context(root)
    for name, (_, text) in VERBS.items():
        command = root.get_command(ctx, name)
        assert command is not None
        if name != "check":
            assert command.name == name
            assert command.get_short_help_str(limit=200) == text.rstrip(".") or (
                command.get_short_help_str(limit=200) == text
            )


def test_no_arguments_show_the_help(codesign) -> None:
    for arguments in ((), ("arch",), ("workload",)):
        ran = codesign(*arguments)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("Usage: codesign")


def test_the_version_is_that_of_the_package(codesign) -> None:
    assert codesign("--version").out == f"codesign {package.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CodesignError("rows is 0"), 2, "error: rows is 0\n"),
        (CodesignError("a: bad\nb: bad"), 2, "error: 2 faults\n  a: bad\n  b: bad\n"),
        (CodesignError("name \x1b[31m\x00"), 2, "error: name \\x1b[31m\\x00\n"),
        (PermissionError(13, "Permission denied", "out"), 2, "error: out: Permission denied\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.exceptions.Exit(1), 1, ""),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
)
def test_errors_have_their_exit_codes(codesign, failing, error, code, said) -> None:
    failing(error)
    ran = codesign(*RUN)
    assert (ran.code, ran.out, ran.err) == (code, "", said)


def test_a_fault_of_ours_is_an_apology_with_a_way_to_the_traceback(
    codesign, failing, monkeypatch
) -> None:
    failing(ZeroDivisionError("oh"))
    ran = codesign(*RUN)
    assert ran.code == 3
    assert "ZeroDivisionError: oh" in ran.err
    assert "CODESIGN_DEBUG=1" in ran.err
    assert "Traceback" not in ran.err
    monkeypatch.setenv("CODESIGN_DEBUG", "1")
    ran = codesign(*RUN)
    assert ran.code == 3
    assert "Traceback" in ran.err


def test_a_reader_that_goes_away_is_no_error() -> None:
    verb = "-m codesign workload show gpt2 --per-op"
    command = f"{sys.executable} {verb} | head -1; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines()[-1] in ("0", "141")


def test_a_closed_output_is_no_traceback() -> None:
    command = f"{sys.executable} -m codesign workload list >&-"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=ENVIRONMENT)
    assert "Traceback" not in ran.stderr


def test_a_terminal_without_unicode_gets_ascii() -> None:
    ran = process("workload", "show", "gemm:8,8,8", PYTHONIOENCODING="ascii")
    assert ran.returncode == 0
    assert ran.stdout.isascii()
    assert "?" not in ran.stdout
    assert "\\u" not in ran.stdout


def test_python_dash_m_is_the_same_program(codesign) -> None:
    assert (
        process("workload", "show", "gemm:8,8,8").stdout
        == codesign("workload", "show", "gemm:8,8,8").out
    )


def test_json_is_one_object_and_nothing_else(codesign) -> None:
    for arguments in (("workload", "list"), ("workload", "show", "gemm:8,8,8"), ("doctor",)):
        assert isinstance(json.loads(codesign(*arguments, "--json").out), dict)
