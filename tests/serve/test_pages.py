"""Does the page in a browser follow a sweep, filter, compare, open reports, show any text?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from codesign.sweep.store import Store
from tests.serve.conftest import Address, a_row, a_store, a_study, serving

pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
HOSTILE = "<script>alert(1)</script>'\"&\n‮é" + "x" * 10_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def a_page(browser: Any, address: Address, target: str = "/", width: int = 1280) -> Iterator[Any]:
    """A page that must not complain and must ask nobody else."""
    page = browser.new_page(viewport={"width": width, "height": 900}, accept_downloads=True)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append("a dialog opened"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    origin = f"http://{address[0]}:{address[1]}"
    page.goto(origin + target)
    yield page
    assert complaints == []
    assert all(url.startswith((origin, "data:", "blob:")) for url in asked), asked
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.close()


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


@pytest.mark.parametrize("width", [390, 1280])
def test_studies_and_reports_are_listed_and_open(
    browser: Any, address: Address, width: int
) -> None:
    with a_page(browser, address, width=width) as page:
        page.click("#studies a >> text=toy >> nth=0")
        page.wait_for_selector("#chart .mark")
        assert page.inner_text("h1") == "toy"
        page.go_back()
        page.wait_for_selector("#reports a")
        assert texts(page, "#reports a") == ["report.html"]
        assert page.locator("#studies tr").count() == 3
        page.click("#reports a")
        assert page.inner_text("#r") == "report"


def test_points_are_filtered_sorted_and_compared(
    browser: Any, address: Address, tmp_path: Path
) -> None:
    with a_page(browser, address, "/study/toy.db") as page:
        page.wait_for_selector("#chart .mark")
        assert page.locator("#chart .mark").count() == 100
        page.fill("#filter", "area_mm2 <= 29, rows > 11, sparsity = 2:4")
        wanted = [n for n in range(100) if 11 <= n <= 28 and n % 3 == 1]
        assert texts(page, "#body td:nth-child(2)") == [str(n) for n in wanted]
        assert page.inner_text("#count") == f"{len(wanted)} of 100 points"
        assert page.locator("#chart .mark").count() == len(wanted)
        page.click("#head >> text=area_mm2")
        page.click("#head >> text=area_mm2")
        assert texts(page, "#body td:nth-child(2)") == [str(n) for n in reversed(wanted)]
        with page.expect_download() as download:
            page.click("#csv")
        download.value.save_as(tmp_path / "points.csv")
        lines = (tmp_path / "points.csv").read_text().splitlines()
        assert len(lines) == 1 + len(wanted)
        assert lines[1].startswith(f"{wanted[-1]},tile,2:4,{wanted[-1] + 1},")
        page.fill("#filter", "speed <= 3")
        assert "no figure or parameter speed" in page.inner_text("#fault")
        page.fill("#filter", "")
        page.select_option("#which", "front")
        assert texts(page, "#body td:nth-child(2)")[:1] == ["88"]
        page.locator("#body input").nth(0).check()
        page.locator("#chart .mark[data-key=key0080]").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#compared code >> nth=1")
        assert "88 tile" in page.inner_text("#compared thead")
        rows = {row[0]: row[1:] for row in (r.split("\t") for r in texts(page, "#compared tr"))}
        assert rows["area_mm2"][0] == "89"
        assert "--set array.rows=89" in page.inner_text("#compared")
        page.click("#clear")
        assert page.is_hidden("#compare")


def test_a_running_sweep_is_followed(browser: Any, tmp_path: Path) -> None:
    path = a_store(tmp_path / "live.db", 3)
    with serving(tmp_path) as address, a_page(browser, address, "/study/live.db") as page:
        page.wait_for_selector("#chart .mark")
        assert "3 of 300 points" in page.inner_text("#state")
        page.locator("#body input").nth(1).check()
        with Store(path) as store:
            store.add([a_row(n) for n in range(3, 60)])
            store.add([a_row(60, metrics={}, error="broke")])
            page.wait_for_selector("#chart .mark >> nth=59")
        assert "61 of 300 points" in page.inner_text("#state")
        assert "1 failed" in page.inner_text("#state")
        assert page.locator("#state.running").count() == 1
        assert page.locator("#body input").nth(1).is_checked(), "the choice outlives new points"
        with Store(path) as store:
            store.add([a_row(60)])
            page.wait_for_selector("#chart .mark >> nth=60")
        assert "0 failed" in page.inner_text("#state")


def test_any_text_is_shown_as_text(browser: Any, tmp_path: Path) -> None:
    row = a_row(1)
    study = a_study(description=HOSTILE, parameters={
        "sparsity": {"values": [HOSTILE]}, "arch.array.rows": {"values": [1]}})  # fmt: skip
    path = a_store(tmp_path / "<b>'&%23 é.db", 3, study)
    with Store(path) as store:
        store.add([
            a_row(4, values={**row.values, "sparsity": HOSTILE}, key="'\"<i>"),
            a_row(5, metrics={}, error=HOSTILE),
        ])  # fmt: skip
    with serving(tmp_path) as address:
        for width in (390, 1280):
            with a_page(browser, address, width=width) as page:
                page.click("#studies a")
                page.wait_for_selector("#chart .mark")
                assert page.inner_text("#about").startswith("<script>alert(1)</script>")
                page.locator("#body input").nth(3).check()
                page.wait_for_selector("#compared code")
                assert page.locator("script:not([src])").count() == 0


@pytest.mark.parametrize("target", ["/", "/study/toy.db"])
def test_pages_pass_axe(browser: Any, address: Address, target: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_page(bypass_csp=True)
    page.goto(f"http://{address[0]}:{address[1]}{target}")
    page.wait_for_selector("#studies a, #chart .mark")
    if target != "/":
        page.locator("#body input").nth(0).check()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()
