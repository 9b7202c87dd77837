"""Loop tiling of one matrix product: which tile comes when, and which bytes it brings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from codesign.schedule.program import Int64
from codesign.trace.op import Op, Phase
from codesign.trace.window import Conv

Bool = NDArray[np.bool_]
Count = TypeVar("Count", int, Int64)


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tile sizes in elements; `order` "mn" passes B's tiles by each tile of A, "nm" the reverse.

    The reduction is the innermost loop. `groups` independent products share a tile when each is
    whole.
    """

    m: int
    n: int
    k: int
    groups: int = 1
    order: str = "mn"

    def swapped(self) -> Tiling:
        """The same tiles of the transposed product."""
        return Tiling(self.n, self.m, self.k, self.groups, self.order[::-1])


def passes(op: Op, tiles_m: Count, tiles_n: Count, tiles_k: Count, mn: Any) -> tuple[Count, Count]:
    """How often the whole of A and of B crosses the link, of one tiling or of many at once.

    The counts of tiles are integers or columns of them; `mn` says, likewise, where the order is
    "mn". A tile that the next step needs again is not loaded again.
    """
    cut_m, cut_n, cut_k = tiles_m > 1, tiles_n > 1, tiles_k > 1
    a = 1 + (cut_k | cut_m & (mn ^ True)) * (tiles_n - 1)
    b = 1 + (cut_k | cut_n & mn) * (tiles_m - 1)
    if op.b_shared:
        b = b * (1 + (cut_n | cut_k) * (op.groups - 1))
    return a, b


def transposed(op: Op) -> Op:
    """The product C^T = B^T . A^T, whose stationary operand is A; without a window."""
    return replace(
        op, m=op.n, n=op.m, conv=None, a_dtype=op.b_dtype, b_dtype=op.a_dtype,
        a_pattern=op.b_pattern, b_pattern=op.a_pattern,
    )  # fmt: skip


@dataclass(frozen=True)
class TileTable:
    """One row for each tile in order of execution: its place, sizes, and what changes with it."""

    op: Op
    tiling: Tiling
    group: Int64
    m_index: Int64
    n_index: Int64
    k_index: Int64

    def __len__(self) -> int:
        return len(self.group)

    def swapped(self) -> TileTable:
        """The same tiles, in the same order, of the transposed product."""
        return TileTable(
            transposed(self.op), self.tiling.swapped(), self.group, self.n_index, self.m_index,
            self.k_index,
        )  # fmt: skip

    def _size(self, index: Int64, tile: int, whole: int) -> Int64:
        return np.minimum(tile, whole - index * tile)

    @cached_property
    def groups(self) -> Int64:
        return self._size(self.group, self.tiling.groups, self.op.groups)

    @cached_property
    def m(self) -> Int64:
        return self._size(self.m_index, self.tiling.m, self.op.m)

    @cached_property
    def n(self) -> Int64:
        return self._size(self.n_index, self.tiling.n, self.op.n)

    @cached_property
    def k(self) -> Int64:
        return self._size(self.k_index, self.tiling.k, self.op.k)

    @cached_property
    def first_k(self) -> Bool:
        return np.equal(self.k_index, 0)

    @cached_property
    def last_k(self) -> Bool:
        return (self.k_index + 1) * self.tiling.k >= self.op.k

    @cached_property
    def loads_a(self) -> Bool:
        return _changes(self.group, self.m_index, self.k_index)

    @cached_property
    def loads_b(self) -> Bool:
        if self.op.b_shared:
            return _changes(self.n_index, self.k_index)
        return _changes(self.group, self.n_index, self.k_index)

    @cached_property
    def a_elements(self) -> Int64:
        """Elements of A that each tile needs; a convolution's are those of its input map."""
        t, conv = self.tiling, self.op.conv
        if conv is None:
            return self.groups * self.m * self.k
        if self.op.phase is Phase.BACKWARD_WEIGHT:
            window = window_elements(conv, self.k_index * t.k, self.k, self.m_index * t.m, self.m)
        else:
            pixel, pixels = self._pixels
            window = window_elements(conv, pixel, pixels, self.k_index * t.k, self.k)
        one: Int64 = np.minimum(window, self.m * self.k)
        return self.groups * one

    @cached_property
    def c_elements(self) -> Int64:
        """Elements of C that leave with each tile's last partial sum."""
        if self.op.conv is None or self.op.phase is Phase.BACKWARD_WEIGHT:
            return self.groups * self.m * self.n
        return self.groups * self._pixels[1] * self.n

    @cached_property
    def _pixels(self) -> tuple[Int64, Int64]:
        """First and number of the convolution's output pixels that each tile's rows stand for.

        The rows of what scatters are fewer than its pixels where the input is spread (the others
        multiply inserted zeros), so a row stands for several.
        """
        conv = self.op.conv
        assert conv is not None
        pixels = conv.out_pixels
        start = self.m_index * self.tiling.m
        first = start * pixels // self.op.m
        return first, (start + self.m) * pixels // self.op.m - first


def _changes(*columns: Int64) -> Bool:
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[0] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def tile_table(op: Op, tiling: Tiling) -> TileTable:
    """Every tile of a product in the order of its loops: groups, m and n as ordered, k."""
    counts = [
        -(-op.groups // tiling.groups),
        -(-op.m // tiling.m),
        -(-op.n // tiling.n),
        -(-op.k // tiling.k),
    ]
    if tiling.order == "nm":
        counts[1], counts[2] = counts[2], counts[1]
    group, first, second, k = (axis.ravel() for axis in np.indices(counts, dtype=np.int64))
    m, n = (first, second) if tiling.order == "mn" else (second, first)
    return TileTable(op, tiling, group, m, n, k)


def window_elements(
    conv: Conv,
    pixel: Int64 | int,
    pixels: Int64 | int,
    depth: Int64 | int,
    depths: Int64 | int,
) -> Int64:
    """Input-map elements that a run of output pixels touches through a run of window positions.

    Output pixels are numbered (image, plane, row, column); window positions (plane, row, column,
    channel) of one convolution group. Whole rows of the map are counted between the first and the
    last touched one; of the planes that are not touched as a whole, those of each end of the run.
    """
    pixel, pixels = np.asarray(pixel, dtype=np.int64), np.asarray(pixels, dtype=np.int64)
    depth, depths = np.asarray(depth, dtype=np.int64), np.asarray(depths, dtype=np.int64)
    touched_channels = np.minimum(depths, conv.in_channels // conv.groups)
    first_row, last_row = pixel // conv.out_w, (pixel + pixels - 1) // conv.out_w
    first, last = first_row // conv.out_h, last_row // conv.out_h
    start, stop = first_row % conv.out_h, last_row % conv.out_h + 1
    height = conv.height
    ends = height.covered(start, conv.out_h) * _planes(conv, first, first + 1)
    ends += height.covered(0, stop) * _planes(conv, last, last + 1)
    rows = np.where(
        first == last,
        height.covered(start, stop) * _planes(conv, first, first + 1),
        np.minimum(
            ends + _planes(conv, first + 1, last) * height.whole,
            _planes(conv, first, last + 1) * height.whole,
        ),
    )
    return rows * conv.width.whole * touched_channels


def _planes(conv: Conv, start: Int64, stop: Int64) -> Int64:
    """Planes of the input maps that output planes start to stop - 1 read, those of each image."""
    depth, last = conv.depth, stop - 1
    if depth.is_single:
        return np.asarray(np.maximum(0, stop - start))
    images = last // conv.out_d - start // conv.out_d
    own, end = start % conv.out_d, last % conv.out_d + 1
    several = depth.covered(own, conv.out_d) + depth.covered(0, end) + (images - 1) * depth.whole
    planes = np.where(images == 0, depth.covered(own, end), several)
    return np.where(stop > start, planes, 0)
