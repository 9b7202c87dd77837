"""Gap expressions such as `max(nBL, nCCDS) + 2 * nACT - 1` become integers, by no eval."""

from __future__ import annotations

import re
from collections.abc import Mapping

from codesign.config import CodesignError, suggestion

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z][A-Za-z0-9_]*)|([-+*(),]))")


def cycles_of(text: str, timings: Mapping[str, int]) -> int:
    """Cycles that a sum of products of integers, timings and max(...) comes to.

    Raises CodesignError on a name that is no timing or on any other text.

    >>> cycles_of("max(nBL, nCCDS) + 2 * nRTP - 1", {"nBL": 4, "nCCDS": 2, "nRTP": 3})
    9
    """
    tokens: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CodesignError(f"'{text}': cannot read '{text[at:].strip()}'")
        tokens.append(match.group().strip())
        at = match.end()
    tokens.append("")
    value, at = _sum(text, tokens, 0, timings)
    if tokens[at]:
        raise CodesignError(f"'{text}': unexpected '{tokens[at]}'")
    return value


def _sum(text: str, tokens: list[str], at: int, timings: Mapping[str, int]) -> tuple[int, int]:
    value, at = _product(text, tokens, at, timings)
    while tokens[at] in ("+", "-"):
        sign = 1 if tokens[at] == "+" else -1
        term, at = _product(text, tokens, at + 1, timings)
        value += sign * term
    return value, at


def _product(text: str, tokens: list[str], at: int, timings: Mapping[str, int]) -> tuple[int, int]:
    value, at = _atom(text, tokens, at, timings)
    while tokens[at] == "*":
        factor, at = _atom(text, tokens, at + 1, timings)
        value *= factor
    return value, at


def _atom(text: str, tokens: list[str], at: int, timings: Mapping[str, int]) -> tuple[int, int]:
    token = tokens[at]
    if token.isdigit():
        return int(token), at + 1
    if token == "(" or (token == "max" and tokens[at + 1] == "("):
        at += 1 if token == "(" else 2
        value, at = _sum(text, tokens, at, timings)
        while token == "max" and tokens[at] == ",":
            other, at = _sum(text, tokens, at + 1, timings)
            value = max(value, other)
        if tokens[at] != ")":
            raise CodesignError(f"'{text}': a closing bracket is missing")
        return value, at + 1
    if token in timings:
        return timings[token], at + 1
    if token and token[0].isalpha():
        hint = suggestion(token, list(timings))
        raise CodesignError(f"'{text}': no timing is called '{token}'{hint}")
    raise CodesignError(f"'{text}': a number, a timing or max(...) is missing before '{token}'")
