"""Which names does a served folder answer, and does any of them lead outside?"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.serve.folder import REPORTS, STORES, Folder, RefusedError

PARTS = st.sampled_from(
    ["..", ".", "", "toy.db", "deep", "er.db", "up", "out.db", "secret.db", "secret.html", "runs",
     "%2e%2e", "..%2f", "\0", "~", "C:", "\\", "..\\secret.db", "etc", "passwd", "toy.db\n",
     "report.html", "toy.db/", "．．", "notes.txt", ".hidden.db"]
)  # fmt: skip


def test_a_folder_lists_its_own_files_and_finds_what_it_lists(runs: Path) -> None:
    folder = Folder.at(runs)
    assert folder.names(STORES) == ["broken.db", "deep/er.db", "toy.db"]
    assert folder.names(REPORTS) == ["report.html"]
    for name in folder.names(STORES):
        assert folder.find(name, STORES) == runs / name


@pytest.mark.parametrize(
    "name",
    ["../secret.db", "up/secret.db", "out.db", "/etc/passwd", "deep/../toy.db", "./toy.db",
     "deep//er.db", "deep/er.db/", "toy.db\0", "notes.txt", "", "deep", "up/runs/toy.db",
     "a" * 5000 + ".db", "..\\secret.db", "toy.db\n", ".db", "toy.db-wal", ".hidden.db"],
)  # fmt: skip
def test_other_names_are_refused(runs: Path, name: str) -> None:
    with pytest.raises(RefusedError):
        Folder.at(runs).find(name, (*STORES, *REPORTS))


@given(st.lists(PARTS | st.text(max_size=4), max_size=5), st.sampled_from(["/", "//", "\\"]))
def test_no_name_leads_outside(runs: Path, parts: list[str], joint: str) -> None:
    folder = Folder.at(runs)
    with suppress(RefusedError):
        found = folder.find(joint.join(parts), (*STORES, *REPORTS))
        assert found.resolve().is_relative_to(runs)
        assert found.relative_to(runs).as_posix() in folder.names((*STORES, *REPORTS))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(CodesignError, match="there is no folder"):
            Folder.at(path)


def test_what_is_hidden_or_deep_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.db").touch()
    (tmp_path / ".x.db").touch()
    deep = tmp_path.joinpath(*"abcdef")
    deep.mkdir(parents=True)
    (deep / "x.db").touch()
    (deep.parent / "y.db").touch()
    assert Folder.at(tmp_path).names(STORES) == ["a/b/c/d/e/y.db"]
