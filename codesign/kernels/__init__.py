"""All compiled code: arrays and scalars in, arrays out, nothing of the package imported.

Numba's disk cache looks at a function's own file only, so a cached function keeps the old code of
what it calls. Importing this package therefore points the cache at a folder named after a hash over
all kernel files: after an edit of any of them the folder is a new one. Old folders are removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numba
import numpy

_PREFIX = "codesign-kernels-"
_FOLDERS_KEPT = 5


def _source_key() -> str:
    """Hash over the name and content of every kernel file and the versions that compile them."""
    digest = hashlib.sha256(f"{numba.__version__} {numpy.__version__} {sys.version}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"\0{source.name}\0".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _candidate_parents() -> list[Path]:
    """Folders that may hold our cache, the preferred one first."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(chosen)]
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        user = Path(xdg)
    elif sys.platform == "darwin":
        user = Path("~/Library/Caches").expanduser()
    elif sys.platform == "win32":
        user = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")).expanduser()
    else:
        user = Path("~/.cache").expanduser()
    return [user / "codesign"]


def _usable(folder: Path) -> bool:
    """Create the folder if need be; false unless we can write to it and no other user can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        os.utime(folder)
        status = folder.lstat()
    except OSError:
        return False
    return not hasattr(os, "getuid") or (
        status.st_uid == os.getuid() and not status.st_mode & 0o022
    )


def _prune(parent: Path) -> None:
    """Remove all but the most recently used of our folders."""
    try:
        ours = sorted(parent.glob(f"{_PREFIX}*"), key=lambda f: f.stat().st_mtime, reverse=True)
    except OSError:
        return
    for folder in ours[_FOLDERS_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def cache_folder() -> Path:
    """The folder that holds the compiled code of exactly these sources, created when missing.

    Lies in NUMBA_CACHE_DIR, else in the user's cache folder, else in a private temporary folder.
    """
    name = f"{_PREFIX}{_source_key()}"
    shared_temp = Path(tempfile.gettempdir()) / f"codesign-{getattr(os, 'getuid', int)()}"
    for parent in (*_candidate_parents(), shared_temp):
        if _usable(parent / name):
            _prune(parent)
            return parent / name
    return Path(tempfile.mkdtemp(prefix=_PREFIX))


numba.config.CACHE_DIR = str(cache_folder())
