"""GDDR6-AiM programs, run as DRAM commands, against aim_simulator (all equal)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codesign.measure.oracle_file import Record, read_records
from codesign.measure.suite import ValidationReport, compare, report, without_data
from codesign.memory.aim import (
    Instruction,
    Operation,
    command_program,
    gemv_program,
    program_cycles,
)
from codesign.memory.spec import DramSpec, Timing, dram

DATA_FILE = "pim_aim.csv"

_KERNELS: dict[str, tuple[Operation, bool]] = {
    "mac_samerow": ("MAC_ABK", False),
    "mac_newrow": ("MAC_ABK", True),
    "mac1_newrow": ("MAC_ABK", True),
    "mac_sbk_newrow": ("MAC_SBK", True),
    "wrgb": ("WR_GB", False),
    "ewmul_newrow": ("EWMUL", True),
}
"""One instruction repeated: the instruction, and whether each goes to a new row."""

_COUNTS = {
    "ch_n_act16": "ACT16",
    "ch_n_prea": "PREA",
    "ch_n_mac16": "MAC16",
    "ch_n_wrgb": "WRGB",
    "ch_n_wrmac16": "WRMAC16",
    "ch_n_rdmac16": "RDMAC16",
    "ch_n_tmod": "TMOD",
}

_TIMINGS = {
    **{
        name: name
        for name in ["nBL", "nCL", "nRCDRD", "nRCDEWMUL", "nRCDRDCP", "nRCDWR", "nRCDWRCP"]
    },
    **{name: name for name in ["nRP", "nRAS", "nRC", "nWR", "nRTP", "nCWL", "nCCDS", "nCCDL"]},
    **{name: name for name in ["nRRDS", "nRRDL", "nWTRS", "nWTRL", "nMODCH"]},
    "nRCDRDMAC": "nRCDMAC",
    "nRCDRDAF": "nRCDAF",
}
"""Columns of the file and our names of their timings."""

_COLUMNS = (
    "case",
    "kernel",
    "m_outputs",
    "k_inputs",
    "repeats",
    "columns_per_instruction",
    "channels",
    "cycles_total",
)

_SAMPLES = (
    (256, 1024, 1, 4704),
    (768, 768, 32, 604),
    (1024, 1024, 8, 2416),
    (4096, 4096, 32, 9664),
    (50272, 2048, 8, 225052),
)
"""Runs of arkhadem/aim_simulator @0f28a07: outputs, inputs, channels, cycles of 0.5 ns."""


@dataclass(frozen=True)
class Case:
    """A program to run, and what the simulator found."""

    kernel: str
    program: list[Instruction]
    spec: DramSpec
    cycles: int
    counts: dict[str, int]


def run(path: Path | None) -> ValidationReport:
    """Run every program of a file in the oracle's form, or our sample rows; all must be equal."""
    cases = list(_samples() if path is None else map(_case, read_records(path, _COLUMNS)))
    cycles: dict[str, list[tuple[float, float]]] = {"gemv": [], "one instruction repeated": []}
    counts: list[tuple[float, float]] = []
    for case in cases:
        program = command_program(case.spec, case.program)
        kind = "gemv" if case.kernel == "gemv" else "one instruction repeated"
        cycles[kind].append((program_cycles(case.spec, program), case.cycles))
        counts.extend((program.counts.get(name, 0), n) for name, n in case.counts.items())
    return report(
        "aim",
        [compare(f"{name} cycles", pairs, within=0) for name, pairs in cycles.items()],
        [compare("gemv command counts", counts, within=0)],
        skipped_reason=without_data(DATA_FILE) if path is None else None,
    )


def _case(row: Record) -> Case:
    kernel = row.choice("kernel", ("gemv", *_KERNELS))
    if kernel == "gemv":
        program = gemv_program(
            row.count("m_outputs", most=1 << 24),
            row.count("k_inputs", most=1 << 24),
            row.count("channels", most=1 << 16),
        )
    else:
        operation, new_row = _KERNELS[kernel]
        columns = row.count("columns_per_instruction", most=64)
        program = [
            Instruction(operation, columns, j if new_row else 0)
            for j in range(row.count("repeats", most=1 << 20))
        ]
    base = dram("gddr6_aim")
    source = base.timings["nBL"].source
    timings = {
        ours: Timing(cycles=row.count(column, 0), source=source)
        for column, ours in _TIMINGS.items()
        if row.cells.get(column)
    }
    spec = base.model_copy(update={"timings": {**base.timings, **timings}})
    counts = {
        name: row.count(column, 0) for column, name in _COUNTS.items() if row.cells.get(column)
    }
    return Case(kernel, program, spec, row.count("cycles_total"), counts)


def _samples() -> Iterator[Case]:
    for outputs, inputs, channels, cycles in _SAMPLES:
        program = gemv_program(outputs, inputs, channels)
        yield Case("gemv", program, dram("gddr6_aim"), cycles, {})
