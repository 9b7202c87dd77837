"""What a machine file of the S4 cards states: lanes, memories, links and modes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from codesign.arch.base import ArchSpec
from codesign.arch.parts import DramLink
from codesign.config import Spec


class SparseArray(Spec):
    """The lanes of one core; `banks` of 8-bit values, half as many of wider ones."""

    rows: int = Field(ge=1, le=1024, description="rows of activations that share a weight")
    cols: int = Field(ge=1, le=1024, description="lanes, one output channel each")
    banks: int = Field(ge=1, le=256, description="banks of the reduction side by side in a lane")
    bank_size: int = Field(ge=1, le=1024)
    max_ratio: int = Field(ge=1, le=1024, description="largest compression that a bank can have")
    gather_bytes_per_cycle: int = Field(ge=1)
    drain_values_per_cycle: int = Field(ge=1)
    latency_cycles: int = Field(ge=0)


class Memory(Spec):
    """A memory of one core."""

    capacity_bytes: int = Field(ge=64)


class VectorLanes(Spec):
    """Lanes of each core for everything that is not a product; they work on its feature maps."""

    lanes: int = Field(ge=1)
    alu_per_lane: int = Field(ge=1, description="simple operations that a lane does per cycle")
    special_cycles: int = Field(ge=1, description="lane cycles of an exponential or a division")
    latency_cycles: int = Field(ge=0)


class Ring(Spec):
    """Links between neighbouring cores."""

    bytes_per_cycle: float = Field(gt=0)
    latency_cycles: int = Field(ge=0)


class Host(Spec):
    """PCIe link of a card, shared by its chips, and the runtime's time for one call."""

    bytes_per_cycle: float = Field(gt=0)
    call_cycles: int = Field(ge=0)


class S4Spec(ArchSpec):
    """A machine file of family `s4`."""

    machine: Literal["s4"]
    chips: int = Field(ge=1, le=64)
    cores: int = Field(ge=1, le=64)
    mode: Literal["single", "split", "broadcast"]
    """How the cores of a chip share work.

    `single`: each runs its own items with its own copy of the weights. `split`: the same in step,
    so that weights cross the DRAM link once, and the ring after that. `broadcast`: every core gets
    all items and computes its share of the output channels.
    """
    array: SparseArray
    weights: Memory
    maps: Memory
    sums: Memory
    dram: DramLink
    dram_efficiency: float = Field(gt=0, le=1)
    ring: Ring
    host: Host
    vector: VectorLanes
    fuses_activations: bool
    """Whether element-wise work of one pass happens as results leave the array."""
    fills_square_kernels: bool
    """Whether a dense kernel that is not square is stored and run as the square around it."""
    launch_cycles: int = Field(ge=0, description="cycles between two operators on a core")
