"""How far a number moves when another one is changed: a dot for each case on a common axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from codesign.report.svg import PHONE_PX, Figure, figure, fit, label, line, mark, text_px, ticks


@dataclass(frozen=True, slots=True)
class Range:
    """One row: its label, its places with their texts, and whether it is marked."""

    label: str
    places: Sequence[tuple[float, str]]
    starred: bool = False


def ranges(
    name: str,
    title: str,
    description: str,
    rows: Sequence[Range],
    reference: float,
    axis: str,
) -> Figure:
    """Rows of places joined by a line, on one linear axis, with a dashed line at the reference."""
    values = [value for row in rows for value, _ in row.places if math.isfinite(value)]
    low, high = min([*values, reference]), max([*values, reference])
    margin = (high - low) * 0.08 or abs(reference) * 0.1 or 1.0
    low, high = low - margin, high + margin

    def draw(width: int) -> tuple[float, list[str]]:
        phone = width < PHONE_PX
        left = 8.0 if phone else min(330.0, max(text_px(row.label) for row in rows) + 34)
        room = width - left - 16
        pitch = 38.0 if phone else 24.0
        top, bottom = 4.0, 4.0 + len(rows) * pitch

        def px(value: float) -> float:
            return left + room * (value - low) / (high - low)

        parts: list[str] = []
        step = ticks(high - low, max(3, int(room // 80)))
        width_of_step = step[1] if len(step) > 1 else high - low
        decimals = max(0, -math.floor(math.log10(width_of_step)) + 1)
        at = math.ceil(low / width_of_step) * width_of_step
        while at <= high:
            parts.append(line(px(at), top, px(at), bottom))
            parts.append(label(px(at), bottom + 16, f"{at:.{decimals}f}", "mu mi"))
            at += width_of_step
        parts.append(line(px(reference), top, px(reference), bottom, "rf da"))
        parts.append(label(left, bottom + 35, axis, "mu"))
        for i, row in enumerate(rows):
            y = top + i * pitch + (26 if phone else 12)
            text = ("★ " if row.starred else "") + row.label
            weight = "st ha" if row.starred else "ha"
            parts.append(
                label(
                    0, y - 11 if phone else y + 4, fit(text, width if phone else left - 20), weight
                )
            )
            places = [(value, told) for value, told in row.places if math.isfinite(value)]
            spread = [value for value, _ in places] + [reference]
            parts.append(line(px(min(spread)), y, px(max(spread)), y, "rf"))
            for kind, (value, told) in enumerate(places):
                parts.append(mark(px(value), y, 5, kind, f"{row.label} {told}"))
        return bottom + 42, parts

    return figure(name, title, description, draw)
