"""Doctests of docstrings become blocks of code on the site (an extension of Griffe)."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_DOCTEST = re.compile(r"(?m)^>>> .*(?:\n(?!\s*$).*)*")


class Doctests(Extension):
    """Fences every paragraph that begins with `>>>`."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
