"""Stacked bars: parts of a whole for each of some labels, drawn for a page and for a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codesign.metrics.tally import summed
from codesign.report import quantities as q
from codesign.report.svg import (
    PALETTE,
    PHONE_PX,
    Figure,
    bar,
    figure,
    fit,
    label,
    legend,
    line,
    text_px,
    tick_text,
    ticks,
)


@dataclass(frozen=True, slots=True)
class Stack:
    """One stacked bar."""

    label: str
    parts: Mapping[str, float]
    text: str
    under_previous: bool = False
    """Drawn close below the bar before it, whose label it shares."""


def stacked(
    name: str,
    title: str,
    description: str,
    stacks: Sequence[Stack],
    axis: str,
    show: Callable[[float], str],
    *,
    keys: Sequence[str] = (),
) -> Figure:
    """Horizontal stacked bars on one axis from 0, in its unit; parts beyond eight become "other".

    `keys` fixes the order and so the colours of the parts; shares are written where they fit.
    """
    totals = summed([dict.fromkeys(keys, 0.0), *(stack.parts for stack in stacks)])
    colour = _colours(totals, keys)
    longest = max((sum(stack.parts.values()) for stack in stacks), default=0.0)

    def draw(width: int) -> tuple[float, list[str]]:
        phone = width < PHONE_PX
        used = [(part, i) for part, i in colour.items() if totals[part] > 0]
        if any(part not in colour for stack in stacks for part in stack.parts):
            used.append(("other", len(PALETTE) - 1))
        y, parts = legend(used, width, 0)
        left = 0.0 if phone else min(240.0, max(text_px(s.label) for s in stacks) + 12)
        right = min(190.0, max(text_px(s.text) for s in stacks) + 14)
        room = width - left - right
        top = y

        def length(value: float) -> float:
            return room * q.divide(value, longest) if longest else 0.0

        for stack in stacks:
            y += 0 if stack.under_previous else 7
            if phone and not stack.under_previous:
                parts.append(label(0, y + 11, fit(stack.label, width), "mu ha"))
                y += 15
            elif not phone and not stack.under_previous:
                parts.append(label(0, y + 14, fit(stack.label, left - 10)))
            x, marks = _stack_bars(stack, colour, left, y, length, show)
            parts += [*marks, label(x + 6, y + 13.5, fit(stack.text, width - x - 6))]
            y += 20
        y += 6
        values = ticks(longest, max(2, int(room // 90)))
        for value in values:
            x = left + (room * value / longest if longest else 0)
            parts.insert(0, line(x, top, x, y))
            parts.append(label(x, y + 15, tick_text(value, values), "mu mi" if value else "mu"))
        parts.append(label(left, y + 33, axis, "mu"))
        return y + 40, parts

    return figure(name, title, description, draw)


def _colours(totals: Mapping[str, float], keys: Sequence[str]) -> dict[str, int]:
    """Colours of the parts by name; the smallest of too many parts have none."""
    named = [part for part in totals if totals[part] > 0 or part in keys]
    if len(named) > len(PALETTE):
        ranked = sorted(named, key=lambda part: -totals[part])[: len(PALETTE) - 1]
        named = [part for part in named if part in ranked]
    return {part: i for i, part in enumerate(named)}


def _stack_bars(
    stack: Stack,
    colour: Mapping[str, int],
    x: float,
    y: float,
    length: Callable[[float], float],
    show: Callable[[float], str],
) -> tuple[float, list[str]]:
    """Where a stack that begins at x ends, and its bars in the order of their colours."""
    whole = sum(stack.parts.values())
    drawn = []
    for part in sorted(stack.parts, key=lambda part: colour.get(part, len(PALETTE) - 1)):
        value = stack.parts[part]
        long = length(value)
        if long < 0.05:
            continue
        share = q.share(q.divide(value, whole))
        tooltip = f"{stack.label}: {part} {show(value)}, {share}"
        kind = f"c{colour.get(part, len(PALETTE) - 1)} sp"
        drawn.append(bar(x, y, long, 18, kind, tooltip))
        if long > text_px(share) + 12:
            drawn.append(label(x + long / 2, y + 13.5, share, "mi ha"))
        x += long
    return x, drawn
