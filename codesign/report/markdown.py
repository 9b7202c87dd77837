"""Results as Markdown with SVG figures beside it, for a paper or a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from codesign.metrics.result import Result
from codesign.report.html import environment, vars_of
from codesign.report.page import Page, page

FIGURES = "figures"


def write_markdown(
    results: Sequence[Result],
    path: Path,
    *,
    title: str,
    baseline: int = 0,
    commands: Sequence[str] = (),
    introduction: str = "",
    remarks: Sequence[str] = (),
) -> Path:
    """Write a Markdown file and, in the folder `figures` beside it, its figures as SVG.

    The arguments are those of `codesign.report.html.write_report`.
    """
    contents = page(
        results,
        title=title,
        baseline=baseline,
        commands=commands,
        introduction=introduction,
        remarks=remarks,
    )
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
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
