"""Are figures as PNG whole, and do they show what the SVG shows?"""

from __future__ import annotations

import base64
import shutil
import struct
from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.metrics.result import Result
from codesign.report.markdown import write_markdown
from codesign.report.raster import write_png
from codesign.report.svg import bar, figure
from tests.report.browser import CHROMIUM, chromium

PIXELS = """async places => {
  const image = document.querySelector("img");
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: 2000, height: 240 });
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  return places.map(([x, y]) => [...pen.getImageData(x, y, 1, 1).data].slice(0, 3));
}"""


def made(height: float) -> object:
    return figure(
        "f", "A figure", "", lambda width: (height, [bar(0, height - 10, width, 10, "f5")])
    )


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_picture_has_the_whole_drawing(tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    write_png(made(120.0), tmp_path / "f.png")
    data = (tmp_path / "f.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (2000, 240)
    with chromium() as browser:
        page = browser.new_page()
        page.set_content(f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}">')
        shown = page.evaluate(PIXELS, [[1000, 235], [1000, 225], [1000, 100]])
    assert shown == [[0xD5, 0x5E, 0x00]] * 2 + [[255, 255, 255]]


def test_without_a_browser_it_says_so(
    results: list[Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(CodesignError, match="need a Chromium"):
        write_markdown(results, tmp_path / "r.md", png=True, title="t")
    assert not (tmp_path / "r.md").exists()
