"""Does the first call after an edit of any kernel file run the edited code, from no stale cache?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import codesign
import codesign.kernels

CALLEE = """from numba import njit

@njit(cache=True)
def weigh(x):
    return {factor} * x
"""
CALLER = """from numba import njit

from codesign.kernels.probe_callee import weigh

@njit(cache=True)
def run(x):
    return weigh(x) + 1
"""
RUN = """import sys
from codesign.kernels.probe import run
print(run(100), sum(run.stats.cache_hits.values()))
"""


@pytest.fixture
def package(tmp_path):
    """A folder with a copy of the package that has two more kernels, one calling the other."""
    kernels = tmp_path / "codesign" / "kernels"
    shutil.copytree(
        Path(codesign.__file__).parent / "kernels",
        kernels,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(codesign.__file__, tmp_path / "codesign")
    (kernels / "probe_callee.py").write_text(CALLEE.format(factor=3))
    (kernels / "probe.py").write_text(CALLER)
    return tmp_path


def run_python(folder: Path, script: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PYTHON", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**clean, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_edit_of_a_called_kernel_shows_at_the_next_call(package):
    cache = {"XDG_CACHE_HOME": str(package / "cache")}
    assert run_python(package, RUN, **cache) == "301 0"
    assert run_python(package, RUN, **cache) == "301 1"
    callee = package / "codesign" / "kernels" / "probe_callee.py"
    callee.write_text(CALLEE.format(factor=70))
    assert run_python(package, RUN, **cache) == "7001 0"
    callee.write_text(CALLEE.format(factor=3))
    assert run_python(package, RUN, **cache) == "301 1"
    assert len(list((package / "cache" / "codesign").glob("codesign-kernels-*"))) == 2


def test_importing_the_package_does_not_import_numba(tmp_path):
    root = str(Path(codesign.__file__).parents[1])
    script = "import sys, codesign; print('numba' in sys.modules)"
    assert run_python(tmp_path, script, PYTHONPATH=root) == "False"


def test_cache_lies_in_the_folder_that_the_user_chose(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert codesign.kernels.cache_folder().parent == tmp_path / "xdg" / "codesign"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert codesign.kernels.cache_folder().parent == tmp_path / "numba"


def test_unwritable_cache_folder_falls_back_to_a_private_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = codesign.kernels.cache_folder()
    assert folder.is_relative_to(tmp_path)
    assert folder.is_dir()
    assert not folder.stat().st_mode & 0o077


def test_only_the_last_used_folders_are_kept(tmp_path, monkeypatch):
    for age in range(9):
        folder = tmp_path / f"codesign-kernels-{age}"
        folder.mkdir()
        os.utime(folder, (1000 - age, 1000 - age))
    (tmp_path / "somebody-else").mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    ours = codesign.kernels.cache_folder().name
    kept = {folder.name for folder in tmp_path.iterdir()}
    assert kept == {ours, "somebody-else", *(f"codesign-kernels-{age}" for age in range(4))}
