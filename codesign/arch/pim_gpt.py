"""PIM-GPT: GPT decoding in GDDR6 banks beside a small chip, arXiv 2310.09385."""

from __future__ import annotations

from typing import Literal

from codesign.arch.pim import PimMachine
from codesign.arch.pim_spec import PimSpec


class PimGptSpec(PimSpec):
    """A machine file of family `pim_gpt`."""

    machine: Literal["pim_gpt"]


class PimGpt(PimMachine[PimGptSpec]):
    """Matrices are concatenated in bank rows; the chip and the banks take turns."""

    spec_type = PimGptSpec
