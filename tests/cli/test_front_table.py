"""Does the front of a sweep fit a terminal, with headings that tell its parameters apart?"""

from __future__ import annotations

import pytest
from rich.console import Console

from codesign.cli.headings import in_lines, legend, short_names
from codesign.cli.points import front_table
from codesign.sweep.check import find_sweep, read_study, sweep_names
from codesign.sweep.design import Designs
from codesign.sweep.engine import Outcome
from codesign.sweep.run import row_of
from codesign.sweep.samplers import make_sampler
from codesign.sweep.store import Row
from codesign.sweep.study import Study


def some_rows(sweep: str) -> tuple[Study, list[Row]]:
    base = read_study(find_sweep(sweep), ["run_cap=40", "method=random"])
    figures = dict.fromkeys(("latency_s", "energy_j", "area_mm2", "accuracy_drop"), 0.1234567)
    designs = Designs(base)
    points = [
        designs.point(12_000 + i, values)
        for i, values in enumerate(make_sampler(base.study).ask(40))
    ]
    return base.study, [row_of(point, Outcome(point.key, figures, None, 0.0)) for point in points]


def printed(study: Study, rows: list[Row]) -> list[str]:
    console = Console(width=80, markup=False)
    with console.capture() as captured:
        console.print(front_table(rows, study))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("sweep", sweep_names())
def test_a_shipped_sweep_fits_80_columns(sweep: str) -> None:
    """Every heading and every number is whole; one line for each point."""
    study, rows = some_rows(sweep)
    lines = printed(study, rows)
    assert max(map(len, lines)) <= 80
    heading = "\n".join(lines[: next(i for i, line in enumerate(lines) if line[:1] == "─")])
    for name in short_names(list(study.parameters)).values():
        assert all(word in heading.split() for word in in_lines(name).split("\n"))
    assert sum("0.1235" in line for line in lines) == len(rows)


def test_short_names_differ_and_the_legend_says_what_they_mean() -> None:
    paths = [
        "arch.buffers.input.width",
        "arch.buffers.output.width",
        "batch",
        "a.batch",
        "b.a.batch",
    ]
    short = short_names(paths)
    assert list(short.values())[:2] == ["input", "output"]
    assert len(set(short.values())) == len(paths)
    assert "input is arch.buffers.input.width; output is" in legend(short)
    assert legend({"batch": "batch"}) == ""


def test_the_fidelity_of_a_point_is_told_where_there_are_several() -> None:
    study, rows = some_rows("sat_training")
    one = printed(study, rows[:2])
    both = printed(study, [rows[0], Row(**{**_fields(rows[1]), "fidelity": "row"})])
    assert not any("tile" in line for line in one)
    assert any(line.startswith("12001 row") for line in both)


def _fields(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__slots__}
