"""What a CPU's machine file states: vector units, caches, and the software on top."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from codesign.arch.base import ArchSpec
from codesign.arch.parts import DramLink
from codesign.config import Spec
from codesign.units import DTypeName


class Simd(Spec):
    """The vector units of one core."""

    width_bytes: int = Field(ge=8, le=256)
    multiply_ports: int = Field(ge=1, le=8, description="fused multiply-adds per cycle")
    load_ports: int = Field(ge=1, le=8, description="loads per cycle, of any width")
    vector_loads: int = Field(ge=1, le=8, description="loads per cycle of whole vectors")
    issue_per_cycle: int = Field(ge=1, le=16)
    registers: int = Field(ge=8, le=128)
    dot_instructions: int = Field(
        ge=1, le=8, description="for 4 products of 8 bits in every 32-bit lane; 1 is VNNI"
    )
    expand_cycles: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="a vector of kept values put in their places; none without such an instruction",
    )
    gather_cycles: int = Field(ge=1, le=64, description="one vector of gathered values")
    special_cycles: int = Field(ge=1, description="a vector of exponentials, roots or divisions")

    @property
    def lanes(self) -> int:
        """Values of 32 bits in a vector; narrower floating-point types are widened."""
        return self.width_bytes // 4

    def body(self, multiplies: float, vectors: float, scalars: float = 0.0) -> float:
        """Cycles of a loop body that loads some vectors and some single values."""
        loads = vectors + scalars
        return max(
            multiplies / self.multiply_ports,
            loads / self.load_ports,
            vectors / self.vector_loads,
            (multiplies + loads) / self.issue_per_cycle,
        )


class Cache(Spec):
    """A cache; `capacity_bytes` of one core, or of the whole chip where it is shared."""

    capacity_bytes: int = Field(ge=64)
    bytes_per_cycle: float = Field(gt=0, description="to one core")


class Caches(Spec):
    """The hierarchy; the last cache is shared."""

    l1: Cache
    l2: Cache
    last: Cache


class Engine(Spec):
    """The software: what it stores, and what its kernels lose to their surroundings."""

    dense_efficiency: float = Field(gt=0, le=1, description="of the rate that ports allow")
    sparse_efficiency: float = Field(gt=0, le=1, description="of the rate that ports allow")
    index_bytes: int = Field(ge=1, le=8, description="place of a kept unit, as a kernel reads it")
    stored_index_bytes: int = Field(
        ge=1,
        le=8,
        description="as the software keeps it; wider ones are converted for each call of a library",
    )
    row_cycles: int = Field(ge=0, description="begin and end of a row of kept weights")
    requantise_cycles: int = Field(
        ge=0, description="a vector of 32-bit values from or to 8 bits: scale, round, saturate"
    )
    launch_cycles: int = Field(ge=0, description="start of an operator on all cores")
    fuses_activations: bool
    """Whether element-wise work of one pass happens on results while they are in registers."""
    weights_stay: bool
    """Whether weights that fit into a cache are there from the run before: one layer in a loop."""


class CpuSpec(ArchSpec):
    """A machine file of family `cpu_sparse`."""

    machine: Literal["cpu_sparse"]
    cores: int = Field(ge=1, le=1024)
    simd: Simd
    caches: Caches
    dram: DramLink
    mac_dtype: DTypeName
    engine: Engine
