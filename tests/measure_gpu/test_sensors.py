"""Are the board's sensors, the profiler's table and the libraries' ways of calling read right?"""

from __future__ import annotations

import ctypes
import subprocess
from typing import Any

import pytest

from codesign.config import CodesignError
from codesign.measure import gpu_counters
from codesign.measure.gpu_board import Board
from codesign.measure.gpu_plan import Point, point_of
from codesign.measure.gpu_timing import Sample


class FakeNvml:
    """Sensors by the names of NVML; what is missing answers with the code for `not supported`."""

    def __init__(self, known: dict[str, int], uuid: bytes = b"GPU-1-2") -> None:
        self.known = known
        self.uuid = uuid

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        return 0 if uuid == self.uuid else 6

    def nvmlSystemGetDriverVersion(self, text: Any, size: Any) -> int:  # noqa: N802
        text.value = b"580.1"
        return 0

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int, value: Any) -> int:  # noqa: N802
        return self.answer(f"clock{kind}", value)

    def nvmlDeviceGetTemperature(self, handle: Any, kind: int, value: Any) -> int:  # noqa: N802
        return self.answer("temperature", value)

    def __getattr__(self, name: str) -> Any:
        return lambda handle, value: self.answer(name, value)

    def answer(self, name: str, value: Any) -> int:
        if name not in self.known:
            return 3
        ctypes.cast(value, ctypes.POINTER(ctypes.c_ulonglong if self.known[name] >= 1 << 32
                    else ctypes.c_uint))[0] = self.known[name]  # fmt: skip
        return 0


def test_sensors_are_read_in_their_units() -> None:
    board = Board(
        "1-2",
        FakeNvml(
            {
                "clock1": 1980, "clock2": 3201, "temperature": 41,
                "nvmlDeviceGetPowerUsage": 645500,
                "nvmlDeviceGetTotalEnergyConsumption": 1 << 40,
                "nvmlDeviceGetEnforcedPowerLimit": 700000,
            }
        ),
    )  # fmt: skip
    assert board.sample() == Sample(1980, 3201, 645.5, 41)
    assert board.energy_j() == (1 << 40) / 1e3
    assert board.power_limit_w() == 700
    assert board.driver() == "580.1"


def test_a_sensor_that_is_not_there_is_unknown() -> None:
    board = Board("GPU-1-2", FakeNvml({"clock1": 1000}))
    assert board.sample() == Sample(sm_mhz=1000)
    assert board.energy_j() is None
    assert board.power_limit_w() is None


def test_a_board_that_nvml_does_not_know_is_refused() -> None:
    with pytest.raises(CodesignError, match="does not know"):
        Board("other", FakeNvml({}))


TABLE = """==PROF== Connected to process 7
==PROF== Profiling "splitK": 0%....100%
"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","gemm","dram__bytes_read.sum","byte","1,234,567"
"0","gemm","sm__cycles_elapsed.max","cycle","100"
"0","gemm","sm__inst_executed_pipe_tensor.sum","inst","n/a"
"1","splitK","dram__bytes_read.sum","byte","33"
"1","splitK","sm__cycles_elapsed.max","cycle","20.5"
"""


def test_counters_are_summed_over_the_kernels_of_a_launch() -> None:
    assert gpu_counters.parse(TABLE) == {
        "dram__bytes_read.sum": 1234600.0,
        "sm__cycles_elapsed.max": 120.5,
    }


def test_the_profiler_leaves_clocks_alone_and_is_given_the_point() -> None:
    point = Point("cublas", "bf16", 16, 64, 64)
    words = gpu_counters.command(point)
    assert words[words.index("--clock-control") + 1] == "none"
    assert point_of(words[-1]) == point


def test_a_profiler_that_fails_or_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    point = Point("cublas", "bf16", 16, 64, 64)
    monkeypatch.setattr(gpu_counters.shutil, "which", lambda name: None)
    with pytest.raises(CodesignError, match="not installed"):
        gpu_counters.read_counters(point, 1.0)
    monkeypatch.setattr(gpu_counters.shutil, "which", lambda name: name)
    refused = subprocess.CompletedProcess([], 1, "", "ERR_NVGPUCTRPERM")
    monkeypatch.setattr(gpu_counters.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(CodesignError, match="ERR_NVGPUCTRPERM"):
        gpu_counters.read_counters(point, 1.0)
