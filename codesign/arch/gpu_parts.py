"""Parts of a GPU as its machine file states them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from codesign.arch.parts import DramLink
from codesign.config import Spec
from codesign.units import HZ_PER_MHZ, PJ_PER_J, DTypeName, dtype_bits

MHZ_PER_GHZ = 1000
_HZ_PER_GHZ = HZ_PER_MHZ * MHZ_PER_GHZ


class TensorMemory(Spec):
    """A memory of each multiprocessor for the sums of products, in place of registers.

    The sums of two tiles fit where a tile has half of the columns: one is stored while the
    next is multiplied.
    """

    rows: int = Field(ge=1, description="of the instruction that reaches the full rate")
    columns: int = Field(ge=1, description="32-bit sums of each row")
    pairs: bool = Field(description="whether two multiprocessors share the other operand")


class Multiprocessors(Spec):
    """The streaming multiprocessors."""

    silent_defaults: ClassVar[frozenset[str]] = frozenset({"tensor_memory"})

    count: int = Field(ge=1)
    shared_bytes: int = Field(ge=16384, description="shared memory that thread blocks can use")
    warp_groups: bool | None = Field(
        default=None,
        description="whether four warps multiply from shared memory (wgmma); absent with tensor "
        "memory, whose instructions (tcgen05) always do",
    )
    tensor_memory: TensorMemory | None = None
    lanes: int = Field(ge=1, description="scalar operations per cycle")
    special_lanes: int = Field(ge=1, description="exponentials, roots, divisions per cycle")

    @model_validator(mode="after")
    def _one_kind_of_instruction(self) -> Multiprocessors:
        if (self.warp_groups is None) == (self.tensor_memory is None):
            raise ValueError("a multiprocessor states warp_groups or tensor_memory")
        return self


class SecondLevel(Spec):
    """The cache of all multiprocessors; each partition keeps its own copy of what it reads."""

    capacity_bytes: int = Field(ge=65536)
    partitions: int = Field(ge=1, le=8)
    bytes_per_cycle: float = Field(gt=0)


class BoardMemory(DramLink):
    """The memory of the board, or of the processor and the GPU together."""

    silent_defaults: ClassVar[frozenset[str]] = frozenset({"capacity_bytes"})

    capacity_bytes: int | None = Field(default=None, ge=1 << 20)


class Power(Spec):
    """The board's limit, and what its tensor cores draw."""

    limit_w: float = Field(gt=0)
    idle_w: float = Field(ge=0)
    mac_pj_at_1ghz: float = Field(gt=0, description="a 16-bit MAC and its share of everything else")
    exponent: float = Field(ge=0, le=3, description="of a MAC's energy over the clock")
    sparse_factor: float = Field(ge=1, description="energy of an executed 2:4 MAC over a dense one")

    @model_validator(mode="after")
    def _something_is_left_for_work(self) -> Power:
        if self.idle_w >= self.limit_w:
            raise ValueError(f"idle_w must be below limit_w, {self.limit_w:g}")
        return self

    def mac_pj(self, dtype: DTypeName, *, sparse: bool) -> float:
        """Energy of an executed MAC at 1 GHz: in proportion to its operands' width, more in 2:4."""
        width = dtype_bits(dtype) / dtype_bits("fp16")
        return self.mac_pj_at_1ghz * width * (self.sparse_factor if sparse else 1.0)

    def share(self, mac_pj: float, macs_per_cycle: int, clock_mhz: float) -> float:
        """Share of a clock at which the limit lets so many MACs run in every cycle.

        The energy of a MAC, `mac_pj` at 1 GHz, grows with the clock to the power of `exponent`.
        """
        left_pw = max(1.0, self.limit_w - self.idle_w) * PJ_PER_J
        ghz = (left_pw / (mac_pj * macs_per_cycle * _HZ_PER_GHZ)) ** (1 / (1 + self.exponent))
        return float(min(1.0, ghz / (clock_mhz / MHZ_PER_GHZ)))

    def mac_pj_at(self, mac_pj: float, clock_mhz: float) -> float:
        """Energy of a MAC at another clock than 1 GHz."""
        return float(mac_pj * (clock_mhz / MHZ_PER_GHZ) ** self.exponent)


class MeasuredAs(Spec):
    """The board on which sustained rates were measured."""

    limit_w: float = Field(gt=0)
    clock_mhz: float = Field(gt=0)
    sm_count: int = Field(ge=1)
    mma: dict[DTypeName, int]

    def share(self, power: Power, mac_pj: float, dtype: DTypeName) -> float:
        """`Power.share` of that board."""
        macs_per_cycle = self.sm_count * self.mma[dtype]
        limited = power.model_copy(update={"limit_w": self.limit_w})
        return limited.share(mac_pj, macs_per_cycle, self.clock_mhz)


class Launches(Spec):
    """Time of a kernel that does nothing."""

    kernel_cycles: int = Field(ge=0, description="in a CUDA graph: gap, ramp up, ramp down")
    stream_cycles: int = Field(ge=0, description="more, when launched one by one")
    graphs: bool


class Streams(Spec):
    """Kernels that read and write their operands once: activations, norms, softmax."""

    dram_efficiency: float = Field(gt=0, le=1, description="achieved over peak bandwidth")


class BoardEnergy(Spec):
    """What the supply of a board sees beside idle power and matrix products."""

    dram_pj_per_byte: float = Field(ge=0, description="of a byte moved, regulators included")
