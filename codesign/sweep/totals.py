"""Sums over a design's operators, term by term in the order of evaluate.account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.arch.base import AnyMachine
from codesign.metrics.prices import prices_of as all_prices_of
from codesign.metrics.rates import rates_of
from codesign.schedule.program import Int64
from codesign.sim import Linked, simulate
from codesign.sweep.plan import Plan
from codesign.units import HZ_PER_MHZ, PJ_PER_J

FIGURES = (
    "cycles", "latency_s", "energy_j", "area_mm2", "power_w", "edp_js", "macs", "effective_macs",
    "executed_macs", "utilisation", "dense_tops", "effective_tops", "peak_tops", "dram_bytes",
    "roofline_cycles", "parameters",
)  # fmt: skip
"""Fields of a Result that a sweep can use; all are numbers."""

_numbers = count()


@dataclass(frozen=True)
class Prices:
    """What a machine's actions, area and time cost."""

    number: int
    """Its own; equal prices of equal numbers."""
    pj: Mapping[str, tuple[str, float]]
    """Part and energy by action."""
    off_chip: frozenset[str]
    """Actions of memories off the chip."""
    area_mm2: float
    power_w: Mapping[str, float]
    """Drawn at all times, by part."""


def prices_of(machine: AnyMachine) -> Prices:
    """The prices of a machine, as sums and pairs that add up quickly."""
    found = all_prices_of(machine)
    return Prices(
        number=next(_numbers),
        pj={action: (energy.part, energy.pj) for action, energy in found.energies.items()},
        off_chip=found.off_chip,
        area_mm2=sum(area.mm2 for area in found.areas.values()),
        power_w=found.standing_w,
    )


@dataclass(frozen=True)
class Run:
    """Operators that run one after the other: cycles in all, and each one's share."""

    cycles: int
    shares: Int64

    @classmethod
    def that_ends(cls, cycles: int, ends: Int64) -> Run:
        """The run of operators that end at these cycles."""
        return cls(cycles, np.diff(np.maximum.accumulate(np.concatenate([[0], ends]))))


def run_of(linked: Linked) -> Run:
    """Simulate linked operators."""
    timeline = simulate(linked.program)
    return Run.that_ends(timeline.cycles, timeline.end[linked.first[1:] - 1])


@dataclass(frozen=True)
class OpCosts:
    """What the different operators of a plan cost, one entry for each, with all its repeats.

    `parts` and `pj` are the parts that pay energy in the order in which operators name them first,
    and a row for each with the energy of every operator; standing power is among the parts.
    """

    executed_macs: Sequence[int]
    effective_macs: Sequence[int]
    dram_bytes: Sequence[int]
    compute_bound_cycles: Sequence[int]
    memory_bound_cycles: Sequence[int]
    peak_macs_per_cycle: float
    parts: Sequence[str]
    pj: NDArray[np.float64]


def ordered_parts(named: Sequence[Sequence[str]], prices: Prices) -> list[str]:
    """Parts in the order in which the operators of a plan, and standing power, name them first."""
    return list(dict.fromkeys(part for own in named for part in (*own, *prices.power_w)))


def add_up(
    plan: Plan, clock_mhz: float, costs: OpCosts, prices: Prices, run: Run
) -> dict[str, Any]:
    """FIGURES of a design, without a bit of difference to evaluate.account."""
    hz = clock_mhz * HZ_PER_MHZ
    each = costs.pj[:, plan.place]
    for row, part in zip(each, costs.parts, strict=True):
        if part in prices.power_w:
            row += prices.power_w[part] * run.shares / hz * PJ_PER_J
    energy_j = 0.0
    for total in np.add.accumulate(each / PJ_PER_J, axis=1)[:, -1].tolist():
        energy_j += total

    def all_of(column: Sequence[int]) -> int:
        return sum(amount * n for amount, n in zip(column, plan.times, strict=True))

    rates = rates_of(
        cycles=run.cycles,
        clock_mhz=clock_mhz,
        energy_j=energy_j,
        macs=plan.macs,
        effective_macs=all_of(costs.effective_macs),
        executed_macs=all_of(costs.executed_macs),
        peak_macs_per_cycle=costs.peak_macs_per_cycle,
    )
    return {
        **rates,
        "area_mm2": prices.area_mm2,
        "dram_bytes": all_of(costs.dram_bytes),
        "roofline_cycles": max(
            all_of(costs.compute_bound_cycles), all_of(costs.memory_bound_cycles)
        ),
        "parameters": plan.parameters,
    }
