"""Cycles of STONNE's output-stationary mesh, row by row, in its convention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from codesign.arch import load_arch
from codesign.arch.base import AnyMachine
from codesign.evaluate import run as run_trace
from codesign.measure.oracle_file import Record, read_records
from codesign.measure.suite import (
    TableRow,
    ValidationReport,
    compare,
    left_out,
    report,
    without_data,
)
from codesign.trace.op import Kind, Op, Phase, Trace

DATA_FILE = "stonne.csv"
_COLUMNS = (
    "case", "operation", "controller", "m", "n", "k", "array_rows", "array_cols", "total_cycles",
    "error",
)  # fmt: skip
_MESH = "TPU_OS_DENSE"
_MAX_SIZE = 1 << 20
_MAX_TILES = 1 << 24


@dataclass(frozen=True, slots=True)
class Row:
    """A product m x n x k on a mesh of rows x cols elements, and the cycles that STONNE counts."""

    m: int
    n: int
    k: int
    array_rows: int
    array_cols: int
    total_cycles: int


SAMPLES: tuple[Row, ...] = (
    Row(64, 64, 64, 4, 4, 19200),
    Row(100, 77, 33, 4, 4, 21900),
    Row(64, 64, 64, 8, 8, 5312),
    Row(100, 77, 33, 8, 8, 6681),
    Row(128, 128, 256, 8, 8, 70400),
    Row(16, 16, 64, 16, 16, 99),
    Row(32, 32, 64, 16, 16, 396),
    Row(64, 64, 128, 16, 16, 2608),
    Row(32, 32, 256, 16, 16, 1164),
    Row(64, 64, 64, 32, 32, 524),
    Row(100, 77, 33, 32, 32, 1040),
    Row(256, 256, 256, 32, 32, 20672),
)
"""Own runs of STONNE (commit 22634b8): memory controller TPU_OS_DENSE, distribution bandwidth 2R,
reduction bandwidth R x C."""


@cache
def mesh(array_rows: int, array_cols: int) -> AnyMachine:
    """The dense array in the convention of STONNE's output-stationary mesh."""
    return load_arch(
        "dense_systolic",
        {
            "array.convention": "stonne",
            "array.rows": array_rows,
            "array.cols": array_cols,
            "array.dataflows": ["os"],
        },
    )


def cycles(row: Row) -> int:
    """Lower the product on the mesh, run its steps and count."""
    op = Op(
        name="product", kind=Kind.GEMM, phase=Phase.FORWARD, m=row.m, n=row.n, k=row.k,
        weight="weight",
    )  # fmt: skip
    _, timeline, _ = run_trace(Trace("mesh", (op,)), mesh(row.array_rows, row.array_cols))
    return timeline.cycles


def run(path: Path | None) -> ValidationReport:
    """Simulate every finished row of the mesh of a file, or our sample of rows, and compare."""
    if path is None:
        return judge(SAMPLES, skipped_reason=without_data(DATA_FILE))
    records = read_records(path, _COLUMNS)
    finished = [record for record in records if not record.text("error")]
    other = Counter(
        f"{record.text('operation')} on {record.text('controller')}"
        for record in finished
        if not _on_mesh(record)
    )
    rows = [_row(record) for record in finished if _on_mesh(record)]
    return judge(rows, other=other, failed=len(records) - len(finished))


def judge(
    rows: Sequence[Row],
    *,
    other: Counter[str] | None = None,
    failed: int = 0,
    skipped_reason: str | None = None,
) -> ValidationReport:
    """Compare rows of the mesh, whose cycles must be equal; `other` counts what is not modelled."""
    pairs = [(row, cycles(row)) for row in rows]
    table: list[TableRow] = [
        {
            "section": "cycles that differ",
            "product": f"{row.m}x{row.n}x{row.k}",
            "array": f"{row.array_rows}x{row.array_cols}",
            "ours": mine,
            "STONNE": row.total_cycles,
        }
        for row, mine in pairs
        if mine != row.total_cycles
    ]
    compared = compare(
        "cycles: output-stationary mesh",
        [(mine, row.total_cycles) for row, mine in pairs],
        within=0,
    )
    beside = [
        left_out(name, count, "not modelled: no machine here has its networks")
        for name, count in sorted((other or Counter()).items())
    ]
    beside.append(left_out("unfinished rows", failed, "STONNE itself ended in an error"))
    return report("stonne", [compared], beside, skipped_reason=skipped_reason, table=table)


def _on_mesh(record: Record) -> bool:
    return record.text("operation") == "DenseGEMM" and _MESH in record.text("controller")


def _row(record: Record) -> Row:
    m, n, k = (record.count(column, 1, _MAX_SIZE) for column in ("m", "n", "k"))
    array_rows, array_cols = (record.count(c, 1, 4096) for c in ("array_rows", "array_cols"))
    if -(-m // array_rows) * -(-n // array_cols) > _MAX_TILES:
        record.fault("array_rows", f"at most {_MAX_TILES} tiles of the mesh for one product")
    return Row(m, n, k, array_rows, array_cols, record.count("total_cycles"))
