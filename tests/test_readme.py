"""Does the README show what the command line really prints, and do the pages name what is there?"""

from __future__ import annotations

import re
from pathlib import Path

from codesign.arch import families, list_archs
from docs_site.console import Shell, alike, run_page

README = Path(__file__).parent.parent / "README.md"


def test_the_commands_in_the_readme_print_what_it_shows(tmp_path):
    shown = list(run_page(README.read_text(encoding="utf-8"), Shell(tmp_path)))
    assert len(shown) >= 5
    for example, printed in shown:
        assert alike(example.output, printed), f"$ {example.command}\n{printed}"


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
