"""Fits named constants of a GPU's kernels, and of how an origin timed, to measured rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from codesign.arch.gpu_kernels import KernelLibrary
from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_rows import Float64, Protocol, Rows, predict
from codesign.measure.gpu_settings import Part, part_of, settings
from codesign.units import DTypeName

KERNEL_FIELDS = (
    "read_efficiency", "write_efficiency", "sharing", "prologue_cycles",
    "store_bytes_per_cycle", "step_cycles", "split_cycles",
)  # fmt: skip
PROTOCOL_FIELDS = ("offset_us", "warm", "burst")


@dataclass(frozen=True)
class Case:
    """Rows of one group, the machine that they ran on, and how they were timed."""

    machine: TensorCore
    rows: Rows
    protocol: Protocol

    @property
    def part(self) -> Part:
        """The kernels that the rows exercise."""
        return part_of(self.rows)

    @property
    def kernels(self) -> KernelLibrary:
        library: KernelLibrary = getattr(self.machine.spec, self.part)
        return library

    def with_kernels(self, values: Mapping[str, object]) -> Case:
        return replace(self, machine=with_kernels(self.machine, self.part, values))

    def log_errors(self) -> Float64:
        """log(simulated / measured) of every row."""
        found = predict(self.machine, self.rows, self.protocol)
        return np.asarray(np.log(found / self.rows.latency_us))


@dataclass(frozen=True)
class Fit:
    """Cases with their fitted constants, and the mean |log error| of the rows that were seen."""

    cases: tuple[Case, ...]
    error: float
    rows: int


def with_kernels(machine: TensorCore, part: Part, values: Mapping[str, object]) -> TensorCore:
    """The machine with some constants of one of its kernel libraries replaced."""
    kernels = getattr(machine.spec, part).model_copy(update=dict(values))
    return TensorCore(machine.spec.model_copy(update={part: kernels}))


def fit_cases(
    cases: Sequence[Case],
    *,
    kernels: Sequence[str] = KERNEL_FIELDS,
    protocol: Sequence[str] = PROTOCOL_FIELDS,
    rates: bool = True,
    rounds: int | None = None,
    most_rows: int | None = None,
    pull: float | None = None,
) -> Fit:
    """Fit constants to the rows of the fitted half of all cases.

    `kernels` are common to all cases, and so is `protocol` but for `offset_us`, which each case
    has for itself; `rates` adds a sustained rate for each type. Least mean |log error|, held near
    the constants that the cases come with by `pull`, so that few rows move them little.
    """
    chosen = settings().settings
    held = chosen.pull if pull is None else pull
    used = [
        replace(c, rows=c.rows.fitted_sample(most_rows or chosen.board_rows, chosen.seed))
        for c in cases
    ]
    common = [name for name in protocol if name != "offset_us"]
    own_offset = "offset_us" in protocol
    first = np.array(
        [getattr(cases[0].kernels, name) for name in kernels]
        + [getattr(cases[0].protocol, name) for name in common]
        + [case.protocol.offset_us for case in cases if own_offset]
        + [_sustained(case) for case in cases if rates]
    )
    first = np.maximum(1e-3, first)

    def read(z: Float64, given: Sequence[Case]) -> list[Case]:
        values = iter((first * np.exp(z)).tolist())
        found = {name: _within(name, next(values)) for name in (*kernels, *common)}
        timed = {name: found[name] for name in common}
        offsets = [next(values) if own_offset else c.protocol.offset_us for c in given]
        shares: dict[DTypeName, float] = {}
        if rates:
            shares = {c.rows.dtype: _within("sustained", next(values)) for c in given}  # type: ignore[misc]
        out = []
        for case, offset in zip(given, offsets, strict=True):
            changed: dict[str, object] = {name: found[name] for name in kernels}
            if rates:
                changed["sustained"] = {**case.kernels.sustained, **shares}
            update = {**timed, "offset_us": offset}
            out.append(
                replace(
                    case.with_kernels(changed), protocol=case.protocol.model_copy(update=update)
                )
            )
        return out

    total = sum(len(case.rows) for case in used)

    def loss(z: Float64) -> float:
        apart = sum(float(np.abs(case.log_errors()).sum()) for case in read(z, used))
        return (apart + held * float(z @ z)) / total

    best = least(loss, len(first), rounds or chosen.board_rounds)
    error = sum(float(np.abs(c.log_errors()).sum()) for c in read(best, used)) / total
    return Fit(tuple(read(best, cases)), error, total)


def least(loss: Callable[[Float64], float], size: int, rounds: int) -> Float64:
    """Nelder-Mead twice, the second time from the first's result and to the other side."""
    step = settings().settings.simplex_step
    best = np.zeros(size)
    for first in (step, -step / 2):
        simplex = np.vstack([best, best + first * np.eye(size)])
        options = {"maxfev": rounds, "initial_simplex": simplex, "adaptive": True}
        found = minimize(loss, best, method="Nelder-Mead", options=options)
        best = np.asarray(found.x)
    return best


def _within(name: str, value: float) -> float:
    bounds = settings()
    return float(np.clip(value, bounds.least.get(name, 0.0), bounds.most.get(name, np.inf)))


def _sustained(case: Case) -> float:
    return case.machine.sustained(case.rows.dtype, case.rows.form)  # type: ignore[arg-type]
