"""Programs of one core as programs of a machine with several, and several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from codesign.schedule.program import MARKER, Program, Unit, joint_tallies
from codesign.schedule.streaming import DRAM

_SHARED = (MARKER.name, DRAM.name)
_OPENING, _CLOSING = 2, 2
"""Markers at the two ends of an operator's program."""


def on_core(unit: str, core: int) -> str:
    """The name that a core's own unit has among those of all cores."""
    return unit if unit in _SHARED else f"{unit} {core}"


def moved_to_core(program: Program, core: int, cores: int) -> Program:
    """A core's program as one of a machine with `cores` cores."""
    shared = [unit for unit in program.units if unit.name in _SHARED]
    own = [unit for unit in program.units if unit.name not in _SHARED]
    units = (
        *shared,
        *(
            Unit(on_core(unit.name, number), unit.servers, unit.order)
            for number in range(cores)
            for unit in own
        ),
    )
    names = [unit.name for unit in units]
    place = np.array([names.index(on_core(u.name, core)) for u in program.units], dtype=np.int32)
    return replace(program, units=units, unit=place[program.unit])


def side_by_side(programs: Sequence[Program]) -> Program:
    """Programs that begin together and end with the last of them, as one.

    Its four markers stand for those of all: inputs and engines are ready for every program at once,
    and engines are released when all are.
    """
    inner = [len(program) - _OPENING - _CLOSING for program in programs]
    size = _OPENING + sum(inner) + _CLOSING
    rows, targets = [], []
    at = 0
    for program, own in zip(programs, inner, strict=True):
        place = np.arange(len(program)) + at
        place[:_OPENING] = range(_OPENING)
        place[len(program) - _CLOSING :] = range(size - _CLOSING, size)
        rows.append(np.repeat(place, np.diff(program.dep_ptr)))
        targets.append(place[program.dep_idx])
        at += own
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    dep_ptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))])

    def column(name: str) -> Any:
        ends = getattr(programs[0], name)
        middle = [getattr(program, name)[_OPENING:-_CLOSING] for program in programs]
        return np.concatenate([ends[:_OPENING], *middle, ends[-_CLOSING:]])

    return replace(
        programs[0],
        unit=column("unit"),
        busy_cycles=column("busy_cycles"),
        latency_cycles=column("latency_cycles"),
        action=column("action"),
        count=column("count"),
        dep_ptr=dep_ptr.astype(np.int64),
        dep_idx=np.concatenate(targets)[order],
        tallies=joint_tallies(programs),
    )
