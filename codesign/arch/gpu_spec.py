"""What a machine file of the GPUs with tensor cores states."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from codesign.arch.base import ArchSpec
from codesign.arch.gpu_kernels import KernelLibrary
from codesign.arch.gpu_parts import (
    BoardEnergy,
    BoardMemory,
    Launches,
    MeasuredAs,
    Multiprocessors,
    Power,
    SecondLevel,
    Streams,
)
from codesign.units import DTypeName


class TensorCoreSpec(ArchSpec):
    """A machine file of family `tensor_core`."""

    machine: Literal["tensor_core"]
    sm: Multiprocessors
    mma: dict[DTypeName, int]
    """Dense multiply-accumulates per cycle of one multiprocessor, by the type of A."""
    l2: SecondLevel
    dram: BoardMemory
    power: Power
    measured_as: MeasuredAs | None = None
    """The board whose sustained rates the libraries state; absent: they hold as they are."""
    launch: Launches
    streams: Streams
    board_energy: BoardEnergy
    flash_attention: bool
    dense: KernelLibrary
    sparse: KernelLibrary | None = None
    """Kernels of 2:4 products; a GPU without them runs such weights dense."""
    sparse_8bit: KernelLibrary | None = None
    """Those of operands of 8 bits, which are other kernels; absent: `sparse` has them too."""

    @model_validator(mode="after")
    def _measured_types_have_a_rate(self) -> TensorCoreSpec:
        parts = [part for part in (self.dense, self.sparse, self.sparse_8bit) if part]
        known = self.mma.keys() if self.measured_as is None else self.measured_as.mma.keys()
        bare = {dtype for part in parts for dtype in part.sustained} - known
        if bare:
            where = "mma" if self.measured_as is None else "measured_as.mma"
            raise ValueError(
                f"{where} lacks {', '.join(sorted(bare))}, whose sustained rate stands"
            )
        return self
