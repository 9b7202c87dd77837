"""Does `codesign report` tell of a sweep what its store holds, and do its commands repeat it?"""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.report import quantities as q
from codesign.report.details import scenario_key
from codesign.report.gather import gather
from codesign.report.reproduce import tokens
from codesign.sweep.run import stored_study
from codesign.sweep.store import Row, Store

SWEEP = """
name: small
description: Arrays for one product
workload: "gemm:64,96,128"
arch: sat
method: grid
metrics: {latency_s: minimize, energy_j: minimize}
constraints: [area_mm2 <= 4]
parameters:
  sparsity: {values: [dense, "2:8"]}
  arch.array.rows: {values: [8, 32]}
  arch.dram.bytes_per_cycle: {values: [48, 130.5]}
  arch.buffers.input.capacity_bytes:
    values: [131072, 262144]
    also: [arch.buffers.weight.capacity_bytes]
  workload.batch: {values: [1, 3]}
seed: 7
execution: {executor: serial}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.yaml").write_text(SWEEP)
    path = folder / "small.db"
    assert main(["sweep", str(folder / "small.yaml"), "-o", str(path), "--quiet"]) == 0
    return path


def rows_of(path: Path) -> list[Row]:
    with Store(path, create=False) as opened:
        return opened.rows()


def test_each_point_is_repeated_bit_for_bit_by_its_command(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(store, create=False) as opened:
        study, rows = stored_study(opened), opened.rows()
    assert len(rows) == 32
    for row in rows[::5]:
        capsys.readouterr()
        words = shlex.split(" ".join(tokens(row, study)))
        assert words[0] == "codesign"
        assert main([*words[1:], "--json", "--quiet"]) == 0
        again = json.loads(capsys.readouterr().out)
        for name in ("cycles", "latency_s", "energy_j", "area_mm2", "dram_bytes"):
            assert again[name] == row.metrics[name], words


def test_a_page_and_its_tables_have_the_numbers_of_the_store(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(store), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text()
    markdown = (tmp_path / "out" / "report.md").read_text()
    rows = rows_of(store)
    found = gather([store], closely=False).sweeps[0].points
    for group in found.groups:
        best = group.best("latency_s", "minimize")
        assert best.metrics["latency_s"] == min(
            row.metrics["latency_s"]
            for row in group.rows
            if row.metrics["area_mm2"] <= 4 and row.config["workload"]["batch"]
        )
        for row in group.front:
            for text in (page, markdown):
                assert q.with_unit(row.metrics["latency_s"], "s") in text
                assert q.with_unit(row.metrics["energy_j"], "J") in text
    assert "of 2 workloads" in said.replace("\n", " ")
    with (tmp_path / "out" / "results-points.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [float(row["latency_s"]) for row in listed] == [r.metrics["latency_s"] for r in rows]
    with (tmp_path / "out" / "results-operators.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    shown = gather([store], closely=False).results
    assert names == [op.name for result in shown for op in result.ops] != []
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [front["knee"] for front in data["studies"][0]["fronts"]] == [
        group.knee.number for group in found.groups
    ]
    assert set(data["details"]) == {
        scenario_key(result) for result in gather([store], closely=False).results
    }
    assert {row["suite"] for row in data["validation"]} == {"sat", "scalesim"}
    figures = set(re.findall(r"\(figures/([\w-]+\.svg)\)", markdown))
    assert figures == {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"front-1.svg", "s1-layer.svg", "s1-doubts.svg"} <= figures
    assert 'id="doubts"' in page
    assert "numbers that are free parameters of a study are left out" in page


def test_points_looked_at_closely_agree_with_the_store(store: Path) -> None:
    found = gather([store])
    by_number = {row.number: row for row in rows_of(store)}
    assert found.remarks == []
    for name, result in zip(found.names, found.results, strict=True):
        row = by_number[int(re.match(r"point (\d+), ", name).group(1))]
        assert (result.cycles, result.energy_j) == (row.metrics["cycles"], row.metrics["energy_j"])
    doubted = {d.assumption.path for one in found.details.values() for d in one.doubts.rows}
    assert doubted
    assert not doubted & {
        "array.rows",
        "dram.bytes_per_cycle",
        "buffers.input.capacity_bytes",
        "buffers.weight.capacity_bytes",
    }


def test_points_that_were_stored_by_another_version_are_told(store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "old.db"
    copied.write_bytes(store.read_bytes())
    import sqlite3

    with sqlite3.connect(copied) as db:
        db.execute("UPDATE points SET metrics = json_set(metrics, '$.cycles', 1)")
    (remark,) = gather([copied], closely=False).remarks
    assert remark.startswith("small was stored by another version: points 0,")


def test_a_folder_of_a_comparison_and_a_store_make_one_report(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "run", tmp_path / "r.html"
    line = ["compare", "gemm:64,64,64", "--arch", "sat", "--sparsity", "dense", "--sparsity", "2:8"]
    assert main([*line, "-o", str(folder), "--quiet"]) == 0
    assert main(["report", str(folder), str(store), "-o", str(out), "--quiet"]) == 0
    page = out.read_text()
    assert page.count('class="points"') == 1
    assert "gemm:64,64,64" in page
    alone = tmp_path / "alone.html"
    assert main(["report", str(folder), "-o", str(alone), "--baseline", "1"]) == 0
    assert "the baseline is sat · 2:8" in alone.read_text()
    assert 'id="doubts"' in alone.read_text()
    assert 'id="front"' not in alone.read_text()


@pytest.mark.parametrize(
    ("made", "arguments", "said"),
    [
        ({}, ["nothing.db"], "nothing.db: there is no such run"),
        ({"results.json": "{}"}, ["."], "holds no list of results"),
        ({"results.json": "[{}]"}, ["results.json"], "0.workload: Field required"),
        ({"results.json": "[1"}, ["results.json"], "is no JSON"),
        ({"x.db": "SQLite format 3\x00 and no more"}, ["x.db"], "the study is damaged"),
        ({"ok.json": "[]"}, ["ok.json", "-o", "r.pdf"], "holds no list of results"),
        ({}, ["."], "No such file"),
        ({}, [], "Missing argument"),
        ({}, ["x", "--baseline", "-1"], "--baseline"),
    ],
)
def test_what_is_no_run_is_refused(
    made: dict[str, str],
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    assert main(["report", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_another_ending_and_another_point_are_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(store), "-o", str(tmp_path / "r.pdf"), "--no-sensitivity"]) == 2
    assert "a report is .html, .md, .csv, .json, or a folder" in capsys.readouterr().err
    assert main(["report", str(store), "--baseline", "999"]) == 2
    assert "has no point 999" in capsys.readouterr().err
