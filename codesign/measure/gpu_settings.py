"""What a calibration fits, in which order, and where it starts: `gpu_calibration.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from codesign.config import Spec, load_spec
from codesign.measure.gpu_rows import Rows
from codesign.units import BITS_PER_BYTE, DTypeName, dtype_bits

Part = Literal["dense", "sparse", "sparse_8bit"]
PARTS: tuple[Part, ...] = ("dense", "sparse", "sparse_8bit")


def part_of(rows: Rows) -> Part:
    """The kernels of a machine file that rows exercise."""
    if rows.pattern == "dense":
        return "dense"
    return "sparse_8bit" if dtype_bits(rows.dtype) <= BITS_PER_BYTE else "sparse"


class Search(Spec):
    """How a fit searches, and which rows it looks at."""

    pull: float = Field(ge=0)
    family_pull: float = Field(ge=0)
    simplex_step: float = Field(gt=0)
    board_rounds: int = Field(ge=1)
    family_rounds: int = Field(ge=1)
    power_rounds: int = Field(ge=1)
    stream_rounds: int = Field(ge=1)
    board_rows: int = Field(ge=1)
    family_rows: int = Field(ge=1)
    power_rows: int = Field(ge=1)
    power_least_m: int = Field(ge=1)
    power_least_weights: int = Field(ge=1)
    seed: int = Field(ge=0)


class Start(Spec):
    """Round numbers that every fit starts from."""

    kernels: dict[str, float]
    protocol: dict[str, float]
    power: dict[str, float]
    streams: dict[str, float]


class Source(Spec):
    """Which rows are meant: of one origin, library and board, of all types or of some."""

    machine: str
    origin: str
    library: str
    gpu: str
    dtypes: tuple[DTypeName, ...] = ()

    def has(self, rows: Rows) -> bool:
        same = (rows.origin, rows.library, rows.gpu) == (self.origin, self.library, self.gpu)
        return same and (not self.dtypes or rows.dtype in self.dtypes)


class BoardRows(Source):
    """Rows that the kernels of a machine are fitted to."""

    kernels: Part


class ProtocolRows(Source):
    """Rows that say how another origin timed a calibrated machine."""

    fields: tuple[str, ...]
    start: dict[str, float] = Field(default_factory=dict)
    """Round numbers in place of those of `Start.protocol`."""
    cutlass: bool = False
    powers_of_two: bool = False
    rates: bool = False
    floor: bool = False
    """Whether the origin's times have a least one, which the host takes."""


class StreamRows(Spec):
    """Rows of vector operators, and the machines that their efficiency is written to."""

    machine: str
    origin: str
    gpu: str
    also: tuple[str, ...]


class Process(Spec):
    """Machines whose MACs take the same energy, and where its fit starts."""

    start: float = Field(gt=0)
    machines: tuple[str, ...]


class ClaimedProcess(Spec):
    """Machines whose MACs take an energy that is fitted to published rates of some boards.

    The rates are those of `gpu_board_claims.yaml`, of all its sources or of some.
    """

    start: float = Field(gt=0)
    machines: tuple[str, ...]
    boards: tuple[str, ...]
    sources: tuple[str, ...] = ()

    def has(self, gpu: str, source: str) -> bool:
        """Whether rates of a board, from a source, are fitted to."""
        return gpu in self.boards and (not self.sources or source in self.sources)


class DerivedProcess(Spec):
    """Machines whose MACs take the energy of another process times a factor."""

    machines: tuple[str, ...]
    of: str
    factor: float = Field(gt=0)
    source: str


class Calibration(Spec):
    """The content of `gpu_calibration.yaml`."""

    settings: Search
    start: Start
    most: dict[str, float]
    least: dict[str, float]
    boards: tuple[BoardRows, ...]
    protocols: tuple[ProtocolRows, ...]
    streams: StreamRows
    processes: dict[str, Process]
    claimed_processes: dict[str, ClaimedProcess]
    derived_processes: dict[str, DerivedProcess]
    same_chip: dict[Part, dict[str, str]]

    def process_of(self, machine: str) -> str | None:
        """The process of a machine whose energy is fitted to rows of calibrated boards."""
        return _process(self.processes, machine)

    def claimed_process_of(self, machine: str) -> str | None:
        """The process of a machine whose energy is fitted to published rates."""
        return _process(self.claimed_processes, machine)


def _process(plan: Mapping[str, Process | ClaimedProcess], machine: str) -> str | None:
    found = [name for name, one in plan.items() if machine in one.machines]
    return found[0] if found else None


@cache
def settings() -> Calibration:
    """The calibration that ships with the package."""
    return load_spec(Calibration, Path(__file__).with_name("gpu_calibration.yaml"))
