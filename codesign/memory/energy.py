"""Energy of DRAM commands and of waiting, from supply currents or from energies per command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign.memory.spec import Currents, DramSpec
from codesign.units import PS_PER_NS


@dataclass(frozen=True)
class DramEnergy:
    """Energy by part, in pJ."""

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    background_pj: float

    @property
    def total_pj(self) -> float:
        """All parts together."""
        return (
            self.activate_pj + self.read_pj + self.write_pj + self.refresh_pj + self.background_pj
        )


@dataclass(frozen=True)
class CommandPrices:
    """Energy in pJ of one command of each kind, and of a cycle of a rank, banks open or closed."""

    activate_pj: float
    """An ACT with its precharge."""
    read_pj: float
    write_pj: float
    refresh_pj: float
    open_pj_per_cycle: float
    closed_pj_per_cycle: float


def command_prices(spec: DramSpec) -> CommandPrices:
    """What each command costs.

    With currents this is the form of Micron's power notes as DRAMsim3 has it
    (src/configuration.cc): an ACT/PRE pair takes VDD (IDD0 tRC - IDD3N tRAS - IDD2N tRP), a burst
    VDD (IDD4 - IDD3N) tBL, a refresh VDD (IDD5AB - IDD3N) tRFC, on every device of the rank. mA V
    cycles times the clock period give the energy.
    """
    energy, t = spec.energy, spec.cycles
    pj_per_mw_cycle = spec.tck_ps / PS_PER_NS
    if not isinstance(energy, Currents):
        return CommandPrices(
            energy.activate_pj,
            energy.read_pj,
            energy.write_pj,
            energy.refresh_pj,
            energy.background_open_mw * pj_per_mw_cycle,
            energy.background_closed_mw * pj_per_mw_cycle,
        )
    scale = energy.devices * energy.vdd_v * pj_per_mw_cycle
    row_cycles = t["nRAS"] + t["nRP"]
    pair = energy.idd0_ma * row_cycles - energy.idd3n_ma * t["nRAS"] - energy.idd2n_ma * t["nRP"]
    return CommandPrices(
        scale * pair,
        scale * (energy.idd4r_ma - energy.idd3n_ma) * t["nBL"],
        scale * (energy.idd4w_ma - energy.idd3n_ma) * t["nBL"],
        scale * (energy.idd5ab_ma - energy.idd3n_ma) * t["nRFC"],
        scale * energy.idd3n_ma,
        scale * energy.idd2n_ma,
    )


def refresh_pj_per_cycle(spec: DramSpec) -> float:
    """Energy of refresh in a cycle of one rank, in the long run; none where refresh is off.

    Bank by bank or all at once, every row is refreshed as often.
    """
    return 0.0 if spec.refresh == "off" else command_prices(spec).refresh_pj / spec.cycles["nREFI"]


def energy_of(
    spec: DramSpec, commands: Mapping[str, int], cycles: int, open_share: float = 1.0
) -> DramEnergy:
    """Energy of a run from its command counts and its length.

    `open_share` is the share of the cycles in which a rank has a bank open; 1.0, an upper bound,
    suits an open page policy. A refresh of one bank costs the share that one bank is of its rank.
    All channels wait for `cycles`.
    """
    price = command_prices(spec)
    shape = spec.organisation
    banks = shape.bank_groups * shape.banks_per_group

    def count(*names: str) -> int:
        return sum(commands.get(name, 0) for name in names)

    waiting = open_share * price.open_pj_per_cycle + (1 - open_share) * price.closed_pj_per_cycle
    return DramEnergy(
        count("ACT") * price.activate_pj,
        count("RD", "RDA") * price.read_pj,
        count("WR", "WRA") * price.write_pj,
        (count("REFA") + count("REFB") / banks) * price.refresh_pj,
        cycles * shape.ranks * shape.channels * waiting,
    )
