"""What a row that is open is worth: the commands of a DRAM for neighbours and for strangers."""

from __future__ import annotations

import numpy as np

from codesign.memory import Location, RequestTimeline, command_ids, dram, simulate_located
from codesign.report.svg import Figure, bar, figure, label, legend, line

_PRESET = "ddr4_2400"
_REQUESTS = 24
_BANKS = 4
_SEED = 1
_COLOURS = {"ACT": 1, "RD": 0, "PRE": 3}
_LANE_PX = 34


def rows() -> Figure:
    """Reads of one row after the other, and reads of rows by chance, in four banks."""
    spec = dram(_PRESET)
    names = {number: name for name, number in command_ids(spec).items()}
    rng = np.random.default_rng(_SEED)
    zeros = np.zeros(_REQUESTS, dtype=np.int64)
    turns = np.arange(_REQUESTS)
    streams = (
        ("neighbours: every bank reads on in its row", turns % _BANKS, zeros, turns // _BANKS),
        ("strangers: every read wants another row", rng.integers(0, _BANKS, _REQUESTS),
         rng.integers(0, 1000, _REQUESTS), zeros),
    )  # fmt: skip
    runs = [
        (
            title,
            simulate_located(
                spec, Location(zeros, bank, row, column), refresh="off", log_entries=400
            ),
        )
        for title, bank, row, column in streams
    ]
    longest = max(run.cycles for _, run in runs)

    def draw(width: int) -> tuple[float, list[str]]:
        height, parts = legend(
            [("ACT opens a row", 1), ("RD reads a burst", 0), ("PRE closes it", 3)], width, 0
        )
        for title, run in runs:
            text = f"{title} · {run.cycles} cycles, {run.row_hit_rate:.0%} row hits"
            parts.append(label(0, height + 18, text, "st"))
            parts += _lanes(height + 30, width, run, names, longest)
            height += 30 + _BANKS * _LANE_PX + 34
        return height, parts

    return figure(
        "dram_rows",
        f"{_REQUESTS} reads of a DRAM",
        f"{_PRESET}, one channel, without refresh; the commands that each bank gets",
        draw,
    )


def _lanes(
    top: float, width: int, run: RequestTimeline, names: dict[int, str], longest: int
) -> list[str]:
    left = 62.0
    step = (width - left - 10) / longest
    parts = []
    for bank in range(_BANKS):
        foot = top + (bank + 1) * _LANE_PX - 6
        parts += [label(0, foot - 4, f"bank {bank}"), line(left, foot, width - 10, foot)]
    for clock, command, bank, _ in run.log.tolist():
        kind = _COLOURS.get(names[command])
        if kind is not None and bank < _BANKS:
            at = left + clock * step
            foot = top + (bank + 1) * _LANE_PX - 6
            parts.append(bar(at, foot - 20, max(3.0, step * 0.9), 20, f"f{kind}", names[command]))
    end = left + run.cycles * step
    parts.append(
        label(min(end, width - 40.0), top + _BANKS * _LANE_PX + 12, str(run.cycles), "mu mi")
    )
    return parts
