"""How long do a sampled mask of a large weight and its counts take?"""

from __future__ import annotations

from functools import partial

from benchmarks import Row
from benchmarks.timing import best
from codesign.sparsity.pattern import parse_pattern

ROWS, COLS = 4096, 11008
TILE = 64
GOAL_S = 1.0
RUNS = 3


def main() -> list[Row]:
    """Seconds of the fastest of some runs."""
    rows = []
    for text in ("2:4", "1:8", "2:16", "unstructured(0.9)"):
        sample = partial(parse_pattern(text).sample, ROWS, COLS, seed=1)
        mask = sample()
        sample_s = best(sample, RUNS).wall
        tiles_s = best(partial(mask.tile_counts, TILE, TILE), RUNS).wall
        lanes_s = best(partial(mask.slowest_lane, 8, 32), RUNS).wall
        name = f"{text} mask {ROWS}x{COLS}"
        counts = f"{name}: sample + {TILE}x{TILE} counts"
        rows.append(Row(counts, sample_s + tiles_s, "s", GOAL_S, "lower"))
        rows.append(Row(f"{name}: slowest lane", lanes_s, "s", GOAL_S, "lower"))
    return rows
