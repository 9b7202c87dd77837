"""What of a folder is shown: names of studies and reports below it, and nothing outside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from codesign.config import CodesignError

STORES = (".db", ".sqlite", ".sqlite3")
REPORTS = (".html",)
_DEEPEST = 5
_MOST_ENTRIES = 20_000
_LONGEST_NAME = 1024


class RefusedError(CodesignError):
    """A name that is not that of a file to be shown."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose files are shown by name, with `/` between the parts of a name."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> Folder:
        """Raises CodesignError where there is no folder."""
        if not path.is_dir():
            hint = " (give its folder)" if path.is_file() else ""
            raise CodesignError(f"{path}: there is no folder here{hint}")
        return cls(path.resolve())

    def names(self, endings: tuple[str, ...]) -> list[str]:
        """The names of the files with one of these endings, sorted.

        Hidden files and folders, links, what lies deeper than five folders, and what comes after
        20,000 entries are left out.
        """
        return sorted(name for name in self._walk() if name.endswith(endings))

    def find(self, name: str, endings: tuple[str, ...]) -> Path:
        """The file of a name that `names` could list. Raises RefusedError for every other name."""
        parts = PurePosixPath(name).parts
        if (
            not 0 < len(name) <= _LONGEST_NAME
            or not name.isprintable()
            or "\\" in name
            or name != "/".join(parts)
            or any(part.startswith((".", "/")) for part in parts)
            or not name.endswith(endings)
        ):
            raise RefusedError("no such file")
        path = self.root.joinpath(*parts)
        try:
            inside = path.resolve(strict=True) == path and path.is_file()
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside:
            raise RefusedError("no such file")
        return path

    def _walk(self) -> Iterator[str]:
        seen = 0
        for here, folders, files in os.walk(self.root):
            inside = Path(here).relative_to(self.root)
            deep = len(inside.parts) >= _DEEPEST
            folders[:] = [] if deep else sorted(f for f in folders if not f.startswith("."))
            for file in sorted(files):
                seen += 1
                if seen > _MOST_ENTRIES:
                    return
                if not file.startswith(".") and not Path(here, file).is_symlink():
                    yield (inside / file).as_posix()
