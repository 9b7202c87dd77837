"""Measured products on GPUs beside their predictions and those of a fitted roofline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np

from codesign.arch import load_arch
from codesign.arch.gpu_kernels import Float64
from codesign.arch.tensor_core import TensorCore
from codesign.config import CodesignError
from codesign.measure.gpu_roofline import Roofline3, fit_roofline
from codesign.measure.gpu_rows import (
    COLUMNS,
    Rows,
    data_files,
    machine_name,
    predict,
    protocols,
    read_rows,
)
from codesign.measure.gpu_settings import part_of
from codesign.measure.gpu_transfer import lent_protocol, transfers, unknown
from codesign.measure.suite import Group, left_out


@dataclass(frozen=True)
class Scored:
    """A group of rows with its predictions; `held` are the rows that no constant was fitted on."""

    rows: Rows
    machine: TensorCore
    predicted: Float64
    baseline: Float64
    held: np.ndarray
    calibrated: bool

    @property
    def pairs(self) -> list[tuple[float, float]]:
        here = self.held
        return list(
            zip(self.predicted[here].tolist(), self.rows.latency_us[here].tolist(), strict=True)
        )


def scored_groups(path: Path) -> tuple[list[Scored], list[Group]]:
    """The groups of rows of a folder or file with their predictions, and those that are left out.

    Raises CodesignError for a folder without such files and for faults of a file.
    """
    files = data_files(path) if path.is_dir() else [path]
    if not files:
        raise CodesignError(
            f"{path}: no CSV file has the columns of measured products ({', '.join(COLUMNS)})"
        )
    groups = read_rows(files)
    scored, beside = [], []
    for rows in groups:
        name = machine_name(rows.gpu)
        machine = None if name is None else tensor_core(name)
        if machine is None:
            beside.append(left_out(rows.name, len(rows), f"no machine file for {rows.gpu}"))
        elif rows.dtype not in machine.spec.mma:
            beside.append(left_out(rows.name, len(rows), f"no {rows.dtype} tensor cores"))
        elif rows.pattern == "2:4" and machine.spec.sparse is None:
            beside.append(left_out(rows.name, len(rows), "no 2:4 tensor cores"))
        else:
            scored.append(_score(rows, machine, groups))
    return scored, beside


@cache
def tensor_core(name: str) -> TensorCore | None:
    """The machine of this family with a name, if that is one."""
    machine = load_arch(name)
    return machine if isinstance(machine, TensorCore) else None


def is_calibrated(machine: TensorCore, rows: Rows) -> bool:
    """Whether the rows' kernels, and the rate of their type, were fitted to this board."""
    source = machine.spec.source_of(f"{part_of(rows)}.step_cycles")
    kernels = machine.kernels(rows.form, rows.dtype)  # type: ignore[arg-type]
    return source is not None and source.status == "measured" and rows.dtype in kernels.sustained


def _score(rows: Rows, machine: TensorCore, groups: Sequence[Rows]) -> Scored:
    protocol = protocols().find(rows)
    calibrated = is_calibrated(machine, rows) and protocol.gpu == rows.gpu
    held = ~rows.in_fit if calibrated else np.ones(len(rows), dtype=np.bool_)
    baseline = _baseline(rows, machine, calibrated, groups)
    return Scored(
        rows, machine, predict(machine, rows, protocol), baseline.predict(machine, rows),
        held, calibrated,
    )  # fmt: skip


def _baseline(
    rows: Rows, machine: TensorCore, calibrated: bool, groups: Sequence[Rows]
) -> Roofline3:
    """The roofline fitted to the board's own fitted half, to another's for an unknown one."""
    if calibrated:
        return fit_roofline(machine, rows)
    for other in groups:
        same = (other.origin, other.pattern, other.dtype) == (
            rows.origin, rows.pattern, rows.dtype,
        )  # fmt: skip
        name = machine_name(other.gpu)
        donor = None if name is None else tensor_core(name)
        if same and other.gpu != rows.gpu and donor is not None and other.dtype in donor.spec.mma:
            return fit_roofline(donor, other)
    return fit_roofline(machine, rows)


def transferred(scored: Sequence[Scored]) -> Iterator[Scored]:
    """Every calibrated board as if it were unknown: constants of the other boards' rows alone."""
    for one in scored:
        lent = transfers().boards.get(one.machine.spec.name)
        part = part_of(one.rows)
        if lent is None or part not in lent.kernels or not one.calibrated:
            continue
        machine = unknown(one.machine, lent, part)
        predicted = predict(machine, one.rows, lent_protocol(one.rows, lent))
        everywhere = np.ones(len(one.rows), dtype=np.bool_)
        yield Scored(one.rows, machine, predicted, _lent_roofline(one, scored), everywhere, False)


def _lent_roofline(one: Scored, scored: Sequence[Scored]) -> Float64:
    """The baseline of an unknown board: efficiencies of the others, the offset of its own timer.

    Without rows of another board its own efficiencies are taken.
    """
    others = [
        fit_roofline(other.machine, other.rows)
        for other in scored
        if other.rows.pattern == one.rows.pattern
        and other.machine.spec.name != one.machine.spec.name
        and other.calibrated
    ]
    own = fit_roofline(one.machine, one.rows)
    lent = Roofline3(
        own.t0_us,
        median(o.compute for o in others or [own]),
        median(o.memory for o in others or [own]),
    )
    return lent.predict(one.machine, one.rows)
