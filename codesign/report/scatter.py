"""Points on two axes: designs with their front, and simulated over published numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codesign.report import quantities as q
from codesign.report.svg import (
    PALETTE,
    Figure,
    decades,
    figure,
    label,
    legend,
    line,
    mark,
    number,
    power_text,
    tick_text,
    ticks,
)

_NEAR = 10.0
"""Logarithmic ranges of a smaller ratio have more ticks in a decade."""
_CELL_PX = 5.0
"""Points without emphasis that fall into one square of this size and look alike share a mark."""
_MARGIN = 0.06
"""Part of an axis that stays free beyond its smallest and its largest value, room for marks."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A mark: where it is, the kind that gives it colour and shape, and what hovering shows."""

    x: float
    y: float
    kind: int
    text: str
    strong: bool = False
    """Larger, above the others, and never merged with a neighbour."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its name, unit, and the factor from values to that unit (1 for SI prefixes)."""

    title: str
    unit: str = ""
    factor: float = 1.0

    @classmethod
    def of(cls, quantity: q.Quantity) -> Axis:
        """The axis of a figure of designs."""
        if quantity.percent:
            return cls(quantity.title, "%", 100.0)
        return cls(quantity.title, quantity.unit, quantity.factor)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    logarithmic: bool
    factor: float
    unit: str
    values: tuple[float, ...]
    texts: tuple[str, ...]

    def at(self, value: float) -> float:
        """From 0 to 1 along the axis."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _scale(values: Sequence[float], axis: Axis, count: int) -> _Scale:
    """A scale that holds all values: logarithmic where they are positive and far apart."""
    shown = [value * axis.factor for value in values if math.isfinite(value)] or [1.0]
    low, high = min(shown), max(shown)
    logarithmic = low > 0 and high / low > 4
    if low == high:
        low, high = (low * 0.5, low * 1.5) if low > 0 else (low - 1, high + 1)
    if logarithmic:
        margin = (high / low) ** _MARGIN
        low, high = low / margin, high * margin
    else:
        margin = (high - low) * _MARGIN
        low, high = (low if low == 0 else low - margin), high + margin
    prefix, unit = (
        (1.0, axis.unit) if axis.unit in ("%", "mm²", "") else q.si_scale(high, axis.unit)
    )
    if logarithmic:
        found = [10.0**e for e in decades(low * prefix, high * prefix)]
        if high / low < _NEAR:
            found = [v * s for v in found for s in (1, 1.5, 2, 3, 4, 5, 6, 8)]
        elif len(found) <= count // 2 + 1:
            found = [v * s for v in found for s in (1, 2, 5)]
        inside = [v for v in found if low * prefix <= v <= high * prefix]
        texts = [_plain(v) for v in inside]
    else:
        step = ticks((high - low) * prefix, count)
        width = step[1] if len(step) > 1 else (high - low) * prefix
        first = math.ceil(low * prefix / width)
        inside = [i * width for i in range(first, math.floor(high * prefix / width + 1e-9) + 1)]
        texts = [tick_text(v, [0.0, width]) for v in inside]
    return _Scale(
        low, high, logarithmic, prefix, unit, tuple(v / prefix for v in inside), tuple(texts)
    )


def _plain(value: float) -> str:
    exponent = round(math.log10(value))
    exact = math.isclose(value, 10.0**exponent)
    return power_text(exponent) if exact and exponent >= 3 else f"{value:.10g}"


def scatter(
    name: str,
    title: str,
    description: str,
    spots: Sequence[Spot],
    x: Axis,
    y: Axis,
    *,
    kinds: Sequence[str],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
    levels: Sequence[float] = (),
    curves: bool = False,
    bands: Mapping[int, Sequence[tuple[float, float, float]]] = {},
) -> Figure:
    """Spots on two axes with `lines` of values joined in steps, as fronts are.

    `levels` are lines across at values of y: the first one solid, the others dashed. With `curves`,
    spots of a kind lie on a curve, in their order; `bands` are shaded for a kind between two values
    of y, from rows of x and both.
    """
    spots = [s for s in spots if math.isfinite(s.x) and math.isfinite(s.y)]

    def draw(width: int) -> tuple[float, list[str]]:
        present = sorted({s.kind for s in spots})
        named = [(kinds[k], k) for k in present] if len(present) > 1 else []
        title_y, parts = legend(named, width, 0, marks=True) if named else (4.0, [])
        top, left, bottom, right = title_y + 22.0, 64.0, 44.0, 14.0
        room = width - left - right
        height = min(380.0, 0.9 * room)
        across = _scale([s.x for s in spots], x, max(3, int(room // 95)))
        shaded = [value for band in bands.values() for _, *ends in band for value in ends]
        up = _scale([*(s.y for s in spots), *levels, *shaded], y, max(3, int(height // 50)))

        def px(value: float) -> float:
            return left + room * across.at(value * x.factor)

        def py(value: float) -> float:
            return top + height * (1 - up.at(value * y.factor))

        for value, text in zip(across.values, across.texts, strict=True):
            at = left + room * across.at(value)
            parts.append(line(at, top, at, top + height))
            parts.append(label(at, top + height + 16, text, "mu mi"))
        for value, text in zip(up.values, up.texts, strict=True):
            at = top + height * (1 - up.at(value))
            parts.append(line(left, at, left + room, at))
            parts.append(label(left - 6, at + 4, text, "mu en"))
        parts.append(label(left, top + height + 35, _named(x, across), "mu"))
        parts.append(label(left, title_y + 12, _named(y, up), "mu"))
        for i, level in enumerate(levels):
            parts.append(line(left, py(level), left + room, py(level), "rf" + " da" * (i > 0)))
        for joined in lines:
            parts.append(f'<path d="{_steps([(px(a), py(b)) for a, b in joined])}" class="rf"/>')
        for kind, band in bands.items():
            edge = [(px(at), py(high)) for at, _, high in band]
            edge += [(px(at), py(low)) for at, low, _ in reversed(band)]
            parts.append(_path(edge, f'fill="{_colour(kind)}" fill-opacity=".13"'))
        for kind in present if curves else ():
            ends = [(px(s.x), py(s.y)) for s in spots if s.kind == kind]
            parts.append(_path(ends, f'fill="none" stroke="{_colour(kind)}" stroke-width="1.6"'))
        taken: set[tuple[int, int, int]] = set()
        for spot in sorted(spots, key=lambda s: s.strong):
            at_x, at_y = px(spot.x), py(spot.y)
            cell = (round(at_x / _CELL_PX), round(at_y / _CELL_PX), spot.kind)
            if not spot.strong and cell in taken:
                continue
            taken.add(cell)
            parts.append(mark(at_x, at_y, 5.5 if spot.strong else 3.2, spot.kind, spot.text))
        return top + height + bottom, parts

    return figure(name, title, description, draw)


def _named(axis: Axis, scale: _Scale) -> str:
    return f"{axis.title} ({scale.unit})" if scale.unit else axis.title


def _path(places: Sequence[tuple[float, float]], look: str) -> str:
    joined = "L".join(f"{number(across)} {number(up)}" for across, up in places)
    return f'<path d="M{joined}" {look}/>'


def _colour(kind: int) -> str:
    return PALETTE[kind % len(PALETTE)]


def _steps(places: Sequence[tuple[float, float]]) -> str:
    """A front: along one axis, then along the other, as what it dominates is bounded."""
    if not places:
        return ""
    path = f"M{number(places[0][0])} {number(places[0][1])}"
    for across, up in places[1:]:
        path += f"H{number(across)}V{number(up)}"
    return path
