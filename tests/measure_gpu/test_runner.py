"""Does a run append a row for each point whatever happens, and go on where it stopped?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from codesign.config import CodesignError  # noqa: E402
from codesign.measure.gpu_plan import Point, Run  # noqa: E402
from codesign.measure.gpu_products import Product, relative_error  # noqa: E402
from codesign.measure.gpu_results import (  # noqa: E402
    Results,
    Session,
    Timed,
    csv_text,
    read_results,
    text_of,
    write_results,
)
from codesign.measure.gpu_rows import machine_name, read_rows  # noqa: E402
from codesign.measure.gpu_runner import run_energy, run_gemm  # noqa: E402
from tests.measure_gpu.fake_device import FakeDevice  # noqa: E402

SESSION = Session(
    id="one", run="gemm", gpu="NVIDIA H200", started="2026-01-01T00:00:00+00:00",
    versions={"torch": "2.11", "cuda": "13.0", "cusparselt": "800"}, sms=132, l2_bytes=1 << 25,
    memory_bytes=1 << 37, split_sha256="0" * 64,
)  # fmt: skip
POINTS = tuple(Point("cublas", "bf16", m, 64, 64) for m in range(1, 31))
RUN = Run("gemm", "", POINTS, POINTS[::10], 0.0)


class FakeLab:
    """Products that are the rows' numbers; `break_at`: an error, or a factor, for an m."""

    def __init__(self, device: FakeDevice, break_at: dict[int, Exception | float] | None = None):
        self.device = device
        self.break_at = break_at or {}

    def build(self, point: Point) -> Product:
        wrong = self.break_at.get(point.m, 1.0)
        if isinstance(wrong, Exception):
            raise wrong
        out = torch.empty(point.m, 1)
        numbers = torch.arange(1.0, point.m + 1)[:, None]

        def launch() -> torch.Tensor:
            self.device.launch()
            out.copy_(numbers * wrong)
            return out

        return Product(launch, lambda rows: numbers[rows].double(), point.m, out, 10, 20, 1e-3)

    def error(self, product: Product) -> float:
        return relative_error(product, "cpu")

    def counters(self, point: Point, limit_s: float) -> dict[str, float]:
        return {"dram__bytes_read.sum": float(point.m)}

    def release(self) -> None:
        self.device.release()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.json"


def test_each_point_and_each_repeat_gets_a_row_with_its_times(path: Path) -> None:
    found = run_gemm(FakeLab(FakeDevice()), RUN, SESSION, path)
    assert found == read_results(path)
    assert [row.key for row in found.latency] == [p.key for p in (*POINTS, *RUN.repeats)]
    assert [row.repeat for row in found.latency] == [False] * 30 + [True] * 3
    for row in found.latency:
        assert row.warm is not None
        assert row.cold is not None
        assert (row.warm.median_us, row.cold.median_us) == pytest.approx((1000, 1500))
        assert (row.flops, row.bytes, row.board.sm_mhz) == (10, 20, 1980)
        assert row.relative_error == pytest.approx(0, abs=1e-6)


def test_a_wrong_or_failing_kernel_gets_a_row_without_times(path: Path) -> None:
    bad: dict[int, Exception | float] = {
        3: 1.01, 4: math.nan, 5: RuntimeError("out of memory"), 6: CodesignError("no such kernel"),
    }  # fmt: skip
    found = run_gemm(FakeLab(FakeDevice(), bad), RUN, SESSION, path)
    failed = {row.key: row for row in found.latency if row.failed}
    assert set(failed) == {POINTS[m - 1].key for m in bad}
    assert all(row.warm is None and row.cold is None for row in failed.values())
    assert "0.01" in failed[POINTS[2].key].failed
    assert "inf" in failed[POINTS[3].key].failed
    assert "out of memory" in failed[POINTS[4].key].failed
    assert len(found.latency) == 33


def test_a_lost_device_ends_the_run_and_keeps_what_was_measured(path: Path) -> None:
    lost: dict[int, Exception | float] = {8: RuntimeError("CUDA error: an illegal memory access")}
    said: list[str] = []
    found = run_gemm(FakeLab(FakeDevice(), lost), RUN, SESSION, path, say=said.append)
    assert [row.key for row in read_results(path).latency] == [p.key for p in POINTS[:7]]
    assert len(found.latency) == 7
    assert "illegal memory access" in said[-1]


def test_when_time_is_up_repeats_keep_their_share_and_a_later_call_goes_on(path: Path) -> None:
    first = run_gemm(FakeLab(FakeDevice(flush_us=500)), RUN, SESSION, path, limit_s=13.0)
    seen = [row.key for row in first.latency if not row.repeat]
    assert 10 <= len(seen) < len(POINTS)
    assert [row.key for row in first.latency if row.repeat] == [
        p.key for p in RUN.repeats if p.key in seen
    ]
    second = SESSION.model_copy(update={"id": "two"})
    last = run_gemm(FakeLab(FakeDevice()), RUN, second, path)
    assert last.latency[: len(first.latency)] == first.latency
    keys = [row.key for row in last.latency if not row.repeat]
    assert keys == [point.key for point in POINTS]


def test_other_versions_are_measured_anew(path: Path) -> None:
    run_gemm(FakeLab(FakeDevice()), RUN, SESSION, path)
    newer = SESSION.model_copy(update={"id": "two", "versions": {"torch": "2.12"}})
    found = run_gemm(FakeLab(FakeDevice()), RUN, newer, path)
    assert sum(row.session == "two" for row in found.latency) == 33


def test_rows_are_never_changed_or_dropped(path: Path) -> None:
    found = run_gemm(FakeLab(FakeDevice()), RUN, SESSION, path)
    before = path.read_text(encoding="utf-8")
    for other in (
        Results(),
        found.model_copy(update={"latency": found.latency[:-1]}),
        found.model_copy(update={"latency": (found.latency[1], *found.latency[1:])}),
    ):
        with pytest.raises(CodesignError, match="only append"):
            write_results(path, other)
    assert path.read_text(encoding="utf-8") == before == text_of(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"one"', '"other"', 1),
        lambda text: text.replace('"p10_us": 1000', '"p10_us": 9999', 1),
        lambda text: text.replace('"sms": 132', '"sms": "132"', 1),
        lambda text: text.replace('"format": 1', '"format": 2', 1),
        lambda text: text[:-20],
    ],
)
def test_a_damaged_file_is_refused(path: Path, change: Callable[[str], str]) -> None:
    run_gemm(FakeLab(FakeDevice()), replace(RUN, points=POINTS[:2], repeats=()), SESSION, path)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(CodesignError):
        read_results(path)


def test_times_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="p10_us"):
        Timed(median_us=1.0, p10_us=2.0, p90_us=3.0, count=1, copies=1)


def test_energy_rows_and_counters_follow_their_points(path: Path) -> None:
    points = (*POINTS[:2], Point("idle", "bf16", 1, 1, 1))
    session = SESSION.model_copy(update={"run": "energy"})
    run = Run("energy", "", points, (), 0.0)
    lab = FakeLab(FakeDevice(power_w=600, idle_w=80))
    found = run_energy(lab, run, session, path, counted=POINTS[:3])
    assert [row.key for row in found.energy] == [point.key for point in points]
    watts = [row.energy_j / row.seconds for row in found.energy]
    assert watts == pytest.approx([600, 600, 80])
    assert [row.counters for row in found.counters] == [
        {"dram__bytes_read.sum": float(m)} for m in (1, 2, 3)
    ]
    assert found == read_results(path)


def test_exported_rows_are_read_by_the_validation(path: Path, tmp_path: Path) -> None:
    sparse = [replace(point, kernel="cusparselt") for point in POINTS[:5]]
    gather = [Point("triton_nm", "bf16", 1, 64, 64, (("keep", 1), ("of", 4)))]
    run = Run("gemm", "", (*POINTS[:5], *sparse, *gather), POINTS[:1], 0.0)
    found = run_gemm(FakeLab(FakeDevice()), run, SESSION, path)
    again = found.latency[0].model_copy(
        update={
            "repeat": True,
            "warm": Timed(median_us=1.0, p10_us=1.0, p90_us=1.0, count=1, copies=1),
        }
    )
    found = found.plus(latency=[again])
    for cold, us in ((False, 1000.0), (True, 1500.0)):
        file = tmp_path / "rows.csv"
        file.write_text(csv_text(found, cold=cold), encoding="utf-8")
        groups = read_rows([file])
        assert {(rows.pattern, rows.library, len(rows)) for rows in groups} == {
            ("dense", "cuBLAS", 5), ("2:4", "cuSPARSELt", 5),
        }  # fmt: skip
        assert all(rows.latency_us == pytest.approx([us] * 5) for rows in groups)
        assert {machine_name(rows.gpu) for rows in groups} == {"h200"}
