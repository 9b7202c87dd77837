"""Is a next command suggested to people, and to nobody else?"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = [sys.executable, "-m", "codesign", "simulate", "gemm:64,64,64", "--arch", "sat"]


def on_a_terminal(words: list[str]) -> str:
    """What a command prints to a terminal."""
    outer, inner = pty.openpty()
    with subprocess.Popen(words, stdout=inner, stderr=inner, stdin=inner) as process:
        os.close(inner)
        text = b""
        while True:
            try:
                piece = os.read(outer, 4096)
            except OSError:
                break
            if not piece:
                break
            text += piece
        assert process.wait() == 0
    os.close(outer)
    return text.decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
@pytest.mark.parametrize(
    ("options", "suggested"), [([], True), (["--quiet"], False), (["--json"], False)]
)
def test_a_terminal_is_told_what_could_come_next(options: list[str], suggested: bool) -> None:
    assert ("next: -o FOLDER" in on_a_terminal([*WORDS, *options])) == suggested


def test_a_pipe_is_not(tmp_path: Path) -> None:
    done = subprocess.run(WORDS, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "next:" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout
