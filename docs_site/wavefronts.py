"""Which processing element works when: drawn from the reference that ticks every element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from codesign.report.svg import Figure, bar, figure, label, line
from tests.reference import pe_array_twin as twin

_ROWS = _COLS = 4
_CELL_PX = 58
_SHADES = ("c4", "c2", "c1", "c5", "c3", "c0", "c6")
_SEED = 3

Log = dict[tuple[int, int], list[int]]
"""The cycles at which the element of a row and column multiplied."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a small array did."""

    log: Log
    cycles: int

    def busy(self) -> list[int]:
        """How many elements multiply in each cycle."""
        counts = [0] * self.cycles
        for cycles in self.log.values():
            for cycle in cycles:
                counts[cycle] += 1
        return counts


@contextmanager
def _watched(name: str) -> Iterator[list[object]]:
    """The twin's elements note the cycles at which they multiply, in the order of their making."""
    plain = getattr(twin, name)
    made: list[object] = []

    class Watched(plain):  # type: ignore[misc, valid-type]
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            self.age = 0
            self.worked: list[int] = []
            made.append(self)

        def tick(self, *given: object) -> None:
            before = self.macs
            super().tick(*given)
            if self.macs > before:
                self.worked.append(self.age)
            self.age += 1

    setattr(twin, name, Watched)
    try:
        yield made
    finally:
        setattr(twin, name, plain)


def _run(name: str, step: Callable[[], tuple[object, list[int], list[int], int]]) -> Run:
    with _watched(name) as made:
        _, _, end, _ = step()
    log = {divmod(i, _COLS): pe.worked for i, pe in enumerate(made)}  # type: ignore[attr-defined]
    return Run(log, max(end))


def stationary_weights(m: int, kept: np.ndarray, group: int) -> Run:
    """Weight-stationary, one fold: `m` rows of activations, kept[column, group, lane]."""
    rng = np.random.default_rng(_SEED)
    a = rng.integers(1, 9, (m, kept.shape[1] * group)).tolist()
    b = [[dict.fromkeys(np.flatnonzero(lanes).tolist(), 1) for lanes in column] for column in kept]
    return _run(
        "WeightStationaryPe",
        lambda: twin.weight_stationary(a, b, group, _ROWS, _COLS, 1, True, False),
    )


def stationary_outputs(k: int) -> Run:
    """Output-stationary, one tile: `k` steps of a dense reduction."""
    rng = np.random.default_rng(_SEED)
    a = rng.integers(1, 9, (_ROWS, k)).tolist()
    b = [[{0: 1} for _ in range(k)] for _ in range(_COLS)]
    return _run(
        "OutputStationaryPe",
        lambda: twin.output_stationary(a, b, 1, _ROWS, _COLS, 1, 1, True, False, True),
    )


def dataflows() -> Figure:
    """Three ways to lay a product on a 4 x 4 array."""
    dense = np.ones((_COLS, _ROWS, 1), dtype=bool)
    panels = (
        ("weight-stationary (ws)", "holds a weight", "w{r}{x}", stationary_weights(6, dense, 1),
         "inputs go right, sums go down"),
        ("output-stationary (os)", "holds a sum", "c{r}{x}", stationary_outputs(6),
         "inputs go right, weights go down"),
        ("input-stationary (is)", "holds an input", "a{r}{x}", stationary_weights(6, dense, 1),
         "weights go right, sums go down"),
    )  # fmt: skip
    longest = max(run.cycles for *_, run, _ in panels)

    def draw(width: int) -> tuple[float, list[str]]:
        step = width / len(panels)
        parts: list[str] = []
        for i, (title, holds, what, run, moves) in enumerate(panels):
            parts += _panel(i * step, title, (f"each element {holds}", moves), what, run, longest)
        return 476.0, parts

    return figure(
        "dataflows",
        "Three dataflows on a 4 x 4 array",
        "The number in an element is the cycle of its first multiplication; below, how many "
        "elements multiply in each cycle",
        draw,
    )


def _panel(
    left: float, title: str, lines: tuple[str, str], what: str, run: Run, longest: int
) -> list[str]:
    parts = [label(left, 16, title, "st")]
    parts += [label(left, 36 + 18 * i, text, "mu") for i, text in enumerate(lines)]
    top = 68
    for (r, x), cycles in sorted(run.log.items()):
        at_x, at_y = left + x * _CELL_PX, top + r * _CELL_PX
        shade = _SHADES[(r + x) % len(_SHADES)]
        parts.append(bar(at_x, at_y, _CELL_PX - 4, _CELL_PX - 4, f"f{shade[1:]} o"))
        parts.append(label(at_x + 5, at_y + 15, what.format(r=r, x=x)))
        parts.append(label(at_x + _CELL_PX / 2 - 2, at_y + 40, str(cycles[0]), "mi st"))
    return parts + busy_bars(left, top + _ROWS * _CELL_PX + 26, run, longest, 270, 90)


def busy_bars(
    left: float, top: float, run: Run, longest: int, width: float, height: float
) -> list[str]:
    """Elements at work in each cycle."""
    step = width / longest
    most = _ROWS * _COLS
    foot = top + height
    parts = [line(left, foot, left + width, foot), line(left, top, left, foot)]
    for cycle, count in enumerate(run.busy()):
        tall = height * count / most
        parts.append(bar(left + cycle * step + 1, foot - tall, step - 2, tall, "f0"))
    parts += [
        label(left + 4, top + 4, f"{most} elements", "mu"),
        label(left, foot + 18, "cycle 0", "mu"),
        label(left + run.cycles * step, foot + 18, str(run.cycles), "mu mi"),
    ]
    return parts


def zeros_in_time() -> Figure:
    """The same product dense, with 2:8 and with as many zeros anywhere."""
    group, m = 8, 6
    rng = np.random.default_rng(_SEED)
    shape = (_COLS, _ROWS, group)
    dense = np.ones(shape, dtype=bool)
    two = np.argsort(np.argsort(rng.random(shape), axis=-1), axis=-1) < 2
    flat = np.zeros(dense.size, dtype=bool)
    flat[rng.permutation(dense.size)[: int(two.sum())]] = True
    cases = (
        ("dense: every group takes 8 slots", dense),
        ("2:8: every group takes 2 slots, and every element works in each", two),
        ("as many zeros anywhere: all wait for the fullest group", flat.reshape(shape)),
    )
    runs = [(title, stationary_weights(m, kept, group)) for title, kept in cases]
    longest = max(run.cycles for _, run in runs)

    def draw(width: int) -> tuple[float, list[str]]:
        parts: list[str] = []
        for i, (title, run) in enumerate(runs):
            top = i * 140.0
            macs = sum(map(len, run.log.values()))
            parts.append(
                label(0, top + 16, f"{title} · {macs} products, {run.cycles} cycles", "st")
            )
            parts += busy_bars(0, top + 30, run, longest, width - 20, 74)
        return 140.0 * len(runs), parts

    return figure(
        "zeros_in_time",
        "What zeros save on an array in lock step",
        "Elements that multiply in each cycle; 4 x 4 elements, groups of 8 weights, 6 rows of "
        "inputs, weight-stationary",
        draw,
    )
