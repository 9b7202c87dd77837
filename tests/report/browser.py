"""A Chromium that opens a report, and complains of whatever a reader would not see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))),
    None,
)


@contextmanager
def chromium() -> Iterator[Any]:
    """The Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def reading(
    browser: Any, report: Path, *, width: int = 1280, dark: bool = False, **options: Any
) -> Iterator[Any]:
    """The page of a report: without a complaint, a request, or a part that is too wide."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
        **options,
    )
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append("a dialog opened"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.resolve().as_uri())
    yield page
    assert complaints == []
    own = (report.resolve().as_uri(), "data:", "blob:")
    assert all(url.startswith(own) for url in asked), asked
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    context.close()
