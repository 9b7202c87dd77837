"""A DRAM by name in place of a plain link: transfers of tiles as commands of the DRAM engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codesign.arch.parts import Component, DramDevice
from codesign.memory import DramSpec, command_prices, dram, refresh_pj_per_cycle, stream_cycles
from codesign.memory.streams import Stream
from codesign.schedule.program import Int64, Steps
from codesign.schedule.streaming import DRAM_READ, DRAM_WRITE, Link
from codesign.units import HZ_PER_MHZ, NS_PER_S, PS_PER_NS

ACTIVATE, BACKGROUND = "dram_activate", "dram_background_cycle"
REFRESH = "dram_refresh_cycle"
"""A cycle's share of the refreshes: a transfer is mostly shorter than the time between two."""

DEVICE_ACTIONS = (ACTIVATE, REFRESH, BACKGROUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLink(Link):
    """A link whose transfers take as long as the DRAM's commands for them, from idle banks.

    `cycles_per_clock` is machine cycles per DRAM clock. Equal sizes are simulated once.
    """

    spec: DramSpec
    cycles_per_clock: float

    def cycles(self, amount: Int64, *, write: bool = False) -> Int64:
        return self._each(
            amount, write, lambda run: int(np.ceil(run.cycles * self.cycles_per_clock))
        )

    def tally(self, steps: Steps, amount: Int64, *, write: bool) -> None:
        for action, count in (
            (ACTIVATE, lambda run: run.commands.get("ACT", 0)),
            (REFRESH, lambda run: run.cycles),
            (BACKGROUND, lambda run: run.cycles),
        ):
            steps.tally(action, int(self._each(amount, write, count).sum()))

    def _each(self, amount: Int64, write: bool, of: Callable[[Stream], int]) -> Int64:
        sizes, place = np.unique(amount, return_inverse=True)
        values = [of(stream_cycles(self.spec, int(size), write=write)) for size in sizes]
        return np.array(values, dtype=np.int64)[place]


def dram_of(part: DramDevice) -> DramSpec:
    """The DRAM that a machine file names: a preset, or a file that ends in .yaml."""
    return dram(Path(part.device) if part.device.endswith(".yaml") else part.device)


def device_link(part: DramDevice, clock_mhz: float) -> DeviceLink:
    """The link of a machine at `clock_mhz` to a named DRAM."""
    spec = dram_of(part)
    clock_ns = NS_PER_S / (clock_mhz * HZ_PER_MHZ)
    cycles_per_clock = spec.tck_ps / PS_PER_NS / clock_ns
    return DeviceLink(
        bytes_per_cycle=spec.peak_bytes_per_cycle / cycles_per_clock,
        latency_cycles=part.controller_latency_cycles,
        spec=spec,
        cycles_per_clock=cycles_per_clock,
    )


def device_components(spec: DramSpec) -> tuple[Component, Component]:
    """Energies of a named DRAM: per byte on its pins, per activation, and per clock in use for
    refresh and for waiting."""
    prices, shape = command_prices(spec), spec.organisation
    ranks = shape.channels * shape.ranks
    return (
        Component(
            name="dram", kind="dram", actions=(DRAM_READ, DRAM_WRITE), stated_pj={
                DRAM_READ: prices.read_pj / shape.burst_bytes,
                DRAM_WRITE: prices.write_pj / shape.burst_bytes,
            },
        ),
        Component(
            name="dram commands", kind="command", actions=DEVICE_ACTIONS, stated_pj={
                ACTIVATE: prices.activate_pj,
                REFRESH: refresh_pj_per_cycle(spec) * ranks,
                BACKGROUND: prices.open_pj_per_cycle * ranks,
            },
        ),
    )  # fmt: skip
