"""What a machine's actions, area and time cost: one list for results and for searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign.arch.base import AnyMachine
from codesign.metrics.area import PartArea, area_table, standing_power_w
from codesign.metrics.energy import ActionEnergy, energy_table
from codesign.metrics.tally import Tally
from codesign.units import HZ_PER_MHZ, PJ_PER_J


@dataclass(frozen=True)
class Prices:
    """Energy of every action, area of every part, and power that is drawn at all times, by part."""

    clock_hz: float
    energies: Mapping[str, ActionEnergy]
    areas: Mapping[str, PartArea]
    standing_w: Mapping[str, float]
    memories: Mapping[str, str]
    """The memory that an action moves bytes of."""
    off_chip: frozenset[str]
    """Actions of memories off the chip."""


def prices_of(machine: AnyMachine) -> Prices:
    """The prices of a machine."""
    spec, components = machine.spec, machine.components()
    areas = area_table(components, spec.technology)
    memories = [component for component in components if component.kind in ("sram", "dram")]
    return Prices(
        clock_hz=spec.clock_mhz * HZ_PER_MHZ,
        energies=energy_table(components, spec.technology, spec.energy),
        areas=areas,
        standing_w=standing_power_w(machine, areas),
        memories={action: memory.name for memory in memories for action in memory.actions},
        off_chip=frozenset(
            action for memory in memories if memory.kind == "dram" for action in memory.actions
        ),
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """What an operator took: energy by part, bytes by memory, and those bytes off the chip."""

    energy_pj: Mapping[str, float]
    bytes_by_memory: Mapping[str, int]
    dram_bytes: int


def spent(counts: Tally, cycles: int, prices: Prices) -> Spent:
    """What an operator's actions cost, with the standing power of its `cycles` of the run."""
    energy_pj: dict[str, float] = {}
    moved: dict[str, int] = {}
    for action, count in counts.actions.items():
        if action in prices.energies:
            part = prices.energies[action].part
            energy_pj[part] = energy_pj.get(part, 0.0) + count * prices.energies[action].pj
        if action in prices.memories:
            memory = prices.memories[action]
            moved[memory] = moved.get(memory, 0) + count
    for part, watts in prices.standing_w.items():
        energy_pj[part] = energy_pj.get(part, 0.0) + watts * cycles / prices.clock_hz * PJ_PER_J
    off_chip = sum(counts.of(action) for action in prices.off_chip)
    return Spent(energy_pj, moved, off_chip)
