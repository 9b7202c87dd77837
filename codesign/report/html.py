"""Results as one HTML file that works offline, on a phone and on paper."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Unpack

import jinja2
from markupsafe import Markup

from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.embedded import table_data
from codesign.report.page import Options, Page, contents, page
from codesign.report.svg import CSS, definitions

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("report.js", "grid.js", "operators.js", "points.js")


def write_report(results: Sequence[Result], path: Path, **options: Unpack[Options]) -> Path:
    """Write a self-contained page that compares results.

    Results are compared within one workload and phase. Equal input gives an equal file. Raises
    CodesignError when there are no results.
    """
    found = page(results, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_html(found), encoding="utf-8")
    return path


def render_html(found: Page) -> str:
    """The page as a string."""
    texts = [(_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '"use strict";\n(() => {\n' + "".join(texts) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment(escape=True)
        .get_template("report.html.j2")
        .render(
            vars_of(found),
            contents=contents(found),
            css=(_TEMPLATES / "report.css").read_text(encoding="utf-8") + CSS,
            definitions=definitions(),
            data=table_data(found.study),
            script=script,
            script_hash=f"sha256-{digest}",
        )
    )


def vars_of(found: Page) -> dict[str, object]:
    """A page's fields and properties by name."""
    listed = (*found.__dataclass_fields__, "any_closeup", "any_layer")
    return {name: getattr(found, name) for name in listed}


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
    found.filters["broken"] = _broken
    found.filters["md"] = markdown_text
    return found


def _broken(text: str) -> Markup:
    """A dotted name that may break into lines after its dots and underscores."""
    parts = re.split(r"(?<=[._])", q.one_line(text, 80))
    return Markup("<wbr>").join(parts)


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
