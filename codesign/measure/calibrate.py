"""Fits the named constants of a GPU's kernels to measured rows; nothing else of a machine is
touched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from codesign.arch import load_arch
from codesign.arch.gpu_kernels import KernelLibrary
from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_rows import (
    Float64,
    Protocol,
    Rows,
    data_files,
    machine_name,
    predict,
    protocols,
    read_rows,
)
from codesign.units import HZ_PER_MHZ, US_PER_S

_KERNEL_FIELDS = (
    "read_efficiency", "write_efficiency", "sharing", "prologue_cycles",
    "store_bytes_per_cycle", "step_cycles", "split_cycles",
)  # fmt: skip
_PROTOCOL_FIELDS = ("offset_us", "warm", "burst")
_LEAST = {"burst": 1.0}
_MOST = {
    "read_efficiency": 1.0, "write_efficiency": 1.0, "sharing": 8.0, "warm": 2.0, "sustained": 1.0,
}  # fmt: skip
_PULL = 0.3
"""Weight of (log of a constant over its start)^2 against the sum of |log error| of all rows."""
_STEP = 0.25
_MOST_ROWS = 400
_SEED = 0


@dataclass(frozen=True)
class Fit:
    """A machine with fitted constants, and the protocol of each group of rows."""

    machine: TensorCore
    protocols: tuple[Protocol, ...]
    error: float
    """Mean |log(simulated / measured)| of the rows that were fitted."""


def with_kernels(machine: TensorCore, sparse: bool, values: dict[str, object]) -> TensorCore:
    """The machine with some constants of its dense or 2:4 kernels replaced."""
    field = "sparse" if sparse else "dense"
    kernels = getattr(machine.spec, field).model_copy(update=values)
    return TensorCore(machine.spec.model_copy(update={field: kernels}))


def fit_kernels(
    machine: TensorCore,
    groups: Sequence[Rows],
    start: Protocol,
    *,
    kernels: Sequence[str] = _KERNEL_FIELDS,
    protocol: Sequence[str] = _PROTOCOL_FIELDS,
    rates: bool = True,
    rounds: int = 1200,
) -> Fit:
    """Fit to groups of one board and pattern: kernels and protocol in common, one sustained rate
    each.

    `kernels` and `protocol` name the constants that are fitted, `rates` adds the sustained rates.

    Least mean |log(simulated / measured)|, held near the constants that the machine and `start`
    have, so that few rows move them little. Only rows of the fitted half are looked at.
    """
    sparse = groups[0].pattern != "dense"
    library: KernelLibrary | None = machine.spec.sparse if sparse else machine.spec.dense
    assert library is not None
    used = [_sample(group) for group in groups]
    names = [(name, getattr(library, name)) for name in kernels]
    if start.cutlass:
        names = [(name, value) for name, value in names if name != "split_cycles"]
    names += [(name, getattr(start, name)) for name in protocol]
    sustained = [machine.sustained(g.dtype, g.form) for g in groups] if rates else []  # type: ignore[arg-type]
    first = np.array([max(1e-3, value) for _, value in names] + sustained)

    def read(z: Float64) -> tuple[TensorCore, Protocol]:
        values = first * np.exp(z)
        found = {
            name: float(np.clip(value, _LEAST.get(name, 0.0), _MOST.get(name, np.inf)))
            for (name, _), value in zip(names, values, strict=False)
        }
        shares = dict(library.sustained)
        for group, value in zip(groups, values[len(names) :], strict=False):
            shares[group.dtype] = float(min(1.0, value))  # type: ignore[index]
        changed: dict[str, object] = {n: v for n, v in found.items() if n in kernels}
        changed["sustained"] = shares
        timed = start.model_copy(update={n: v for n, v in found.items() if n in protocol})
        return with_kernels(machine, sparse, changed), timed

    def loss(z: Float64) -> float:
        tried, timed = read(z)
        total = sum(log_errors(tried, rows, timed).sum() for rows in used)
        return float((total + _PULL * (z @ z)) / sum(map(len, used)))

    best = _least(loss, len(first), rounds)
    tuned, timed = read(best)
    error = sum(log_errors(tuned, rows, timed).sum() for rows in used) / sum(map(len, used))
    return Fit(tuned, (timed,), float(error))


def log_errors(machine: TensorCore, rows: Rows, protocol: Protocol) -> Float64:
    """|log(simulated / measured)| of every row."""
    return np.abs(np.log(predict(machine, rows, protocol) / rows.latency_us))


def _sample(rows: Rows) -> Rows:
    half = rows.where(rows.in_fit)
    if len(half) <= _MOST_ROWS:
        return half
    chosen = np.random.default_rng(_SEED).choice(len(half), _MOST_ROWS, replace=False)
    return half.where(np.sort(chosen))


def _least(loss: Callable[[Float64], float], size: int, rounds: int) -> Float64:
    """Nelder-Mead twice, the second time from the first's result and to the other side."""
    best = np.zeros(size)
    for step in (_STEP, -_STEP / 2):
        simplex = np.vstack([best, best + step * np.eye(size)])
        found = minimize(
            loss,
            best,
            method="Nelder-Mead",
            options={"maxfev": rounds, "initial_simplex": simplex, "adaptive": True},
        )
        best = np.asarray(found.x)
    return best


@dataclass(frozen=True)
class Roofline3:
    """The baseline: t0 + max(work / (peak rate x ec), bytes / (peak bandwidth x eb))."""

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
    half = _sample(rows) if rows.in_fit.any() else rows
    start = np.log([half.latency_us.min(), 0.7, 0.8])

    def read(z: Float64) -> Roofline3:
        t0, compute, memory = np.exp(z)
        return Roofline3(float(t0), float(compute), float(memory))

    work, moved = _peak_times(machine, half)

    def loss(z: Float64) -> float:
        t0, compute, memory = np.exp(z)
        found = t0 + np.maximum(work / compute, moved / memory)
        return float(np.mean(np.abs(np.log(found / half.latency_us))))

    found = minimize(loss, start, method="Nelder-Mead", options={"maxfev": 600})
    return read(np.asarray(found.x))


def main(data: Path) -> None:
    """Print constants fitted anew to every board and pattern of a data folder, from the shipped
    ones.

    The shipped constants were fitted in this way from round numbers, group by group; starting from
    them shows how far another pass moves them.
    """
    groups: dict[tuple[str, str, str, str], list[Rows]] = {}
    for rows in read_rows(data_files(data)):
        groups.setdefault((rows.origin, rows.library, rows.gpu, rows.pattern), []).append(rows)
    for (origin, library, gpu, pattern), members in groups.items():
        name = machine_name(gpu)
        machine = None if name is None else load_arch(name)
        if not isinstance(machine, TensorCore) or not any(m.in_fit.any() for m in members):
            continue
        members = [m for m in members if m.dtype in machine.spec.mma]
        fit = fit_kernels(machine, members, protocols().find(members[0]))
        kernels = fit.machine.spec.sparse if pattern == "2:4" else fit.machine.spec.dense
        print(f"# {origin} {library} {gpu} {pattern}: mean |log error| {fit.error:.4f}")
        print(kernels, fit.protocols[0], sep="\n", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
