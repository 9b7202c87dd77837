"""Does the text of the committed reports of sweeps agree with the committed points?"""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path

import pytest

from codesign.report import quantities as q
from codesign.sweep.check import find_sweep, read_study, sweep_names
from codesign.sweep.limits import parse_limit, total_violation
from codesign.sweep.pareto import costs, front

REPORTS = Path(__file__).parents[2] / "reports"
LARGEST_BYTES = 2_000_000


def listed(name: str) -> list[dict[str, str]]:
    with (REPORTS / name / "points.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if not row["error"]]


def numbers(row: dict[str, str], names: list[str]) -> dict[str, float]:
    return {name: float(row[name]) for name in names if row.get(name)}


def test_every_shipped_sweep_has_a_report() -> None:
    assert {path.parent.name for path in REPORTS.glob("*/points.csv")} == set(sweep_names())
    for path in REPORTS.rglob("*.html"):
        assert path.stat().st_size < LARGEST_BYTES


@pytest.mark.parametrize("name", sweep_names())
def test_the_page_of_a_sweep_says_what_its_points_say(name: str) -> None:
    study = read_study(find_sweep(name), []).study
    rows = listed(name)
    page = (REPORTS / name / "index.html").read_text(encoding="utf-8")
    (block,) = re.findall(r'class="points" data-i="0">(.*?)</script>', page)
    data = json.loads(block)

    def read(column: object, i: int) -> object:
        if isinstance(column, list):
            return column[i]
        return column["all"] if "all" in column else column["of"][column["at"][i]]

    columns = data["columns"]
    names = [metric["name"] for metric in data["metrics"]]
    assert columns["count"] == len(rows)
    for i, row in enumerate(rows):
        assert read(columns["number"], i) == int(row["number"])
        for metric, column in zip(names, columns["metrics"], strict=True):
            if row[metric]:
                assert read(column, i) == pytest.approx(float(row[metric]), rel=1e-5)
    closest = rows[-1]["fidelity"] if study.promote is None else study.promote.fidelity
    limits = tuple(map(parse_limit, study.constraints))
    work = [path for path in study.parameters if path.partition(".")[0] == "workload"]
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        if row["fidelity"] == closest and not total_violation(limits, numbers(row, names)):
            groups.setdefault(tuple(row[path] for path in work), []).append(i)
    expected = set()
    for members in groups.values():
        table = costs([numbers(rows[i], names) for i in members], study.metrics)
        expected |= {members[place] for place in front(table)}
    flagged = {i for i in range(len(rows)) if read(columns["front"], i)}
    metrics = list(study.metrics)
    assert {tuple(rows[i][m] for m in metrics) for i in flagged} == {
        tuple(rows[i][m] for m in metrics) for i in expected
    }
    answer = html.unescape(re.search(r'<p class="lead">(.*?)</p>', page).group(1))
    if len(groups) == 1:
        first = metrics[0]
        least = min(float(rows[i][first]) for i in expected)
        (named,) = re.findall(r"^Point (\d+) has the lowest", answer)
        (able,) = groups.values()
        of = {rows[i]["number"]: float(rows[i][first]) for i in able}
        assert of[named] == least
        assert q.quantity(first).text(least) in answer
    else:
        assert f"of {len(groups)} workloads" in answer
    for part in ("doubts", "validation", "front", "points", "operators", "provenance"):
        assert f'<section id="{part}">' in page
    assert f"codesign report {name}.db" in page
