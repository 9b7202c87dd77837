"""Runs the commands that a page shows and compares what they print with what it says.

A page is read from top to bottom. A fence with a title (```yaml title="chip.yaml") is written to
that file. In a ```console fence, a line that begins with `$ ` is a command (lines after one that
ends in a backslash belong to it), the lines below it are its output; `...` stands for any text.

    python -m docs_site.console docs/tutorial/index.md           # says what differs
    python -m docs_site.console --renew docs/tutorial/index.md   # writes what is printed now
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^```([\w-]+)(?: title=\"([\w./-]+)\")?[^\n]*\n(.*?)^```$", re.M | re.S)
_ANY = "..."
_LONGEST_S = 120.0


@dataclass(frozen=True, slots=True)
class Example:
    """One command of a page, what it says that is printed, and where that stands in the text."""

    command: str
    output: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class File:
    """A file that a page asks its reader to write."""

    name: str
    text: str


def pieces(text: str) -> Iterator[File | Example]:
    """The files and commands of a page, in its order."""
    for fence in _FENCE.finditer(text):
        kind, title, body = fence.groups()
        if title is not None:
            yield File(title, body)
        elif kind == "console":
            yield from _examples(body, fence.start(3))


def _examples(body: str, offset: int) -> Iterator[Example]:
    lines = body.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            raise ValueError(f"a console block begins with `$ `, not {lines[at]!r}")
        first = at
        while lines[at].endswith("\\\n"):
            at += 1
        at += 1
        command = "".join(lines[first:at])[2:].rstrip("\n")
        start = offset + sum(map(len, lines[:at]))
        below = at
        while at < len(lines) and not lines[at].startswith("$ "):
            at += 1
        output = "".join(lines[below:at])
        yield Example(command, output, start, start + len(output))


def matches(shown: str, printed: str) -> bool:
    """Whether what a page shows is what was printed: `...` is any text, ends of lines are trimmed.

    >>> matches("a ... d\\n", "a b c d  \\n"), matches("a\\n", "a b\\n")
    (True, False)
    """
    pattern = ".*?".join(map(re.escape, _trimmed(shown).split(_ANY)))
    return re.fullmatch(pattern, _trimmed(printed), re.S) is not None


DRIFT = 0.1
"""How far figures of shipped machines may move before a page that shows them must be renewed."""
_FIGURE = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def alike(shown: str, printed: str, drift: float = DRIFT) -> bool:
    """Whether two outputs say the same words with about the same figures, `...` aside.

    >>> alike("a 1.00 s*\n", "a  1.05 s*\n"), alike("a 1.00 s*\n", "a 1.05 s\n")
    (True, False)
    """
    if matches(shown, printed):
        return True
    ours, theirs = shown.split(), printed.split()
    return len(ours) == len(theirs) and all(
        _close(a, b, drift) for a, b in zip(ours, theirs, strict=True)
    )


def _close(a: str, b: str, drift: float) -> bool:
    if a == b or {*a} == {*b} == {"─"}:
        return True
    if _FIGURE.sub("#", a) != _FIGURE.sub("#", b):
        return False
    return all(
        abs(float(x) - float(y)) <= max(drift * abs(float(x)), 0.0 if "." in x + y else 1.0)
        for x, y in zip(_figures(a), _figures(b), strict=True)
    )


def _figures(word: str) -> list[str]:
    return [text.replace(",", "") for text in _FIGURE.findall(word)]


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    back = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(back)


class Shell:
    """Runs commands in a folder as a reader with a fresh installation would, one process each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bin = tempfile.TemporaryDirectory(prefix="codesign-bin-")
        for name, words in (("codesign", "-m codesign"), ("python", "")):
            script = Path(self._bin.name, name)
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
            script.chmod(0o755)
        path = os.pathsep.join([self._bin.name, os.environ.get("PATH", "")])
        searched = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._env = {**os.environ, "PATH": path, "PYTHONPATH": searched, "COLUMNS": "80"}
        self._env.pop("FORCE_COLOR", None)

    def run(self, command: str) -> str:
        """What a command prints to both streams, then its exit code if that is not 0."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LONGEST_S,
            check=False,
        )
        printed = done.stdout.decode("utf-8", "replace")
        return printed if done.returncode == 0 else f"{printed}exit code {done.returncode}\n"


class InProcess:
    """Runs `codesign` commands in this process, which spares each its imports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: str) -> str:
        """As Shell.run; raises ValueError for what is no plain `codesign` command."""
        from codesign.cli import main

        name, *arguments = shlex.split(command.replace("\\\n", ""))
        if name != "codesign" or any(set(word) & set("|<>;&$`") == {word} for word in arguments):
            raise ValueError(f"only `codesign` runs here, not: {command}")
        both = io.StringIO()
        with (
            _in_folder(self.folder),
            contextlib.redirect_stdout(both),
            contextlib.redirect_stderr(both),
        ):
            code = main(arguments)
        return both.getvalue() if code == 0 else f"{both.getvalue()}exit code {code}\n"


def run_page(text: str, runner: Shell | InProcess) -> Iterator[tuple[Example, str]]:
    """Every command of a page with what it printed; files are written on the way."""
    for piece in pieces(text):
        if isinstance(piece, File):
            path = runner.folder / piece.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(piece.text, encoding="utf-8")
        else:
            yield piece, runner.run(piece.command)


def renewed(text: str, results: Sequence[tuple[Example, str]]) -> str:
    """The page with the outputs that no longer match put in."""
    for example, printed in reversed(results):
        if not matches(example.output, printed):
            shown = _trimmed(printed)
            new = replace(example, output=shown + "\n" if shown else "")
            text = text[: example.start] + new.output + text[example.end :]
    return text


def main() -> int:
    """Check pages, or renew them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--renew", action="store_true")
    chosen = parser.parse_args()
    differ = 0
    for page in chosen.pages:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory(prefix="codesign-page-") as folder:
            results = list(run_page(text, Shell(Path(folder))))
        for example, printed in results:
            if not chosen.renew and not matches(example.output, printed):
                differ += 1
                print(f"{page}: $ {example.command}\n{printed}")
        if any(printed.endswith("exit code 3\n") for _, printed in results):
            print(f"{page}: a command failed in codesign itself; the page stays as it is")
            differ += 1
        elif chosen.renew:
            page.write_text(renewed(text, results), encoding="utf-8")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
