"""Does a study hold what became of each point, once, whether it comes as values or as text?"""

from __future__ import annotations

import csv
import json
import pickle
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codesign.sweep import run as runs
from codesign.sweep.design import Base, Designs
from codesign.sweep.engine import Engine, Outcome
from codesign.sweep.run import Sweep, front_of, prepare, row_of
from codesign.sweep.samplers import make_sampler
from codesign.sweep.store import Row, Store, compact_json, write_csv, write_parquet
from tests.sweep.conftest import Raising

ROW = Row(
    key="k0", number=0, fidelity="tile", values={"arch.rows": 4, "sparsity": "2:4"},
    config={"arch": {"name": "sat"}}, metrics={"latency_s": 0.5, "cycles": 7}, error=None, seed=0,
    duration_s=0.25, arch_fingerprint="a", trace_fingerprint="t", version="1",
)  # fmt: skip


def test_an_outcome_brings_the_texts_of_its_figures(base: Base) -> None:
    """Text and values are the same; a failed point has none, and its row none that differ."""
    engine, designs = Engine(base), Designs(base)
    point = designs.point(3, make_sampler(base.study).ask(4)[3])
    outcome = engine.evaluate(point)
    assert outcome.texts == (compact_json(point.values), compact_json(outcome.metrics))
    row = row_of(point, outcome)
    assert row.texts == (outcome.texts[0], point.text, outcome.texts[1])
    assert row == row_of(point, replace(outcome, texts=None))
    failed = Raising(base).evaluate(designs.point(0, {**point.values, "arch.array.rows": 8}))
    assert (failed.texts, failed.metrics) == (None, {})
    assert failed.error == "ZeroDivisionError: a point that raises"


def test_points_and_outcomes_travel_between_processes(base: Base) -> None:
    """Both arrive equal, down to the texts."""
    point = Designs(base).point(1, make_sampler(base.study).ask(2)[1])
    assert pickle.loads(pickle.dumps(point)) == point
    outcome = Outcome("k", {"cycles": 1.0}, None, 0.5, "a", "t", "v", ("{}", "{}"))
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_a_row_is_stored_as_its_texts_say(tmp_path: Path) -> None:
    """Given texts are what lies in the file; without them they are made of the values."""
    texts = tuple(map(compact_json, (ROW.values, ROW.config, ROW.metrics)))
    assert texts == (
        '{"arch.rows":4,"sparsity":"2:4"}', '{"arch":{"name":"sat"}}',
        '{"latency_s":0.5,"cycles":7}',
    )  # fmt: skip
    with Store(tmp_path / "s.db") as store:
        store.add([ROW, replace(ROW, key="k1", number=1, texts=(texts[0], "{}", texts[2]))])
        first, second = store.rows()
    assert first == ROW
    assert second == replace(ROW, key="k1", number=1, config={})
    with sqlite3.connect(tmp_path / "s.db") as file:
        stored = 'SELECT "values", config, metrics FROM points WHERE number = 0'
        assert file.execute(stored).fetchone() == texts


def test_only_a_failed_point_is_replaced_and_only_by_a_good_one(tmp_path: Path) -> None:
    failed = replace(ROW, metrics={}, error="broken")
    other = replace(ROW, metrics={"latency_s": 9.0})
    with Store(tmp_path / "s.db") as store:
        assert [store.add([row]) for row in (failed, failed, ROW, other, failed)] == [1, 0, 1, 0, 0]
        assert store.rows() == [ROW]
        assert store.count() == 1


def test_many_points_are_found_and_ordered(tmp_path: Path) -> None:
    """More than one statement can name; by number, and of one fidelity where asked."""
    many = [replace(ROW, key=f"k{i}", number=i) for i in range(1200)]
    close = replace(ROW, key="close", number=5, fidelity="row")
    with Store(tmp_path / "s.db") as store:
        store.add([*reversed(many), close])
        assert store.find([row.key for row in many]) == {row.key: row for row in many}
        assert store.find(["none"]) == {}
        assert store.rows("tile") == many
        assert store.rows() == [*many[:5], close, *many[5:]]


def test_failed_points_are_tried_again_when_asked(base: Base, tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        prepare(store, base, resume=False)
        assert Sweep(base, store, engine=Raising).run().failed == 12
        again = Sweep(base, store).run()
        assert (again.evaluated, again.answered, again.failed) == (0, 48, 12)
        again = Sweep(base, store, retry_failed=True).run()
        assert (again.evaluated, again.answered, again.failed) == (12, 36, 0)
        assert all(row.error is None for row in store.rows())


@pytest.mark.parametrize("flush_rows", [1, 5, 1024])
def test_the_front_is_kept_while_points_come_in(
    base: Base, tmp_path: Path, flush_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever rows are stored: that of all rows, also when all are in the store already."""
    monkeypatch.setattr(runs, "_FLUSH_ROWS", flush_rows)
    with Store(tmp_path / "s.db") as store:
        prepare(store, base, resume=False)
        for _ in range(2):
            progress = Sweep(base, store).run()
            assert progress.front == front_of(store.rows(), base.study)


def test_files_hold_the_columns_of_all_rows(tmp_path: Path) -> None:
    """What some rows lack is empty; a column of mixed types becomes text."""
    rows: list[Row] = [
        ROW,
        replace(ROW, key="k1", values={"arch.rows": 8.5, "mixed": True}, metrics={"cycles": 2}),
        replace(ROW, key="k2", values={"mixed": "x"}, metrics={}, error="broken"),
    ]
    write_csv(rows, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["arch.rows"] for row in read] == ["4", "8.5", ""]
    assert [row["latency_s"] for row in read] == ["0.5", "", ""]
    assert [row["error"] for row in read] == ["", "", "broken"]
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(rows, tmp_path / "rows.parquet")
    table: dict[str, list[Any]] = parquet.read_table(tmp_path / "rows.parquet").to_pydict()
    assert table["arch.rows"] == [4.0, 8.5, None]
    assert table["mixed"] == [None, "True", "x"]
    assert table["cycles"] == [7, 2, None]
    assert table["number"] == [0, 0, 0]


def test_numbers_are_what_limits_can_be_set_on() -> None:
    """Parameters that are numbers, metrics and two facts; a metric wins over a parameter."""
    row = replace(ROW, values={**ROW.values, "cycles": 1}, number=3)
    assert row.numbers == {
        "arch.rows": 4, "cycles": 7, "latency_s": 0.5, "number": 3, "duration_s": 0.25,
    }  # fmt: skip
    assert json.loads(compact_json(row.numbers)) == row.numbers
