"""Layers as SCALE-Sim 3.0.0 describes them, and a sample of its answers."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.sparsity.pattern import DENSE, Pattern, parse_pattern
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.window import Conv


@dataclass(frozen=True, slots=True)
class Window:
    """A convolution as SCALE-Sim takes it, without padding; sizes in elements."""

    ifmap_h: int
    ifmap_w: int
    filter_h: int
    filter_w: int
    channels: int
    filters: int
    stride: int

    @property
    def out_h(self) -> int:
        return -(-(self.ifmap_h - self.filter_h + self.stride) // self.stride)

    @property
    def out_w(self) -> int:
        """SCALE-Sim rounds up: with a stride the last window may reach beyond the map."""
        return -(-(self.ifmap_w - self.filter_w + self.stride) // self.stride)


@dataclass(frozen=True, slots=True)
class Memory:
    """Scratchpads (KiB) and words per cycle of their ports, for input, filter and output."""

    sram_kib: tuple[int, int, int]
    words_per_cycle: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A layer on an array, and what SCALE-Sim 3.0.0 reports for it.

    `total_cycles` is the index of the last cycle, one less than the count. `nm` is the layer-wise
    pattern, `row_wise_block` the block of its row-wise mode. `accesses` are SRAM reads of input and
    filter and writes of the output, in words.
    """

    name: str
    m: int
    n: int
    k: int
    array_rows: int
    array_cols: int
    dataflow: str
    total_cycles: int
    stall_cycles: int = 0
    window: Window | None = None
    nm: str = ""
    row_wise_block: int = 0
    accesses: tuple[int, int, int] | None = None
    memory: Memory | None = None

    @property
    def pattern(self) -> Pattern:
        return parse_pattern(self.nm) if self.nm else DENSE

    @property
    def sparsity(self) -> str:
        if self.row_wise_block:
            return "row-wise N:M"
        return "layer-wise N:M" if self.nm else "dense"


def operator(row: Row) -> Op:
    """The layer as an operator; every value is one byte, as SCALE-Sim counts words."""
    window = row.window
    conv = None
    if window is not None:
        conv = Conv(
            batch=1, in_h=window.ifmap_h, in_w=window.ifmap_w, in_channels=window.channels,
            out_channels=window.filters, kernel_h=window.filter_h, kernel_w=window.filter_w,
            stride_h=window.stride, stride_w=window.stride, out_h=window.out_h, out_w=window.out_w,
        )  # fmt: skip
    return Op(
        name=row.name, kind=Kind.GEMM if conv is None else Kind.CONV, phase=Phase.FORWARD,
        m=row.m, n=row.n, k=row.k, conv=conv, weight="weight", b_pattern=row.pattern,
        a_dtype="int8", b_dtype="int8", c_dtype="int8",
    )  # fmt: skip


def _sample(
    m: int, n: int, k: int, array: tuple[int, int], dataflow: str, total_cycles: int,
    accesses: tuple[int, int, int] | None = None, *, nm: str = "", row_wise_block: int = 0,
    window: Window | None = None, stall_cycles: int = 0, memory: Memory | None = None,
) -> Row:  # fmt: skip
    return Row(
        name=f"{m}x{n}x{k}", m=m, n=n, k=k, array_rows=array[0], array_cols=array[1],
        dataflow=dataflow, total_cycles=total_cycles, stall_cycles=stall_cycles, window=window,
        nm=nm, row_wise_block=row_wise_block, accesses=accesses, memory=memory,
    )  # fmt: skip


_CONV2 = Window(56, 56, 3, 3, 64, 64, 1)
_CONV3 = Window(28, 28, 3, 3, 128, 128, 1)
_SHORTCUT3 = Window(56, 56, 1, 1, 64, 128, 2)
_CONV4 = Window(28, 28, 3, 3, 128, 256, 2)

SAMPLES: tuple[Row, ...] = (
    _sample(32, 32, 32, (8, 8), "ws", 863, (4096, 1024, 4096)),
    _sample(32, 32, 32, (8, 8), "os", 735, (4096, 4096, 1280)),
    _sample(32, 32, 32, (8, 8), "is", 863, (1024, 4096, 4096)),
    _sample(100, 77, 33, (8, 32), "ws", 2189, (9900, 2541, 38500)),
    _sample(100, 77, 33, (8, 32), "os", 2768, (9900, 33033, 9260)),
    _sample(100, 77, 33, (8, 32), "is", 2459, (3300, 10164, 38500)),
    _sample(2916, 64, 576, (128, 128), "ws", 16489, (1679616, 36864, 933120), window=_CONV2),
    _sample(841, 128, 64, (128, 128), "ws", 1222, (53824, 8192, 107648), window=_SHORTCUT3),
    _sample(196, 256, 1152, (128, 128), "ws", 10403, (451584, 294912, 451584), window=_CONV4),
    _sample(676, 128, 1152, (128, 128), "os", 8435, (778752, 884736, 88064), window=_CONV3),
    _sample(676, 128, 1152, (128, 128), "is", 27539, (778752, 884736, 778752), window=_CONV3),
    _sample(64, 128, 96, (8, 32), "ws", 2639, nm="2:4"),
    _sample(64, 128, 96, (8, 32), "os", 2751, nm="2:4"),
    _sample(100, 77, 33, (8, 32), "is", 1475, nm="2:4"),
    _sample(128, 128, 256, (32, 32), "ws", 1775, nm="2:8"),
    _sample(64, 64, 64, (32, 32), "os", 279, nm="1:8"),
    _sample(64, 64, 64, (32, 32), "is", 631, nm="3:4"),
    _sample(1024, 64, 576, (32, 32), "ws", 11179, nm="1:4"),
    _sample(64, 64, 33, (32, 32), "ws", 315, nm="2:4", row_wise_block=8),
    _sample(128, 128, 256, (32, 32), "ws", 3551, nm="2:4", row_wise_block=2),
    *(
        _sample(
            256, 64, 256, (32, 32), "ws", cycles, stall_cycles=cycles - 5599,
            memory=Memory((input_kib, 64, 64), (16, 16, 16)),
        )
        for input_kib, cycles in ((1, 66974), (16, 65691), (64, 16391), (128, 5610))
    ),
)  # fmt: skip
"""Own runs of SCALE-Sim 3.0.0 (PyPI; equal to commit 1d62b68) with NumPy 2.2.6, one layer each.

All dataflows, dense and N:M, ragged sizes, square and wide arrays; the last four have finite
bandwidth.
"""
