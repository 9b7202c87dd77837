"""Does the README show what the command line really prints, and do the pages name what is there?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from codesign.arch import families, list_archs
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


def test_the_index_of_the_documentation_links_every_page():
    docs = README.parent / "docs"
    text = (docs / "index.md").read_text(encoding="utf-8")
    linked = {(docs / link).resolve() for link in re.findall(r"\]\(([\w/.]+)\)", text)}
    assert all(page.exists() for page in linked), sorted(linked)
    pages = {*docs.glob("*.md"), *docs.glob("machines/*.md")} - {docs / "index.md"}
    assert {page.resolve() for page in pages} <= linked


def test_the_changelog_names_every_family_of_machines():
    text = (README.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    assert all(f"`{family}`" in text for family in families())
    assert f"Machines, {len(list_archs())} files of {len(families())} families" in text
