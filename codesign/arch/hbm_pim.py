"""Samsung HBM-PIM (Aquabolt-XL): one block of 16 lanes for every two banks of a pseudo-channel."""

from __future__ import annotations

from typing import Literal

from codesign.arch.pim import PimMachine
from codesign.arch.pim_spec import PimSpec


class HbmPimSpec(PimSpec):
    """A machine file of family `hbm_pim`."""

    machine: Literal["hbm_pim"]


class HbmPim(PimMachine[HbmPimSpec]):
    """Blocks without an adder tree: the host adds up the lanes of each sum."""

    spec_type = HbmPimSpec
