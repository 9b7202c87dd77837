"""Storage formats of sparse matrices and the bytes that a pattern takes in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.compact import NMCompact
from codesign.sparsity.mask import Bits, Mask
from codesign.sparsity.storage import (
    Contents,
    Extent,
    Format,
    Ints,
    Packed,
    PackedSize,
    Values,
    pack_numbers,
    unpack,
    unpack_numbers,
)

if TYPE_CHECKING:
    from codesign.sparsity.base import Pattern

__all__ = [
    "BSR",
    "CSR",
    "Bitmap",
    "Channels",
    "DenseFormat",
    "Format",
    "NMCompact",
    "Packed",
    "PackedSize",
    "RunLength",
    "expected_bytes",
    "unpack",
]


def expected_bytes(
    pattern: Pattern,
    rows: int,
    cols: int,
    dtype: str,
    *,
    storage: Format | None = None,
    seed: int = 0,
) -> PackedSize:
    """Bytes of a matrix with this pattern, in its natural format or in `storage`.

    Exact without a mask in the natural format, since a pattern fixes how many units are stored; in
    another format it is the size of the mask sampled with `seed`.
    """
    natural = pattern.format
    if storage is None or storage == natural:
        return natural.size_of(Extent(rows, cols, pattern.stored_units(rows, cols)), dtype)
    return storage.packed_bytes(pattern.sample(rows, cols, seed), dtype)


@dataclass(frozen=True)
class DenseFormat(Format):
    """Every element, no metadata; the unit is an element."""

    def __str__(self) -> str:
        return "dense"

    def stored_units(self, mask: Mask) -> int:
        return mask.size

    def contents(self, extent: Extent) -> Contents:
        return Contents(extent.units, ())

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        return weights.reshape(mask.size), ()

    def _unpack(self, packed: Packed, out: Values) -> None:
        out[:] = packed.values.reshape(out.shape)


@dataclass(frozen=True)
class Bitmap(Format):
    """One bit per element in row order, and the kept elements; the unit is an element."""

    def __str__(self) -> str:
        return "bitmap"

    def stored_units(self, mask: Mask) -> int:
        return mask.nnz

    def contents(self, extent: Extent) -> Contents:
        return Contents(extent.units, (extent.rows * extent.cols,))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        kept = mask.to_dense()
        return weights[kept], (np.packbits(kept, bitorder="little"),)

    def _unpack(self, packed: Packed, out: Values) -> None:
        kept = np.unpackbits(packed.metadata[0], count=out.size, bitorder="little")
        out[kept.view(np.bool_).reshape(out.shape)] = packed.values


@dataclass(frozen=True)
class CSR(Format):
    """Row pointers (rows + 1), column indices and the kept elements; the unit is an element."""

    index_bits: int = 32
    pointer_bits: int = 32

    def __post_init__(self) -> None:
        _require_widths(self.index_bits, self.pointer_bits)

    def __str__(self) -> str:
        return f"csr({self.index_bits} bits, pointers {self.pointer_bits} bits)"

    def stored_units(self, mask: Mask) -> int:
        _require_fits(self, mask.cols - 1, self.index_bits)
        _require_fits(self, mask.nnz, self.pointer_bits)
        return mask.nnz

    def contents(self, extent: Extent) -> Contents:
        pointers = (extent.rows + 1) * self.pointer_bits
        return Contents(extent.units, (pointers, extent.units * self.index_bits))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        row, col = np.nonzero(mask.to_dense())
        streams = _pointers(row, mask.rows, self.pointer_bits), pack_numbers(col, self.index_bits)
        return weights[row, col], streams

    def _unpack(self, packed: Packed, out: Values) -> None:
        row = _owners(packed.metadata[0], packed.rows, self.pointer_bits)
        col = unpack_numbers(packed.metadata[1], self.index_bits, len(row))
        out[row, col] = packed.values


@dataclass(frozen=True)
class BSR(Format):
    """CSR of blocks: every element of a block that keeps any is stored; the unit is a block.

    Blocks beyond the lower and right edge are filled with zeros and stored at full size.
    """

    block_rows: int
    block_cols: int
    index_bits: int = 32
    pointer_bits: int = 32

    def __post_init__(self) -> None:
        _require_widths(self.index_bits, self.pointer_bits)
        if self.block_rows < 1 or self.block_cols < 1:
            raise CodesignError(
                f"blocks have at least one element, got {self.block_rows}x{self.block_cols}"
            )

    def __str__(self) -> str:
        return (
            f"bsr({self.block_rows}x{self.block_cols}, "
            f"{self.index_bits} bits, pointers {self.pointer_bits} bits)"
        )

    def stored_units(self, mask: Mask) -> int:
        blocks = mask.tile_counts(self.block_rows, self.block_cols)
        units = int(np.count_nonzero(blocks))
        _require_fits(self, blocks.shape[1] - 1, self.index_bits)
        _require_fits(self, units, self.pointer_bits)
        return units

    def contents(self, extent: Extent) -> Contents:
        pointers = (-(-extent.rows // self.block_rows) + 1) * self.pointer_bits
        values = extent.units * self.block_rows * self.block_cols
        return Contents(values, (pointers, extent.units * self.index_bits))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        counts = mask.tile_counts(self.block_rows, self.block_cols)
        row, col = np.nonzero(counts)
        padded = np.zeros(self._padded_shape(counts.shape), weights.dtype)
        padded[: mask.rows, : mask.cols] = weights
        values = self._blocks(padded)[row, :, col].reshape(-1)
        pointers = _pointers(row, counts.shape[0], self.pointer_bits)
        return values, (pointers, pack_numbers(col, self.index_bits))

    def _unpack(self, packed: Packed, out: Values) -> None:
        grid = -(-packed.rows // self.block_rows), -(-packed.cols // self.block_cols)
        row = _owners(packed.metadata[0], grid[0], self.pointer_bits)
        col = unpack_numbers(packed.metadata[1], self.index_bits, len(row))
        padded = np.zeros(self._padded_shape(grid), out.dtype)
        stored = packed.values.reshape(-1, self.block_rows, self.block_cols)
        self._blocks(padded)[row, :, col] = stored
        out[:] = padded[: packed.rows, : packed.cols]

    def _padded_shape(self, grid: tuple[int, ...]) -> tuple[int, int]:
        return grid[0] * self.block_rows, grid[1] * self.block_cols

    def _blocks(self, padded: Values) -> Values:
        """A view [block row, row, block column, column]."""
        return padded.reshape(
            -1, self.block_rows, padded.shape[1] // self.block_cols, self.block_cols
        )


@dataclass(frozen=True)
class Channels(Format):
    """One bit per row ("out") or column ("in"), and those that keep any element, whole.

    The unit is a row or a column.
    """

    axis: Literal["in", "out"]

    def __str__(self) -> str:
        return f"channels({self.axis})"

    def stored_units(self, mask: Mask) -> int:
        return int(np.count_nonzero(self._used(mask)))

    def _used(self, mask: Mask) -> NDArray[np.bool_]:
        return np.asarray(mask.to_dense().any(axis=1 if self.axis == "out" else 0))

    def contents(self, extent: Extent) -> Contents:
        if self.axis == "out":
            return Contents(extent.units * extent.cols, (extent.rows,))
        return Contents(extent.units * extent.rows, (extent.cols,))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        used = self._used(mask)
        stored = weights[used] if self.axis == "out" else weights.T[used]
        return stored.reshape(-1), (np.packbits(used, bitorder="little"),)

    def _unpack(self, packed: Packed, out: Values) -> None:
        target = out if self.axis == "out" else out.T
        used = np.unpackbits(packed.metadata[0], count=len(target), bitorder="little")
        target[used.view(np.bool_)] = packed.values.reshape(-1, target.shape[1])


@dataclass(frozen=True)
class RunLength(Format):
    """Entries of a run of zeros and a value, over the whole matrix in row order.

    A run holds 0 to 2**run_bits - 1 zeros; a longer one is broken by entries whose value is a
    stored zero, as in EIE (Han et al., ISCA 2016, section III). Zeros after the last kept element
    are not stored. The unit is an entry.
    """

    run_bits: int = 4

    def __post_init__(self) -> None:
        _require_widths(self.run_bits)

    def __str__(self) -> str:
        return f"runlength({self.run_bits} bits)"

    def stored_units(self, mask: Mask) -> int:
        return len(self._runs(mask)[0])

    def _runs(self, mask: Mask) -> tuple[Ints, NDArray[np.bool_]]:
        """Zeros before each entry, and whether the entry is a kept element."""
        gaps = np.diff(np.flatnonzero(mask.to_dense()), prepend=-1) - 1
        fillers, rest = np.divmod(gaps, 1 << self.run_bits)
        kept = np.zeros(len(gaps) + int(fillers.sum()), np.bool_)
        kept[np.cumsum(fillers + 1) - 1] = True
        runs = np.full(len(kept), (1 << self.run_bits) - 1, np.int64)
        runs[kept] = rest
        return runs, kept

    def contents(self, extent: Extent) -> Contents:
        return Contents(extent.units, (extent.units * self.run_bits,))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        runs, kept = self._runs(mask)
        values = np.zeros(len(runs), weights.dtype)
        values[kept] = weights[mask.to_dense()]
        return values, (pack_numbers(runs, self.run_bits),)

    def _unpack(self, packed: Packed, out: Values) -> None:
        runs = unpack_numbers(packed.metadata[0], self.run_bits, len(packed.values))
        out.reshape(-1)[np.cumsum(runs + 1) - 1] = packed.values


def _pointers(row: Ints, rows: int, width: int) -> Bits:
    """Where each row starts among the stored units, and where the last one ends."""
    return pack_numbers(np.searchsorted(row, np.arange(rows + 1)), width)


def _owners(stream: Bits, rows: int, width: int) -> Ints:
    """The row of each stored unit."""
    return np.repeat(np.arange(rows), np.diff(unpack_numbers(stream, width, rows + 1)))


def _require_widths(*widths: int) -> None:
    for width in widths:
        if not 1 <= width <= 62:
            raise CodesignError(f"a field of a storage format has 1 to 62 bits, got {width}")


def _require_fits(storage: Format, largest: int, width: int) -> None:
    if largest >> width:
        raise CodesignError(f"{storage} cannot hold the number {largest} in {width} bits")
