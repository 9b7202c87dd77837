"""Cycles of SCALE-Sim 3.0.0, row by row, in its convention; stalled rows as a trend in our own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from codesign.arch import load_arch
from codesign.arch.base import AnyMachine
from codesign.config import CodesignError
from codesign.evaluate import run as run_trace
from codesign.measure.oracle_file import Record, read_records
from codesign.measure.scalesim_rows import SAMPLES, Memory, Row, Window, operator
from codesign.measure.suite import (
    Group,
    TableRow,
    ValidationReport,
    compare,
    left_out,
    report,
    without_data,
)
from codesign.trace.op import Trace

DATA_FILE = "scalesim.csv"
_COLUMNS = (
    "group", "layer", "kind", "ifmap_h", "ifmap_w", "filter_h", "filter_w", "channels",
    "num_filters", "stride", "m", "n", "k", "array_rows", "array_cols", "dataflow", "mode",
    "sparse", "nm", "row_wise", "block_size", "ifmap_sram_kib", "filter_sram_kib",
    "ofmap_sram_kib", "ifmap_bw_words_per_cycle", "filter_bw_words_per_cycle",
    "ofmap_bw_words_per_cycle", "total_cycles", "stall_cycles", "sram_ifmap_accesses",
    "sram_filter_accesses", "sram_ofmap_accesses", "error",
)  # fmt: skip
_MAX_SIZE = 1 << 20
_MAX_FOLDS = 1 << 24
_DATAFLOWS = ("ws", "os", "is")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Simulated:
    """Cycles, and SRAM accesses in words in the order of `Row.accesses`."""

    cycles: int
    accesses: tuple[int, int, int]


def simulate(row: Row, machine: AnyMachine) -> Simulated:
    """Lower the row's layer on a machine, run its steps and count."""
    lowered, timeline, _ = run_trace(Trace(row.name, (operator(row),)), machine)
    done = lowered[0].program.totals()
    reads = done.get("input_read", 0), done.get("weight_read", 0)
    return Simulated(timeline.cycles, (*reads, done.get("output_write", 0)))


@cache
def peer_machine(
    array_rows: int, array_cols: int, dataflow: str, row_wise_block: int
) -> AnyMachine:
    """The dense array in SCALE-Sim's convention, of one-byte words."""
    return load_arch(
        "dense_systolic",
        {
            "array.convention": "scalesim",
            "array.rows": array_rows,
            "array.cols": array_cols,
            "array.dataflows": [dataflow],
            "array.row_wise_block": row_wise_block,
            "mac_dtype": "int8",
            "accumulate_dtype": "int8",
        },
    )


def own_machine(row: Row) -> AnyMachine:
    """The dense array in our own convention with the row's scratchpads.

    Its one link has the bandwidth of SCALE-Sim's three ports together, and a latency of one cycle.
    """
    assert row.memory is not None
    ifmap, weight, ofmap = (_KIB * kib for kib in row.memory.sram_kib)
    return load_arch(
        "dense_systolic",
        {
            "array.rows": row.array_rows,
            "array.cols": row.array_cols,
            "array.dataflows": [row.dataflow],
            "mac_dtype": "int8",
            "accumulate_dtype": "int8",
            "buffers.input": {"capacity_bytes": ifmap, "width_bytes": row.array_rows},
            "buffers.weight": {"capacity_bytes": weight, "width_bytes": row.array_cols},
            "buffers.output": {"capacity_bytes": ofmap, "width_bytes": row.array_cols},
            "dram.bytes_per_cycle": sum(row.memory.words_per_cycle),
            "dram.latency_cycles": 1,
        },
    )


def run(path: Path | None) -> ValidationReport:
    """Simulate every finished row of a file, or our sample of rows, and compare."""
    if path is None:
        return judge(SAMPLES, skipped_reason=without_data(DATA_FILE))
    records = read_records(path, _COLUMNS)
    finished = [_row(record) for record in records if not record.text("error")]
    return judge(finished, failed=len(records) - len(finished))


def judge(
    rows: Sequence[Row], *, failed: int = 0, skipped_reason: str | None = None
) -> ValidationReport:
    """Compare rows: stall-free ones must have equal cycles, stalled ones are a trend."""
    free = [row for row in rows if row.stall_cycles == 0]
    stalled = [row for row in rows if row.stall_cycles and row.memory is not None]
    ours = [_on_peer_machine(row) for row in free]
    table: list[TableRow] = [
        _line("cycles that differ", row, mine.cycles - 1)
        for row, mine in zip(free, ours, strict=True)
        if mine.cycles - 1 != row.total_cycles
    ]
    kinds = [_kind(row) for row in free]
    counted = [
        compare(
            kind,
            [
                (mine.cycles - 1, row.total_cycles)
                for row, mine, its in zip(free, ours, kinds, strict=True)
                if its == kind
            ],
            within=0,
        )
        for kind in sorted(set(kinds))
    ]
    beside = _access_groups(zip(free, ours, strict=True))
    trend = [(row, mine) for row in stalled if (mine := _in_own_convention(row)) is not None]
    if trend:
        pairs = [(mine, row.total_cycles) for row, mine in trend]
        tau = kendall_tau([mine for mine, _ in pairs], [theirs for _, theirs in pairs])
        note = f"trend in our own convention; Kendall's tau {tau:.3f}"
        beside.append(compare("stalled rows", pairs, note=note))
        table += [_line("stalled rows", row, mine) for row, mine in trend]
    beside.append(left_out("stalled rows", len(stalled) - len(trend), "scratchpads below one fold"))
    beside.append(left_out("unfinished rows", failed, "SCALE-Sim itself ended in an error"))
    return report("scalesim", counted, beside, skipped_reason=skipped_reason, table=table)


def _on_peer_machine(row: Row) -> Simulated:
    machine = peer_machine(row.array_rows, row.array_cols, row.dataflow, row.row_wise_block)
    return simulate(row, machine)


def _in_own_convention(row: Row) -> int | None:
    """Index of the last cycle with finite bandwidth, or None where no tile fits the scratchpads."""
    try:
        return simulate(row, own_machine(row)).cycles - 1
    except CodesignError:
        return None


def _kind(row: Row) -> str:
    return f"{row.dataflow} {'conv' if row.window else 'GEMM'} {row.sparsity}"


def _line(section: str, row: Row, mine: int) -> TableRow:
    return {
        "section": section,
        "layer": f"{row.name} {row.nm}".rstrip(),
        "array": f"{row.array_rows}x{row.array_cols} {row.dataflow}",
        "KiB": _slashed(row.memory.sram_kib if row.memory else ()),
        "words/cycle": _slashed(row.memory.words_per_cycle if row.memory else ()),
        "ours": mine,
        "SCALE-Sim": row.total_cycles,
        "ratio": round(mine / row.total_cycles, 3) if row.total_cycles else None,
    }


def _slashed(values: Sequence[int]) -> str:
    return "/".join(map(str, values))


def _access_groups(simulated: Iterable[tuple[Row, Simulated]]) -> list[Group]:
    """SRAM accesses of dense rows, for which SCALE-Sim's counts have a formula."""
    dense = [
        (row, mine, row.accesses)
        for row, mine in simulated
        if row.accesses is not None and row.sparsity == "dense"
    ]
    notes = (
        "",
        "",
        "os: plus folds x (rows + columns), which SCALE-Sim counts too much",
    )
    names = ("input reads", "filter reads", "output writes")
    groups = []
    for at, (name, note) in enumerate(zip(names, notes, strict=True)):
        pairs = [
            (mine.accesses[at] + (_surplus_writes(row) if at == 2 else 0), theirs[at])
            for row, mine, theirs in dense
        ]
        groups.append(compare(f"dense SRAM {name}", pairs, within=0, note=note))
    return groups


def _surplus_writes(row: Row) -> int:
    """Output writes that SCALE-Sim 3.0.0 adds for each fold of an output-stationary array."""
    if row.dataflow != "os":
        return 0
    folds = -(-row.m // row.array_rows) * -(-row.n // row.array_cols)
    return folds * (row.array_rows + row.array_cols)


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of two columns: 1 for the same order, -1 for the reverse, 0 without order.

    >>> kendall_tau([1, 2, 3], [10, 20, 15])
    0.3333333333333333
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    above_x = np.sign(x[:, None] - x)
    above_y = np.sign(y[:, None] - y)
    scale = np.sqrt((above_x**2).sum() * (above_y**2).sum())
    return float((above_x * above_y).sum() / scale) if scale else 0.0


def _row(record: Record) -> Row:
    m, n, k = (record.count(column, 1, _MAX_SIZE) for column in ("m", "n", "k"))
    window = None
    if record.choice("kind", ("gemm", "conv")) == "conv":
        window = _window(record)
        sizes = {
            "m": window.out_h * window.out_w,
            "n": window.filters,
            "k": window.filter_h * window.filter_w * window.channels,
        }
        for column, size in sizes.items():
            if record.count(column) != size:
                record.fault(column, f"{size}, as the sizes of the convolution give")
    array_rows, array_cols = (record.count(c, 1, 4096) for c in ("array_rows", "array_cols"))
    dataflow = record.choice("dataflow", _DATAFLOWS)
    across = {"ws": (k, n), "is": (k, m), "os": (m, n)}[dataflow]
    if -(-across[0] // array_rows) * -(-across[1] // array_cols) > _MAX_FOLDS:
        record.fault("array_rows", f"at most {_MAX_FOLDS} folds of the array for one layer")
    sparse = record.choice("sparse", ("0", "1")) == "1"
    row_wise = record.choice("row_wise", ("0", "1", "")) == "1"
    if record.choice("mode", ("CALC", "USER")) == "USER":
        memory = Memory(_three(record, "sram_kib"), _three(record, "bw_words_per_cycle"))
    else:
        memory = None
    stall_cycles = record.count("stall_cycles", 0)
    if stall_cycles and memory is None:
        record.fault("stall_cycles", "0, since memory never stalls in mode CALC")
    return Row(
        name=f"{record.text('group')} {record.text('layer')}",
        m=m, n=n, k=k, array_rows=array_rows, array_cols=array_cols, dataflow=dataflow,
        total_cycles=record.count("total_cycles", 0),
        stall_cycles=stall_cycles,
        window=window,
        nm=_nm(record) if sparse else "",
        row_wise_block=record.count("block_size", 1, _MAX_SIZE) if sparse and row_wise else 0,
        accesses=None if sparse else _accesses(record),
        memory=memory,
    )  # fmt: skip


def _three(record: Record, what: str) -> tuple[int, int, int]:
    first, second, third = (
        record.count(f"{operand}_{what}", 1, _MAX_SIZE) for operand in ("ifmap", "filter", "ofmap")
    )
    return first, second, third


def _accesses(record: Record) -> tuple[int, int, int] | None:
    counts = [record.optional_count(f"sram_{o}_accesses") for o in ("ifmap", "filter", "ofmap")]
    found = [count for count in counts if count is not None]
    return (found[0], found[1], found[2]) if len(found) == 3 else None


def _window(record: Record) -> Window:
    sizes = {
        column: record.count(column, 1, _MAX_SIZE)
        for column in (
            "ifmap_h", "ifmap_w", "filter_h", "filter_w", "channels", "num_filters", "stride",
        )
    }  # fmt: skip
    for axis in ("h", "w"):
        if sizes[f"filter_{axis}"] > sizes[f"ifmap_{axis}"]:
            record.fault(f"filter_{axis}", f"at most the map's {sizes[f'ifmap_{axis}']}")
    return Window(*sizes.values())


def _nm(record: Record) -> str:
    text = record.text("nm")
    kept, colon, group = text.partition(":")
    valid = colon and all(part.isascii() and part.isdigit() for part in (kept, group))
    if not valid or not 1 <= int(kept) <= int(group) <= 1 << 16:
        record.fault("nm", "a pattern N:M with N of at least 1 and at most M")
    return text
