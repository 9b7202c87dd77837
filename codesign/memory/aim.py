"""Programs of GDDR6-AiM as commands: matrix-vector products inside all banks of a channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from codesign.config import CodesignError
from codesign.memory.requests import Int64, simulate_commands
from codesign.memory.spec import DramSpec, command_ids

LANES = 16
"""Multipliers of a bank's MAC unit: one column of 32 bytes holds as many BF16 values."""

BUFFER_COLUMNS = 64
"""Columns of inputs that the broadcast buffer holds, 1024 values."""

Operation = Literal["WR_GB", "WR_BIAS", "MAC_ABK", "MAC_SBK", "RD_MAC", "EWMUL"]

_COMMAND = {
    "WR_GB": "WRGB",
    "WR_BIAS": "WRMAC16",
    "MAC_ABK": "MAC16",
    "MAC_SBK": "MAC",
    "RD_MAC": "RDMAC16",
    "EWMUL": "EWMUL16",
}
_REGISTER = ("WR_GB", "WR_BIAS", "RD_MAC")
_OPENS = {"MAC_ABK": ("PREA", "ACT16"), "EWMUL": ("PREA", "ACT16"), "MAC_SBK": ("PRE", "ACT")}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a channel: an operation on `columns` columns of a row."""

    operation: Operation
    columns: int = 1
    row: int = 0


@dataclass(frozen=True)
class CommandProgram:
    """The commands of one channel in order; `command` numbers those of `command_ids`."""

    command: Int64
    row: Int64
    counts: dict[str, int]


def gemv_program(outputs: int, inputs: int, channels: int) -> list[Instruction]:
    """The instructions of each channel for a product with an outputs x inputs matrix.

    Outputs spread over channels and banks; inputs come in chunks that fill the broadcast buffer,
    and every chunk begins new rows.
    """
    if min(outputs, inputs, channels) < 1:
        raise CodesignError("a matrix-vector product needs outputs, inputs and channels")
    groups = -(-outputs // (LANES * channels))
    program: list[Instruction] = []
    row = 0
    for start in range(0, inputs, BUFFER_COLUMNS * LANES):
        chunk = min(BUFFER_COLUMNS * LANES, inputs - start)
        columns = -(-chunk // LANES)
        program.append(Instruction("WR_GB", columns))
        for _ in range(groups):
            program.append(Instruction("WR_BIAS"))
            program.append(Instruction("MAC_ABK", columns, row))
            program.append(Instruction("RD_MAC"))
            row += 1
    return program


def command_program(spec: DramSpec, program: Iterable[Instruction]) -> CommandProgram:
    """The commands that instructions need: changes of mode, rows opened and closed if they must."""
    ids = command_ids(spec)
    if "MAC16" not in ids:
        raise CodesignError(f"{spec.name} has no commands for all banks")
    pieces: list[tuple[int, int, int]] = []
    counts: dict[str, int] = {}
    register_mode = False
    open_row, opened_by = -1, ""

    def send(name: str, times: int, row: int) -> None:
        pieces.append((ids[name], times, row))
        counts[name] = counts.get(name, 0) + times

    for step in program:
        if (step.operation in _REGISTER) != register_mode:
            send("TMOD", 1, 0)
            register_mode = not register_mode
        if step.operation in _OPENS:
            close, act = _OPENS[step.operation]
            if open_row != step.row or opened_by != act:
                if open_row >= 0:
                    send("PREA" if opened_by == "ACT16" else close, 1, 0)
                send(act, 1, step.row)
                open_row, opened_by = step.row, act
        send(_COMMAND[step.operation], step.columns, step.row)
    table = np.array(pieces, dtype=np.int64).reshape(-1, 3)
    return CommandProgram(
        np.repeat(table[:, 0], table[:, 1]), np.repeat(table[:, 2], table[:, 1]), counts
    )


def program_cycles(spec: DramSpec, program: CommandProgram) -> int:
    """Cycles until a channel has done all its commands, the first of them at clock 1."""
    if not len(program.command):
        return 0
    issued = simulate_commands(spec, program.command, 0, program.row, 1)
    ids = command_ids(spec)
    registers = {ids[name] for name in ("WRGB", "WRMAC16", "RDMAC16")}
    timing = "nREG" if int(program.command[-1]) in registers else "nMAC"
    return int(issued[-1]) + spec.cycles[timing] + 1
