"""Results as Markdown with SVG figures beside it, for a paper or a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from codesign.metrics.result import Result
from codesign.report.html import environment, vars_of
from codesign.report.page import Options, Page, page
from codesign.report.raster import write_png

FIGURES = "figures"


def write_markdown(
    results: Sequence[Result], path: Path, *, png: bool = False, **options: Unpack[Options]
) -> Path:
    """Write a Markdown file and, in the folder `figures` beside it, its figures as SVG or PNG.

    The options are those of `codesign.report.html.write_report`. Raises CodesignError when PNG is
    asked for and there is no Chromium to draw it.
    """
    contents = page(results, options)
    folder = path.parent / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    for drawn in contents.figures:
        if png:
            write_png(drawn, folder / f"{drawn.name}.png")
        else:
            (folder / f"{drawn.name}.svg").write_text(drawn.standalone(), encoding="utf-8")
    path.write_text(render_markdown(contents, "png" if png else "svg"), encoding="utf-8")
    return path


def render_markdown(contents: Page, ending: str = "svg") -> str:
    """The Markdown as a string, its figures with names of that ending."""
    text = (
        environment(escape=False)
        .get_template("report.md.j2")
        .render(vars_of(contents), folder=FIGURES, ending=ending)
    )
    rows = re.sub(r"(?m)^(\|.*\|)\n\n(?=\|)", r"\1\n", text)
    return re.sub(r"\n{3,}", "\n\n", rows).strip() + "\n"
