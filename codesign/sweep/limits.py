"""Constraints of a sweep: a figure, a comparison and a number, read and never evaluated as code."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from codesign.config import CodesignError

Sign = Literal["<=", ">=", "<", ">"]

_TEXT = re.compile(
    r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|<|>|==|=|!=)\s*"
    r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of a figure that a design must stay on."""

    figure: str
    sign: Sign
    value: float

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.value:g}"

    def violation(self, metrics: Mapping[str, float]) -> float:
        """By how much a design breaks the limit, relative to its value; 0 where it keeps it."""
        found = metrics.get(self.figure)
        if found is None or math.isnan(found):
            return math.inf
        over = found - self.value if self.sign in ("<=", "<") else self.value - found
        if over > 0:
            return over / (abs(self.value) or 1.0)
        return math.ulp(1.0) if over == 0 and self.sign in ("<", ">") else 0.0


def parse_limit(text: str) -> Limit:
    """The limit that a text such as `area_mm2 <= 400` names. Raises CodesignError for another form.

    >>> parse_limit("area_mm2 <= 4e2")
    Limit(figure='area_mm2', sign='<=', value=400.0)
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise CodesignError(
            "a constraint is a figure, one of <= >= < >, and a number, such as area_mm2 <= 400"
        )
    figure, sign, number = match.groups()
    if sign in ("=", "==", "!="):
        raise CodesignError(
            f"a constraint is one of <= >= < >, not {sign}; two constraints make a range"
        )
    value = float(number)
    if not math.isfinite(value):
        raise CodesignError(f"{number} is out of the range of numbers")
    return Limit(figure, sign, value)  # type: ignore[arg-type]


def total_violation(limits: tuple[Limit, ...], metrics: Mapping[str, float]) -> float:
    """Sum of what a design breaks; 0 for one that keeps every limit."""
    return sum(limit.violation(metrics) for limit in limits)


def contradiction(limits: Sequence[Limit]) -> tuple[Limit, Limit] | None:
    """Two limits of one figure that nothing keeps both, if there are any.

    >>> contradiction([parse_limit("x <= 1"), parse_limit("y < 0"), parse_limit("x > 1")])[1].sign
    '>'
    """
    for upper in limits:
        for lower in limits:
            if upper.figure != lower.figure or upper.sign[0] != "<" or lower.sign[0] != ">":
                continue
            strict = upper.sign == "<" or lower.sign == ">"
            if upper.value < lower.value or (strict and upper.value == lower.value):
                return upper, lower
    return None
