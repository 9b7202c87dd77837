"""Patterns that remove a fraction of equal candidates: elements, blocks, rows or columns."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity import formats
from codesign.sparsity.base import (
    Flags,
    Pattern,
    Weights,
    largest,
    magnitudes,
    require_count,
    require_shape,
    sampling_key,
)
from codesign.sparsity.mask import Mask


def require_fraction(value: float) -> float:
    """The fraction removed as a float; CodesignError unless 0 <= value < 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CodesignError(f"sparsity is a number, got {value!r}")
    if not isfinite(value) or not 0 <= value < 1:
        hint = f"; did you mean {value / 100!r}?" if 1 < value < 100 else ""
        raise CodesignError(
            "sparsity is the fraction removed, at least 0 and less than 1, "
            f"got {str(value)[:40]}{hint}"
        )
    return float(value) + 0.0


def kept_of(sparsity: float, count: int) -> int:
    """Candidates kept of `count`: floor((1 - sparsity) * count + 1/2), sparsity as it prints."""
    return int((1 - Fraction(repr(sparsity))) * count + Fraction(1, 2))


class _Fraction(Pattern):
    """A pattern that removes a fraction `sparsity`, 0 <= sparsity < 1, of its equal candidates.

    Of `count` candidates exactly floor((1 - sparsity) * count + 1/2) are kept, with sparsity taken
    as the decimal number that it prints as.
    """

    sparsity: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparsity", require_fraction(self.sparsity))

    @property
    def density(self) -> float:
        return float(self._exact_density)

    @property
    def _exact_density(self) -> Fraction:
        return 1 - Fraction(repr(self.sparsity))

    @property
    def _sparsity_text(self) -> str:
        return repr(self.sparsity) if self.sparsity else "0"

    def kept(self, count: int) -> int:
        """Candidates kept of `count`."""
        return kept_of(self.sparsity, count)

    def _sampled(self, count: int, seed: int) -> Flags:
        from codesign.kernels.sampling import sample_count

        packed = sample_count(1, count, self.kept(count), sampling_key(seed))
        return np.unpackbits(packed[0], count=count, bitorder="little").view(np.bool_)


@dataclass(frozen=True)
class Unstructured(_Fraction):
    """Any elements are kept, an exact number of them: text `unstructured(0.9)` removes 90 %."""

    sparsity: float

    def __str__(self) -> str:
        return f"unstructured({self._sparsity_text})"

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat() if self.is_dense else formats.Bitmap()

    def transpose(self) -> Pattern:
        return self

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        flags = largest(magnitude.reshape(-1), self.kept(magnitude.size))
        return Mask.from_dense(flags.reshape(magnitude.shape))

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        from codesign.kernels.sampling import sample_count

        require_shape(rows, cols)
        return Mask(
            rows, cols, sample_count(rows, cols, self.kept(rows * cols), sampling_key(seed))
        )

    def accepts(self, mask: Mask) -> bool:
        return mask.nnz <= self.kept(mask.size)

    def stored_units(self, rows: int, cols: int) -> int:
        return self.kept(rows * cols)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return self.kept(rows * cols)


@dataclass(frozen=True)
class Block(_Fraction):
    """Whole blocks are kept: text `block(32x32, 0.8)`, rows x columns, then the fraction removed.

    Blocks at the lower and right edge may be smaller; each counts as one.
    """

    block_rows: int
    block_cols: int
    sparsity: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("block rows", self.block_rows)
        require_count("block columns", self.block_cols)

    def __str__(self) -> str:
        return f"block({self.block_rows}x{self.block_cols}, {self._sparsity_text})"

    @property
    def format(self) -> formats.Format:
        if self.is_dense:
            return formats.DenseFormat()
        return formats.BSR(self.block_rows, self.block_cols)

    def transpose(self) -> Pattern:
        return Block(self.block_cols, self.block_rows, self.sparsity)

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        rows, cols = magnitude.shape
        sums = np.add.reduceat(magnitude, range(0, rows, self.block_rows), 0, np.float64)
        sums = np.add.reduceat(sums, range(0, cols, self.block_cols), 1)
        flags = largest(sums.reshape(-1), self.kept(sums.size))
        return self._expand(flags.reshape(sums.shape), rows, cols)

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        require_shape(rows, cols)
        grid = -(-rows // self.block_rows), -(-cols // self.block_cols)
        return self._expand(self._sampled(grid[0] * grid[1], seed).reshape(grid), rows, cols)

    def _expand(self, blocks: Flags, rows: int, cols: int) -> Mask:
        wide = np.repeat(blocks, self.block_cols, axis=1)[:, :cols]
        packed = np.packbits(wide, axis=1, bitorder="little")
        return Mask(rows, cols, np.repeat(packed, self.block_rows, axis=0)[:rows])

    def accepts(self, mask: Mask) -> bool:
        counts = mask.tile_counts(self.block_rows, self.block_cols)
        return int(np.count_nonzero(counts)) <= self.kept(counts.size)

    def stored_units(self, rows: int, cols: int) -> int:
        if self.is_dense:
            return rows * cols
        return self.kept(-(-rows // self.block_rows) * -(-cols // self.block_cols))

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        if rows % self.block_rows or cols % self.block_cols:
            return rows * cols if self.is_dense else None
        return self.kept(rows * cols // (self.block_rows * self.block_cols)) * (
            self.block_rows * self.block_cols
        )


@dataclass(frozen=True)
class Rows(_Fraction):
    """Whole rows (output channels) are kept: text `row(0.5)`."""

    sparsity: float

    def __str__(self) -> str:
        return f"row({self._sparsity_text})"

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat() if self.is_dense else formats.Channels("out")

    def transpose(self) -> Pattern:
        return Columns(self.sparsity)

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        flags = largest(magnitude.sum(axis=1, dtype=np.float64), self.kept(magnitude.shape[0]))
        return self._expand(flags, magnitude.shape[1])

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        require_shape(rows, cols)
        return self._expand(self._sampled(rows, seed), cols)

    def _expand(self, flags: Flags, cols: int) -> Mask:
        return Mask(len(flags), cols, Mask.full(len(flags), cols).packed * flags[:, np.newaxis])

    def accepts(self, mask: Mask) -> bool:
        return int(mask.packed.any(axis=1).sum()) <= self.kept(mask.rows)

    def stored_units(self, rows: int, cols: int) -> int:
        return rows * cols if self.is_dense else self.kept(rows)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return self.kept(rows) * cols


@dataclass(frozen=True)
class Columns(_Fraction):
    """Whole columns (input channels) are kept: text `column(0.5)`."""

    sparsity: float

    def __str__(self) -> str:
        return f"column({self._sparsity_text})"

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat() if self.is_dense else formats.Channels("in")

    def transpose(self) -> Pattern:
        return Rows(self.sparsity)

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        flags = largest(magnitude.sum(axis=0, dtype=np.float64), self.kept(magnitude.shape[1]))
        return self._expand(flags, magnitude.shape[0])

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        require_shape(rows, cols)
        return self._expand(self._sampled(cols, seed), rows)

    def _expand(self, flags: Flags, rows: int) -> Mask:
        packed = np.packbits(flags, bitorder="little")
        return Mask(rows, len(flags), np.tile(packed, (rows, 1)))

    def accepts(self, mask: Mask) -> bool:
        used = np.bitwise_or.reduce(mask.packed, axis=0)
        return int(np.bitwise_count(used).sum(dtype=np.int64)) <= self.kept(mask.cols)

    def stored_units(self, rows: int, cols: int) -> int:
        return rows * cols if self.is_dense else self.kept(cols)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return self.kept(cols) * rows
