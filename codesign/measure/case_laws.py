"""Laws of a single run: what no machine may do, whatever the workload."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from codesign.arch.base import AnyMachine, Fidelity
from codesign.config import CodesignError
from codesign.evaluate import Lowered
from codesign.mapper.bounds import roofline
from codesign.metrics.result import Result
from codesign.sim import Timeline
from codesign.trace.op import Trace
from codesign.units import PJ_PER_J

RELATIVE = 1e-9
"""Rounding of sums of floating-point numbers."""
SAMPLING = 0.02
"""At fidelity tile a small sample stands for a mask whose groups differ: bounds hold so closely."""


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One law, whether the machine keeps it, and on what or where not."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Case:
    """One workload on a machine: what ran, and what was made of it."""

    name: str
    trace: Trace
    machine: AnyMachine
    lowered: tuple[Lowered, ...]
    timeline: Timeline
    result: Result


CaseLaw = Callable[[Case], str | None]
"""What is wrong with a case, or None."""


def row(name: str, faults: list[str], kept: str) -> CheckRow:
    """The row of a law with the first of its faults, or with what it was tried on."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return CheckRow(name, not faults, faults[0] + more if faults else kept)


def _slack(case: Case) -> float:
    sampled = case.result.fidelity == Fidelity.TILE and any(
        case.machine.needs_mask(lowered.op, Fidelity.ROW) for lowered in case.lowered
    )
    return SAMPLING if sampled else 0.0


def above_roofline(case: Case) -> str | None:
    """Neither the run nor an operator beats its peak rate or the link's bandwidth."""
    result = case.result
    least = 1 - _slack(case)
    if result.cycles < least * result.roofline_cycles:
        return f"{result.cycles} cycles, roofline {result.roofline_cycles}"
    for op in result.ops:
        span = op.end_cycle - op.start_cycle
        if span < least * op.roofline_cycles:
            return f"{op.name}: {span} cycles, roofline {op.roofline_cycles}"
    return None


def moves_compulsory_bytes(case: Case) -> str | None:
    """Every operand crosses the link at least once."""
    for lowered, op in zip(case.lowered, case.result.ops, strict=True):
        bound = roofline(
            lowered.op, case.machine, lowered.sparse, op.executed_macs, lowered.mapping
        )
        least = bound.compulsory_bytes
        if op.dram_bytes < (1 - _slack(case)) * least:
            return f"{op.name} moves {op.dram_bytes} bytes, {least} are compulsory"
    return None


def bytes_are_those_of_the_steps(case: Case) -> str | None:
    """The bytes of the result are those that the steps of the timeline move."""
    totals = case.timeline.program.totals()
    dram = [component for component in case.machine.components() if component.kind == "dram"]
    moved = sum(totals.get(action, 0) for component in dram for action in component.actions)
    if moved != case.result.dram_bytes or moved != sum(op.dram_bytes for op in case.result.ops):
        return f"steps move {moved} bytes, the result says {case.result.dram_bytes}"
    return None


def energy_adds_up(case: Case) -> str | None:
    """Parts of energy and area are not negative and add up, over parts and over operators."""
    result = case.result
    parts = {**result.energy_j_by_part, **result.area_mm2_by_part}
    negative = [name for name, value in parts.items() if not value >= 0]
    if negative:
        return f"{negative[0]} is {parts[negative[0]]}"
    by_operator_j = sum(op.energy_pj for op in result.ops) / PJ_PER_J
    sums = (
        ("energy", result.energy_j, sum(result.energy_j_by_part.values())),
        ("energy of the operators", result.energy_j, by_operator_j),
        ("area", result.area_mm2, sum(result.area_mm2_by_part.values())),
        ("power times time", result.energy_j, result.power_w * result.latency_s),
    )
    for name, total, summed in sums:
        if not math.isclose(total, summed, rel_tol=RELATIVE):
            return f"{name}: {summed:g}, the total is {total:g}"
    return None


def shares_add_up(case: Case) -> str | None:
    """The operators' shares of the time are not negative and add up to the whole."""
    shares = [op.cycles for op in case.result.ops]
    if min(shares) < 0 or sum(shares) != case.result.cycles:
        return f"shares add up to {sum(shares)} of {case.result.cycles} cycles"
    return None


def no_product_is_lost(case: Case) -> str | None:
    """Every multiply-accumulate is issued, or those on kept weights where zeros are skipped."""
    for lowered, op in zip(case.lowered, case.result.ops, strict=True):
        exact = op.effective_macs if case.machine.skips(lowered.op) else op.macs
        if op.executed_macs != exact:
            return f"{op.name} issues {op.executed_macs} multiply-accumulates of {exact}"
    return None


def steps_are_well_formed(case: Case) -> str | None:
    """Tables are consistent, and every step starts after what it depends on."""
    timeline = case.timeline
    program = timeline.program
    try:
        program.check()
        for lowered in case.lowered:
            lowered.program.check()
    except CodesignError as error:
        return str(error)
    rows = np.repeat(np.arange(len(program)), np.diff(program.dep_ptr))
    if np.any(timeline.start < timeline.ready):
        return "a step starts before it is ready"
    if np.any(timeline.start[rows] < timeline.end[program.dep_idx]):
        return "a step starts before one that it depends on has ended"
    if np.any(timeline.end != timeline.start + program.busy_cycles + program.latency_cycles):
        return "a step does not last as long as its table says"
    return None


def units_serve_one_at_a_time(case: Case) -> str | None:
    """No unit with one server is held by two steps at once."""
    program, timeline = case.timeline.program, case.timeline
    for i, unit in enumerate(program.units):
        if unit.servers != 1:
            continue
        held = np.flatnonzero((program.unit == i) & (program.busy_cycles > 0))
        held = held[np.argsort(timeline.start[held], kind="stable")]
        free = timeline.start[held] + program.busy_cycles[held]
        if np.any(timeline.start[held][1:] < free[:-1]):
            return f"{unit.name} is held twice at once"
        if program.busy_cycles[held].sum() > timeline.cycles:
            return f"{unit.name} is busy for longer than the run"
    return None


CASE_LAWS: Mapping[str, CaseLaw] = {
    "cycles are at least the roofline": above_roofline,
    "bytes are at least the compulsory traffic": moves_compulsory_bytes,
    "bytes are those of the steps": bytes_are_those_of_the_steps,
    "energy and area add up": energy_adds_up,
    "shares of time add up": shares_add_up,
    "no multiply-accumulate is lost": no_product_is_lost,
    "steps are well formed": steps_are_well_formed,
    "units serve one step at a time": units_serve_one_at_a_time,
}
"""Every law of a single run, by what it says."""
