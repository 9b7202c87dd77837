"""Do figures draw the numbers that they are given, inside their frame, whatever the labels?"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from codesign.metrics.result import Result
from codesign.report import figures, quantities, rows, sections
from codesign.report.figures import Column, Lane, Point
from codesign.report.scatter import Axis, Spot, scatter
from codesign.report.stacks import Stack, stacked
from codesign.report.study import study
from codesign.report.svg import Figure, text_px
from tests.report.made_by_hand import HOSTILE, PEAK_MACS_PER_CYCLE, make_result

SVG = "{http://www.w3.org/2000/svg}"


def drawings(figure: Figure) -> list[ET.Element]:
    return [ET.fromstring(figure.wide), ET.fromstring(figure.narrow)]


def frame(svg: ET.Element) -> tuple[float, float]:
    width, height = svg.attrib["viewBox"].split()[2:]
    return float(width), float(height)


def rects(svg: ET.Element) -> list[ET.Element]:
    return [e for e in svg.iter(f"{SVG}rect") if e.find(f"{SVG}title") is not None]


def assert_inside(figure: Figure) -> None:
    for svg in drawings(figure):
        width, height = frame(svg)
        for text in svg.iter(f"{SVG}text"):
            x, long = float(text.attrib["x"]), text_px(text.text or "")
            classes = text.attrib.get("class", "").split()
            left = x - long if "en" in classes else x - long / 2 if "mi" in classes else x
            assert left >= -14, (figure.name, text.text)
            assert left + long <= width + 14, (figure.name, text.text)
            assert 0 <= float(text.attrib["y"]) <= height
        for rect in svg.iter(f"{SVG}rect"):
            assert float(rect.attrib["x"]) >= 0
            assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= width + 1


def all_figures(results: list[Result]) -> list[Figure]:
    found = study(results)
    drawn = [sections.speedups(found), sections.area(found)]
    for i, scenario in enumerate(found.scenarios):
        drawn += sections.chapter(found, scenario, i).figures
    return drawn


def test_everything_lies_inside_the_frame_and_names_are_unique(results: list[Result]) -> None:
    drawn = all_figures(results)
    for figure in drawn:
        assert_inside(figure)
    assert len({figure.name for figure in drawn}) == len(drawn)


def test_the_same_results_give_the_same_drawing(results: list[Result]) -> None:
    assert [f.wide + f.narrow for f in all_figures(results)] == [
        f.wide + f.narrow for f in all_figures(results)
    ]


def test_a_file_of_its_own_is_whole(results: list[Result]) -> None:
    for figure in all_figures(results):
        root = ET.fromstring(figure.standalone())
        assert root.find(f"{SVG}style") is not None
        used = set(re.findall(r"url\(#(p\d)\)", figure.standalone()))
        assert used <= {p.attrib["id"] for p in root.iter(f"{SVG}pattern")}


def test_bars_are_as_long_as_their_values() -> None:
    values = [1.0, 2.0, 0.5, float("nan"), 0.0]
    texts = [quantities.ratio(v) for v in values]
    drawn = figures.bars(
        "b", "t", "d", list("abcde"), [Column("c", values, texts, [1])], colours=[0] * 5
    )
    for svg in drawings(drawn):
        longs = [float(r.attrib["width"]) for r in rects(svg)]
        assert longs[0] == pytest.approx(longs[1] / 2, abs=0.01)
        assert longs[2] == pytest.approx(longs[1] / 4, abs=0.01)
        assert longs[3:] == [0, 0]
        assert [t.text for t in svg.iter(f"{SVG}text") if "★" in t.text] == ["★ 2.00×"]


def test_stacked_parts_are_as_long_as_their_shares() -> None:
    stacks = [Stack("one", {"x": 3.0, "y": 1.0}, "4"), Stack("two", {"y": 2.0}, "2")]
    drawn = stacked("s", "t", "d", stacks, "time (s)", str)
    for svg in drawings(drawn):
        marks = rects(svg)
        x, y, y2 = (float(r.attrib["width"]) for r in marks)
        assert x == pytest.approx(3 * y, abs=0.05)
        assert y2 == pytest.approx(2 * y, abs=0.05)
        assert marks[1].attrib["class"] == marks[2].attrib["class"] != marks[0].attrib["class"]
        assert float(marks[1].attrib["x"]) == pytest.approx(
            float(marks[0].attrib["x"]) + x, abs=0.1
        )


def test_bars_end_where_the_axis_says() -> None:
    stacks = [Stack("one", {"x": 20.0}, "20"), Stack("two", {"x": 43.0}, "43")]
    for svg in drawings(stacked("s", "t", "d", stacks, "time (s)", str)):
        ticks = {t.text: float(t.attrib["x"]) for t in svg.iter(f"{SVG}text")}
        first = rects(svg)[0]
        end = float(first.attrib["x"]) + float(first.attrib["width"])
        assert end == pytest.approx(ticks["20"], abs=0.2)


def test_more_parts_than_colours_become_other_and_lose_nothing() -> None:
    parts = {f"part {i}": float(i + 1) for i in range(12)}
    drawn = stacked("s", "t", "d", [Stack("one", parts, "78")], "J", str)
    for svg in drawings(drawn):
        marks = rects(svg)
        assert len(marks) == 12
        total = sum(float(r.attrib["width"]) for r in marks)
        largest = next(r for r in marks if "part 11" in r[0].text)
        assert float(largest.attrib["width"]) == pytest.approx(total * 12 / 78, abs=0.5)
        assert "other" in {t.text for t in svg.iter(f"{SVG}text")}


def test_points_below_the_roof_are_drawn_below_the_roof() -> None:
    peak, rate = 4e11, 1e10
    points = [
        Point(x, min(peak, x * rate) * part, 0, 0.1, f"{x} {part}")
        for x in (0.3, 5.0, 40.0, 300.0)
        for part in (1.0, 0.2, 0.01)
    ]
    drawn = figures.roofline(
        "r", "t", "d", points, kinds=["compute"], peak_flop_per_s=peak, dram_bytes_per_s=rate
    )
    for svg in drawings(drawn):
        roof = next(p for p in svg.iter(f"{SVG}path") if p.attrib["class"] == "rf")
        x0, y0, x1, y1 = map(float, re.findall(r"[\d.]+", roof.attrib["d"])[:4])
        for path in svg.iter(f"{SVG}path"):
            title = path.find(f"{SVG}title")
            if title is None:
                continue
            x, y = map(float, re.findall(r"[\d.]+", path.attrib["transform"]))
            above = y1 if x >= x1 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
            assert y >= above - 0.3, title.text
            if title.text.endswith(" 1.0"):
                assert y == pytest.approx(above, abs=0.3)


def test_points_of_a_run_are_its_operators() -> None:
    result = make_result(blocks=3)
    (scenario,) = study([result]).scenarios
    drawn = sections.roofline(scenario, scenario.runs[0], "r")
    said = [t.text for t in ET.fromstring(drawn.wide).iter(f"{SVG}title")]
    convs = [op for op in result.ops if op.macs]
    assert len(said) == len(convs) == 3
    for op in convs:
        seconds = op.cycles / (result.clock_mhz * 1e6)
        rate = quantities.with_unit(2 * op.executed_macs / seconds, "FLOP/s")
        intensity = quantities.significant(2 * op.executed_macs / op.dram_bytes)
        assert f"{op.name}: {rate}, {intensity} FLOP/B, {op.bound_by}" in said


def test_no_operator_is_above_its_roofline(results: list[Result]) -> None:
    for result in results:
        rate = sections.dram_bytes_per_s(result)
        for op in result.ops:
            if op.executed_macs:
                seconds = (op.end_cycle - op.start_cycle) / (result.clock_mhz * 1e6)
                flop_per_s = 2 * op.executed_macs / seconds
                assert flop_per_s <= result.peak_tops * 1e12 * 1.0001
                assert flop_per_s <= 2 * op.executed_macs / op.dram_bytes * rate * 1.0001


def test_the_dram_rate_is_that_of_the_link() -> None:
    result = make_result()
    assert sections.dram_bytes_per_s(result) == 64 * 200e6


def test_the_mean_of_a_heat_line_is_the_utilisation() -> None:
    for density in (1.0, 0.25):
        result = make_result(density=density)
        for strips in (1, 7, 240):
            along = sections.utilisation_along(result, strips)
            assert along.mean() == pytest.approx(result.utilisation)
            assert along.max() <= 1.0 + 1e-9
    busy = result.ops[0]
    first = sections.utilisation_along(result, result.cycles)[: busy.end_cycle]
    assert first.mean() == pytest.approx(busy.executed_macs / busy.cycles / PEAK_MACS_PER_CYCLE)


def test_merged_spans_cover_what_ran() -> None:
    spans = [(float(i), i + 0.9, f"op {i}") for i in range(2000)]
    drawn = figures.timeline("t", "t", "d", [Lane("array", spans)], 2000.0, "time (µs)")
    for svg in drawings(drawn):
        marks = rects(svg)
        assert len(marks) < 800
        covered = sum(float(r.attrib["width"]) for r in marks)
        ends = float(marks[-1].attrib["x"]) + float(marks[-1].attrib["width"])
        assert covered >= 0.85 * (ends - float(marks[0].attrib["x"]))
        named = [r[0].text for r in marks]
        merged = sum(int(m.group(1)) for n in named if (m := re.search(r"and (\d+) more", n)))
        assert merged + len(marks) == 2000


@pytest.mark.parametrize("text", HOSTILE)
def test_any_label_is_text(text: str) -> None:
    drawn = [
        figures.bars("b", text, text, [text], [Column(text, [1.0], [text])], colours=[0]),
        stacked("s", text, text, [Stack(text, {text: 1.0}, "1")], "s", str),
        figures.timeline("t", text, text, [Lane("array", [(0.0, 1.0, text)])], 1.0, "s"),
        figures.heat("h", text, text, [(text, [0.5, 1.0], "75 %")], "run"),
        figures.roofline(
            "r",
            text,
            text,
            [Point(1.0, 1e9, 0, 1.0, text)],
            kinds=[text],
            peak_flop_per_s=1e10,
            dram_bytes_per_s=1e9,
        ),
    ]
    for figure in drawn:
        for svg in drawings(figure):
            assert not {e.tag for e in svg.iter()} - {
                SVG + tag for tag in ("svg", "rect", "path", "text", "title")
            }
        ET.fromstring(figure.standalone())


def test_nothing_to_draw_is_drawn_as_nothing() -> None:
    empty = [
        figures.roofline("r", "t", "d", [], kinds=[], peak_flop_per_s=1e12, dram_bytes_per_s=0.0),
        stacked("s", "t", "d", [Stack("a", {}, "0")], "s", str),
        figures.bars("b", "t", "d", ["a"], [Column("c", [0.0], ["0"])], colours=[0], reference=1.0),
    ]
    for figure in empty:
        assert_inside(figure)
        for svg in drawings(figure):
            assert not any(float(rect.attrib["width"]) for rect in rects(svg))
            assert not [e for e in svg.iter() if "o" in e.attrib.get("class", "").split()]


@pytest.mark.parametrize("far", [1.5, 40.0, 1e6])
def test_the_outermost_marks_of_a_scatter_touch_neither_its_frame_nor_a_text(far: float) -> None:
    spots = [
        Spot(x, y, i, f"{i}", strong=True)
        for i, (x, y) in enumerate([(1, 1), (1, far), (far, 1), (far, far)])
    ]
    axes = Axis("latency", "s"), Axis("energy", "J")
    drawn = scatter("front", "t", "d", spots, *axes, kinds=["a", "b", "c", "d"])
    assert_inside(drawn)
    for svg in drawings(drawn):
        lines = [e.attrib["d"] for e in svg.iter(f"{SVG}path") if e.attrib["class"] == "ax"]
        ends = [tuple(map(float, end.split())) for d in lines for end in d[1:].split("L")]
        plotted = [p for p in svg.iter(f"{SVG}path") if p.find(f"{SVG}title") is not None]
        assert len(plotted) == len(spots)
        for path in plotted:
            x, y = (float(v) for v in re.findall(r"[\d.]+", path.attrib["transform"]))
            assert min(e[0] for e in ends) + 8 < x < max(e[0] for e in ends) - 8
            assert min(e[1] for e in ends) + 8 < y < max(e[1] for e in ends) - 8
            for text in svg.iter(f"{SVG}text"):
                if str(text.text).startswith(("latency", "energy")):
                    assert abs(float(text.attrib["y"]) - y) > 16


def test_energy_at_the_board_is_told_beside_that_of_the_devices() -> None:
    plain = make_result()
    board = replace(plain, board_energy_j=3 * plain.latency_s)
    (without,) = study([plain]).scenarios
    (told,) = study([board]).scenarios
    assert "At the board" not in sections.energy(without, "a").description
    joule = quantities.with_unit(board.board_energy_j, "J")
    said = f"At the board: {told.runs[0].label} {joule} (3.00 W)."
    assert sections.energy(told, "a").description.endswith(said)


def test_units_that_there_are_many_of_are_not_busy_for_more_than_the_run() -> None:
    one = make_result()
    both = replace(one, busy_cycles={"dram": one.cycles // 2, "multiprocessor": one.cycles * 100})
    (scenario,) = study([both]).scenarios
    assert [row.share for row in rows.units(scenario.runs[0])] == ["50 %", "100.0 at once"]
