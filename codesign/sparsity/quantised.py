"""Precision and sparsity together: scaled groups (GQSA) and mixed banks (SQ-format)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity import formats
from codesign.sparsity.base import Pattern
from codesign.sparsity.formats import BSR
from codesign.sparsity.mask import Bits, Mask
from codesign.sparsity.nm import NM
from codesign.sparsity.removal import Block
from codesign.sparsity.storage import Contents, Extent, Format, Packed, PackedSize, Values
from codesign.units import BITS_PER_BYTE

_SCALE = np.float16


@dataclass(frozen=True)
class ScaledGroups(Block):
    """Groups of `1 x G` weights that are kept or not, each with a scale: text `gqsa(16, 0.5)`.

    GQSA (Group Quantization and Sparsity for Accelerating LLM Inference): its weights have 4 bits,
    which the data type of the operator says (int4).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_rows != 1:
            raise CodesignError(f"a scaled group lies in one row, got {self.block_rows}")

    def __str__(self) -> str:
        return f"gqsa({self.block_cols}, {self._sparsity_text})"

    @property
    def format(self) -> formats.Format:
        return ScaledBSR(self.block_rows, self.block_cols)

    @property
    def is_dense(self) -> bool:
        return False

    def transpose(self) -> Pattern:
        return Block(self.block_cols, self.block_rows, self.sparsity)

    def stored_units(self, rows: int, cols: int) -> int:
        return self.kept(rows * -(-cols // self.block_cols))


@dataclass(frozen=True)
class ScaledBSR(BSR):
    """BSR with a scale and a zero point, 16 bits each, for every block.

    Packed weights are integers that are already divided by their scale: scales read 1, zero points
    0.
    """

    def __str__(self) -> str:
        return f"scaled_{super().__str__()}"

    def contents(self, extent: Extent) -> Contents:
        plain = super().contents(extent)
        return Contents(plain.values, (*plain.metadata_bits, 2 * 16 * extent.units))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        values, streams = super()._pack(weights, mask)
        blocks = len(values) // (self.block_rows * self.block_cols)
        scales = np.tile(np.array([1, 0], _SCALE), blocks).view(np.uint8)
        return values, (*streams, scales)

    def _unpack(self, packed: Packed, out: Values) -> None:
        super()._unpack(
            Packed(self, packed.rows, packed.cols, packed.values, packed.metadata[:2]), out
        )


@dataclass(frozen=True)
class MixedBanks(NM):
    """The elements of a bank that have high precision: text `sq(16:32)`, all others have low.

    SQ-format (arXiv 2512.05409): of every bank of m neighbours along the reduction n are stored
    with 8 bits, the others with 4. A mask of the pattern says where the former are; nothing is
    zero, and a product splits into two (`trace.transform`).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axis != "in":
            raise CodesignError(f"{self}: banks lie along the reduction")

    def __str__(self) -> str:
        return f"sq({self.n}:{self.m})"

    @property
    def is_dense(self) -> bool:
        return True

    @property
    def format(self) -> formats.Format:
        return BankFormat(self.n, self.m)

    def transpose(self) -> Pattern:
        raise CodesignError(f"the banks of {self} lie along the reduction")


@dataclass(frozen=True)
class BankFormat(Format):
    """A bit for every element that says its precision; n of m elements in `high_bits`.

    Values of `high_bits` come first, then those of `low_bits`, each in row order; the bits are part
    of the format, whatever data type is asked for. The unit is an element of high precision; banks
    that have fewer of them keep empty slots.
    """

    n: int
    m: int
    high_bits: int = 8
    low_bits: int = 4

    def __str__(self) -> str:
        return f"banks({self.n}:{self.m}, {self.high_bits} and {self.low_bits} bits)"

    def stored_units(self, mask: Mask) -> int:
        pattern = NM(self.n, self.m)
        if not pattern.accepts(mask):
            raise CodesignError(f"{self} cannot hold more than {self.n} precise elements in a bank")
        return pattern.stored_units(*mask.shape)

    def contents(self, extent: Extent) -> Contents:
        return Contents(extent.rows * extent.cols, (extent.rows * extent.cols,))

    def size_of(self, extent: Extent, dtype: str) -> PackedSize:
        super().size_of(extent, dtype)
        elements = extent.rows * extent.cols
        bits = extent.units * self.high_bits + (elements - extent.units) * self.low_bits
        return PackedSize(-(-bits // BITS_PER_BYTE), -(-elements // BITS_PER_BYTE))

    def pack(self, weights: Values, mask: Mask) -> Packed:
        """All elements: the precise ones first. CodesignError as for other formats."""
        if weights.shape != mask.shape:
            raise CodesignError(f"weights have shape {weights.shape}, the mask {mask.shape}")
        self.stored_units(mask)
        return Packed(self, *mask.shape, *self._pack(weights, mask))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        high = mask.to_dense()
        flags = np.packbits(high, bitorder="little")
        return np.concatenate([weights[high], weights[~high]]), (flags,)

    def _unpack(self, packed: Packed, out: Values) -> None:
        flags = np.unpackbits(packed.metadata[0], count=out.size, bitorder="little")
        high = flags.view(np.bool_).reshape(out.shape)
        count = int(high.sum())
        out[high], out[~high] = packed.values[:count], packed.values[count:]
