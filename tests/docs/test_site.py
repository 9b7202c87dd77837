"""Does the site build without a warning, ask no network, name all things, and link to what is?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import codesign
from codesign.arch import list_archs
from docs_site.console import ROOT
from docs_site.pictures import FOLDER, pictures

MARKDOWN = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "reports/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`|^(?: {4}|\t).*$", re.S | re.M)


def test_every_link_of_the_pages_leads_to_a_file() -> None:
    broken = []
    for page in MARKDOWN:
        for target in _LINK.findall(_CODE.sub("", page.read_text("utf-8"))):
            parts = urlsplit(target)
            if parts.scheme or not parts.path:
                continue
            if not (page.parent / unquote(parts.path)).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


@pytest.mark.parametrize("picture", pictures(), ids=lambda picture: picture.name)
def test_pictures_are_what_the_code_draws(picture) -> None:
    held = (FOLDER / f"{picture.name}.svg").read_text("utf-8")
    assert held == picture.standalone(), "python -m docs_site.pictures draws them anew"


class _Page(HTMLParser):
    """What a page loads, where it links, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.anchors.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(found["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in found:
            self.loads.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere_and_its_links_resolve(site: Path) -> None:
    pages = {path: _Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    own = {path: page for path, page in pages.items() if "reports" not in path.parts}
    assert len(own) > 50
    for path, page in own.items():
        if path.name == "404.html":
            continue
        assert not [load for load in page.loads if urlsplit(load).scheme in ("http", "https")]
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = found / "index.html" if found.is_dir() else found
            assert found.exists(), f"{path.relative_to(site)}: {target}"
            if parts.fragment and found in pages and found in own:
                anchor = unquote(parts.fragment)
                assert anchor in pages[found].anchors, f"{path.relative_to(site)}: {target}"


def test_every_table_is_written_and_every_machine_and_function_is_named(site: Path) -> None:
    howto = "".join(path.read_text("utf-8") for path in (site / "howto").glob("*.html"))
    assert "table:" not in howto
    assert [name for name, _ in list_archs() if f"<code>{name}</code>" not in howto] == []
    inventory = "".join(path.read_text("utf-8") for path in (site / "api").glob("*.html"))
    for name in codesign.__all__:
        module = codesign._PUBLIC.get(name)
        assert module is None or f'id="{module}.{name}"' in inventory, name
    assert (site / "reports" / "demo" / "index.html").exists()
    assert (site / "notebooks" / "does_2_4_pay.html").exists()
