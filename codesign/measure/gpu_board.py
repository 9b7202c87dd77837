"""Clocks, power, temperature and energy of an NVIDIA board, read from NVML through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from codesign.config import CodesignError
from codesign.measure.gpu_timing import Sample

_LIBRARY = "libnvidia-ml.so.1"
_SM_CLOCK, _MEMORY_CLOCK, _DIE = 1, 2, 0
_TEXT_BYTES = 96


class Board:
    """One board by the UUID that CUDA gives it; what the driver does not tell is None.

    `library` stands in for NVML in tests. Raises CodesignError when NVML is not there or does not
    know the board.
    """

    def __init__(self, uuid: str, library: Any = None) -> None:
        try:
            self._nvml = ctypes.CDLL(_LIBRARY) if library is None else library
        except OSError as error:
            raise CodesignError(f"NVML is not installed with the driver ({error})") from None
        self._handle = ctypes.c_void_p()
        name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        found = self._nvml.nvmlInit_v2() or self._nvml.nvmlDeviceGetHandleByUUID(
            name.encode(), ctypes.byref(self._handle)
        )
        if found:
            raise CodesignError(f"NVML does not know the board {name} (code {found})")

    def sample(self) -> Sample:
        """The state of the board now."""
        nvml, handle = self._nvml, self._handle
        power = self._read(ctypes.c_uint, nvml.nvmlDeviceGetPowerUsage, handle)
        return Sample(
            sm_mhz=self._read(ctypes.c_uint, nvml.nvmlDeviceGetClockInfo, handle, _SM_CLOCK),
            memory_mhz=self._read(
                ctypes.c_uint, nvml.nvmlDeviceGetClockInfo, handle, _MEMORY_CLOCK
            ),
            power_w=None if power is None else power / 1e3,
            temperature_c=self._read(ctypes.c_uint, nvml.nvmlDeviceGetTemperature, handle, _DIE),
        )

    def energy_j(self) -> float | None:
        """Energy since the driver was loaded; None before Volta."""
        millijoules = self._read(
            ctypes.c_ulonglong, self._nvml.nvmlDeviceGetTotalEnergyConsumption, self._handle
        )
        return None if millijoules is None else millijoules / 1e3

    def power_limit_w(self) -> float | None:
        """The limit that the driver enforces."""
        limit = self._read(ctypes.c_uint, self._nvml.nvmlDeviceGetEnforcedPowerLimit, self._handle)
        return None if limit is None else limit / 1e3

    def driver(self) -> str:
        """The version of the driver, empty when it is not told."""
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        failed = self._nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(_TEXT_BYTES))
        return "" if failed else text.value.decode()

    def _read(self, kind: Any, call: Callable[..., int], *arguments: Any) -> float | None:
        value = kind()
        return None if call(*arguments, ctypes.byref(value)) else float(value.value)
