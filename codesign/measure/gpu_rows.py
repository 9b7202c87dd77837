"""Measured products on GPUs, and what a simulation needs to know of how they were measured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from codesign.arch import list_archs
from codesign.arch.gpu_kernels import (
    DENSE_FORM,
    Form,
    Run,
    form_of,
    laws,
    powers_of_two,
)
from codesign.arch.parts import Source
from codesign.arch.tensor_core import TensorCore
from codesign.config import CodesignError, Spec, load_spec
from codesign.measure.oracle_file import lacks, read_records
from codesign.schedule.program import Int64
from codesign.sparsity.pattern import NM
from codesign.units import DTypeName

Float64 = NDArray[np.float64]

COLUMNS = (
    "gpu", "dtype", "pattern", "library", "version", "m", "n", "k", "latency_us", "source",
)  # fmt: skip
PATTERNS = ("dense", "2:4")
_FEW_COLUMNS = 2
"""A file that lacks no more of COLUMNS is meant to be one of measured products."""
BOARDS = {
    "A100-80GB": "a100_sxm_80gb",
    "H100-80GB": "h100_sxm",
    "H200-SXM": "h200",
    "H200": "h200",
}
"""Machine files of boards whose name in the data is not theirs, or that the origin states half."""
_SHAPE_LIMIT = 1 << 24
_BRANDS = ("nvidia", "geforce", "tesla", "quadro")


class TilesUpTo(Spec):
    """The kernel that runs products of at most so many rows of A and of B."""

    most_m: int = Field(default=_SHAPE_LIMIT, ge=1)
    most_n: int = Field(default=_SHAPE_LIMIT, ge=1)
    tile: tuple[int, int]
    cluster_rows: int = Field(default=1, ge=1, description="tiles along m that launch together")

    def rows_of(self, m: Int64) -> Int64:
        """Rows of A that its blocks run: clusters are launched whole, with rows that are not there.

        >>> TilesUpTo(tile=(128, 128), cluster_rows=2).rows_of(np.array([100, 300, 500]))
        array([256, 512, 500])
        """
        tiles = -(-m // self.tile[0])
        idle = -tiles % self.cluster_rows
        return np.asarray(np.where(idle > 0, (tiles + idle) * self.tile[0], m))


class CutlassKernels(Spec):
    """How vLLM runs products of 8-bit floats: `gpu_cutlass.yaml`."""

    sm_90: tuple[TilesUpTo, ...]
    """On Hopper, the first that takes a product; the last takes all."""
    sm_100: tuple[TilesUpTo, ...]
    """The same with tensor memory."""
    quantize_us_per_row: float = Field(ge=0, description="least time of quantising activations")
    sources: dict[str, Source]


@cache
def cutlass_kernels() -> CutlassKernels:
    """The kernels that ship with the package."""
    return load_spec(CutlassKernels, Path(__file__).with_name("gpu_cutlass.yaml"))


class Protocol(Spec):
    """How an origin timed: what it adds to a kernel's time, and the state of caches and clock."""

    origin: str
    library: str
    gpu: str = ""
    """Empty: for boards that have no entry of their own."""
    dtype: str = ""
    offset_us: float = Field(ge=0, description="launch, ramps and the timer itself")
    warm: float = Field(ge=0, le=4, description="bytes kept between runs, over an L2 partition")
    burst: float = Field(
        ge=0,
        le=1,
        description="exponent: short runs exceed a sustained share s by s^-burst",
    )
    rate: float = Field(default=1.0, gt=0, description="factor on the board's sustained rate")
    memory: float = Field(default=1.0, gt=0, description="factor on the rates of L2 and DRAM")
    floor_us: float = Field(default=0.0, ge=0, description="least time that the host takes")
    cutlass: bool = False
    """Whether tiles are chosen by m alone and activations are quantised first."""
    powers_of_two: bool = False
    """Whether the library was one with fewer tile shapes."""
    fitted_on: str = ""
    """The set and the split that gave these numbers."""


class Protocols(Spec):
    """The content of `gpu_protocols.yaml`."""

    protocols: tuple[Protocol, ...]

    def find(self, rows: Rows) -> Protocol:
        """The entry of an origin and library, for the board and the type if there is one.

        An origin or a library that is not listed gets the entry of the same pattern that comes
        first.
        """

        def rank(one: Protocol) -> tuple[bool, ...]:
            return (
                one.origin != rows.origin,
                one.library != rows.library,
                one.dtype not in ("", rows.dtype),
                one.gpu not in ("", rows.gpu),
                one.dtype != rows.dtype,
                one.gpu != rows.gpu,
            )

        return min(self.protocols, key=rank)


@cache
def protocols() -> Protocols:
    """The protocols that ship with the package."""
    return load_spec(Protocols, Path(__file__).with_name("gpu_protocols.yaml"))


@dataclass(frozen=True)
class Rows:
    """Rows of one origin, board, type, pattern, library; `sizes` is int64[rows, (1, m, n, k)]."""

    origin: str
    gpu: str
    dtype: str
    pattern: str
    library: str
    sizes: Int64
    latency_us: Float64

    def __len__(self) -> int:
        return len(self.latency_us)

    @property
    def name(self) -> str:
        return f"{self.gpu} {self.dtype} {self.pattern} ({self.origin}, {self.library})"

    @property
    def form(self) -> Form:
        if self.pattern == "dense":
            return DENSE_FORM
        return form_of(NM(2, 4), self.dtype, self.dtype, sparse_mma=True)

    @property
    def c_bytes(self) -> float:
        """Results are 16 bit wide, but those of dense int8 products 32."""
        return 4.0 if self.dtype == "int8" and self.pattern == "dense" else 2.0

    @property
    def in_fit(self) -> NDArray[np.bool_]:
        """Which rows belong to the half of the distinct (n, k) that constants are fitted on."""
        return np.array([is_fit(int(n), int(k)) for _, _, n, k in self.sizes], dtype=np.bool_)

    def fitted_sample(self, most: int, seed: int) -> Rows:
        """At most so many rows of the fitted half, always the same ones."""
        half = self.where(self.in_fit)
        if len(half) <= most:
            return half
        chosen = np.random.default_rng(seed).choice(len(half), most, replace=False)
        return half.where(np.sort(chosen))

    def where(self, chosen: NDArray[np.bool_] | Int64) -> Rows:
        return Rows(
            self.origin, self.gpu, self.dtype, self.pattern, self.library,
            self.sizes[chosen], self.latency_us[chosen],
        )  # fmt: skip


@cache
def is_fit(n: int, k: int) -> bool:
    """The split: the last byte of md5("n,k") is even in the half that is fitted.

    >>> is_fit(4096, 4096), is_fit(5120, 5120)
    (False, True)
    """
    return hashlib.md5(f"{n},{k}".encode(), usedforsecurity=False).digest()[-1] % 2 == 0


def read_rows(files: Iterable[Path]) -> list[Rows]:
    """Groups of the rows of files with the columns COLUMNS; rows of other operators are left out.

    Raises CodesignError that names file, line and column of a bad cell.
    """
    groups: dict[tuple[str, str, str, str, str], list[tuple[int, int, int, float]]] = {}
    for file in files:
        for record in read_records(file, COLUMNS):
            if record.cells.get("op", "matmul") != "matmul":
                continue
            pattern = record.choice("pattern", PATTERNS)
            m, n, k = (record.count(name, 1, _SHAPE_LIMIT) for name in ("m", "n", "k"))
            key = (
                origin(record.text("source")), record.text("gpu"), record.text("dtype"), pattern,
                record.text("library"),
            )  # fmt: skip
            groups.setdefault(key, []).append((m, n, k, record.number("latency_us")))
    out = []
    for key, cells in sorted(groups.items()):
        table = np.array([(1, m, n, k) for m, n, k, _ in cells], dtype=np.int64)
        out.append(Rows(*key, table, np.array([us for *_, us in cells])))
    return out


def origin(source: str) -> str:
    """The name of a data set without its version.

    >>> origin("vllmbench@92a8ca4 SQUARE"), origin("aiconfigurator-0.4.0")
    ('vllmbench', 'aiconfigurator')
    """
    return source.split("@")[0].split(" ")[0].split("-")[0]


def machine_name(gpu: str) -> str | None:
    """The machine file of a board; None where none is shipped.

    What follows a shipped name (memory, form factor) is passed over, and so are brands before it.

    >>> machine_name("RTX-4090"), machine_name("A100-PCIe-80GB"), machine_name("Z80")
    ('rtx4090', 'a100_pcie_80gb', None)
    >>> machine_name("NVIDIA L40S"), machine_name("GB200-NVL72"), machine_name("A4500")
    ('l40s', 'gb200', None)
    """
    if gpu in BOARDS:
        return BOARDS[gpu]
    known = {name.replace("_", ""): name for name, _ in list_archs()}
    words = [word for word in re.split(r"[-_ ]+", gpu.lower()) if word not in _BRANDS]
    if words[:1] == ["rtx"] and "".join(words[:2]) not in known:
        words = words[1:]
    for count in range(len(words), 0, -1):
        if (found := known.get("".join(words[:count]))) is not None:
            return found
    return None


def predict(machine: TensorCore, rows: Rows, protocol: Protocol) -> Float64:
    """Simulated microseconds of every row, timed as the protocol times."""
    spec = machine.spec
    dtype: DTypeName = rows.dtype  # type: ignore[assignment]
    share = min(1.0, protocol.rate * machine.sustained(dtype, rows.form))
    run = Run(
        warm_bytes=protocol.warm * machine.board.l2_bytes,
        burst=share**-protocol.burst,
        window_cycles=laws().power_window_us * spec.clock_mhz,
        rate=protocol.rate,
        memory=protocol.memory,
    )
    if not protocol.cutlass:
        tiles = None
        if protocol.powers_of_two:
            edge = machine.kernels(rows.form, dtype).most_edge
            tiles = powers_of_two(machine.board.tiles(edge))
        found = machine.choose(
            rows.sizes, dtype, rows.form, c_bytes=rows.c_bytes, run=run, tiles=tiles
        )
        total = protocol.offset_us + found[:, 0] / spec.clock_mhz
        return np.asarray(np.maximum(protocol.floor_us, total))
    cutlass = cutlass_kernels()
    cycles = np.full(len(rows), np.nan)
    for one in cutlass.sm_90 if spec.sm.tensor_memory is None else cutlass.sm_100:
        sizes = rows.sizes.copy()
        here = np.isnan(cycles) & (sizes[:, 1] <= one.most_m) & (sizes[:, 2] <= one.most_n)
        sizes[:, 1] = one.rows_of(sizes[:, 1])
        if here.any():
            found = machine.choose(
                sizes[here], dtype, rows.form, run=run, tiles=((*one.tile, 1),), splits=(1,)
            )
            cycles[here] = found[:, 0]
    m, k = rows.sizes[:, 1], rows.sizes[:, 3]
    quantize = np.maximum(
        3.0 * m * k / (spec.l2.bytes_per_cycle / 2) / spec.clock_mhz,
        m * cutlass.quantize_us_per_row,
    )
    return np.asarray(protocol.offset_us + quantize + cycles / spec.clock_mhz)


def data_files(folder: Path) -> Sequence[Path]:
    """The CSV files of a folder, packed or not, that have the columns of measured products.

    Raises CodesignError for a file that cannot be read, and for one that lacks a few of them.
    """
    found = []
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")]):
        absent = lacks(path, COLUMNS)
        if not absent:
            found.append(path)
        elif len(absent) <= _FEW_COLUMNS:
            raise CodesignError(f"{path}:1: no column {', '.join(absent)}")
    return found
