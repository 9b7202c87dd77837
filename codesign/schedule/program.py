"""Integer step tables: what each unit of a machine does, for how long, and after what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError

Int64 = NDArray[np.int64]

INPUTS_READY, ENGINE_READY, ENGINE_RELEASED, DONE = 0, 1, -2, -1
"""Every operator's program begins with the first two markers and ends with the last two."""


class Order(IntEnum):
    """In which order a unit serves its steps."""

    PROGRAM = 0
    ARRIVAL = 1


@dataclass(frozen=True, slots=True)
class Unit:
    """A resource of a machine; `servers` 0 means unlimited (a wire, a pipeline's tail)."""

    name: str
    servers: int = 1
    order: Order = Order.PROGRAM


@dataclass(frozen=True)
class Program:
    """One row for each step: the unit that runs it, its cycles, what it does and how much of it.

    A step holds one server of its unit for `busy_cycles`; steps that depend on it see its result
    `latency_cycles` later. Step i depends on steps `dep_idx[dep_ptr[i]:dep_ptr[i+1]]`, all earlier.
    `action` indexes `actions`; `count` is in the unit of the action (bytes, MACs, element
    operations). `tallies` counts actions that take no time of their own (scratchpad and register
    accesses).
    """

    units: tuple[Unit, ...]
    actions: tuple[str, ...]
    unit: NDArray[np.int32]
    busy_cycles: Int64
    latency_cycles: Int64
    action: NDArray[np.int16]
    count: Int64
    dep_ptr: Int64
    dep_idx: Int64
    tallies: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unit)

    def check(self) -> None:
        """Raise CodesignError unless the tables are consistent and every dependency is earlier."""
        n = len(self.unit)
        for name in ("busy_cycles", "latency_cycles", "action", "count"):
            if len(getattr(self, name)) != n:
                raise CodesignError(
                    f"program: {name} has {len(getattr(self, name))} rows, unit has {n}"
                )
        if (
            len(self.dep_ptr) != n + 1
            or self.dep_ptr[0] != 0
            or self.dep_ptr[-1] != len(self.dep_idx)
        ):
            raise CodesignError("program: dep_ptr does not span dep_idx")
        if n == 0:
            return
        rows = np.repeat(np.arange(n), np.diff(self.dep_ptr))
        if (
            np.any(np.diff(self.dep_ptr) < 0)
            or np.any(self.dep_idx < 0)
            or np.any(self.dep_idx >= rows)
        ):
            raise CodesignError("program: a step depends on a step that is not earlier")
        if self.unit.min() < 0 or self.unit.max() >= len(self.units):
            raise CodesignError("program: a step names a unit that does not exist")
        if min(self.busy_cycles.min(), self.latency_cycles.min(), self.count.min()) < 0:
            raise CodesignError("program: negative cycles or counts")

    def held_cycles(self) -> Int64:
        """Server-cycles during which each unit is held."""
        sums = np.zeros(len(self.units), dtype=np.int64)
        np.add.at(sums, self.unit, self.busy_cycles)
        return sums

    def totals(self) -> dict[str, int]:
        """Count of every action, timed steps and tallies together."""
        sums = np.zeros(len(self.actions), dtype=np.int64)
        np.add.at(sums, self.action, self.count)
        out = {name: int(total) for name, total in zip(self.actions, sums, strict=True) if total}
        for name, amount in self.tallies.items():
            out[name] = out.get(name, 0) + amount
        return out


def joint_tallies(programs: Iterable[Program]) -> dict[str, int]:
    """The tallies of several programs together."""
    sums: dict[str, int] = {}
    for program in programs:
        for action, amount in program.tallies.items():
            sums[action] = sums.get(action, 0) + amount
    return sums


NO_ACTION = "none"
"""The action of markers and of waiting: free of energy and of traffic."""
MARKER = Unit("marker", servers=0)


LOAD, SELECT, COMPUTE, FINISH, STORE = range(5)
"""Stages of a tile: a step depends on steps of its own stage, earlier ones, or earlier tiles."""
_STAGES = 8


def _column(value: np.ndarray | int, size: int) -> Int64:
    """`size` entries: those given, or one value for all."""
    if isinstance(value, np.ndarray) and value.size == size:
        return value.astype(np.int64, copy=False)
    column = np.empty(size, dtype=np.int64)
    column[:] = value
    return column


class Steps:
    """Collects blocks of steps, given as NumPy columns, into one operator's Program.

    A block is added for all tiles at once; `at` gives each step's tile, and `build` puts the steps
    in the order of (tile, stage, order of addition), so a load of tile t + 2 may wait for the
    compute of tile t. Handles returned by `add` name steps until then.
    """

    def __init__(self, units: Sequence[Unit], actions: Sequence[str]) -> None:
        self.units = (MARKER, *units)
        self.actions = (NO_ACTION, *actions)
        self._unit_index = {unit.name: i for i, unit in enumerate(self.units)}
        self._action_index = {name: i for i, name in enumerate(self.actions)}
        self._columns: list[tuple[np.ndarray, ...]] = []
        self._dep_rows: list[Int64] = []
        self._dep_targets: list[Int64] = []
        self._size = 0
        self.tallies: dict[str, int] = {}
        first = self.add(MARKER.name, np.zeros(2, dtype=np.int64), at=-1)
        self.inputs_ready = int(first[0])
        """The step after which the operands that other operators produce are in memory."""
        self.engine_ready = int(first[1])
        """The step after which the previous operator has begun to free the units' buffers."""

    def add(
        self,
        unit: str,
        busy_cycles: np.ndarray,
        *,
        at: np.ndarray | int,
        stage: int = 0,
        latency_cycles: np.ndarray | int = 0,
        action: str = NO_ACTION,
        count: np.ndarray | int = 0,
    ) -> Int64:
        """Append one step for each entry of `busy_cycles`, at tiles `at`; returns their handles."""
        busy = np.asarray(busy_cycles, dtype=np.int64)
        size = len(busy)
        self._columns.append(
            (
                _column(at, size) * _STAGES + stage,
                np.full(size, self._unit_index[unit], dtype=np.int32),
                busy,
                _column(latency_cycles, size),
                np.full(size, self._action_index[action], dtype=np.int16),
                _column(count, size),
            )
        )
        handles = np.arange(self._size, self._size + size, dtype=np.int64)
        self._size += size
        return handles

    def depend(self, steps: np.ndarray, on: np.ndarray | int) -> None:
        """Make each of `steps` wait for the entry of `on` at its place, or all for a scalar."""
        steps = np.asarray(steps, dtype=np.int64)
        self._dep_rows.append(steps)
        self._dep_targets.append(_column(on, len(steps)))

    def tally(self, action: str, count: int) -> None:
        """Count an action that takes no time of its own."""
        if count:
            self.tallies[action] = self.tallies.get(action, 0) + int(count)

    def idle(self) -> Program:
        """The program of an operator that only waits for its inputs."""
        ready = np.array([self.engine_ready]), np.array([self.inputs_ready])
        return self.build(release_after=ready[0], done_after=ready[1])

    def build(self, *, release_after: np.ndarray, done_after: np.ndarray) -> Program:
        """Close the program with its last two markers and put its steps in order."""
        end = np.iinfo(np.int64).max // _STAGES
        for after in (release_after, done_after):
            marker = self.add(MARKER.name, np.zeros(1, dtype=np.int64), at=end)
            self.depend(np.repeat(marker, len(after)), after)
        at, unit, busy, latency, action, count = (
            np.concatenate(parts) for parts in zip(*self._columns, strict=True)
        )
        order = np.argsort(at, kind="stable")
        number = np.empty(self._size, dtype=np.int64)
        number[order] = np.arange(self._size)
        rows = number[np.concatenate(self._dep_rows)]
        targets = number[np.concatenate(self._dep_targets)]
        by_row = np.argsort(rows, kind="stable")
        dep_ptr = np.zeros(self._size + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=self._size), out=dep_ptr[1:])
        return Program(
            units=self.units,
            actions=self.actions,
            unit=unit[order],
            busy_cycles=busy[order],
            latency_cycles=latency[order],
            action=action[order],
            count=count[order],
            dep_ptr=dep_ptr,
            dep_idx=targets[by_row],
            tallies=dict(self.tallies),
        )
