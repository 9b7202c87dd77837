"""Networks become spans of time in memory that does not grow with their length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.kernels.scoreboard import idle_units, resume_steps, sum_parts
from codesign.schedule.network import Network
from codesign.schedule.program import Int64, Program
from codesign.sim import Spans, by_unit, refuse_uncountable, servers_and_orders, simulate

STEPS_AT_ONCE = 1 << 20
"""Networks of no more steps are run as one program."""

_Servers = tuple[Int64, Int64, Int64, Int64, Int64]
"""The state of all units, as `idle_units` begins it and `resume_steps` changes it."""


@dataclass(frozen=True)
class _Cycles:
    """When the steps in the window are ready, start and end; an end of -1: not yet known."""

    ready: Int64
    start: Int64
    end: Int64

    def with_more(self, steps: int) -> _Cycles:
        """These and so many steps of which nothing is known."""
        fresh = np.zeros(steps, dtype=np.int64)
        return _Cycles(
            np.concatenate([self.ready, fresh]),
            np.concatenate([self.start, fresh]),
            np.concatenate([self.end, fresh - 1]),
        )

    def without(self, steps: int) -> _Cycles:
        """All but the first steps."""
        return _Cycles(*(column[steps:].copy() for column in (self.ready, self.start, self.end)))

    def whole_parts(self, first: Int64) -> int:
        """How many of the first parts have ended; part i is the rows first[i] to first[i + 1]."""
        for part in range(len(first) - 1):
            if self.end[first[part] : first[part + 1]].min() < 0:
                return part
        return len(first) - 1


def simulate_spans(network: Network, steps_at_once: int = STEPS_AT_ONCE) -> Spans:
    """Run a network for the spans of its operators: those of the timeline of all its steps.

    A network of more than `steps_at_once` steps is run through a window of operators. One enters it
    before either of its first markers is done, so that none of its steps could have been served
    earlier, and leaves it once all its steps have ended. Raises CodesignError as `simulate` does.
    """
    if network.starts[-1] <= steps_at_once:
        return simulate(network.join()).spans(network.first)
    programs = list(network.programs())
    refuse_uncountable(programs)
    units = programs[0][0].units
    steps_of = np.zeros(len(units), dtype=np.int64)
    for program, times in programs:
        steps_of += times * np.bincount(program.unit, minlength=len(units))
    servers = idle_units(*servers_and_orders(programs[0][0]), steps_of)
    rooted = {id(program): _has_roots(program) for program, _ in programs}
    at_once = np.repeat([rooted[id(program)] for program in network.runs], 2)
    marked = np.full(2 * len(network.runs), -1, dtype=np.int64)
    window = _Cycles(marked[:0], marked[:0], marked[:0])
    begun: list[int] = []
    waited: list[list[int]] = []
    cycles = low = high = 0
    while low < len(network.runs):
        awaited = np.where(at_once, -1, network.last_awaited(marked < 0))
        must_enter = 1 + int(np.flatnonzero(awaited < 0)[-1]) // 2
        high = max(must_enter, _with_room(network.starts, low, high, steps_at_once))
        first = network.starts[low : high + 1] - network.starts[low]
        window = window.with_more(int(first[-1]) - len(window.end))
        unit = _advance(network, low, high, servers, marked, awaited[2 * high :], window)
        whole = window.whole_parts(first)
        own_begun, own_waited = sum_parts(
            unit, window.ready, window.start, first[: whole + 1], len(units)
        )
        begun += own_begun.tolist()
        waited += own_waited.tolist()
        cycles = max(cycles, int(window.end[: first[whole]].max(initial=0)))
        window = window.without(int(first[whole]))
        low += whole
    end = marked[2 * network.last_run + 1]
    first_run = np.append(0, network.last_run[:-1] + 1)
    return Spans(
        cycles=cycles,
        start=np.minimum(np.minimum.reduceat(np.array(begun), first_run), end),
        end=end,
        busy_cycles=by_unit(units, [(times * p.held_cycles()).tolist() for p, times in programs]),
        stall_cycles=by_unit(units, waited),
    )


def _has_roots(program: Program) -> bool:
    """Whether a step besides the first two markers waits for nothing."""
    return bool((np.diff(program.dep_ptr[2:]) == 0).any())


def _with_room(starts: Int64, low: int, high: int, steps_at_once: int) -> int:
    """Where a window ends that is filled up, at least to twice the runs low to high - 1."""
    room = max(steps_at_once, 2 * int(starts[high] - starts[low]))
    return int(np.searchsorted(starts, starts[low] + room, side="right")) - 1


def _advance(
    network: Network,
    low: int,
    high: int,
    servers: _Servers,
    marked: Int64,
    awaited: Int64,
    window: _Cycles,
) -> NDArray[np.int32]:
    """Run the steps of the window, runs low to high - 1, until a marker is done for which a later
    run waits (`awaited`); return the units of its steps. `marked` has the cycles of last markers.
    """
    program = network.join(low, high)
    at = network.starts[low]
    rows, before = network.waits(low, high)
    gone = before < 2 * low
    np.maximum.at(window.ready, rows[gone] - at, marked[before[gone]])
    watched = np.zeros(len(program), dtype=np.bool_)
    watched[network.marker_rows(awaited[awaited < 2 * high]) - at] = True
    tables = (
        program.unit, program.busy_cycles, program.latency_cycles, program.dep_ptr, program.dep_idx,
    )  # fmt: skip
    resume_steps(*tables, *servers, watched, window.ready, window.start, window.end)
    marked[2 * low : 2 * high] = window.end[network.marker_rows(np.arange(2 * low, 2 * high)) - at]
    return program.unit
