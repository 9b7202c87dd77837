"""Flat block butterfly: a fixed grid of blocks that is known before any weight is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity import formats
from codesign.sparsity.base import (
    Flags,
    Pattern,
    Weights,
    magnitudes,
    require_count,
    require_shape,
    sampling_key,
)
from codesign.sparsity.mask import Bits, Mask
from codesign.sparsity.storage import Contents, Extent, Format, Packed, Values


@dataclass(frozen=True)
class FlatButterfly(Pattern):
    """Blocks (i, j) of a g x g grid with i = j or i xor j a power of two: text `butterfly(64)`.

    With `butterfly(64, 8)` the power is at most 8. Pixelated Butterfly (Chen et al., ICLR 2022,
    arXiv 2112.00029, section 3). The grid is stretched over a matrix of any shape. The pattern has
    one mask for every shape: projection and samples are that mask.
    """

    grid: int
    stride: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stride", self.stride or max(self.grid // 2, 1))
        for name, value in (("grid", self.grid), ("stride", self.stride)):
            require_count(name, value)
            if value & (value - 1) or value > 4096:
                raise CodesignError(f"the {name} of a butterfly is a power of two, got {value}")
        if self.stride > max(self.grid // 2, 1):
            raise CodesignError(f"a stride of {self.stride} leaves a grid of {self.grid}")

    def __str__(self) -> str:
        stride = "" if self.stride == max(self.grid // 2, 1) else f", {self.stride}"
        return f"butterfly({self.grid}{stride})"

    @property
    def blocks_per_row(self) -> int:
        """Kept blocks of every block row and block column."""
        return 1 if self.grid == 1 else 1 + self.stride.bit_length()

    @property
    def density(self) -> float:
        return float(Fraction(self.blocks_per_row, self.grid))

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat() if self.is_dense else KnownBlocks(self.grid, self.stride)

    def transpose(self) -> Pattern:
        return self

    def blocks(self) -> Flags:
        """The kept blocks, bool [grid, grid]."""
        i, j = np.indices((self.grid, self.grid))
        apart = i ^ j
        return np.asarray(((apart & (apart - 1)) == 0) & (apart <= self.stride))

    def mask(self, rows: int, cols: int) -> Mask:
        """The one mask of this shape."""
        row, col = np.arange(rows) * self.grid // rows, np.arange(cols) * self.grid // cols
        return Mask.from_dense(self.blocks()[np.ix_(row, col)])

    def project(self, weights: Weights) -> Mask:
        return self.mask(*magnitudes(weights).shape)

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        require_shape(rows, cols)
        sampling_key(seed)
        return self.mask(rows, cols)

    def accepts(self, mask: Mask) -> bool:
        return not (mask.packed & ~self.mask(*mask.shape).packed).any()

    def stored_units(self, rows: int, cols: int) -> int:
        heights = np.bincount(np.arange(rows) * self.grid // rows, minlength=self.grid)
        widths = np.bincount(np.arange(cols) * self.grid // cols, minlength=self.grid)
        return int(heights @ self.blocks().astype(np.int64) @ widths)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return self.stored_units(rows, cols)


@dataclass(frozen=True)
class KnownBlocks(Format):
    """The elements of a flat block butterfly in row order; where they are needs no metadata.

    The unit is an element.
    """

    grid: int
    stride: int

    def __str__(self) -> str:
        return f"known_blocks({self.grid}, {self.stride})"

    def stored_units(self, mask: Mask) -> int:
        pattern = FlatButterfly(self.grid, self.stride)
        if not pattern.accepts(mask):
            raise CodesignError(f"{self} cannot hold elements beside the blocks of {pattern}")
        return pattern.stored_units(*mask.shape)

    def contents(self, extent: Extent) -> Contents:
        return Contents(extent.units, ())

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        return weights[FlatButterfly(self.grid, self.stride).mask(*mask.shape).to_dense()], ()

    def _unpack(self, packed: Packed, out: Values) -> None:
        kept = FlatButterfly(self.grid, self.stride).mask(*out.shape).to_dense()
        out[kept] = packed.values
