"""How a GPU's libraries run a product: forms of operands, tile shapes, constants of kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from codesign.arch.gpu_parts import TensorMemory
from codesign.arch.parts import Source
from codesign.config import Spec, load_spec
from codesign.kernels.tensor_core import choose_tiles
from codesign.schedule.program import Int64
from codesign.sparsity.pattern import (
    NM,
    Block,
    Columns,
    Pattern,
    Rows,
    ScaledGroups,
    Unstructured,
)
from codesign.trace.op import Op, ceil_bytes
from codesign.units import BITS_PER_BYTE, DTypeName, dtype_bits

Float64 = NDArray[np.float64]

SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SUMS_OF_A_TILE = 128 * 256
"""Sums that the registers of one thread block hold."""
_SCALE_BITS_PER_INT4 = 16 / 128
"""One 16-bit scale for each 128 weights, as AWQ, GPTQ and Marlin store them."""
_BITS_OF_A_GROUP = 3 * 16
"""Scale, zero point and column of a group that is kept, 16 bits each, as GQSA stores them."""


class KernelLibrary(Spec):
    """Constants of one library's kernels on one GPU: all that calibration may set."""

    read_efficiency: float = Field(gt=0, le=1, description="achieved over peak DRAM reads")
    write_efficiency: float = Field(gt=0, le=1, description="achieved over peak DRAM writes")
    sharing: float = Field(
        gt=0, le=8, description="uses of a byte that L2 delivers: multicast in clusters, L1 hits"
    )
    prologue_cycles: float = Field(ge=0, description="of a thread block, before its first product")
    store_bytes_per_cycle: float = Field(gt=0, description="of a multiprocessor's epilogue")
    step_cycles: float = Field(ge=0, description="from the request of a stage to its use")
    split_cycles: float = Field(ge=0, description="to join the parts of a split reduction")
    most_splits: int = Field(ge=1, le=32)
    most_edge: int = Field(ge=64, le=256, description="rows or columns of the largest tile")
    by_rows: bool = False
    """Whether blocks of C are taken one row of tiles after the other."""
    sustained: dict[DTypeName, Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    """Share of the peak rate that the board's power allows long runs; absent: the power model."""


@dataclass(frozen=True, slots=True)
class Run:
    """State that a measurement leaves between two runs, zero for one cold run.

    `warm_bytes` of the operands are still in L2; runs shorter than `window_cycles` exceed the
    sustained rate by up to the factor `burst`. `rate` is a factor on the sustained rate itself,
    `memory` one on what L2 and DRAM deliver: other clocks.
    """

    warm_bytes: float = 0.0
    burst: float = 1.0
    window_cycles: float = 1.0
    rate: float = 1.0
    memory: float = 1.0


@dataclass(frozen=True, slots=True)
class Form:
    """How a product's operands are stored and multiplied.

    `b_share` is stored bytes of B over those of a dense B in A's type, `kept` the share of the
    reduction that is executed, `rate` a factor on the multiply rate, `unpack_bytes` what
    unpacking writes to shared memory for each element of B.
    """

    name: str = "dense"
    b_share: float = 1.0
    kept: float = 1.0
    rate: float = 1.0
    unpack_bytes: float = 0.0


DENSE_FORM = Form()


def form_of(pattern: Pattern, a_dtype: str, b_dtype: str, *, sparse_mma: bool) -> Form:
    """The way in which the kernels of a GPU run a pattern of B; dense where they gain nothing."""
    bits = dtype_bits(a_dtype)
    density = pattern.density
    if dtype_bits(b_dtype) < bits:
        packed = dtype_bits(b_dtype) + _SCALE_BITS_PER_INT4
        if isinstance(pattern, ScaledGroups):
            per_group = dtype_bits(b_dtype) + _BITS_OF_A_GROUP / pattern.block_cols
            packed = density * per_group
        return Form("grouped", b_share=packed / bits, unpack_bytes=bits / BITS_PER_BYTE)
    match pattern:
        case NM(axis="in") if (pattern.n, pattern.m) == (2, 4) and sparse_mma:
            return Form("2:4", b_share=0.5 + 1 / bits, rate=2.0)
        case NM(axis="in") if not pattern.is_dense and (pattern.n, pattern.m) != (2, 4):
            index = (pattern.m - 1).bit_length() / bits / 64
            return Form("gather", b_share=1 + index, kept=density, unpack_bytes=bits / 16)
        case Block():
            return Form("block", kept=density)
        case Rows() | Columns():
            return Form("removed", kept=density)
        case Unstructured() if not pattern.is_dense:
            return Form("bitmap", b_share=density + 1 / bits, unpack_bytes=bits / BITS_PER_BYTE)
    return DENSE_FORM


@cache
def tile_library(warp_groups: bool, most_edge: int = 256) -> tuple[tuple[int, int], ...]:
    """Tile shapes (rows of A, rows of B) of thread blocks; (1, 1) is a product with a vector."""
    edges = (16, 32, 64, 128, 256)
    found = {(m, n) for m, n in product(edges, edges) if 512 <= m * n <= _SUMS_OF_A_TILE}
    if warp_groups:
        wide = product((64, 128, 256), (8, 16, 32, 64, 96, 128, 192, 256))
        pairs = {(m, n) for m, n in wide if m * n <= _SUMS_OF_A_TILE}
        found |= pairs | {(n, m) for m, n in pairs}
    return ((1, 1), *sorted(shape for shape in found if max(shape) <= most_edge))


@cache
def powers_of_two(shapes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The shapes that older libraries have: no edge of 96 or 192.

    >>> powers_of_two(((1, 1), (64, 96), (128, 256)))
    ((1, 1), (128, 256))
    """
    return tuple(shape for shape in shapes if all(edge.bit_count() == 1 for edge in shape))


@dataclass(frozen=True)
class Board:
    """What the kernels see of a GPU; rates per cycle of the nominal clock."""

    multiprocessors: int
    l2_bytes: int
    l2_bytes_per_cycle: float
    dram_bytes_per_cycle: float
    dram_latency_cycles: int
    shared_bytes: int
    warp_groups: bool
    tensor_memory: TensorMemory | None = None

    def tiles(self, most_edge: int = 256) -> tuple[tuple[int, int], ...]:
        """The tile shapes of a library for the board."""
        if self.tensor_memory is None:
            return tile_library(self.warp_groups, most_edge)
        every = tile_library(True, most_edge)
        return tuple(shape for shape in every if min(shape) >= laws().least_tensor_edge)

    def row(self) -> Float64:
        sums = self.tensor_memory
        return np.array(
            [
                self.multiprocessors, self.l2_bytes, self.l2_bytes_per_cycle,
                self.dram_bytes_per_cycle, self.dram_latency_cycles, self.shared_bytes,
                self.warp_groups,
                *((sums.rows, sums.columns, sums.pairs) if sums else (0, 0, 0)),
            ],
            dtype=np.float64,
        )  # fmt: skip


_BESIDE_THE_KERNEL = frozenset(
    {
        "least_sparse_tile",
        "least_tensor_edge",
        "most_sparse_stages",
        "power_window_us",
        "unsplit",
        "least_share",
        "sources",
    }
)


class Laws(Spec):
    """Constants that are the same for every GPU and library; the first eleven in the order of the
    kernel."""

    overlap: float = Field(ge=1, le=64, description="exponent with which overlapping times join")
    warp_share: float = Field(gt=0, le=1, description="rate of mma.sync over that of wgmma")
    fill_share: float = Field(ge=0, le=1, description="of filled bytes that delay reads")
    decline: float = Field(ge=1, description="exponent of what a cache keeps of too large a set")
    shared_bytes_per_cycle: float = Field(gt=0, description="of a multiprocessor")
    port_bytes_per_cycle: float = Field(gt=0, description="from L2 to a multiprocessor")
    most_stages: int = Field(ge=2, description="of a pipeline")
    most_stages_alone: int = Field(ge=2, description="where one block has a multiprocessor")
    step_bytes: int = Field(ge=1, description="of a row of A in a stage")
    vector_step_bytes: int = Field(ge=1, description="of B that a block of a vector product reads")
    tensor_fill_share: float = Field(
        ge=0, le=1, description="as fill_share, where sums are in tensor memory"
    )
    least_sparse_tile: tuple[int, int] = Field(description="rows of A and of B, of 2:4 kernels")
    least_tensor_edge: int = Field(ge=1, description="of tiles whose sums are in tensor memory")
    most_sparse_stages: int = Field(ge=2, description="of a 2:4 kernel without warp groups")
    power_window_us: float = Field(gt=0, description="over which a power limiter averages")
    unsplit: tuple[DTypeName, ...] = Field(description="types whose dense products are not split")
    least_share: float = Field(gt=0, le=1, description="of the time, to be called its bound")
    sources: dict[str, Source]

    def row(self) -> Float64:
        """The numbers as the kernel takes them."""
        numbers = self.model_dump(exclude=set(_BESIDE_THE_KERNEL))
        return np.array(list(numbers.values()), dtype=np.float64)

    def of(self, form: Form, board: Board) -> Laws:
        """The laws of one form's kernels: those of `mma.sp` have few stages."""
        if form.name != "2:4" or board.warp_groups or board.tensor_memory:
            return self
        most = self.most_sparse_stages
        return self.model_copy(update={"most_stages": most, "most_stages_alone": most})


@cache
def laws() -> Laws:
    """The laws that ship with the package."""
    return load_spec(Laws, Path(__file__).with_name("gpu_laws.yaml"))


def sparse_tiles(tiles: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Those of some tile shapes that 2:4 kernels have."""
    least_m, least_n = laws().least_sparse_tile
    return tuple((m, n) for m, n in tiles if m >= least_m and n >= least_n)


def constants_row(kernels: KernelLibrary, cap: float, run: Run) -> Float64:
    """The constants in the order of the kernel; `cap` is the chip's sustained MACs per cycle."""
    return np.array(
        [
            min(1.0, kernels.read_efficiency * run.memory),
            min(1.0, kernels.write_efficiency * run.memory), kernels.sharing * run.memory,
            kernels.prologue_cycles, kernels.store_bytes_per_cycle, kernels.step_cycles,
            kernels.split_cycles, cap, run.warm_bytes, run.burst, run.window_cycles,
            kernels.by_rows,
        ]
    )  # fmt: skip


def choices(
    sizes: Int64,
    board: Board,
    constants: Float64,
    form: Form,
    *,
    a_bytes: float,
    c_bytes: float,
    macs_per_cycle: float,
    kernels: KernelLibrary,
    tiles: tuple[tuple[int, ...], ...] | None = None,
    splits: tuple[int, ...] = SPLITS,
) -> Float64:
    """The quickest tile and split of each product; columns as in `kernels.tensor_core`.

    `tiles` are (rows of A, rows of B) or with a third number: blocks that share a multiprocessor;
    without it one where sums are in tensor memory, else as registers allow.
    `sizes` is int64[rows, 4] of groups, m, n, k; `a_bytes` and `c_bytes` are of one element and
    `macs_per_cycle` of one multiprocessor, dense.
    """
    shapes = tiles
    residents = 1 if board.tensor_memory else 0
    if shapes is None:
        library = board.tiles(kernels.most_edge)
        shapes = sparse_tiles(library) if form.name == "2:4" else library
    return choose_tiles(  # type: ignore[no-any-return]
        np.ascontiguousarray(sizes, dtype=np.int64),
        np.array([(*shape, residents)[:3] for shape in shapes], dtype=np.int64),
        np.array(splits, dtype=np.int64),
        board.row(),
        constants,
        laws().of(form, board).row(),
        np.array(
            [
                a_bytes, c_bytes, form.b_share, macs_per_cycle * form.rate, form.kept,
                form.unpack_bytes, kernels.most_splits,
            ]
        ),
    )  # fmt: skip


def element_bytes(dtype: str) -> float:
    """Bytes of one element, a fraction for packed types."""
    return ceil_bytes(8, dtype) / 8


def in_flight(op: Op) -> Op:
    """The product of a fused attention: its large matrix stays on the chip, whichever it is."""
    if op.k > op.n:
        return replace(op, n=op.k, k=op.n)
    return op
