"""Results as one HTML file that works offline, on a phone and on paper."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.embedded import table_data
from codesign.report.page import Page, page
from codesign.report.svg import CSS, definitions

_TEMPLATES = Path(__file__).parent / "templates"
_CONTENTS = (
    ("answer", "The answer"),
    ("compare", "Side by side"),
    ("time", "Time"),
    ("layers", "Layers"),
    ("roofline", "Roofline"),
    ("energy", "Energy and area"),
    ("utilisation", "Utilisation"),
    ("memory", "Memory"),
    ("notes", "Notes"),
    ("operators", "All operators"),
    ("sources", "Assumptions"),
    ("provenance", "Provenance"),
)


def write_report(
    results: Sequence[Result],
    path: Path,
    *,
    title: str,
    baseline: int = 0,
    commands: Sequence[str] = (),
    introduction: str = "",
    remarks: Sequence[str] = (),
) -> Path:
    """Write a self-contained page that compares results; `baseline` is the index of one of them.

    Results are compared within one workload and phase. `commands` are shown as the way to make the
    page again, `introduction` stands below the title and `remarks` below the answer. Equal input
    gives an equal file. Raises CodesignError when there are no results.
    """
    contents = page(
        results,
        title=title,
        baseline=baseline,
        commands=commands,
        introduction=introduction,
        remarks=remarks,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_html(contents), encoding="utf-8")
    return path


def render_html(contents: Page) -> str:
    """The page as a string."""
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment(escape=True)
        .get_template("report.html.j2")
        .render(
            vars_of(contents),
            contents=_CONTENTS,
            css=(_TEMPLATES / "report.css").read_text(encoding="utf-8") + CSS,
            definitions=definitions(),
            data=table_data(contents.study),
            script=script,
            script_hash=f"sha256-{digest}",
        )
    )


def vars_of(contents: Page) -> dict[str, object]:
    """A page's fields by name."""
    return {name: getattr(contents, name) for name in contents.__dataclass_fields__}


@cache
def environment(*, escape: bool) -> jinja2.Environment:
    """The report's templates, with filters that make text of unknown origin fit to be shown."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        finalize=_showable,
    )
    found.filters["line"] = q.one_line
    found.filters["clean"] = q.clean
    found.filters["md"] = markdown_text
    return found


def _showable(value: object) -> object:
    return q.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def markdown_text(text: str, longest: int = 0) -> str:
    """Text that Markdown shows as it is, on one line.

    >>> markdown_text("a|b <i> _x_")
    'a\\\\|b &lt;i&gt; \\\\_x\\\\_'
    """
    escaped = (
        q.one_line(text, longest).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )
    return "".join("\\" + c if c in "\\`*_{}[]|#~!" else c for c in escaped)
