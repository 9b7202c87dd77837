"""What the files of all PIM machines state."""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from codesign.arch.base import ArchSpec
from codesign.arch.parts import EnergyOverrides, SumDType, VectorUnit
from codesign.config import CodesignError, Spec
from codesign.memory import DramSpec, dram
from codesign.trace.op import ceil_bytes
from codesign.units import DTypeName


class MacUnits(Spec):
    """The arithmetic at the banks and the registers around it."""

    banks_per_unit: int = Field(ge=1, le=16)
    accumulators: int = Field(ge=1, le=64, description="sums that a unit holds")
    input_buffer_bytes: int = Field(ge=32, description="inputs that all units of a channel hear")
    result_bytes: int = Field(
        ge=1, description="of one sum at the pins; of all lanes without adders"
    )
    activates: Literal["all_banks", "one_bank"]
    """Whether one command opens a row in all banks of a channel."""
    writes_bias: bool
    """Whether every sum starts from a value that is written first."""
    packs_rows: bool
    """Whether weights of the next output follow in the same row, or begin a new one."""
    select_window: int = Field(
        ge=1, le=4096, description="inputs that a lane chooses from; 1: its own alone"
    )


class PimEnergy(EnergyOverrides):
    """Energies that replace the reference table; `dram_pj_per_byte` is that of the pins."""

    bank_read_pj_per_byte: float = Field(gt=0, description="of a column that stays at its bank")


class KvCache(Spec):
    """How new keys and values are written into their reserved rows."""

    key_run_bytes: int = Field(ge=2, description="of one key that lie together: one head's")


class PimSpec(ArchSpec):
    """The parts of a file that every PIM machine has; the clock is that of DRAM commands."""

    dram: str
    channels: int = Field(ge=1, le=1024)
    timings: dict[str, NonNegativeInt] = Field(
        default_factory=dict, description="cycles that replace those of the DRAM"
    )
    refresh: bool
    mac_dtype: DTypeName
    accumulate_dtype: SumDType
    units: MacUnits
    logic: VectorUnit
    overlap: bool
    """Whether banks and logic may work at the same time."""
    kv_cache: KvCache
    pin_kind: Literal["gddr6", "hbm2", "hbm2e", "hbm3"]
    """Kind of DRAM whose energy per bit the pins cost."""
    energy: PimEnergy

    @model_validator(mode="after")
    def _fits(self) -> PimSpec:
        preset = dram_preset(self.dram)
        for name in self.timings:
            if name not in preset.timings:
                raise CodesignError(f"timings: {self.dram} has no timing {name!r}")
        cycles = {**preset.cycles, **self.timings}
        if 2 * cycles["nRFC"] > cycles["nREFI"]:
            raise CodesignError("timings: refresh (nRFC) takes more than half of nREFI")
        if preset.organisation.banks % self.units.banks_per_unit:
            raise CodesignError(
                "units.banks_per_unit: the banks of a channel are no multiple of it"
            )
        width = ceil_bytes(self.units.select_window, self.mac_dtype)
        if self.units.input_buffer_bytes < width:
            raise CodesignError(f"units.input_buffer_bytes: at least the {width} of select_window")
        return self


@cache
def dram_preset(name: str) -> DramSpec:
    """The DRAM of a name or file, read once."""
    return dram(name)
