"""The report's figures: bars side by side, roofline, timeline and heat lines.

Each returns a deterministic SVG for a page and one for a phone. Colour never stands alone: parts
are hatched and points have shapes, so that figures hold in grey.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from codesign.report import quantities as q
from codesign.report.svg import (
    PALETTE,
    PHONE_PX,
    WIDE_PX,
    Figure,
    bar,
    decades,
    figure,
    fit,
    label,
    legend,
    line,
    mark,
    number,
    power_text,
    text_px,
    tick_text,
    ticks,
    tip,
)

_BOLD = 1.08


@dataclass(frozen=True, slots=True)
class Column:
    """One panel of bars: what it shows and a value for each row; missing values are NaN."""

    title: str
    values: Sequence[float]
    texts: Sequence[str]
    best: Collection[int] = ()


def bars(
    name: str,
    title: str,
    description: str,
    rows: Sequence[str],
    columns: Sequence[Column],
    *,
    colours: Sequence[int],
    reference: float | None = None,
) -> Figure:
    """Horizontal bars, a panel for each column, rows aligned; each panel has its own scale from 0.

    `reference` draws a line at that value in every panel; the best bar's text is bold and starred.
    """

    def draw(width: int) -> tuple[float, list[str]]:
        phone = width < PHONE_PX
        left = 0.0 if phone else min(240.0, max(text_px(r) for r in rows) + 12)
        most = 1 if phone else max(1, min(len(columns), int((width - left) // 175)))
        across = -(-len(columns) // -(-len(columns) // most))
        panel = (width - left) / across
        pitch = 40.0 if phone else 27.0
        parts: list[str] = []
        y = 0.0
        for first in range(0, len(columns), across):
            panels = columns[first : first + across]
            heads = [_head(column.title, panel - 12) for column in panels]
            y += 4 + 16 * max(map(len, heads))
            for i, column in enumerate(panels):
                x = left + i * panel
                for up, part in enumerate(reversed(heads[i])):
                    parts.append(label(x, y - 4 - 16 * up, part, "st"))
                room = panel - 80
                finite = [v for v in column.values if math.isfinite(v)]
                top = max([*finite, reference or 0.0], default=0.0)
                if reference is not None and top:
                    at = x + room * reference / top
                    parts.append(line(at, y + 1, at, y + 4 + len(rows) * pitch, "rf da"))
                for j, (value, text) in enumerate(zip(column.values, column.texts, strict=True)):
                    base = y + 4 + j * pitch + (18 if phone else 0)
                    if phone:
                        parts.append(label(x, base - 4, fit(rows[j], panel), "mu ha"))
                    long = room * q.divide(value, top) if math.isfinite(value) and top else 0.0
                    tooltip = f"{rows[j]}: {column.title} {text}"
                    parts.append(bar(x, base, long, 17, f"c{colours[j] % len(PALETTE)}", tooltip))
                    star = "★ " if j in column.best else ""
                    weight = "st ha" if star else "ha"
                    parts.append(label(x + long + 5, base + 13, star + text, weight))
            if not phone:
                for j, row in enumerate(rows):
                    parts.append(label(0, y + 17 + j * pitch, fit(row, left - 10)))
            y += 4 + len(rows) * pitch + 14
        return y, parts

    return figure(name, title, description, draw)


def _head(title: str, width_px: float) -> list[str]:
    """A title on one line, or on two where it is too long and has a comma."""
    first, comma, rest = q.one_line(title, 200).rpartition(", ")
    if text_px(title) * _BOLD <= width_px or not comma:
        return [fit(title, width_px / _BOLD)]
    return [fit(first + ",", width_px / _BOLD), fit(rest, width_px / _BOLD)]


@dataclass(frozen=True, slots=True)
class Point:
    """A mark of a roofline; `kind` is an index of its kinds, `weight` from 0 to 1 becomes area."""

    flop_per_byte: float
    flop_per_s: float
    kind: int
    weight: float
    text: str


def roofline(
    name: str,
    title: str,
    description: str,
    points: Sequence[Point],
    *,
    kinds: Sequence[str],
    peak_flop_per_s: float,
    dram_bytes_per_s: float,
) -> Figure:
    """Rate over operational intensity, both logarithmic; a bandwidth of 0 draws no slope."""
    points = [p for p in points if p.flop_per_byte > 0 and p.flop_per_s > 0]
    ridge = q.divide(peak_flop_per_s, dram_bytes_per_s)
    across = [p.flop_per_byte for p in points] + ([ridge] if math.isfinite(ridge) else [])
    xs = decades(min(across, default=1.0) * 0.8, max(across, default=10.0) * 1.6)
    ys = decades(
        min([p.flop_per_s for p in points] + [peak_flop_per_s / 10]) * 0.8, peak_flop_per_s * 1.25
    )

    def draw(width: int) -> tuple[float, list[str]]:
        present = sorted({p.kind for p in points})
        top, parts = legend([(kinds[k], k) for k in present], width, 0, marks=True)
        left, bottom, right = 48.0, 44.0, 8.0
        room, height = width - left - right, 250.0

        def px(value: float) -> float:
            return left + room * (math.log10(value) - xs[0]) / (xs[-1] - xs[0])

        def py(value: float) -> float:
            return top + height * (1 - (math.log10(value) - ys[0]) / (ys[-1] - ys[0]))

        for exponent in xs:
            parts.append(line(px(10.0**exponent), top, px(10.0**exponent), top + height))
            parts.append(
                label(px(10.0**exponent), top + height + 16, power_text(exponent), "mu mi")
            )
        for exponent in ys:
            parts.append(line(left, py(10.0**exponent), left + room, py(10.0**exponent)))
            parts.append(label(left - 5, py(10.0**exponent) + 4, power_text(exponent), "mu en"))
        parts.append(label(left, top + height + 35, "FLOP done per byte of DRAM traffic", "mu"))
        parts.append(label(left + 5, top + 14, "FLOP/s", "mu ha"))
        start = px(ridge) if math.isfinite(ridge) else left
        roof = f"M{number(start)} {number(py(peak_flop_per_s))}H{number(left + room)}"
        if math.isfinite(ridge):
            floor = 10.0 ** ys[0] / dram_bytes_per_s
            low = max(10.0 ** xs[0], floor)
            roof = f"M{number(px(low))} {number(py(low * dram_bytes_per_s))}L{roof[1:]}"
        parts.append(f'<path d="{roof}" class="rf"/>')
        peak = f"peak {q.with_unit(peak_flop_per_s, 'FLOP/s')}"
        parts.append(label(left + room - 2, py(peak_flop_per_s) - 6, peak, "en ha"))
        if math.isfinite(ridge):
            slope = f"DRAM {q.with_unit(dram_bytes_per_s, 'B/s')}"
            at = 10.0 ** ((math.log10(low) + math.log10(ridge)) / 2)
            parts.append(label(px(at) + 8, py(at * dram_bytes_per_s) + 16, slope, "ha"))
        for p in sorted(points, key=lambda p: (-p.weight, p.text)):
            radius = 3.5 + 11 * math.sqrt(min(max(p.weight, 0.0), 1.0))
            parts.append(mark(px(p.flop_per_byte), py(p.flop_per_s), radius, p.kind, p.text))
        return top + height + bottom, parts

    return figure(name, title, description, draw, wide_px=WIDE_PX // 2)


@dataclass(frozen=True, slots=True)
class Lane:
    """A row of a timeline: intervals (start, end, text), in the axis' unit."""

    label: str
    spans: Sequence[tuple[float, float, str]]
    colour: int = 0


def timeline(
    name: str,
    title: str,
    description: str,
    lanes: Sequence[Lane],
    length: float,
    axis: str,
    *,
    separate: bool = False,
) -> Figure:
    """What ran when; intervals closer than half a pixel are drawn as one.

    With `separate` neighbours that touch have a line between them, where there is room for it.
    """

    def draw(width: int) -> tuple[float, list[str]]:
        phone = width < PHONE_PX
        left = 0.0 if phone else max(text_px(lane.label) for lane in lanes) + 12
        room = width - left - 12
        parts: list[str] = []
        y = 4.0
        for lane in lanes:
            if phone:
                parts.append(label(0, y + 11, lane.label, "mu ha"))
                y += 16
            else:
                parts.append(label(0, y + 14, lane.label))
            spans = _merge(lane.spans, 0.5 * length / room)
            apart = " sp" if separate and len(spans) < room / 6 else ""
            for start, end, text in spans:
                x = left + room * start / length
                wide = max(room * (end - start) / length, 0.6)
                parts.append(bar(x, y, wide, 18, f"f{lane.colour % len(PALETTE)}{apart}", text))
            y += 24
        values = ticks(length, max(2, int(room // 90)))
        for value in values:
            x = left + room * value / length
            parts.insert(0, line(x, 0, x, y))
            parts.append(label(x, y + 15, tick_text(value, values), "mu mi" if value else "mu"))
        parts.append(label(left, y + 33, axis, "mu"))
        return y + 40, parts

    return figure(name, title, description, draw)


def _merge(spans: Sequence[tuple[float, float, str]], gap: float) -> list[tuple[float, float, str]]:
    merged: list[tuple[float, float, str, int]] = []
    for start, end, text in sorted(spans):
        if merged and start - merged[-1][1] <= gap and merged[-1][1] - merged[-1][0] < 8 * gap:
            first, last, label_, count = merged[-1]
            merged[-1] = (first, max(last, end), label_, count + 1)
        else:
            merged.append((start, end, text, 1))
    return [
        (start, end, text if count == 1 else f"{text} and {count - 1} more")
        for start, end, text, count in merged
    ]


def heat(
    name: str,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Sequence[float], str]],
    axis: str,
) -> Figure:
    """One strip for each row of (label, fractions from 0 to 1 along the run, text at its end)."""

    def draw(width: int) -> tuple[float, list[str]]:
        phone = width < PHONE_PX
        left = 0.0 if phone else min(240.0, max(text_px(row[0]) for row in rows) + 12)
        right = max(text_px(row[2]) for row in rows) + 12
        room = width - left - right
        y = 0.0
        parts: list[str] = [label(0, y + 13, "0 %", "mu")]
        for i in range(11):
            parts.append(_cell(32 + i * 12, y + 2, 12, 13, i / 10, f"{i * 10} %"))
        parts.append(label(32 + 11 * 12 + 6, y + 13, "100 %", "mu"))
        y += 30
        for title_, values, text in rows:
            if phone:
                parts.append(label(0, y + 11, fit(title_, width), "mu"))
                y += 16
            else:
                parts.append(label(0, y + 15, fit(title_, left - 10)))
            wide = room / max(len(values), 1)
            parts.append(
                f'<path d="M{number(left)} {number(y)}h{number(room)}v20h-{number(room)}z" '
                'class="ax"/>'
            )
            first = 0
            for i in range(1, len(values) + 1):
                if i == len(values) or round(values[i] * 20) != round(values[first] * 20):
                    note = f"{q.share(values[first])} at {q.share(first / len(values))} of the run"
                    parts.append(
                        _cell(left + first * wide, y, (i - first) * wide, 20, values[first], note)
                    )
                    first = i
            parts.append(label(left + room + 6, y + 15, text))
            y += 26
        parts.append(label(left, y + 13, axis, "mu"))
        return y + 20, parts

    return figure(name, title, description, draw)


def _cell(x: float, y: float, width: float, height: float, value: float, note: str) -> str:
    if value < 0.02:
        return ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{width + 0.2:.2f}" '
        f'height="{number(height)}" class="f0" fill-opacity="{min(max(value, 0.0), 1.0):.2f}">'
        f"{tip(note)}</rect>"
    )
