"""What a storage format of sparse matrices is: exact bytes, packing and unpacking.

A format stores units (elements, slots, blocks, whole rows) and says where they belong. Each stream
of values and of metadata is packed without gaps over the whole matrix and rounded up to a whole
byte once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.mask import Bits, Mask
from codesign.units import BITS_PER_BYTE, DTYPE_BYTES

Values = NDArray[Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PackedSize:
    """Bytes of a stored matrix: what it holds and what says where it belongs."""

    value_bytes: int
    metadata_bytes: int

    @property
    def bytes(self) -> int:
        return self.value_bytes + self.metadata_bytes


@dataclass(frozen=True)
class Extent:
    """A matrix as far as the size of its storage depends on it: its shape and the units stored."""

    rows: int
    cols: int
    units: int


@dataclass(frozen=True)
class Contents:
    """What storage holds: how many values, and the bits of each metadata stream."""

    values: int
    metadata_bits: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Packed:
    """A stored matrix: its values in storage order and its metadata as packed bit streams."""

    format: Format
    rows: int
    cols: int
    values: Values
    metadata: tuple[Bits, ...]


class Format(ABC):
    """How the kept elements of a matrix are stored."""

    @abstractmethod
    def stored_units(self, mask: Mask) -> int:
        """Units that the mask fills; CodesignError for a mask that the format cannot hold."""

    @abstractmethod
    def contents(self, extent: Extent) -> Contents:
        """The values and metadata that a matrix of this extent takes."""

    @abstractmethod
    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        """Values in storage order and metadata streams; weights are zero where the mask is."""

    @abstractmethod
    def _unpack(self, packed: Packed, out: Values) -> None:
        """Write the values of the kept elements into a zeroed matrix."""

    def size_of(self, extent: Extent, dtype: str) -> PackedSize:
        """Bytes of a matrix of this extent with values of `dtype`."""
        if dtype not in DTYPE_BYTES:
            raise CodesignError(f"unknown data type {dtype!r}; known: {', '.join(DTYPE_BYTES)}")
        numerator, denominator = DTYPE_BYTES[dtype]
        contents = self.contents(extent)
        return PackedSize(
            -(-contents.values * numerator // denominator),
            sum(-(-bits // BITS_PER_BYTE) for bits in contents.metadata_bits),
        )

    def packed_bytes(self, mask: Mask, dtype: str) -> PackedSize:
        """Bytes of a matrix with this mask and values of `dtype`.

        >>> from codesign.sparsity.formats import NMCompact
        >>> from codesign.sparsity.pattern import parse_pattern
        >>> mask = parse_pattern("2:4").sample(64, 64, seed=0)
        >>> NMCompact(2, 4).packed_bytes(mask, "fp16").bytes / mask.size
        1.125
        """
        return self.size_of(Extent(mask.rows, mask.cols, self.stored_units(mask)), dtype)

    def pack(self, weights: Values, mask: Mask) -> Packed:
        """The kept elements of a matrix as they are stored.

        Raises CodesignError where shapes differ and where the format cannot hold the mask.
        """
        if weights.shape != mask.shape:
            raise CodesignError(f"weights have shape {weights.shape}, the mask {mask.shape}")
        self.stored_units(mask)
        zero = np.zeros((), weights.dtype)
        values, metadata = self._pack(np.where(mask.to_dense(), weights, zero), mask)
        return Packed(self, *mask.shape, values, metadata)


def unpack(packed: Packed) -> Values:
    """The matrix [rows, cols] that was packed, zero where its mask was."""
    out = np.zeros((packed.rows, packed.cols), packed.values.dtype)
    packed.format._unpack(packed, out)
    return out


def bit_width(largest: int) -> int:
    """Bits that hold the integers from 0 to `largest`; 0 bits where there is only 0."""
    return max(largest, 0).bit_length()


def to_bits(numbers: Ints, width: int) -> Bits:
    """Non-negative numbers as `width` bits each, least significant first, a uint8 per bit."""
    bits: Bits = ((numbers.reshape(-1, 1) >> np.arange(width)) & 1).astype(np.uint8).reshape(-1)
    return bits


def from_bits(bits: Bits, width: int, count: int) -> Ints:
    """The `count` numbers of `width` bits each that `to_bits` wrote, int64 [count]."""
    numbers: Ints = (bits.reshape(count, width).astype(np.int64) << np.arange(width)).sum(axis=1)
    return numbers


def pack_numbers(numbers: Ints, width: int) -> Bits:
    """Non-negative numbers of `width` bits each, packed without gaps."""
    return np.packbits(to_bits(numbers, width), bitorder="little")


def unpack_numbers(stream: Bits, width: int, count: int) -> Ints:
    """The `count` numbers that `pack_numbers` packed."""
    bits = np.unpackbits(stream, count=count * width, bitorder="little")
    return from_bits(bits, width, count)
