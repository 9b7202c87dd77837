"""What a machine file of the GPUs with tensor cores states."""

from __future__ import annotations

from typing import Literal

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
