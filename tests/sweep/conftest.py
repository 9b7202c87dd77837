"""A small sweep, and engines that are slow, wrong or fatal, for the tests of this folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from codesign.sweep.check import read_study
from codesign.sweep.design import Base, Point
from codesign.sweep.engine import Engine, Outcome

SMALL = """\
name: small
workload: "gemm:64,64,64"
arch: sat
method: grid
metrics: {latency_s: minimize, area_mm2: minimize}
parameters:
  arch.array.rows: {values: [4, 8, 16, 32]}
  arch.array.cols: {values: [4, 8, 16, 32]}
  arch.dram.bytes_per_cycle: {values: [16, 32, 64]}
execution: {executor: serial, timeout_s: 30}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The file of a sweep of 48 points that take a millisecond each."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture
def base(small: Path) -> Base:
    """The same sweep, read."""
    return read_study(small)


def _rows(point: Point) -> int:
    return int(point.values["arch.array.rows"])


class Raising(Engine):
    """Fails in a way that nobody foresaw on a quarter of the points."""

    def _metrics(self, point: Point, marks: dict[str, str]) -> dict[str, float]:
        if _rows(point) == 8:
            raise ZeroDivisionError("a point that raises")
        return super()._metrics(point, marks)


class Hanging(Engine):
    """Hangs on one point."""

    def evaluate(self, point: Point) -> Outcome:
        if point.number == 5:
            time.sleep(3600)
        return super().evaluate(point)


class Eating(Engine):
    """Takes all the memory that there is on one point."""

    def _metrics(self, point: Point, marks: dict[str, str]) -> dict[str, float]:
        if point.number == 5:
            bytearray(1 << 40)
        return super()._metrics(point, marks)


class Dying(Engine):
    """Ends its process on one point."""

    def evaluate(self, point: Point) -> Outcome:
        if point.number == 5:
            os._exit(9)
        return super().evaluate(point)


class Slow(Engine):
    """Takes twenty milliseconds for each point."""

    def evaluate(self, point: Point) -> Outcome:
        time.sleep(0.02)
        return super().evaluate(point)


class DyingOnce(Engine):
    """Ends its process on one point, the first time that it is tried."""

    def evaluate(self, point: Point) -> Outcome:
        mark = Path(os.environ["CODESIGN_TEST_MARK"])
        if point.number == 5 and not mark.exists():
            mark.touch()
            os._exit(9)
        return super().evaluate(point)


class Telling(Engine):
    """Says which process works, slowly."""

    def evaluate(self, point: Point) -> Outcome:
        (Path(self._base.study.description) / str(os.getpid())).touch()
        time.sleep(0.05)
        return super().evaluate(point)
