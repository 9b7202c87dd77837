"""A simulated run as a trace that Perfetto and chrome://tracing open."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codesign.arch.base import AnyMachine, Fidelity
from codesign.config import CodesignError
from codesign.evaluate import account, run
from codesign.metrics.result import Result
from codesign.schedule.program import MARKER, Int64
from codesign.sim import Timeline
from codesign.trace.op import Trace
from codesign.units import HZ_PER_MHZ

Event = dict[str, Any]
MOST_SLICES = 150_000
"""A file with more slices than this opens slowly; steps are then shown as their runs."""
_SAMPLES = 2_000
_OPERATORS, _UNITS = 1, 2
_FIRST_THREAD = 11
"""A thread whose number is its process's would be shown as the main one."""


def evaluate_into(
    path: Path,
    trace: Trace,
    machine: AnyMachine,
    *,
    fidelity: Fidelity | str = Fidelity.ROW,
    seed: int = 0,
    **how: Any,
) -> tuple[Result, str]:
    """As `codesign.evaluate`, with the timeline in a file: the result and what the file holds."""
    lowered, timeline, first = run(trace, machine, fidelity=fidelity, seed=seed, **how)
    spans = timeline.spans(first)
    result = account(trace, machine, Fidelity(fidelity), seed, lowered, spans, how.get("chooser"))
    return result, write_timeline(path, result, machine, timeline, first)


def write_timeline(
    path: Path, result: Result, machine: AnyMachine, timeline: Timeline, first: Int64
) -> str:
    """Write a run's timeline as trace-event JSON and say in one line what it holds.

    One process holds the operators, the other one thread for each server of a unit: a slice for
    each run of steps of one operator (its `busy_cycles` add up to the Result's), steps inside it
    (left out above `MOST_SLICES`), and counters of memory bandwidth, of MACs and of what is held in
    buffers. Times are simulated time in microseconds, rounded to nanoseconds. Raises CodesignError
    where even the runs are too many.
    """
    scale = _Scale(machine.spec.clock_mhz)
    lanes = _lanes(timeline, first)
    slices = sum(len(lane.runs) + len(lane.start) for lane in lanes)
    whole = slices <= MOST_SLICES
    if not whole:
        slices = sum(len(lane.runs) for lane in lanes)
    if slices > MOST_SLICES:
        raise CodesignError(
            f"the timeline has {slices:,} slices, more than the {MOST_SLICES:,} that a viewer opens"
            " at ease; take fewer layers or tokens, or --fidelity tile"
        )
    events = [
        *_named(_OPERATORS, f"{result.workload}: operators", 0),
        *_operators(result, scale),
        *_named(_UNITS, f"{result.arch}: units", 1),
        *_units(result, timeline, lanes, scale, whole=whole),
        *_counters(machine, timeline, scale),
    ]
    trace = {
        "displayTimeUnit": "ns",
        "otherData": {
            "workload": result.workload,
            "arch": result.arch,
            "phase": result.phase,
            "sparsity": result.sparsity,
            "fidelity": result.fidelity,
            "cycles": result.cycles,
            "clock_mhz": result.clock_mhz,
            "trace_fingerprint": result.trace_fingerprint,
            "arch_fingerprint": result.arch_fingerprint,
            "codesign": result.version,
        },
        "traceEvents": events,
    }
    path.write_text(json.dumps(trace, separators=(",", ":")) + "\n", encoding="utf-8")
    shown = "every step" if whole else "steps in runs of one operator, as single ones are too many"
    return f"{slices:,} slices on {len(lanes)} tracks, {shown}"


class _Scale:
    """From cycles to the microseconds of a trace, in whole nanoseconds."""

    def __init__(self, clock_mhz: float) -> None:
        self.clock_hz = clock_mhz * HZ_PER_MHZ

    def us(self, cycles: Int64) -> list[float]:
        ns = np.rint(cycles * (1e9 / self.clock_hz)).astype(np.int64)
        return list((ns / 1_000).tolist())

    def slices(self, start: Int64, end: Int64) -> Iterator[tuple[float, float]]:
        """Begin and duration of each slice; rounding keeps what nests nested."""
        for begun, ended in zip(self.us(start), self.us(end), strict=True):
            yield begun, round(ended - begun, 3)


class _Lane:
    """The steps of one server in the order of their start, and where runs of one operator begin."""

    def __init__(self, timeline: Timeline, unit: int, server: int, steps: Int64, op: Int64) -> None:
        self.unit, self.server = unit, server
        self.steps = steps
        self.start: Int64 = timeline.start[steps]
        self.end: Int64 = self.start + timeline.program.busy_cycles[steps]
        self.op: Int64 = op[steps]
        self.runs = np.flatnonzero(np.diff(self.op, prepend=-1))


def _lanes(timeline: Timeline, first: Int64) -> list[_Lane]:
    """Steps that hold a server, by server; units without a limit get as many as they need."""
    program = timeline.program
    op = np.searchsorted(first, np.arange(len(program)), side="right") - 1
    lanes = []
    for i, unit in enumerate(program.units):
        steps = np.flatnonzero((program.unit == i) & (program.busy_cycles > 0))
        if unit == MARKER or not len(steps):
            continue
        steps = steps[np.lexsort((steps, timeline.start[steps]))]
        server = _servers(timeline.start[steps], program.busy_cycles[steps])
        lanes += [
            _Lane(timeline, i, number, steps[server == number], op)
            for number in range(int(server.max()) + 1)
        ]
    return lanes


def _servers(start: Int64, busy: Int64) -> Int64:
    """For steps in the order of their start: the lowest server that is free again by then."""
    free: list[int] = []
    held: list[tuple[int, int]] = []
    servers = np.empty(len(start), dtype=np.int64)
    for i, (begun, cycles) in enumerate(zip(start.tolist(), busy.tolist(), strict=True)):
        while held and held[0][0] <= begun:
            heapq.heappush(free, heapq.heappop(held)[1])
        server = heapq.heappop(free) if free else len(held)
        heapq.heappush(held, (begun + cycles, server))
        servers[i] = server
    return servers


def _named(process: int, name: str, place: int) -> Iterator[Event]:
    yield _meta("process_name", process, 0, {"name": name})
    yield _meta("process_sort_index", process, 0, {"sort_index": place})


def _meta(name: str, process: int, thread: int, args: dict[str, Any]) -> Event:
    return {"ph": "M", "pid": process, "tid": thread, "name": name, "args": args}


def _slice(
    category: str, name: str, thread: tuple[int, int], at: tuple[float, float], args: dict[str, Any]
) -> Event:
    process, number = thread
    return {
        "ph": "X",
        "cat": category,
        "name": name,
        "pid": process,
        "tid": number,
        "ts": at[0],
        "dur": at[1],
        "args": args,
    }


def _operators(result: Result, scale: _Scale) -> Iterator[Event]:
    """Each operator from its first step to its last; those that overlap lie on several threads."""
    ops = sorted(result.ops, key=lambda op: (op.start_cycle, op.end_cycle))
    start = np.array([op.start_cycle for op in ops], dtype=np.int64)
    end = np.array([op.end_cycle for op in ops], dtype=np.int64)
    threads = _servers(start, np.maximum(end - start, 1))
    for number in range(int(threads.max(initial=-1)) + 1):
        name = "operators" if number == 0 else "and those beside them"
        yield _meta("thread_name", _OPERATORS, number + _FIRST_THREAD, {"name": name})
    for op, thread, at in zip(ops, threads.tolist(), scale.slices(start, end), strict=True):
        args = {
            "layer": op.layer,
            "kind": op.kind,
            "phase": op.phase,
            "shape": op.shape,
            "pattern": op.pattern,
            "mapping": op.mapping,
            "bound by": op.bound_by,
            "cycles": op.end_cycle - op.start_cycle,
            "executed MACs": op.executed_macs,
            "DRAM bytes": op.dram_bytes,
        }
        yield _slice("operator", op.name, (_OPERATORS, thread + _FIRST_THREAD), at, args)


def _units(
    result: Result, timeline: Timeline, lanes: Sequence[_Lane], scale: _Scale, *, whole: bool
) -> Iterator[Event]:
    program = timeline.program
    servers = {lane.unit: lane.server + 1 for lane in lanes}
    for thread, lane in enumerate(lanes, start=_FIRST_THREAD):
        unit = program.units[lane.unit].name
        track = f"{unit} {lane.server + 1}" if servers[lane.unit] > 1 else unit
        yield _meta("thread_name", _UNITS, thread, {"name": track})
        yield _meta("thread_sort_index", _UNITS, thread, {"sort_index": thread})
        busy = program.busy_cycles[lane.steps]
        last = np.append(lane.runs[1:], len(lane.steps))
        runs = zip(
            lane.op[lane.runs].tolist(),
            np.add.reduceat(busy, lane.runs).tolist(),
            (last - lane.runs).tolist(),
            scale.slices(lane.start[lane.runs], lane.end[last - 1]),
            strict=True,
        )
        for op, cycles, steps, at in runs:
            args = {"unit": unit, "busy_cycles": cycles, "steps": steps}
            yield _slice("run", result.ops[op].name, (_UNITS, thread), at, args)
        if not whole:
            continue
        inside = zip(
            program.action[lane.steps].tolist(),
            busy.tolist(),
            program.count[lane.steps].tolist(),
            scale.slices(lane.start, lane.end),
            strict=True,
        )
        for action, cycles, count, at in inside:
            args = {"cycles": cycles, "count": count}
            yield _slice("step", program.actions[action], (_UNITS, thread), at, args)


def _counters(machine: AnyMachine, timeline: Timeline, scale: _Scale) -> Iterator[Event]:
    """Bandwidth of each memory, MACs in a cycle, and bytes that buffers hold."""
    edges = np.unique(np.linspace(0, timeline.cycles, _SAMPLES + 1).astype(np.int64))
    if len(edges) < 2:
        return
    seconds = np.diff(edges) / scale.clock_hz
    for component in machine.components():
        if component.kind not in ("dram", "sram"):
            continue
        moved = _moved(timeline, component.actions, edges)
        if moved.any():
            yield from _counter(component.name, "GB/s", edges, moved / seconds / 1e9, scale)
    macs = _moved(timeline, ("mac",), edges)
    if macs.any():
        yield from _counter("MACs", "in a cycle", edges, macs / np.diff(edges), scale)
    reads = [
        action
        for component in machine.components()
        if component.kind == "dram"
        for action in component.actions
        if action.endswith("read")
    ]
    held = _held(timeline, reads, edges)
    if held.any():
        yield from _counter("read and awaited", "bytes", edges, held, scale)


def _counter(
    name: str, unit: str, edges: Int64, values: np.ndarray, scale: _Scale
) -> Iterator[Event]:
    ending = np.append(values, 0)
    for at, value in zip(scale.us(edges), ending.tolist(), strict=True):
        yield {
            "ph": "C",
            "pid": _UNITS,
            "tid": 0,
            "name": name,
            "ts": at,
            "args": {unit: round(value, 6)},
        }


def _chosen(timeline: Timeline, actions: Iterable[str]) -> Int64:
    program = timeline.program
    wanted = [i for i, name in enumerate(program.actions) if name in set(actions)]
    return np.flatnonzero(np.isin(program.action, wanted) & (program.count > 0))


def _moved(timeline: Timeline, actions: Iterable[str], edges: Int64) -> np.ndarray:
    """Counts of actions between neighbouring edges; a step's are spread over its busy cycles."""
    program = timeline.program
    steps = _chosen(timeline, actions)
    start = timeline.start[steps]
    end = start + np.maximum(program.busy_cycles[steps], 1)
    rate = program.count[steps] / (end - start)
    at = np.concatenate([start, end])
    order = np.argsort(at, kind="stable")
    at, slope = at[order], np.cumsum(np.concatenate([rate, -rate])[order])
    total = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(at))])
    if not len(at):
        return np.zeros(len(edges) - 1)
    return np.diff(np.interp(edges, at, total))


def _held(timeline: Timeline, actions: Iterable[str], edges: Int64) -> np.ndarray:
    """Most bytes between neighbouring edges that were read and that a later step still waits for.

    What a step reads is held from its start until the last step that depends on it has ended.
    """
    program = timeline.program
    steps = _chosen(timeline, actions)
    rows = np.repeat(np.arange(len(program)), np.diff(program.dep_ptr))
    timed = program.unit[rows] != program.units.index(MARKER)
    until = timeline.end.copy()
    np.maximum.at(until, program.dep_idx[timed], timeline.end[rows[timed]])
    at = np.concatenate([timeline.start[steps], until[steps]])
    change = np.concatenate([program.count[steps], -program.count[steps]])
    order = np.lexsort((change, at))
    at, held = at[order], np.cumsum(change[order])
    before = np.searchsorted(at, edges[:-1], side="right") - 1
    most = np.where(before >= 0, held[np.maximum(before, 0)], 0) if len(at) else edges[:-1] * 0
    inside = np.searchsorted(edges, at, side="right") - 1
    kept = inside < len(most)
    np.maximum.at(most, inside[kept], held[kept])
    return np.asarray(most)
