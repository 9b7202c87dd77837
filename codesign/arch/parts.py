"""Parts that machines are built of: what a user writes about them, and what metrics must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo

from codesign.config import Spec
from codesign.units import DTypeName, dtype_bits

Status = Literal["published", "derived", "measured", "unverified", "assumed", "chosen"]
"""How much a number can be trusted; `chosen` is a free parameter of a design."""

T = TypeVar("T")

DOUBTFUL: frozenset[Status] = frozenset({"unverified", "assumed"})


class Source(Spec):
    """Where the numbers below one dotted path of a machine file come from."""

    status: Status
    source: str = Field(min_length=1)


class Anchor(Spec):
    """A published number that the machine must reproduce."""

    workload: str
    quantity: str
    value: float
    tolerance: float = Field(gt=0, description="largest accepted relative deviation")
    source: str = Field(min_length=1)
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Technology(Spec):
    """Silicon process for energy, area and leakage."""

    node_nm: int = Field(ge=3, le=130)
    leakage_mw_per_mm2: float = Field(ge=0)
    die_mm2: float | None = Field(
        default=None, gt=0, description="whole die as its maker states it, not the modelled cells"
    )


def distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values themselves. Raises ValueError when one is there twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"must be different from one another, got {', '.join(map(str, values))}")
    return values


def _holds_products(sums: DTypeName, info: ValidationInfo) -> DTypeName:
    products = info.data.get("mac_dtype")
    if products is not None and dtype_bits(sums) < dtype_bits(products):
        raise ValueError(f"must be no narrower than the products, which are {products}")
    return sums


SumDType = Annotated[DTypeName, AfterValidator(_holds_products)]
"""The type of sums of products of a `mac_dtype` that is stated before it."""


class DramLink(Spec):
    """Off-chip memory as a link of finite bandwidth and latency."""

    kind: Literal["ddr3", "ddr4", "lpddr4", "lpddr5", "gddr6", "hbm2", "hbm2e", "hbm3", "hbm3e"]
    bytes_per_cycle: float = Field(gt=0)
    latency_cycles: int = Field(ge=0)


class DramDevice(Spec):
    """Off-chip memory as a named DRAM: every transfer is simulated command by command."""

    device: str = Field(min_length=1, description="preset of codesign.memory, or a file")
    controller_latency_cycles: int = Field(ge=0, description="machine cycles beside the DRAM's own")


def _kind_of_memory(value: object) -> str:
    named = "device" in value if isinstance(value, dict) else isinstance(value, DramDevice)
    return "device" if named else "link"


OffChip = Annotated[
    Annotated[DramLink, Tag("link")] | Annotated[DramDevice, Tag("device")],
    Discriminator(_kind_of_memory),
]
"""A plain link, or a DRAM by name: `device:` tells which."""


class Scratchpad(Spec):
    """A double-buffered on-chip memory: half of it computes while the other half is filled."""

    capacity_bytes: int = Field(ge=64)
    width_bytes: int = Field(ge=1, description="bytes of one access")


class VectorUnit(Spec):
    """Lanes for everything that is not a matrix product."""

    lanes: int = Field(ge=1)
    alu_per_lane: int = Field(
        ge=1, description="simple operations that a lane's pipeline does per cycle"
    )
    special_cycles: int = Field(
        ge=1, description="lane cycles of one exponential, root or division"
    )
    latency_cycles: int = Field(ge=0)
    buffer_bytes: int = Field(ge=64)


class EnergyOverrides(Spec):
    """Energies per action that replace the reference table; absent ones are derived from it."""

    mac_pj: float | None = Field(default=None, ge=0)
    dram_pj_per_byte: float | None = Field(default=None, ge=0)
    sram_pj_per_byte: float | None = Field(default=None, ge=0)
    register_pj_per_byte: float | None = Field(default=None, ge=0)
    vector_alu_pj: float | None = Field(default=None, ge=0)
    vector_special_pj: float | None = Field(default=None, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One kind of hardware block, as metrics see it: an area, and actions that take energy."""

    name: str
    """Also the part under which energy and area are reported."""
    kind: Literal["mac", "sram", "register", "dram", "vector", "compare", "command"]
    """A command is an action of a memory that is neither bytes nor area, such as an activate."""
    actions: tuple[str, ...]
    """Program actions that this block performs; counts are bytes for memories, operations else."""
    stated_pj: Mapping[str, float] = field(default_factory=dict)
    """Energies per action that the machine states; those of a command are all stated."""
    instances: int = 1
    dtype: DTypeName = "fp16"
    accumulate_dtype: DTypeName = "fp32"
    capacity_bytes: int = 0
    """Per instance: of an SRAM, or of the registers."""
    width_bytes: int = 0
    dram_kind: str = ""


_WIDTHS: Mapping[int, tuple[DTypeName, DTypeName]] = {
    8: ("int8", "int32"), 16: ("bf16", "fp32"), 32: ("fp32", "fp32"),
}  # fmt: skip
"""Types of the products and sums that stand for all operands of so many bits."""


def mac_action(dtypes: Sequence[str], widths: Sequence[int]) -> str:
    """The action of a MAC of these operands in units that multiply several widths.

    `widths` are those that the units tell apart, in bits and in rising order: one of 8, 16, 32.

    >>> mac_action(("fp8", "int4"), (8, 16)), mac_action(("fp32", "fp32"), (8, 16))
    ('mac_8bit', 'mac_16bit')
    """
    widest = max(dtype_bits(dtype) for dtype in dtypes)
    return f"mac_{next((bits for bits in widths if bits >= widest), widths[-1])}bit"


def macs_by_width(units: Component, widths: Sequence[int]) -> tuple[Component, ...]:
    """MAC units, and their actions with an energy for each width of operands.

    The area is that of `units`; what multiplies other widths is a part of them.
    """
    found = [replace(units, actions=())]
    for bits in widths:
        dtype, accumulate_dtype = _WIDTHS[bits]
        found.append(
            replace(
                units, instances=0, actions=(f"mac_{bits}bit",), dtype=dtype,
                accumulate_dtype=accumulate_dtype,
            )
        )  # fmt: skip
    return tuple(found)
