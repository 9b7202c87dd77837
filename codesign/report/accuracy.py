"""The page of measured accuracies: a table, a plot, what is missing, what was found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from codesign.accuracy.curves import CONFIDENCE, FEWEST_SEEDS, Cell, Finding, loss_points
from codesign.accuracy.proxy_error import Pair
from codesign.accuracy.published import every_point
from codesign.report import svg
from codesign.report.accuracy_proxies import proxies_page
from codesign.sparsity.pattern import parse_pattern

_PUBLISHED_SPEED_UP = 1.75
"""Mean at 2:8, arXiv 2309.13015."""
_PANEL_PX = 210
_MOST_TICKS = 7
_TIMINGS = {"training": "trained sparse", "one_shot": "pruned at once"}
_LEFT_PX = 56
_LINE_PX = 20
_HOW = (
    f"Pairs are compared by differences of equal seeds, at least {FEWEST_SEEDS}; noise is half of "
    f"Student's {CONFIDENCE:.0%} interval of the mean difference, for each comparison alone, "
    "without a correction for their number. `trained at least as good as one-shot` holds every "
    "sparse trained method against the best one-shot one and allows for that noise. Verdicts are "
    "of accuracies; the differences of losses, less noisy, stand beside them.\n"
)


def plot(
    cells: Sequence[Cell], models: Sequence[tuple[str, str]], patterns: Sequence[str]
) -> svg.Figure:
    """Accuracy by pattern and method, with bars of one standard deviation; the dense model dashed.

    Each model has two panels: of methods that train, and of those that prune at once.
    """
    sparse = [c for c in cells if c.pattern in patterns]
    methods = list(dict.fromkeys(c.method for c in sorted(sparse, key=lambda c: c.method)))
    shown = [
        (model, timing)
        for model in models
        for timing in _TIMINGS
        if any((c.task, c.model) == model and c.timing == timing for c in sparse)
    ]

    def draw(width: int) -> tuple[float, list[str]]:
        height, marks = svg.legend(
            [(name, kind) for kind, name in enumerate(methods)], width, 4, marks=True
        )
        top = height + 12
        for (task, model), timing in shown:
            here = [
                c
                for c in cells
                if (c.task, c.model) == (task, model) and (c.timing == timing or c.is_dense)
            ]
            title = f"{task} {model}, {_TIMINGS[timing]}: accuracy"
            marks += _panel(title, here, methods, patterns, width, top)
            top += _PANEL_PX + 56
        return top, marks

    return svg.figure(
        "accuracy", "Accuracy against density", "Means over seeds; bars are one deviation.", draw
    )


def _ticks(low: float, high: float) -> list[int]:
    """Whole percents, at most eight of them, that enclose two fractions."""
    for step in (1, 2, 5, 10, 20):
        first, last = math.floor(100 * low / step), math.ceil(100 * high / step)
        if last - first <= _MOST_TICKS:
            break
    return [step * tick for tick in range(first, max(last, first + 1) + 1)]


def _panel(
    title: str, here: Sequence[Cell], methods: Sequence[str], patterns: Sequence[str],
    width: int, top: float,
) -> list[str]:  # fmt: skip
    base = top + _LINE_PX + _PANEL_PX - 20
    ends = [
        min(1.0, max(0.0, c.mean + sign * (c.deviation or 0.0)))
        for c in here
        for sign in (-1, 1)
        if c.is_dense or c.pattern in patterns
    ]
    ticks = _ticks(min(ends), max(ends))

    def y(accuracy: float) -> float:
        return base - (100 * accuracy - ticks[0]) / (ticks[-1] - ticks[0]) * (_PANEL_PX - 20)

    marks = [svg.label(0, top + 8, title, "st")]
    for percent in ticks:
        marks.append(svg.line(_LEFT_PX, y(percent / 100), width, y(percent / 100)))
        marks.append(svg.label(_LEFT_PX - 8, y(percent / 100) + 4, f"{percent} %", "en mu"))
    for cell in here:
        if cell.is_dense:
            marks.append(svg.line(_LEFT_PX, y(cell.mean), width, y(cell.mean), "rf da"))
    column = (width - _LEFT_PX) / len(patterns)
    present = [m for m in methods if any(c.method == m and not c.is_dense for c in here)]
    for number, pattern in enumerate(patterns):
        left = _LEFT_PX + number * column
        density = f"{parse_pattern(pattern).density:g}"
        marks.append(svg.label(left + column / 2, base + 18, f"{pattern}, density {density}", "mi"))
        for cell in here:
            if cell.pattern != pattern:
                continue
            x = left + (present.index(cell.method) + 1) * column / (len(present) + 1)
            spread = cell.deviation or 0.0
            low, high = max(0.0, cell.mean - spread), min(1.0, cell.mean + spread)
            marks.append(svg.line(x, y(low), x, y(high), "rf"))
            tooltip = f"{cell.method} {pattern}: {100 * cell.mean:.1f} %"
            marks.append(svg.mark(x, y(cell.mean), 4.5, methods.index(cell.method), tooltip))
    return marks


def markdown(
    cells: Sequence[Cell],
    found: Sequence[Finding],
    missing: Mapping[tuple[str, str], int],
    *,
    wanted: int,
    models: Sequence[tuple[str, str]],
    patterns: Sequence[str],
    speed_ups: Mapping[str, Sequence[float]],
    proxied: Sequence[Pair] = (),
    cpu_s: float = 0.0,
) -> str:
    """The page in Markdown; accuracies in percent, mean ± deviation over seeds.

    `speed_ups` are those of training steps under BDWP on SAT, by pattern; `proxied` are
    estimates beside what was measured; `cpu_s` is the processor time of all runs.
    """
    lacking = sum(missing.values())
    parts = [
        "<!-- Generated by `codesign accuracy report`. -->\n# Measured accuracy of sparse models\n",
        "Percent of held-out samples, mean ± sample deviation over the seeds in brackets. Methods "
        "marked `1` prune a trained dense model at once, without training after it; the others "
        "train sparse for as many steps as the dense model. `d` marks methods whose final model "
        "is dense in the forward pass: their sparsity helps training only. All methods share one "
        "setting of the training (steps, Adam, rate, schedule) and their own defaults; nothing is "
        "tuned by method. The split into trained and held-out samples is fixed, so the deviation "
        "is that of initial weights and order of batches, not of the choice of samples.\n",
        "![accuracy](accuracy.svg)\n",
        f"{wanted - lacking} of {wanted} runs of the full grid are here, "
        f"{cpu_s / 60:.0f} minutes of processor time in all."
        + (" Missing: " + ", ".join(
            f"{number} of {task} {model}" for (task, model), number in missing.items()
        ) + ". `codesign accuracy report` goes on where it stopped." if missing else "") + "\n",
    ]  # fmt: skip
    for task, model in models:
        here = [c for c in cells if (c.task, c.model) == (task, model)]
        parts.append(f"## {task}, {model}\n")
        if not here:
            parts.append("Not measured.\n")
            continue
        parts.append(_table(here, patterns, _figure))
        parts.append("Mean cross-entropy of held-out samples in nats:\n")
        parts.append(_table(here, patterns, _loss))
    if speed_ups:
        parts += [
            "## BDWP: training speed on SAT against accuracy\n",
            _bdwp(cells, speed_ups, models),
        ]
    parts += ["## Orders that papers report\n", _verdicts(found)]
    if proxied:
        parts += ["## Proxies against measured runs\n", proxies_page(proxied)]
    return "\n".join(parts)


def _table(
    here: Sequence[Cell], patterns: Sequence[str], figure: Callable[[Cell | None], str]
) -> str:
    by_key = {(c.method, c.pattern): c for c in here}
    extra = [p for p in dict.fromkeys(c.pattern for c in here) if p not in (*patterns, "dense")]
    columns = [*patterns, *extra]
    lines = [f"| method | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    if ("dense", "dense") in by_key:
        lines.append(f"| dense | {' | '.join([figure(by_key['dense', 'dense'])] * len(columns))} |")
    for method in dict.fromkeys(c.method for c in sorted(here, key=lambda c: c.method)):
        if method == "dense":
            continue
        of = [by_key.get((method, pattern)) for pattern in columns]
        known = next(c for c in of if c is not None)
        flag = " `1`" if known.timing == "one_shot" else "" if known.is_sparse else " `d`"
        lines.append(f"| {method}{flag} | {' | '.join(map(figure, of))} |")
    return "\n".join(lines) + "\n"


def _bdwp(
    cells: Sequence[Cell], speed_ups: Mapping[str, Sequence[float]],
    models: Sequence[tuple[str, str]],
) -> str:  # fmt: skip
    by_key = {(c.task, c.model, c.pattern): c for c in cells if c.method == "bdwp"}
    names = [f"{task} {model}" for task, model in models]
    published = {p.pattern: p for p in every_point() if p.method == "bdwp"}
    lines = [
        "| pattern | speed-up, simulated | published | "
        f"{' | '.join(f'loss, {name}' for name in names)} | mean loss | published |",
        f"|---|---|---|{'---|' * len(names)}---|---|",
    ]
    for pattern, ratios in speed_ups.items():
        losses, means = [], []
        for task, model in models:
            cell = by_key.get((task, model, pattern))
            found = None if cell is None else loss_points(cells, cell)
            if found is None:
                losses.append("-")
                continue
            mean, deviation, seeds = found
            means.append(mean)
            spread = "" if deviation is None else f" ± {deviation:.2f}"
            losses.append(f"{mean:.2f}{spread} ({seeds})")
        known = published.get(pattern)
        loss = "-" if known is None or known.loss is None else f"{known.loss:g}"
        speed = "-" if known is None else f"{_PUBLISHED_SPEED_UP:g} x"
        lines.append(
            f"| {pattern} | {fmean(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f}) | "
            f"{speed} | {' | '.join(losses)} | {f'{fmean(means):.2f}' if means else '-'} | {loss} |"
        )
    return (
        "Speed-up of a whole training step over the dense one on SAT: mean of the five networks of "
        "`codesign validate sat` (least to most), row fidelity, batch 32. Loss in points against "
        "dense of the same seed, on the small tasks. Published (arXiv 2309.13015, abstract) are "
        "means over the paper's networks, which are larger than those whose loss is measured "
        "here.\n\n" + "\n".join(lines) + "\n"
    )


def _figure(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    spread = "" if cell.deviation is None else f" ± {100 * cell.deviation:.1f}"
    return f"{100 * cell.mean:.1f}{spread} ({len(cell.by_seed)})"


def _loss(cell: Cell | None) -> str:
    return "-" if cell is None else f"{cell.loss:.3f}"


def _verdicts(found: Sequence[Finding]) -> str:
    shown = [f for f in found if f.verdict != "not measured"]
    counts = Counter((f.claim, f.verdict) for f in shown)
    summary = []
    for claim in dict.fromkeys(f.claim for f in shown):
        said = [f"{n} {verdict}" for (which, verdict), n in counts.items() if which == claim]
        summary.append(f"- {claim}: {', '.join(said)}.")
    lines = [
        _HOW, *summary, "", "| claim | where | as found | detail |", "|---|---|---|---|",
        *(f"| {f.claim} | {f.where} | {f.verdict} | {f.detail} |" for f in shown),
    ]  # fmt: skip
    lacking = len(found) - len(shown)
    tail = f"\n{lacking} comparisons are not measured yet.\n" if lacking else ""
    return "\n".join(lines) + "\n" + tail
