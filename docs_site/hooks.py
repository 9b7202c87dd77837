"""What MkDocs asks this project while it builds the site (`hooks:` in mkdocs.yml)."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from mkdocs.structure.files import File, Files  # noqa: E402

from docs_site import notebooks  # noqa: E402
from docs_site.tables import WRITERS  # noqa: E402

DOCS = ROOT / "docs"
_NOTEBOOKS = "notebooks"
_TABLE = re.compile(r"^<!-- table: (\w+)((?: [\w.]+)*) -->$", re.M)
_HEADING = re.compile(r"^# (.+)$", re.M)
_LINK = re.compile(r"(\[[^\]]*\])\((\.\.[^)\s#]*)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """In the navigation, `folder/*` becomes the folder's pages, its index first, and `*` the pages
    beside the index that nothing else names.
    """
    named = set(_strings(config["nav"]))
    rest = sorted(path.name for path in DOCS.glob("*.md") if path.name not in named)
    config["nav"] = _expanded(config["nav"], rest)
    return config


def _strings(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [text for each in inner for text in _strings(each)]


def _expanded(entry: Any, rest: list[str]) -> Any:
    if isinstance(entry, dict):
        return {name: _expanded(inner, rest) for name, inner in entry.items()}
    if isinstance(entry, list):
        return [each for inner in entry for each in _as_list(_expanded(inner, rest))]
    if entry == "*":
        return rest
    if entry.endswith("/*"):
        folder = DOCS / entry.removesuffix("/*")
        names = sorted(path.name for path in folder.glob("*.md"))
        if folder.name == _NOTEBOOKS:
            names += [f"{name}.md" for name in notebooks.names()]
        names.sort(key=lambda name: name != "index.md")
        return [f"{folder.name}/{name}" for name in names]
    return entry


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def on_files(files: Files, config: Any) -> Files:
    """Notebooks become pages, and the committed reports are part of the site."""
    for name in notebooks.names():
        text = notebooks.as_markdown(notebooks.read(name))
        files.append(File.generated(config, f"{_NOTEBOOKS}/{name}.md", content=text))
    for path in sorted((ROOT / "reports").glob("*/index.html")):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Tables are written, links that leave the folder of pages find their place or end, and a page
    is called what its heading says, also below a comment.
    """

    def written(found: re.Match[str]) -> str:
        return WRITERS[found[1]](*found[2].split())

    def placed(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        here = posixpath.dirname(page.file.src_uri)
        inside = posixpath.normpath(posixpath.join(here, target))
        if not inside.startswith("../"):
            return found[0]
        name = inside.removeprefix("../")
        if name.endswith(".ipynb"):
            name = f"{_NOTEBOOKS}/{Path(name).stem}.md"
        if files.get_file_from_path(name) is None:
            return f"{text[1:-1]} (`{name}` of the repository)"
        return f"{text}({posixpath.relpath(name, here or '.')}{anchor})"

    if heading := _HEADING.search(markdown):
        page.meta.setdefault("title", heading[1].replace("`", ""))
    return _LINK.sub(placed, _TABLE.sub(written, markdown))
