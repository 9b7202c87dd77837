"""Fits the bandwidth that streamed kernels reach, and the timers of vector operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_fit import least
from codesign.measure.gpu_operators import OperatorRows, Timer, predict_operators
from codesign.measure.gpu_rows import Float64
from codesign.measure.gpu_settings import settings


@dataclass(frozen=True)
class StreamFit:
    """A machine with its fitted `streams.dram_efficiency`, one timer for each operator, and the
    mean |log error| of the sizes that were seen."""

    machine: TensorCore
    timers: tuple[Timer, ...]
    error: float
    rows: int


def fit_streams(machine: TensorCore, groups: Sequence[OperatorRows]) -> StreamFit:
    """Fit one efficiency, and an offset for each group; the floor is the least time seen."""
    plan = settings()
    used = [rows.where(rows.in_fit) for rows in groups]
    first = np.array(
        [plan.start.streams["efficiency"]] + [plan.start.streams["offset_us"]] * len(used)
    )

    def read(z: Float64) -> tuple[TensorCore, list[Timer]]:
        efficiency, *offsets = (first * np.exp(z)).tolist()
        streams = machine.spec.streams.model_copy(update={"dram_efficiency": min(1.0, efficiency)})
        timed = [
            Timer(
                origin=rows.origin, op=rows.op, gpu=rows.gpu, offset_us=offset,
                floor_us=float(rows.latency_us.min()),
                fitted_on=f"the half of (m,n) with even md5, {len(rows.latency_us)} rows",
            )
            for rows, offset in zip(used, offsets, strict=True)
        ]  # fmt: skip
        return TensorCore(machine.spec.model_copy(update={"streams": streams})), timed

    count = sum(len(rows.latency_us) for rows in used)

    def apart(z: Float64) -> float:
        tried, timed = read(z)
        return sum(
            float(np.abs(np.log(predict_operators(tried, rows, one) / rows.latency_us)).sum())
            for rows, one in zip(used, timed, strict=True)
        )

    def loss(z: Float64) -> float:
        return (apart(z) + plan.settings.pull * float(z @ z)) / count

    best = least(loss, len(first), plan.settings.stream_rounds)
    tuned, timed = read(best)
    return StreamFit(tuned, tuple(timed), apart(best) / count, count)
