"""Is what the page gets that which the store holds, and is the store left as it was?"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.config import CodesignError
from codesign.serve import readonly, studies
from codesign.serve.folder import Folder
from codesign.sweep.run import front_of
from codesign.sweep.store import Store
from tests.serve.conftest import a_row, a_store, a_study


def test_points_are_those_of_the_store_with_their_front(tmp_path: Path) -> None:
    path = a_store(tmp_path / "s.db", 100)
    with Store(path) as store:
        store.add([a_row(200, metrics={}, error="it broke")])
        rows = store.rows()
    found = studies.points(path)
    assert [p["key"] for p in found["points"]] == [row.key for row in rows]
    assert found["points"][7]["metrics"] == dict(rows[7].metrics)
    assert found["front"] == [row.key for row in front_of(rows, a_study())]
    assert "key0099" not in found["front"], "it breaks the constraint"
    assert found["knee"] in found["front"]
    assert (found["planned"], found["done"], found["failed"]) == (300, 101, 1)
    assert found["wanted"] == ["latency_s", "area_mm2"]


def test_where_points_were_promoted_the_front_is_theirs(tmp_path: Path) -> None:
    """Points of two fidelities are not compared, here as in `show --pareto`."""
    path = a_store(tmp_path / "s.db", 20)
    assert set(studies.points(path)["front"]) & {"key0010", "key0012"}
    close = [
        a_row(
            n, key=f"row{n}", fidelity="row", metrics={"latency_s": 9.0 + n, "area_mm2": 50.0 - n}
        )
        for n in (10, 12)
    ]
    with Store(path) as store:
        store.add(close)
    assert studies.points(path)["front"] == ["row10", "row12"]


def test_only_what_is_new_is_sent_again(tmp_path: Path) -> None:
    path = a_store(tmp_path / "s.db", 5)
    first = studies.points(path)
    assert studies.points(path, state=first["state"]) == {"unchanged": True}
    with Store(path) as store:
        store.add([a_row(7)])
    later = studies.points(path, state=first["state"], since=first["stored_at"])
    keys = {point["key"] for point in later["points"]}
    assert "key0007" in keys
    assert len(later["points"]) <= 6
    assert later["shown"] == later["total"] == 6


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    path = a_store(tmp_path / "s.db", 5)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    mark = readonly.stamp(path)
    studies.points(path)
    studies.design(path, "key0001")
    studies.overview(Folder.at(tmp_path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert readonly.stamp(path) == mark
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        readonly.read(path, lambda db: db.execute("DELETE FROM points"))
    with Store(path) as _, pytest.raises(sqlite3.OperationalError, match="readonly"):
        readonly.read(path, lambda db: db.execute("DELETE FROM points"))


def test_a_file_that_begins_to_be_written_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = a_store(tmp_path / "s.db", 5)
    writers: list[Store] = []

    def count(db: sqlite3.Connection) -> int:
        if not writers:
            writers.append(Store(path))
            writers[0].add([a_row(50)])
        return int(db.execute("SELECT count(*) FROM points").fetchone()[0])

    assert readonly.read(path, count) == 6
    writers[0].close()


WRITER = """
import sys
from pathlib import Path
from codesign.sweep.store import Store
from tests.serve.conftest import a_row
with Store(Path(sys.argv[1])) as store:
    for number in range(0, 400, 4):
        store.add([a_row(n) for n in range(number, number + 4)])
"""


def test_a_sweep_writes_while_its_points_are_read(tmp_path: Path) -> None:
    path = a_store(tmp_path / "s.db", 0)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stderr=subprocess.PIPE)
    counts = []
    failures: list[Exception] = []

    def look() -> None:
        try:
            while writer.poll() is None:
                counts.append(studies.points(path)["shown"])
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert writer.wait() == 0, writer.stderr
    assert not failures
    assert counts
    assert all(count % 4 == 0 for count in counts), "half a transaction was seen"
    assert studies.points(path)["shown"] == 400


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("points", "UPDATE points SET metrics = '[1]'"),
        ("points", 'UPDATE points SET metrics = \'{"latency_s": "<b>", "area_mm2": 1}\''),
        ("points", "UPDATE points SET number = 'x'"),
        ("points", "UPDATE points SET \"values\" = 'no json'"),
        ("points", "UPDATE points SET stored_at = 'x'"),
        ("study", "UPDATE study SET value = '{}' WHERE key = 'study'"),
        ("study", "DELETE FROM study"),
        ("points", "DROP TABLE points"),
        ("points", "ALTER TABLE points DROP COLUMN error"),
    ],
)
def test_a_store_that_no_sweep_wrote_is_a_message(tmp_path: Path, table: str, values: str) -> None:
    path = a_store(tmp_path / "s.db", 3)
    with sqlite3.connect(path) as db:
        db.execute(values)
    db.close()
    with pytest.raises(CodesignError):
        studies.points(path)
    studies.overview(Folder.at(tmp_path))


def test_a_store_that_would_be_searched_for_ever_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_store(tmp_path / "s.db", 1)
    monkeypatch.setattr(readonly, "_LONGEST_S", 0.2)
    endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT max(x) FROM t"
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        readonly.read(path, lambda db: db.execute(endless).fetchone())


def test_an_overview_names_what_it_cannot_read(runs: Path) -> None:
    found = {entry["name"]: entry for entry in studies.overview(Folder.at(runs))}
    assert found["toy.db"]["points"] == 100
    assert found["deep/er.db"]["points"] == 3
    assert "problem" in found["broken.db"]


def test_databases_of_something_else_are_not_listed(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE points (x)")
    db.close()
    assert studies.overview(Folder.at(tmp_path)) == []


def test_the_command_of_a_design_runs_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json
    import shlex

    file = tmp_path / "tiny.yaml"
    file.write_text(
        "name: tiny\nworkload: {name: resnet9, batch: 2, phase: training}\narch: sat\n"
        "sparsity: {pattern: dense, method: bdwp}\nmethod: grid\n"
        "metrics: {latency_s: minimize}\nexecution: {executor: serial}\n"
        "parameters:\n  sparsity: {values: [dense, '2:8']}\n  arch.array.rows: {values: [16]}\n"
        "  arch.dram.bytes_per_cycle: {values: [20.5]}\n"
    )
    path = tmp_path / "tiny.db"
    assert main(["sweep", str(file), "-o", str(path), "--quiet"]) == 0
    for point in studies.points(path)["points"]:
        capsys.readouterr()
        command = studies.design(path, point["key"])["command"]
        assert main([*shlex.split(command)[1:], "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["cycles"] == point["metrics"]["cycles"]
        assert again["latency_s"] == point["metrics"]["latency_s"]
