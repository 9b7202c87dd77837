"""Small pieces of SVG: numbers, text, marks, axes and the palette that figures share."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from codesign.report import quantities as q

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#9a9a9a")
"""Okabe and Ito, "Color Universal Design", 2008; grey replaces black, which dark pages swallow."""
_HATCHES = (
    "",
    "M-2 2L2 -2M0 8L8 0M6 10L10 6",
    "M0 4H8",
    "M2 2h1.6v1.6h-1.6zM6 6h1.6v1.6h-1.6z",
    "M4 0V8",
    "M-2 6L2 10M0 0L8 8M6 -2L10 2",
    "M0 2H8M2 0V8",
    "M1 1h1v1h-1zM5 5h1v1h-1z",
)
FONT_PX = 13
CSS = (
    f"text{{font-family:inherit;font-size:{FONT_PX}px;fill:var(--fg)}}"
    ".mu{fill:var(--muted)}.st{font-weight:600}.en{text-anchor:end}.mi{text-anchor:middle}"
    ".ax{stroke:var(--line);stroke-width:1;fill:none}.rf{stroke:var(--fg);stroke-width:1.5;fill:none}"
    ".da{stroke-dasharray:4 3}.ha{paint-order:stroke;stroke:var(--bg);stroke-width:3.5px;"
    "stroke-linejoin:round}.sp{stroke:var(--bg);stroke-width:1}"
    + "".join(f".c{i}{{fill:url(#p{i}) {c}}}.f{i}{{fill:{c}}}" for i, c in enumerate(PALETTE))
    + "@media print{"
    + "".join(f".c{i}{{fill:{c}}}" for i, c in enumerate(PALETTE))
    + "}.o{stroke:var(--bg);stroke-width:.7;fill-opacity:.85}"
)
LIGHT = "--fg:#1b1f24;--muted:#57606a;--line:#d0d7de;--bg:#ffffff"
NARROW_PX = 360
WIDE_PX = 1000
PHONE_PX = 520
"""Drawings narrower than this put labels above marks."""


def definitions() -> str:
    """The hatches that tell the palette's colours apart in grey; once per document."""
    patterns = []
    for i, (colour, path) in enumerate(zip(PALETTE, _HATCHES, strict=True)):
        ink = f'<path d="{path}" stroke="#000" stroke-opacity=".38" fill="none"/>' if path else ""
        patterns.append(
            f'<pattern id="p{i}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f'<rect width="8" height="8" fill="{colour}"/>{ink}</pattern>'
        )
    return f"<defs>{''.join(patterns)}</defs>"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing in two widths: for a page and for a phone."""

    name: str
    title: str
    description: str
    wide: str
    narrow: str

    @property
    def size_px(self) -> tuple[str, str]:
        """Width and height of the wide drawing."""
        width, height = self.wide.partition('viewBox="')[2].partition('"')[0].split()[2:]
        return width, height

    def standalone(self) -> str:
        """The wide drawing as a file of its own, on white."""
        head, _, body = self.wide.partition(">")
        width, height = self.size_px
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'{head} width="{width}" height="{height}">'
            f'<style>svg{{{LIGHT};font-family:"DejaVu Sans",Arial,sans-serif}}{CSS}</style>'
            f'{definitions()}<rect width="{width}" height="{height}" fill="#fff"/>{body}\n'
        )


def figure(
    name: str,
    title: str,
    description: str,
    draw: Callable[[int], tuple[float, list[str]]],
    *,
    wide_px: int = WIDE_PX,
) -> Figure:
    """Draw for both widths; `draw` returns the height and the marks for a width in pixels."""

    def render(width: int) -> str:
        height, marks = draw(width)
        label = escape(q.one_line(f"{title}. {description}", 600), quote=True)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {number(height)}" '
            f'role="img" aria-label="{label}">{"".join(marks)}</svg>'
        )

    return Figure(name, title, description, render(wide_px), render(NARROW_PX))


def number(value: float) -> str:
    """A coordinate with one decimal at most."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def text_px(text: str) -> float:
    """About how wide a text is in the figures' font."""
    return sum(
        0.0
        if unicodedata.combining(c)
        else 13.0
        if unicodedata.east_asian_width(c) in "WF"
        else 4.6
        if c in " .,:;|!'ilj()[]·"
        else 7.4
        for c in text
    )


def fit(text: str, width_px: float) -> str:
    """The text, its middle cut out if it would be wider than `width_px`."""
    line = q.one_line(text, 400)
    length = len(line)
    while text_px(line) > width_px and length > 3:
        length -= 1
        line = q.one_line(text, length)
    return line


def label(x: float, y: float, text: str, classes: str = "") -> str:
    """Text at a place."""
    attribute = f' class="{classes}"' if classes else ""
    return f'<text x="{number(x)}" y="{number(y)}"{attribute}>{escape(q.clean(text))}</text>'


def tip(text: str) -> str:
    """The title that a browser shows on hovering."""
    return f"<title>{escape(q.one_line(text, 300))}</title>"


def bar(x: float, y: float, width: float, height: float, classes: str, tooltip: str = "") -> str:
    """A rectangle, with a title where one is given."""
    shape = (
        f'<rect x="{number(x)}" y="{number(y)}" width="{max(width, 0):.2f}" '
        f'height="{number(height)}" class="{classes}"'
    )
    return f"{shape}>{tip(tooltip)}</rect>" if tooltip else f"{shape}/>"


def line(x1: float, y1: float, x2: float, y2: float, classes: str = "ax") -> str:
    """A straight line."""
    return f'<path d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}" class="{classes}"/>'


_SHAPES = (
    "M-{r} 0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0",
    "M-{r} -{r}h{d}v{d}h-{d}z",
    "M0 -{r}L{r} {r}H-{r}z",
    "M0 -{r}L{r} 0L0 {r}L-{r} 0z",
    "M0 {r}L{r} -{r}H-{r}z",
)


def mark(x: float, y: float, radius: float, kind: int, tooltip: str = "") -> str:
    """A point whose colour and shape tell its kind."""
    path = _SHAPES[kind % len(_SHAPES)].format(r=number(radius), d=number(2 * radius))
    inner = tip(tooltip) if tooltip else ""
    return (
        f'<path transform="translate({number(x)} {number(y)})" d="{path}" '
        f'class="f{kind % len(PALETTE)} o">{inner}</path>'
    )


def legend(
    entries: Iterable[tuple[str, int]], width: int, y: float, *, marks: bool = False
) -> tuple[float, list[str]]:
    """Keys in rows that fit the width; returns the height that they take."""
    parts: list[str] = []
    x, row = 0.0, 0
    for name, colour in entries:
        shown = fit(name, width - 30)
        wide = 22 + text_px(shown) + 14
        if x and x + wide > width:
            x, row = 0.0, row + 1
        top = y + row * 22
        parts.append(
            mark(x + 8, top + 8, 5.5, colour)
            if marks
            else bar(x, top + 1, 15, 13, f"c{colour % len(PALETTE)}")
        )
        parts.append(label(x + 22, top + 12.5, shown))
        x += wide
    return (row + 1) * 22 + 8, parts


def ticks(largest: float, count: int) -> list[float]:
    """About `count` round values from 0 up to `largest`.

    >>> ticks(37, 4)
    [0.0, 10.0, 20.0, 30.0]
    """
    if not math.isfinite(largest) or largest <= 0:
        return [0.0]
    rough = largest / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * s for s in (1, 2, 2.5, 5, 10) if power * s >= rough * 0.85)
    return [round(i * step, 12) for i in range(int(largest / step + 1e-9) + 1)]


def tick_text(value: float, values: Sequence[float]) -> str:
    """A tick's label with as many decimals as its axis needs."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    decimals = next((d for d in range(7) if abs(round(step, d) - step) < 1e-9 * max(step, 1)), 7)
    return f"{value:,.{decimals}f}"


def decades(smallest: float, largest: float) -> list[int]:
    """The exponents of the powers of ten that enclose a range."""
    return list(range(math.floor(math.log10(smallest)), math.ceil(math.log10(largest) - 1e-9) + 1))


def power_text(exponent: int) -> str:
    """A power of ten with a prefix.

    >>> power_text(10), power_text(-1), power_text(3)
    ('10 G', '0.1', '1 k')
    """
    if exponent < 0:
        return f"{10.0**exponent:.{-exponent}f}"
    prefix = ("", "k", "M", "G", "T", "P", "E")[min(exponent // 3, 6)]
    return f"{10 ** (exponent - 3 * min(exponent // 3, 6))} {prefix}".strip()
