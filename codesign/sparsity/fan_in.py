"""Constant fan-in (SRigL): every output reads equally many inputs, whichever they are."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from codesign.sparsity import formats
from codesign.sparsity.base import (
    Pattern,
    Weights,
    largest,
    magnitudes,
    random_keys,
    require_shape,
    sampling_key,
)
from codesign.sparsity.mask import Bits, Mask
from codesign.sparsity.removal import kept_of, require_fraction
from codesign.sparsity.storage import (
    Contents,
    Extent,
    Format,
    Packed,
    Values,
    bit_width,
    pack_numbers,
    unpack_numbers,
)


@dataclass(frozen=True)
class FanIn(Pattern):
    """Rows of equally many kept elements: text `fan_in(0.9)`, or `fan_in(0.9, 0.2)`.

    The second number is the fraction of rows that are removed as a whole (ablated neurons). Lasby
    et al., Dynamic Sparse Training with Structured Sparsity, ICLR 2024 (arXiv 2305.02299).
    """

    sparsity: float
    ablated: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparsity", require_fraction(self.sparsity))
        object.__setattr__(self, "ablated", require_fraction(self.ablated))

    def __str__(self) -> str:
        rows = f", {self.ablated!r}" if self.ablated else ""
        return f"fan_in({self.sparsity!r}{rows})"

    @property
    def density(self) -> float:
        return float((1 - Fraction(repr(self.sparsity))) * (1 - Fraction(repr(self.ablated))))

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat() if self.is_dense else EqualRows("in")

    def transpose(self) -> Pattern:
        return FanOut(self.sparsity, self.ablated)

    def kept(self, cols: int) -> int:
        """Kept elements of a row that is not removed."""
        return kept_of(self.sparsity, cols)

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        rows, cols = magnitude.shape
        kept = self.kept(cols)
        if kept == 0:
            return Mask.from_dense(np.zeros(magnitude.shape, np.bool_))
        threshold = np.partition(magnitude, cols - kept, axis=1)[:, cols - kept, np.newaxis]
        flags = magnitude > threshold
        equal = magnitude == threshold
        missing = kept - flags.sum(axis=1, keepdims=True)
        flags |= equal & (np.cumsum(equal, axis=1) <= missing)
        sums = np.where(flags, magnitude, 0).sum(axis=1, dtype=np.float64)
        return Mask.from_dense(flags & largest(sums, kept_of(self.ablated, rows))[:, np.newaxis])

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        from codesign.kernels.sampling import sample_groups

        require_shape(rows, cols)
        packed = sample_groups(rows, cols, self.kept(cols), cols, sampling_key(seed))
        alive = largest(random_keys(1, rows, seed)[0], kept_of(self.ablated, rows))
        return Mask(rows, cols, packed * alive[:, np.newaxis])

    def accepts(self, mask: Mask) -> bool:
        counts = mask.lane_counts(mask.rows)[0]
        rows = kept_of(self.ablated, mask.rows)
        return bool(counts.max() <= self.kept(mask.cols) and np.count_nonzero(counts) <= rows)

    def stored_units(self, rows: int, cols: int) -> int:
        return kept_of(self.ablated, rows) * self.kept(cols)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return self.stored_units(rows, cols)


@dataclass(frozen=True)
class FanOut(Pattern):
    """Columns of equally many kept elements, the transpose of constant fan-in: `fan_out(0.9)`."""

    sparsity: float
    ablated: float = 0.0

    def __post_init__(self) -> None:
        turned = FanIn(self.sparsity, self.ablated)
        object.__setattr__(self, "sparsity", turned.sparsity)
        object.__setattr__(self, "ablated", turned.ablated)

    def __str__(self) -> str:
        return str(self.transpose()).replace("fan_in", "fan_out")

    @property
    def density(self) -> float:
        return self.transpose().density

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat() if self.is_dense else EqualRows("out")

    def transpose(self) -> Pattern:
        return FanIn(self.sparsity, self.ablated)

    def project(self, weights: Weights) -> Mask:
        return self.transpose().project(weights.T).transpose()

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        return self.transpose().sample(cols, rows, seed).transpose()

    def accepts(self, mask: Mask) -> bool:
        return self.transpose().accepts(mask.transpose())

    def stored_units(self, rows: int, cols: int) -> int:
        return self.transpose().stored_units(cols, rows)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return self.stored_units(rows, cols)


@dataclass(frozen=True)
class EqualRows(Format):
    """A bit for every row that is stored, and for each as many slots as the fullest row needs.

    The "condensed" matrix of SRigL: a slot has a value and an index of ceil(log2 cols) bits; unused
    slots hold 0. The unit is a slot. With axis "out" columns take the place of rows.
    """

    axis: str = "in"

    def __str__(self) -> str:
        return f"equal_rows({self.axis})"

    def stored_units(self, mask: Mask) -> int:
        counts = self._along(mask.to_dense()).sum(axis=1)
        return int(np.count_nonzero(counts) * counts.max())

    def _along(self, matrix: Values) -> Values:
        return matrix if self.axis == "in" else matrix.T

    def contents(self, extent: Extent) -> Contents:
        lines, length = extent.rows, extent.cols
        if self.axis == "out":
            lines, length = length, lines
        return Contents(extent.units, (lines, extent.units * bit_width(length - 1)))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        kept, along = self._along(mask.to_dense()), self._along(weights)
        used = kept.any(axis=1)
        kept, along = kept[used], along[used]
        slots = int(kept.sum(axis=1).max()) if len(kept) else 0
        index = np.sort(np.argsort(~kept, axis=1, kind="stable")[:, :slots], axis=1)
        values = np.take_along_axis(along, index, axis=1).reshape(-1)
        width = bit_width(used.size and kept.shape[1] - 1)
        return values, (np.packbits(used, bitorder="little"), pack_numbers(index, width))

    def _unpack(self, packed: Packed, out: Values) -> None:
        target = self._along(out)
        used = np.unpackbits(packed.metadata[0], count=len(target), bitorder="little")
        if not used.any():
            return
        values = packed.values.reshape(int(used.sum()), -1)
        width = bit_width(target.shape[1] - 1)
        index = unpack_numbers(packed.metadata[1], width, values.size).reshape(values.shape)
        part = np.zeros((len(values), target.shape[1]), out.dtype)
        np.put_along_axis(part, index, values, axis=1)
        target[used.view(np.bool_)] = part
