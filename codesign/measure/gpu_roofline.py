"""The baseline: a roofline with three fitted numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_rows import Float64, Rows
from codesign.units import HZ_PER_MHZ, US_PER_S

_MOST_ROWS = 400
_SEED = 0
_ROUNDS = 600
_START = (0.7, 0.8)
"""Shares of the peak rate and of the peak bandwidth that the fit starts from."""


@dataclass(frozen=True)
class Roofline3:
    """t0 + max(work / (peak rate x compute), bytes / (peak bandwidth x memory))."""

    t0_us: float
    compute: float
    memory: float

    def predict(self, machine: TensorCore, rows: Rows) -> Float64:
        """Microseconds of every row on a machine's peak rates."""
        work, moved = _peak_times(machine, rows)
        return np.asarray(self.t0_us + np.maximum(work / self.compute, moved / self.memory))


def _peak_times(machine: TensorCore, rows: Rows) -> tuple[Float64, Float64]:
    spec, form = machine.spec, rows.form
    _, m, n, k = rows.sizes.T.astype(np.float64)
    size = {"fp16": 2, "bf16": 2}.get(rows.dtype, 1)
    per_us = spec.clock_mhz * HZ_PER_MHZ / US_PER_S
    rate = spec.sm.count * spec.mma[rows.dtype] * form.rate  # type: ignore[index]
    moved = (m * k + form.b_share * n * k) * size + rows.c_bytes * m * n
    return m * n * k / rate / per_us, moved / spec.dram.bytes_per_cycle / per_us


def fit_roofline(machine: TensorCore, rows: Rows) -> Roofline3:
    """The baseline's three numbers for one group, on the rows of the fitted half."""
    half = rows.fitted_sample(_MOST_ROWS, _SEED) if rows.in_fit.any() else rows
    start = np.log([half.latency_us.min(), *_START])
    work, moved = _peak_times(machine, half)

    def loss(z: Float64) -> float:
        t0, compute, memory = np.exp(z)
        found = t0 + np.maximum(work / compute, moved / memory)
        return float(np.mean(np.abs(np.log(found / half.latency_us))))

    found = minimize(loss, start, method="Nelder-Mead", options={"maxfev": _ROUNDS})
    t0, compute, memory = np.exp(np.asarray(found.x))
    return Roofline3(float(t0), float(compute), float(memory))
