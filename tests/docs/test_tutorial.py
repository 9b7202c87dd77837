"""Do the commands of the tutorial and of the other pages print what is shown?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from docs_site.console import (
    ROOT,
    Example,
    File,
    InProcess,
    Shell,
    alike,
    matches,
    pieces,
    renewed,
    run_page,
)

DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial" / "index.md"
PAGES = sorted(
    page
    for page in [*DOCS.rglob("*.md")]
    if page != TUTORIAL and any(isinstance(p, Example) for p in pieces(page.read_text("utf-8")))
)


def differences(
    page: Path, runner: Shell | InProcess, same: Callable[[str, str], bool] = matches
) -> str:
    found = [
        f"$ {example.command}\n{printed}"
        for example, printed in run_page(page.read_text("utf-8"), runner)
        if not same(example.output, printed)
    ]
    again = f"python -m docs_site.console --renew {page.relative_to(ROOT)} renews the page\n"
    return again + "\n".join(found) if found else ""


def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    assert differences(TUTORIAL, Shell(tmp_path)) == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_print_what_they_show(page: Path, tmp_path: Path) -> None:
    writes_files = any(isinstance(piece, File) for piece in pieces(page.read_text("utf-8")))
    runner = Shell(tmp_path) if writes_files else InProcess(tmp_path)
    assert differences(page, runner, alike) == ""


def test_every_family_of_machines_has_a_page_with_a_command() -> None:
    from codesign.arch import families

    assert {f"{family}.md" for family in families()} <= {page.name for page in PAGES}


PAGE = """
```yaml title="a/b.yaml"
x: 1
```
```console
$ echo one \\
    two
one two
$ false
exit code 1
```
```text
$ not run
```
"""


def test_a_page_is_read_run_and_renewed(tmp_path: Path) -> None:
    found = list(pieces(PAGE))
    assert found[0] == File("a/b.yaml", "x: 1\n")
    assert [p.command for p in found[1:] if isinstance(p, Example)] == [
        "echo one \\\n    two",
        "false",
    ]
    results = list(run_page(PAGE, Shell(tmp_path)))
    assert (tmp_path / "a" / "b.yaml").read_text() == "x: 1\n"
    assert all(matches(example.output, printed) for example, printed in results)
    assert renewed(PAGE, results) == PAGE
    stale = PAGE.replace("one two\n$", "three\nfour\n$").replace("exit code 1\n", "")
    results = list(run_page(stale, Shell(tmp_path)))
    assert [matches(example.output, printed) for example, printed in results] == [False, False]
    assert renewed(stale, results) == PAGE


def test_dots_stand_for_any_text_and_nothing_else_does() -> None:
    assert matches("a ... c\n", "a b\nb c\n")
    assert matches("a\n", "a   \n")
    assert not matches("a.c\n", "abc\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("", "a\n")


def test_figures_may_drift_a_little_and_words_may_not() -> None:
    assert alike("x 1.00 ms 2,000\n────\n", "x  1.09 ms 2,100\n──────\n")
    assert not alike("x 1.00 ms\n", "x 1.20 ms\n")
    assert not alike("x 1.00 ms\n", "x 2.00 ms\n")
    assert alike("8 %\n", "9 %\n")
    assert not alike("x 1.00 ms\n", "x 1.00 us\n")
    assert not alike("x 1.00*\n", "x 1.00\n")
    assert not alike("a\n", "a b\n")


def test_only_codesign_runs_in_process(tmp_path: Path) -> None:
    for command in ("rm -rf x", "codesign --version | head"):
        with pytest.raises(ValueError):
            InProcess(tmp_path).run(command)
