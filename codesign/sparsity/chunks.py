"""Grouped n:m (STen): in a chunk of columns every choice of n out of m is used equally often."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity import formats
from codesign.sparsity.base import Flags, Pattern, Weights, magnitudes, random_keys, require_count
from codesign.sparsity.mask import Bits, Mask
from codesign.sparsity.nm import NM, Axis
from codesign.sparsity.storage import (
    Contents,
    Extent,
    Format,
    Ints,
    Packed,
    Values,
    bit_width,
    pack_numbers,
    unpack_numbers,
)

_MOST_CHOICES = 4096


@dataclass(frozen=True)
class NMGrouped(NM):
    """n of m neighbours along `axis`, each of the C(m, n) choices g times a chunk: `nmg(2:4:8)`.

    A chunk is C(m, n) * g neighbours across the axis; in it each choice is used at most g times, in
    a whole chunk exactly g times. Ivanov et al., STen (arXiv 2304.07613), whose sparse dimension
    are the rows of a weight (`nmg(2:4:8@out)`). The projection is the best assignment, where STen
    improves a greedy one by swaps.
    """

    g: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("g", self.g)
        if self.m > 64 or comb(self.m, self.n) * self.g > _MOST_CHOICES:
            raise CodesignError(
                f"nmg({self.n}:{self.m}:{self.g}) has more than {_MOST_CHOICES} groups in a chunk"
            )

    def __str__(self) -> str:
        return f"nmg({self.n}:{self.m}:{self.g}" + (")" if self.axis == "in" else "@out)")

    @property
    def format(self) -> formats.Format:
        if self.is_dense:
            return formats.DenseFormat()
        return ChoiceCodes(self.n, self.m, self.g, self.axis)

    def transpose(self) -> Pattern:
        return NMGrouped(self.n, self.m, "out" if self.axis == "in" else "in", self.g)

    @property
    def chunk(self) -> int:
        """Groups that share a chunk."""
        return comb(self.m, self.n) * self.g

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        along = magnitude if self.axis == "in" else magnitude.T
        kept = self.kept(along.astype(np.float64))
        return Mask.from_dense(np.ascontiguousarray(kept if self.axis == "in" else kept.T))

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        lines, length = (rows, cols) if self.axis == "in" else (cols, rows)
        choices = choice_table(self.n, self.m)
        groups = -(-length // self.m)
        keys = random_keys(lines, groups, seed)
        kept = np.zeros((lines, groups * self.m), np.bool_)
        for start in range(0, lines, self.chunk):
            part = keys[start : start + self.chunk]
            full = np.vstack([part, np.full((self.chunk - len(part), groups), 0, np.uint64)])
            dealt = np.argsort(np.argsort(full, axis=0, kind="stable"), axis=0)[: len(part)]
            kept[start : start + self.chunk] = choices[dealt // self.g].reshape(len(part), -1)
        kept = kept[:, :length]
        return Mask.from_dense(np.ascontiguousarray(kept if self.axis == "in" else kept.T))

    def accepts(self, mask: Mask) -> bool:
        if not super().accepts(mask):
            return False
        dense = mask.to_dense() if self.axis == "in" else mask.to_dense().T
        return bool((self.kept(dense.astype(np.float64)) >= dense).all())

    def kept(self, along: Weights) -> Flags:
        """The elements [lines, length] of the choices that `choices` finds."""
        wide = choice_table(self.n, self.m)[self.choices(along)]
        return wide.reshape(len(along), -1)[:, : along.shape[1]]

    def choices(self, along: Weights) -> Ints:
        """The choice of each group [lines, groups] with the largest sum, each g times a chunk."""
        from scipy.optimize import linear_sum_assignment

        lines, length = along.shape
        groups = -(-length // self.m)
        padded = np.zeros((lines, groups * self.m))
        padded[:, :length] = along
        choices = choice_table(self.n, self.m)
        sums = padded.reshape(lines, groups, self.m) @ choices.T
        chosen = np.zeros((lines, groups), np.int64)
        for start in range(0, lines, self.chunk):
            for group in range(groups):
                part = np.repeat(sums[start : start + self.chunk, group], self.g, axis=1)
                row, slot = linear_sum_assignment(part, maximize=True)
                chosen[start + row, group] = slot // self.g
        return chosen

    def stored_units(self, rows: int, cols: int) -> int:
        if self.is_dense:
            return rows * cols
        lines, length = (rows, cols) if self.axis == "in" else (cols, rows)
        return lines * -(-length // self.m) * self.n

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        length = cols if self.axis == "in" else rows
        return None if length % self.m else self.stored_units(rows, cols)


@dataclass(frozen=True)
class ChoiceCodes(Format):
    """n slots for every group of m and one number that says which choice of a chunk it has.

    Groups at the edge have n slots too. The unit is a slot; the number has
    ceil(log2(C(m, n) * g)) bits.
    """

    n: int
    m: int
    g: int
    axis: Axis = "in"

    def __str__(self) -> str:
        return f"choices({self.n}:{self.m}:{self.g}@{self.axis})"

    @property
    def code_bits(self) -> int:
        return bit_width(comb(self.m, self.n) * self.g - 1)

    def stored_units(self, mask: Mask) -> int:
        if not NMGrouped(self.n, self.m, self.axis, self.g).accepts(mask):
            raise CodesignError(f"{self} cannot hold a mask that uses a choice too often")
        lines, length = mask.shape if self.axis == "in" else mask.shape[::-1]
        return lines * -(-length // self.m) * self.n

    def contents(self, extent: Extent) -> Contents:
        return Contents(extent.units, (extent.units // self.n * self.code_bits,))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        pattern = NMGrouped(self.n, self.m, self.axis, self.g)
        kept = mask.to_dense() if self.axis == "in" else mask.to_dense().T
        along = weights if self.axis == "in" else weights.T
        lines, length = along.shape
        groups = -(-length // self.m)
        padded = np.zeros((lines, groups * self.m), weights.dtype)
        padded[:, :length] = along
        chosen = pattern.choices(kept.astype(np.float64))
        codes = self._places(chosen)
        index = np.array(list(combinations(range(self.m), self.n)), np.int64)[chosen.reshape(-1)]
        values = np.take_along_axis(padded.reshape(-1, self.m), index, axis=1).reshape(-1)
        return values, (pack_numbers(codes.reshape(-1), self.code_bits),)

    def _places(self, chosen: Ints) -> Ints:
        """The number of each group in its chunk: its choice, and which of the g with it."""
        chunk = comb(self.m, self.n) * self.g
        codes = np.zeros(chosen.shape, np.int64)
        for start in range(0, len(chosen), chunk):
            for group in range(chosen.shape[1]):
                seen: dict[int, int] = {}
                for line in range(start, min(start + chunk, len(chosen))):
                    choice = int(chosen[line, group])
                    codes[line, group] = choice * self.g + seen.get(choice, 0)
                    seen[choice] = seen.get(choice, 0) + 1
        return codes

    def _unpack(self, packed: Packed, out: Values) -> None:
        target = out if self.axis == "in" else out.T
        lines, length = target.shape
        groups = -(-length // self.m)
        codes = unpack_numbers(packed.metadata[0], self.code_bits, lines * groups) // self.g
        index = np.array(list(combinations(range(self.m), self.n)), np.int64)[codes]
        wide = np.zeros((lines * groups, self.m), out.dtype)
        np.put_along_axis(wide, index, packed.values.reshape(-1, self.n), axis=1)
        target[:] = wide.reshape(lines, -1)[:, :length]


def choice_table(n: int, m: int) -> Flags:
    """Every choice of n out of m in lexicographic order, bool [C(m, n), m]."""
    return np.array([[i in kept for i in range(m)] for kept in combinations(range(m), n)], np.bool_)
