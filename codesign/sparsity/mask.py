"""Bit-packed masks: which elements of a matrix are kept, and how many there are where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError, fingerprint

Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Mask:
    """The kept elements of a `rows` x `cols` matrix in the layout of a linear layer's weight.

    `packed` is uint8 [rows, ceil(cols / 8)]: bit j % 8 (least significant first) of byte j // 8 is
    set where column j is kept; bits beyond the last column are 0. The array is read-only. Raises
    CodesignError for an empty shape or an array that breaks these rules.
    """

    rows: int
    cols: int
    packed: Bits

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise CodesignError(f"a mask needs at least one row and one column, got {self.shape}")
        packed = self.packed
        expected = (self.rows, -(-self.cols // 8))
        if packed.dtype != np.uint8 or packed.shape != expected:
            raise CodesignError(
                f"a packed mask of shape {self.shape} is a uint8 array of shape {expected}, "
                f"got {packed.dtype} of shape {packed.shape}"
            )
        if self.cols % 8 and (packed[:, -1] >> (self.cols % 8)).any():
            raise CodesignError("a packed mask has bits set beyond its last column")
        if packed.flags.writeable or packed.base is not None or not packed.flags.c_contiguous:
            packed = packed.copy(order="C")
            packed.flags.writeable = False
            object.__setattr__(self, "packed", packed)

    @classmethod
    def from_dense(cls, kept: NDArray[np.bool_]) -> Mask:
        """The mask that keeps the elements where a two-dimensional boolean array is True.

        >>> Mask.from_dense(np.eye(3, dtype=bool)).nnz
        3
        """
        if kept.ndim != 2 or kept.dtype != np.bool_:
            raise CodesignError(
                f"a mask is made from a boolean matrix, got {kept.dtype} of shape {kept.shape}"
            )
        rows, cols = kept.shape
        return cls(rows, cols, np.packbits(kept, axis=1, bitorder="little"))

    @classmethod
    def from_packed(cls, data: Bits | bytes, rows: int, cols: int) -> Mask:
        """The mask whose packed rows are `data`: bytes in row order, or an array of them."""
        row_bytes = -(-cols // 8)
        content = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        if rows < 1 or cols < 1 or content.size != rows * row_bytes:
            raise CodesignError(
                f"a packed mask of shape {(rows, cols)} has {rows * row_bytes} bytes, "
                f"got {content.size}"
            )
        return cls(rows, cols, content.reshape(rows, row_bytes))

    @classmethod
    def full(cls, rows: int, cols: int) -> Mask:
        """The mask that keeps everything."""
        if rows < 1 or cols < 1:
            raise CodesignError(f"a mask needs at least one row and one column, got {(rows, cols)}")
        packed = np.full((rows, -(-cols // 8)), 0xFF, np.uint8)
        if cols % 8:
            packed[:, -1] = (1 << cols % 8) - 1
        return cls(rows, cols, packed)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.cols

    @property
    def size(self) -> int:
        return self.rows * self.cols

    @cached_property
    def nnz(self) -> int:
        """Kept elements."""
        return int(np.bitwise_count(self.packed).sum(dtype=np.int64))

    @property
    def density(self) -> float:
        """Fraction of elements kept."""
        return self.nnz / self.size

    @cached_property
    def fingerprint(self) -> str:
        """Equal for masks of equal shape and content."""
        return fingerprint([self.rows, self.cols, self.packed])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.packed, other.packed)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Mask({self.rows} x {self.cols}, nnz={self.nnz})"

    def to_dense(self) -> NDArray[np.bool_]:
        """A new boolean array [rows, cols], True where kept."""
        return np.unpackbits(self.packed, axis=1, count=self.cols, bitorder="little").view(np.bool_)

    def transpose(self) -> Mask:
        """The same elements with rows and columns exchanged."""
        from codesign.kernels.tiles import transpose_bits

        return Mask(self.cols, self.rows, transpose_bits(self.packed, self.cols))

    def __getitem__(self, window: tuple[slice, slice]) -> Mask:
        """The mask of a window of rows and columns, slices of step 1 such as `mask[0:64, 128:256]`.

        Raises CodesignError for other steps and for an empty window.
        """
        row_window, col_window = window
        row_start, row_stop, row_step = row_window.indices(self.rows)
        start, stop, col_step = col_window.indices(self.cols)
        if row_step != 1 or col_step != 1 or row_stop <= row_start or stop <= start:
            raise CodesignError(f"a window of a mask is not empty and has step 1, got {window}")
        cols, shift = stop - start, start % 8
        span = self.packed[row_start:row_stop, start // 8 : -(-stop // 8)]
        packed = np.zeros((row_stop - row_start, -(-cols // 8)), np.uint8)
        packed[:] = span[:, : packed.shape[1]] >> shift
        if shift:
            carried = span[:, 1:] << (8 - shift)
            packed[:, : carried.shape[1]] |= carried
        if cols % 8:
            packed[:, -1] &= (1 << cols % 8) - 1
        return Mask(row_stop - row_start, cols, packed)

    def tile_counts(self, tile_rows: int, tile_cols: int) -> NDArray[np.int64]:
        """Kept elements of each tile, int64 [ceil(rows / tile_rows), ceil(cols / tile_cols)]."""
        from codesign.kernels.tiles import count_tiles

        _require_positive(tile_rows=tile_rows, tile_cols=tile_cols)
        counts: NDArray[np.int64] = count_tiles(self.packed, self.cols, tile_rows, tile_cols)
        return counts

    def group_counts(self, m: int) -> NDArray[np.int32]:
        """Kept elements of each group of m neighbouring columns, int32 [rows, ceil(cols / m)]."""
        from codesign.kernels.tiles import count_groups

        _require_positive(m=m)
        counts: NDArray[np.int32] = count_groups(self.packed, self.cols, m)
        return counts

    def slowest_lane(self, m: int, lanes: int) -> NDArray[np.int64]:
        """Largest group count among each `lanes` neighbouring rows.

        The cycles of lanes that wait for each other after every group of m columns, int64
        [ceil(rows / lanes), ceil(cols / m)].
        """
        from codesign.kernels.tiles import max_groups

        _require_positive(m=m, lanes=lanes)
        counts: NDArray[np.int64] = max_groups(self.packed, self.cols, m, lanes)
        return counts

    def lane_counts(self, lanes: int) -> NDArray[np.int64]:
        """Kept elements of each row, dealt to lanes in blocks: int64 [ceil(rows / lanes), lanes].

        Lanes without a row hold 0. The largest of a block is the work of lanes that wait for each
        other only at the end of a row.
        """
        _require_positive(lanes=lanes)
        counts = np.zeros(-(-self.rows // lanes) * lanes, np.int64)
        counts[: self.rows] = np.bitwise_count(self.packed).sum(axis=1, dtype=np.int64)
        return counts.reshape(-1, lanes)


def _require_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise CodesignError(f"{name} is at least 1, got {size}")
