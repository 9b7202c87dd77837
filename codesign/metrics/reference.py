"""The reference values of energy and area, as typed rows of reference.yaml with their sources."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from codesign.arch.parts import Status
from codesign.config import Spec, load_spec
from codesign.units import DTypeName

Operation = Literal["add", "multiply"]


class Row(Spec):
    """What every row states: how far it can be trusted and which of `sources` it is from."""

    status: Status
    source: str = Field(min_length=1)


class SramRow(Row):
    """One SRAM macro: energy of an access of its width, and area."""

    node_nm: int = Field(gt=0)
    capacity_bytes: int = Field(gt=0)
    width_bytes: int = Field(gt=0)
    read_pj: float = Field(gt=0)
    write_pj: float = Field(gt=0)
    area_um2: float = Field(gt=0)


class WidthRow(Row):
    """How an SRAM's energy per byte goes with the width of its access."""

    exponent: float


class EnergyRow(Row):
    """One adder or multiplier: energy of an operation."""

    operation: Operation
    dtype: DTypeName
    node_nm: int = Field(gt=0)
    pj: float = Field(gt=0)


class AreaRow(Row):
    """One adder or multiplier: area."""

    operation: Operation
    dtype: DTypeName
    node_nm: int = Field(gt=0)
    um2: float = Field(gt=0)


class SpecialRow(Row):
    """An exponential, root or division in multiplications."""

    multiplications: float = Field(gt=0)


class CellRow(Row):
    """One bit of a block that grows with its bits."""

    kind: Literal["register", "compare"]
    node_nm: int = Field(gt=0)
    pj_per_bit: float = Field(gt=0)
    um2_per_bit: float = Field(gt=0)


class DramRow(Row):
    """One kind of DRAM, with its interface."""

    kind: str = Field(min_length=1)
    pj_per_bit: float = Field(gt=0)


class ScalingRow(Row):
    """Logic at a node relative to 45 nm."""

    node_nm: int = Field(gt=0)
    factor: float = Field(gt=0)


class Reference(Spec):
    """All tables; faulty when a row names no source of the file, or a source has no row."""

    sources: dict[str, str]
    sram: tuple[SramRow, ...]
    sram_width: WidthRow
    arithmetic_energy: tuple[EnergyRow, ...]
    arithmetic_area: tuple[AreaRow, ...]
    vector_special: SpecialRow
    cells: tuple[CellRow, ...]
    dram: tuple[DramRow, ...]
    energy_scaling: tuple[ScalingRow, ...]
    area_scaling: tuple[ScalingRow, ...]

    @model_validator(mode="after")
    def _sources_are_named_and_used(self) -> Self:
        used = {row.source for _, row in self.rows()}
        if used != set(self.sources):
            raise ValueError(f"named or listed, not both: {sorted(used ^ set(self.sources))}")
        return self

    def rows(self) -> list[tuple[str, Row]]:
        """Every row with the name of its table."""
        out: list[tuple[str, Row]] = []
        for table in type(self).model_fields:
            value = getattr(self, table)
            if isinstance(value, Row):
                out.append((table, value))
            elif isinstance(value, tuple):
                out.extend((table, row) for row in value)
        return out


@cache
def reference() -> Reference:
    """All tables, read once."""
    return load_spec(Reference, Path(__file__).with_name("reference.yaml"))
