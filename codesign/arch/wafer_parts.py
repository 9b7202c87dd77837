"""What a wafer-scale machine file states, and how a product is laid on the wafer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from codesign.arch.base import ArchSpec
from codesign.arch.parts import Component, DramLink, SumDType
from codesign.config import Spec
from codesign.schedule.program import Int64
from codesign.schedule.streaming import DRAM_READ, DRAM_WRITE, MAC
from codesign.units import DTypeName


class Core(Spec):
    """One core: its multipliers, its memory and what an instruction costs to start."""

    lanes: int = Field(ge=1, le=64, description="multiply-accumulates per cycle")
    sram_bytes: int = Field(ge=64)
    read_bytes_per_cycle: int = Field(ge=1)
    write_bytes_per_cycle: int = Field(ge=1)
    handler_cycles: int = Field(ge=0, description="start of the handler that a packet selects")
    command_cycles: int = Field(ge=1, description="the packet that ends a row of weights")
    special_cycles: int = Field(ge=1, description="one exponential, root or division")
    sums: int = Field(ge=1, le=1024, description="rows of weights whose sums a core can hold")


class Fabric(Spec):
    """The mesh of cores and the packets on it."""

    rows: int = Field(ge=1, le=4096)
    cols: int = Field(ge=1, le=4096)
    hop_cycles: int = Field(ge=1)
    packet_bytes: int = Field(ge=1, description="a weight and its index; one per cycle and link")
    window_rows: int = Field(
        ge=1, le=1024, description="rows of weights that a column's queue holds"
    )
    pj_per_byte_hop: float = Field(ge=0)


class Storage(Spec):
    """Weights outside the wafer, and the processors beside them that update them."""

    link: DramLink
    index_bits: int = Field(ge=0, le=64, description="place of a kept weight")
    update_bytes_per_cycle: float = Field(gt=0)


class WaferSpec(ArchSpec):
    """A machine file of family `wafer_scale`."""

    machine: Literal["wafer_scale"]
    mac_dtype: DTypeName
    accumulate_dtype: SumDType
    core: Core
    fabric: Fabric
    storage: Storage


@dataclass(frozen=True, slots=True)
class Layout:
    """How a product lies on the wafer: `columns` cores share a reduction of `items` rows of A each.

    `waves` is how often rows of weights pass, because not all groups or items fit at once.
    """

    columns: int
    depth: int
    items: int
    waves: int

    def __str__(self) -> str:
        return f"{self.columns} columns x {self.depth} inputs x {self.items} items"


def cut(total: Int64, edges: Int64) -> Int64:
    """A total that runs over repeated rows, at some edges; `total` is after each row of a pass."""
    before = np.concatenate([[0], total])
    waves, row = np.divmod(edges, len(total))
    return np.asarray(waves * total[-1] + before[row])


def wafer_components(spec: WaferSpec) -> Sequence[Component]:
    """Cores, their memories, the fabric and the weights' store, as metrics see them."""
    core, cores = spec.core, spec.fabric.rows * spec.fabric.cols
    return (
        Component(
            name="cores", kind="mac", actions=(MAC,), instances=cores * core.lanes,
            dtype=spec.mac_dtype, accumulate_dtype=spec.accumulate_dtype,
        ),
        Component(
            name="core vectors", kind="vector", actions=("core_alu", "core_special"),
            instances=cores, dtype=spec.mac_dtype,
        ),
        Component(
            name="core memories", kind="sram", actions=("sram_read", "sram_write"),
            instances=cores, capacity_bytes=core.sram_bytes, width_bytes=core.read_bytes_per_cycle,
        ),
        Component(
            name="fabric", kind="command", actions=("fabric",),
            stated_pj={"fabric": spec.fabric.pj_per_byte_hop},
        ),
        Component(
            name="weight store", kind="dram", actions=(DRAM_READ, DRAM_WRITE),
            dram_kind=spec.storage.link.kind,
        ),
    )  # fmt: skip
