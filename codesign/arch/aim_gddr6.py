"""SK hynix GDDR6-AiM: a MAC unit at every bank, fed by a buffer that a whole channel hears."""

from __future__ import annotations

from typing import Literal

from codesign.arch.pim import PimMachine
from codesign.arch.pim_spec import PimSpec


class AimGddr6Spec(PimSpec):
    """A machine file of family `aim_gddr6`."""

    machine: Literal["aim_gddr6"]


class AimGddr6(PimMachine[AimGddr6Spec]):
    """Commands and their distances are those of the open AiM simulator, cycle for cycle."""

    spec_type = AimGddr6Spec

    @property
    def mac_cycles(self) -> int:
        return max(self.dram.cycles["nBL"], self.dram.cycles["nCCDL"])

    @property
    def burst_cycles(self) -> int:
        return max(self.dram.cycles["nBL"], self.dram.cycles["nCCDS"])
