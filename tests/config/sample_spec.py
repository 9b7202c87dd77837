"""A Spec with every kind of field that the configuration must read: what the tests here share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from codesign.config import CodesignError, Spec


class Flow(StrEnum):
    WEIGHT = "ws"
    OUTPUT = "os"


class Array(Spec):
    rows: int = Field(default=8, gt=0)
    cols: int = Field(default=8, gt=0)
    flow: Flow = Flow.WEIGHT


class Sram(Spec):
    kind: Literal["sram"]
    capacity_bytes: int


class Dram(Spec):
    kind: Literal["dram"]
    bandwidth_bytes_per_cycle: float = Field(gt=0)


Memory = Annotated[Sram | Dram, Field(discriminator="kind")]


class Machine(Spec):
    name: str
    clock_mhz: float = Field(default=1000.0, gt=0)
    gated: bool = False
    array: Array = Array(rows=4)
    memories: tuple[Memory, ...] = ()
    shape: tuple[int, int] = (1, 1)
    energy_pj: Mapping[str, float] = {}
    pattern: str | None = None
    limit: int | str | None = None
    dtype: Literal["fp16", "int8"] = "fp16"

    @field_validator("pattern")
    @classmethod
    def _written_as_n_of_m(cls, text: str | None) -> str | None:
        if text is not None and ":" not in text:
            raise CodesignError("must be written n:m")
        return text

    @model_validator(mode="after")
    def _square_when_gated(self) -> Machine:
        if self.gated and self.array.rows != self.array.cols:
            raise CodesignError("a gated array must be square")
        return self
