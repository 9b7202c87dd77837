"""Measured softmax, norms and activations on GPUs: rows, timers, predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from codesign.arch import load_arch
from codesign.arch.tensor_core import TensorCore
from codesign.config import Spec, load_spec
from codesign.measure.gpu_rows import COLUMNS, Float64, is_fit, machine_name, origin
from codesign.measure.oracle_file import read_records
from codesign.measure.suite import Group, compare
from codesign.schedule.program import Int64
from codesign.trace.op import Op, Phase
from codesign.trace.vector_work import function
from codesign.units import HZ_PER_MHZ, US_PER_S

OPERATORS = ("softmax", "layernorm", "rmsnorm", "gelu", "silu", "relu")
_MOST_ELEMENTS = 1 << 40


class Timer(Spec):
    """What an origin's way of timing adds to one operator."""

    origin: str
    op: str
    gpu: str
    offset_us: float
    floor_us: float
    fitted_on: str


class Timers(Spec):
    """The content of `gpu_operators.yaml`."""

    timers: tuple[Timer, ...]


@cache
def timers() -> tuple[Timer, ...]:
    """The timers that ship with the package."""
    return load_spec(Timers, Path(__file__).with_name("gpu_operators.yaml")).timers


@dataclass(frozen=True)
class OperatorRows:
    """Rows of one operator, origin and board: `sizes` is int64[rows, 2], rows and their length."""

    op: str
    origin: str
    gpu: str
    dtype: str
    sizes: Int64
    latency_us: Float64

    @property
    def name(self) -> str:
        return f"{self.gpu} {self.dtype} {self.op} ({self.origin})"

    @property
    def in_fit(self) -> np.ndarray:
        """The half of the sizes that timers are fitted on."""
        return np.array([is_fit(int(m), int(n)) for m, n in self.sizes], dtype=np.bool_)

    def where(self, chosen: np.ndarray) -> OperatorRows:
        return OperatorRows(
            self.op, self.origin, self.gpu, self.dtype, self.sizes[chosen], self.latency_us[chosen]
        )


def read_operators(files: Iterable[Path]) -> list[OperatorRows]:
    """Groups of the rows of vector operators; a file without a column `op` has none."""
    groups: dict[tuple[str, str, str, str], list[tuple[int, int, float]]] = {}
    for file in files:
        for record in read_records(file, COLUMNS):
            op = record.cells.get("op", "matmul")
            if op not in OPERATORS:
                continue
            key = (op, origin(record.text("source")), record.text("gpu"), record.text("dtype"))
            m, n = (record.count(name, 1, _MOST_ELEMENTS) for name in ("m", "n"))
            groups.setdefault(key, []).append((m, n, record.number("latency_us")))
    return [
        OperatorRows(
            *key,
            np.array([(m, n) for m, n, _ in cells], dtype=np.int64),
            np.array([us for *_, us in cells]),
        )
        for key, cells in sorted(groups.items())
    ]


def device_us(machine: TensorCore, rows: OperatorRows) -> Float64:
    """Simulated microseconds of the kernels alone, none of them part of an attention."""
    machine = TensorCore(machine.spec.model_copy(update={"flash_attention": False}))
    per_us = machine.spec.clock_mhz * HZ_PER_MHZ / US_PER_S
    work = function(rows.op)
    found = []
    for m, n in rows.sizes.tolist():
        op = Op(
            name=rows.op, kind=work.kind, phase=Phase.FORWARD, function=rows.op, elements=m * n,
            passes=work.forward.passes, alu_per_element=work.forward.alu,
            special_per_element=work.forward.special, reads=m * n * work.forward.reads,
            writes=m * n * work.forward.writes, a_dtype=rows.dtype, c_dtype=rows.dtype,
        )  # fmt: skip
        found.append(machine.stream_cycles(op) / per_us)
    return np.array(found)


def predict_operators(machine: TensorCore, rows: OperatorRows, timer: Timer) -> Float64:
    """Simulated microseconds as the origin's host saw them."""
    found = timer.offset_us + device_us(machine, rows)
    return np.asarray(np.maximum(timer.floor_us, found))


def operator_groups(files: Sequence[Path]) -> Iterator[Group]:
    """Scores of the operators that a timer is known for, over sizes that it was not fitted on."""
    for rows in read_operators(files):
        name = machine_name(rows.gpu)
        machine = None if name is None else load_arch(name)
        key = (rows.op, rows.origin, rows.gpu)
        timer = next((t for t in timers() if (t.op, t.origin, t.gpu) == key), None)
        if not isinstance(machine, TensorCore) or timer is None:
            continue
        held = rows.where(~rows.in_fit)
        if len(held.latency_us) == 0:
            continue
        found = predict_operators(machine, held, timer)
        yield compare(
            rows.name, list(zip(found.tolist(), held.latency_us.tolist(), strict=True)),
            note="offset and floor of the timer from the other half of the sizes",
        )  # fmt: skip
