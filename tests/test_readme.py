"""Does the README show what the command line really prints?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from codesign.cli import main

README = Path(__file__).parent.parent / "README.md"


def test_the_command_in_the_readme_prints_what_it_shows(capsys):
    text = README.read_text(encoding="utf-8").split("<!-- tested: tests/test_readme.py -->")[1]
    block = re.match(r"\n((?:    .*\n|\n)+)", text)
    assert block is not None
    lines = [line[4:] for line in block[1].rstrip().splitlines()]
    command, shown = lines[0].removeprefix("$ codesign "), "\n".join(lines[1:])
    assert main(shlex.split(command)) == 0
    printed = capsys.readouterr().out
    assert [line.rstrip() for line in printed.strip().splitlines()] == shown.strip().splitlines()


def test_every_file_that_the_readme_names_is_there():
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"`((?:codesign|arch_configs|tests)/[\w/.]+)`|\]\(([\w/.]+)\)", text)
    assert named
    for pair in named:
        path = README.parent / (pair[0] or pair[1])
        assert path.exists(), path
