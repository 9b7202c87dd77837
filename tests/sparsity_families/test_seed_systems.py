"""Is every paper of the reading list represented, and does the page say what its commands give?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from codesign.cli import seed_systems
from codesign.cli.seed_systems import METRICS, SeedSystem, line, rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "seed_systems.md"
ROWS = rows()
FEW = [row for row in ROWS if row.run][::4]


def test_every_paper_of_both_tiers_has_a_row():
    papers = [row for row in ROWS if "(GPU)" not in row.paper and "(inference)" not in row.paper]
    assert len([row for row in papers if row.tier == "A"]) == 26 - 1
    assert len([row for row in papers if row.tier == "B"]) == 40
    assert len({row.paper for row in ROWS}) == len(ROWS)


def test_the_page_has_one_line_for_each_row_with_its_command():
    lines = [text for text in PAGE.read_text(encoding="utf-8").splitlines() if text[:4] in TIERS]
    assert len(lines) == len(ROWS)
    for row, text in zip(ROWS, lines, strict=True):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", text)[1:-1]]
        assert cells[:2] == [row.tier, row.paper]
        assert bool(cells[5]) == bool(row.run)
        if row.run:
            quoted = " ".join(shlex.quote(word) for word in shlex.split(row.run))
            assert f"`codesign {quoted}`" in cells[4]
            assert cells[5].endswith(f"({row.metric})")
        else:
            assert row.why in cells[4]


TIERS = ("| A ", "| B ")


@pytest.mark.parametrize("row", FEW, ids=[row.paper[:30] for row in FEW])
def test_a_part_of_the_page_is_fresh(row: SeedSystem):
    assert line(row) in PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_the_whole_page_is_fresh():
    assert "\n".join(seed_systems.page()) + "\n" == PAGE.read_text(encoding="utf-8")


def test_a_claimed_range_is_met_at_its_nearer_end():
    row = SeedSystem(
        paper="p", tier="A", pattern="", claim="", metric="speed", value=2.0, highest=3.0, run="x"
    )
    assert [row.nearest(ours) for ours in (1.0, 2.5, 9.0)] == [2.0, 2.5, 3.0]
    old, new = {"latency_s": 4.0}, {"latency_s": 2.0}
    assert METRICS["speed"](old, new) == 2.0
    assert METRICS["time"](old, new) == 0.5
