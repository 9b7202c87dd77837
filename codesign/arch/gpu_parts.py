"""Parts of a GPU as its machine file states them."""

from __future__ import annotations

from pydantic import Field

from codesign.config import Spec


class Multiprocessors(Spec):
    """The streaming multiprocessors."""

    count: int = Field(ge=1)
    shared_bytes: int = Field(ge=16384, description="shared memory that thread blocks can use")
    warp_groups: bool = Field(description="whether four warps multiply from shared memory (wgmma)")
    lanes: int = Field(ge=1, description="scalar operations per cycle")
    special_lanes: int = Field(ge=1, description="exponentials, roots, divisions per cycle")


class SecondLevel(Spec):
    """The cache of all multiprocessors; each partition keeps its own copy of what it reads."""

    capacity_bytes: int = Field(ge=65536)
    partitions: int = Field(ge=1, le=8)
    bytes_per_cycle: float = Field(gt=0)


class Power(Spec):
    """The board's limit, and what its tensor cores draw."""

    limit_w: float = Field(gt=0)
    idle_w: float = Field(ge=0)
    mac_pj_at_1ghz: float = Field(gt=0, description="a 16-bit MAC and its share of everything else")
    exponent: float = Field(ge=0, le=3, description="of a MAC's energy over the clock")
    sparse_factor: float = Field(ge=1, description="energy of an executed 2:4 MAC over a dense one")


class Launches(Spec):
    """Time of a kernel that does nothing."""

    kernel_cycles: int = Field(ge=0, description="in a CUDA graph: gap, ramp up, ramp down")
    stream_cycles: int = Field(ge=0, description="more, when launched one by one")
    graphs: bool
