"""Is no point lost and none counted twice when workers, disks and points fail?"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.sweep.check import read_study
from codesign.sweep.design import Base, Designs
from codesign.sweep.pool import ProcessPool
from codesign.sweep.run import Progress, Sweep, prepare
from codesign.sweep.samplers import make_sampler
from codesign.sweep.store import Row, Store
from tests.sweep.conftest import Dying, DyingOnce, Eating, Engine, Hanging, Raising, Slow

POINTS = 48


def _in_processes(base: Base, **given: object) -> Base:
    execution = base.study.execution.model_copy(
        update={"executor": "process", "workers": 2, **given}
    )
    return replace(base, study=base.study.model_copy(update={"execution": execution}))


def _run(
    base: Base, path: Path, engine: type[Engine] = Engine, *, resume: bool = False
) -> tuple[Progress, list[Row]]:
    with Store(path) as store:
        prepare(store, base, resume=resume)
        progress = Sweep(base, store, engine=engine).run()
        return progress, store.rows()


def _metrics(rows: list[Row]) -> dict[str, dict[str, float]]:
    return {row.key: dict(row.metrics) for row in rows if row.error is None}


def test_a_point_that_raises_is_a_row_with_its_error(base: Base, tmp_path: Path) -> None:
    """A quarter of the points raise; the others are unharmed."""
    progress, rows = _run(base, tmp_path / "s.db", Raising)
    failed = [row for row in rows if row.error is not None]
    assert len(rows) == POINTS
    assert len(failed) == progress.failed == POINTS // 4
    assert {row.error for row in failed} == {"ZeroDivisionError: a point that raises"}
    assert all(row.values["arch.array.rows"] == 8 for row in failed)


def test_a_point_that_hangs_is_ended(base: Base, tmp_path: Path) -> None:
    """It alone fails, after its time; its worker is replaced."""
    progress, rows = _run(_in_processes(base, timeout_s=4.0), tmp_path / "s.db", Hanging)
    failed = [row for row in rows if row.error is not None]
    assert len(rows) == POINTS == progress.evaluated
    assert [row.number for row in failed] == [5]
    assert "longer than execution.timeout_s (4 s)" in str(failed[0].error)


def test_a_point_that_eats_memory_fails_alone(base: Base, tmp_path: Path) -> None:
    """The address space of a worker is limited, so the machine is not."""
    _, rows = _run(_in_processes(base, memory_bytes=1 << 30), tmp_path / "s.db", Eating)
    failed = [row for row in rows if row.error is not None]
    assert len(rows) == POINTS
    assert [row.number for row in failed] == [5]
    assert "more memory than execution.memory_bytes" in str(failed[0].error)


def test_a_point_that_ends_its_worker_fails_alone(base: Base, tmp_path: Path) -> None:
    """Twice tried, then given up."""
    _, rows = _run(_in_processes(base), tmp_path / "s.db", Dying)
    failed = [row for row in rows if row.error is not None]
    assert len(rows) == POINTS
    assert [row.number for row in failed] == [5]
    assert "its worker died 2 times (exit code 9)" in str(failed[0].error)


def test_a_point_whose_worker_dies_once_is_tried_again(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails, and the results are those of a run without accidents."""
    monkeypatch.setenv("CODESIGN_TEST_MARK", str(tmp_path / "mark"))
    _, rows = _run(_in_processes(base), tmp_path / "s.db", DyingOnce)
    _, calm = _run(base, tmp_path / "calm.db")
    assert _metrics(rows) == _metrics(calm)
    assert len(rows) == POINTS


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_workers_killed_at_random_moments_lose_nothing(base: Base, kills: int) -> None:
    """Every point is answered, once, whatever was being worked on."""
    rng = random.Random(0)
    designs, sampler = Designs(base), make_sampler(base.study)
    points = [designs.point(i, values) for i, values in enumerate(sampler.ask(POINTS))]
    points += [
        designs.point(i, {**point.values, "arch.dram.bytes_per_cycle": 1000 + i})
        for i, point in enumerate(points * (kills // 3))
    ]
    pool = ProcessPool(base, 2, timeout_s=60, memory_bytes=None, retries=20, engine=Slow)
    pool.submit(points)
    seen: Counter[str] = Counter()
    killed, at = 0, 0.0
    try:
        while pool.pending:
            for outcome in pool.wait(0.02):
                assert outcome.error is None
                seen[outcome.key] += 1
            if killed < kills and pool.pids and time.monotonic() > at:
                os.kill(rng.choice(pool.pids), signal.SIGKILL)
                killed += 1
                at = time.monotonic() + rng.uniform(0.0, 0.2)
    finally:
        pool.close()
    assert killed >= kills // 2
    assert set(seen) == {point.key for point in points}
    assert set(seen.values()) == {1}


DRIVER = """\
import sys
from pathlib import Path
from codesign.sweep.check import read_study
from codesign.sweep.run import Sweep, prepare
from codesign.sweep.store import Store
from tests.sweep.conftest import Slow
base = read_study(Path(sys.argv[1]))
with Store(Path(sys.argv[2])) as store:
    prepare(store, base, resume=True)
    print("begun", flush=True)
    print(Sweep(base, store, engine=Slow).run().evaluated)
"""


@pytest.mark.slow
def test_a_driver_killed_at_twenty_moments_loses_only_points_in_flight(
    small: Path, base: Base, tmp_path: Path
) -> None:
    """kill -9, then --resume: the study ends as if nothing had happened."""
    rng = random.Random(1)
    path = tmp_path / "s.db"
    command = [sys.executable, "-c", DRIVER, str(small), str(path)]
    stored = 0
    for _ in range(20):
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert driver.stdout is not None
        driver.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.25))
        driver.kill()
        driver.communicate()
        if path.exists():
            with Store(path) as store:
                now = store.count()
            assert now >= stored
            stored = now
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ended.stdout.split()[-1]) == POINTS - stored
    _, calm = _run(base, tmp_path / "calm.db")
    with Store(path) as store:
        assert _metrics(store.rows()) == _metrics(calm)


def test_a_driver_killed_in_its_middle_goes_on(small: Path, base: Base, tmp_path: Path) -> None:
    """Some points are stored, none is run twice, the end is the same."""
    path = tmp_path / "s.db"
    command = [sys.executable, "-c", DRIVER, str(small), str(path)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    driver.stdout.readline()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with Store(path) as store:
            if store.count():
                break
        time.sleep(0.05)
    driver.kill()
    driver.communicate()
    with Store(path) as store:
        stored = store.count()
    assert 0 < stored <= POINTS
    progress, rows = _run(base, path, resume=True)
    _, calm = _run(base, tmp_path / "calm.db")
    assert (progress.evaluated, progress.answered) == (POINTS - stored, stored)
    assert _metrics(rows) == _metrics(calm)


def test_ctrl_c_saves_what_is_there(base: Base, tmp_path: Path) -> None:
    """Interrupted between two points, the finished ones are in the store."""

    class Interrupted(Engine):
        def evaluate(self, point):  # type: ignore[no-untyped-def]
            if point.number == 20:
                raise KeyboardInterrupt
            return super().evaluate(point)

    path = tmp_path / "s.db"
    with Store(path) as store:
        prepare(store, base, resume=False)
        with pytest.raises(KeyboardInterrupt):
            Sweep(base, store, engine=Interrupted).run()
    progress, rows = _run(base, path, resume=True)
    assert progress.answered + progress.evaluated == POINTS == len(rows)


def test_a_full_disk_is_told_and_what_was_committed_stays(base: Base, tmp_path: Path) -> None:
    """SQLite runs out of pages in mid-sweep; after there is room again the sweep goes on."""
    path = tmp_path / "s.db"
    with Store(path) as store:
        prepare(store, base, resume=False)
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(CodesignError, match="no space is left"):
            Sweep(base, store).run()
        kept = store.count()
    progress, rows = _run(base, path, resume=True)
    assert progress.answered == kept
    assert len(rows) == POINTS


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    """A file in place of a folder, and a folder of the system that takes no files."""
    (tmp_path / "file").touch()
    with pytest.raises(CodesignError, match="file"):
        Store(tmp_path / "file" / "s.db")
    with pytest.raises(CodesignError, match="is a folder"):
        Store(tmp_path)
    if Path("/proc/self").is_dir():
        with pytest.raises(CodesignError, match=r"cannot be opened|No such file"):
            Store(Path("/proc/self/s.db"))


def test_a_read_only_study_is_told(base: Base, tmp_path: Path) -> None:
    """A study that may only be read cannot take points."""
    path = tmp_path / "s.db"
    with Store(path) as store:
        prepare(store, base, resume=False)
        store._db.execute("PRAGMA query_only = 1")
        with pytest.raises(CodesignError, match="read-only"):
            Sweep(base, store).run()


@pytest.mark.parametrize("damage", ["text", "head", "middle"])
def test_a_corrupt_study_is_told(base: Base, tmp_path: Path, damage: str) -> None:
    """Nothing is written over a file that is no sound database."""
    path = tmp_path / "s.db"
    _run(base, path)
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"this is no database " * 300)
    else:
        start = 0 if damage == "head" else len(content) // 2
        content[start : start + 3000] = b"\xab" * 3000
    path.write_bytes(content)
    with pytest.raises(CodesignError, match=r"damaged|not of a study"):
        _run(base, path, resume=True)
    assert path.read_bytes() == bytes(content)


def test_two_processes_on_one_study_store_every_point_once(
    small: Path, base: Base, tmp_path: Path
) -> None:
    """Both run at once; the study is whole and the same as that of one."""
    path = tmp_path / "s.db"
    with Store(path) as store:
        prepare(store, base, resume=False)
    command = [sys.executable, "-c", DRIVER, str(small), str(path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for driver in both:
        driver.communicate()
        assert driver.returncode == 0
    with Store(path) as store:
        rows = store.rows()
    _, calm = _run(base, tmp_path / "calm.db")
    assert len(rows) == POINTS
    assert _metrics(rows) == _metrics(calm)


def test_a_study_is_not_mixed_with_another(small: Path, base: Base, tmp_path: Path) -> None:
    """Without --resume points stay untouched, and another study's points are never mixed in."""
    path = tmp_path / "s.db"
    _run(base, path)
    with pytest.raises(CodesignError, match=r"--resume"):
        _run(base, path)
    other = read_study(small, ["arch.array.rows=5"])
    with pytest.raises(CodesignError, match="another study"):
        _run(other, path, resume=True)
