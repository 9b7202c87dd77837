"""Results as Markdown with SVG figures beside it, for a paper or a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from codesign.metrics.result import Result
from codesign.report.html import environment, vars_of
from codesign.report.page import Options, Page, page

FIGURES = "figures"


def write_markdown(results: Sequence[Result], path: Path, **options: Unpack[Options]) -> Path:
    """Write a Markdown file and, in the folder `figures` beside it, its figures as SVG.

    The arguments are those of `codesign.report.html.write_report`.
    """
    contents = page(results, options)
    folder = path.parent / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    for drawn in contents.figures:
        (folder / f"{drawn.name}.svg").write_text(drawn.standalone(), encoding="utf-8")
    path.write_text(render_markdown(contents), encoding="utf-8")
    return path


def render_markdown(contents: Page) -> str:
    """The Markdown as a string."""
    text = (
        environment(escape=False)
        .get_template("report.md.j2")
        .render(vars_of(contents), folder=FIGURES)
    )
    rows = re.sub(r"(?m)^(\|.*\|)\n\n(?=\|)", r"\1\n", text)
    return re.sub(r"\n{3,}", "\n\n", rows).strip() + "\n"
