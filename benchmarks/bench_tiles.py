"""How long do a sampled mask of a large weight and its counts take?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TypeVar

from codesign.sparsity.pattern import parse_pattern

T = TypeVar("T")

ROWS, COLS = 4096, 11008
TILE = 64
GOAL_S = 1.0
RUNS = 3


def main() -> list[tuple[str, float, str, float, str, float | None]]:
    """Rows of name, value, unit, goal, which is better, and baseline; goals are of issue A."""
    rows: list[tuple[str, float, str, float, str, float | None]] = []
    for text in ("2:4", "1:8", "2:16", "unstructured(0.9)"):
        pattern = parse_pattern(text)
        sample_s, mask = _best(partial(pattern.sample, ROWS, COLS, seed=1))
        tiles_s, _ = _best(partial(mask.tile_counts, TILE, TILE))
        lanes_s, _ = _best(partial(mask.slowest_lane, 8, 32))
        name = f"{text} mask {ROWS}x{COLS}"
        total = sample_s + tiles_s
        rows.append((f"{name}: sample + {TILE}x{TILE} counts", total, "s", GOAL_S, "lower", None))
        rows.append((f"{name}: slowest lane", lanes_s, "s", GOAL_S, "lower", None))
    return rows


def _best(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the fastest of some runs, the first of which may compile, and the last result."""
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        result = work()
        times.append(perf_counter() - start)
    return min(times), result


if __name__ == "__main__":
    for row in main():
        print(*row, sep="\t")
