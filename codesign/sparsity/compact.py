"""Compact storage of N:M sparse matrices: the slots of every group and the index of each."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity.mask import Bits, Mask
from codesign.sparsity.storage import (
    Contents,
    Extent,
    Format,
    Ints,
    Packed,
    Values,
    bit_width,
    from_bits,
    to_bits,
)


@dataclass(frozen=True)
class NMCompact(Format):
    """min(n, r) slots for each group of r <= m neighbours, every slot stored, used or not.

    With `coding` "fields" each slot has an index of ceil(log2 m) bits (NVIDIA's 2:4, SAT,
    SCALE-Sim's ellpack_block); with "combinatorial" each group has one number of
    ceil(log2 C(r, min(n, r))) bits, the least that a code of fixed length needs (m up to 64).
    Indices of a group ascend; unused slots hold 0.
    """

    n: int
    m: int
    axis: Literal["in", "out"] = "in"
    coding: Literal["fields", "combinatorial"] = "fields"

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m or (self.coding == "combinatorial" and self.m > 64):
            raise CodesignError(
                f"N:M storage needs 1 <= N <= M, and M <= 64 for combinatorial codes, got {self}"
            )

    def __str__(self) -> str:
        return f"nm({self.n}:{self.m}@{self.axis}, {self.coding})"

    def stored_units(self, mask: Mask) -> int:
        along = mask if self.axis == "in" else mask.transpose()
        if (along.slowest_lane(self.m, along.rows) > self.n).any():
            raise CodesignError(f"{self} cannot hold a mask with more than {self.n} in a group")
        return sum(part.groups * part.held for part in self._parts(*mask.shape))

    def contents(self, extent: Extent) -> Contents:
        parts = self._parts(extent.rows, extent.cols)
        return Contents(extent.units, (sum(p.groups * self._code_bits(p) for p in parts),))

    def _parts(self, rows: int, cols: int) -> tuple[_Part, ...]:
        """The full groups of all lines, then the smaller last groups, where there are any."""
        lines, length = (rows, cols) if self.axis == "in" else (cols, rows)
        full, rest = divmod(length, self.m)
        split = full * self.m
        body = _Part(slice(0, split), self.m, self.n, lines * full)
        tail = _Part(slice(split, length), rest, min(self.n, rest), lines)
        return tuple(part for part in (body, tail) if part.size and part.groups)

    def _code_bits(self, part: _Part) -> int:
        """Bits that name the slots of one group."""
        if self.coding == "fields":
            return part.held * bit_width(self.m - 1)
        return bit_width(comb(part.size, part.held) - 1)

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        kept = mask.to_dense()
        if self.axis == "out":
            weights, kept = weights.T, kept.T
        values, codes = [], []
        for part in self._parts(*mask.shape):
            groups = kept[:, part.columns].reshape(part.groups, part.size)
            index = np.sort(np.argsort(~groups, axis=1, kind="stable")[:, : part.held], axis=1)
            stored = weights[:, part.columns].reshape(groups.shape)
            values.append(np.take_along_axis(stored, index, axis=1).reshape(-1))
            numbers = index if self.coding == "fields" else _rank(index, part)
            codes.append(to_bits(numbers, self._code_bits(part) * part.groups // numbers.size))
        return np.concatenate(values), (np.packbits(np.concatenate(codes), bitorder="little"),)

    def _unpack(self, packed: Packed, out: Values) -> None:
        target = out if self.axis == "in" else out.T
        bits = np.unpackbits(packed.metadata[0], bitorder="little")
        value, bit = 0, 0
        for part in self._parts(*out.shape):
            shape = (part.groups, part.held)
            numbers = part.groups if self.coding == "combinatorial" else part.groups * part.held
            bit_count = self._code_bits(part) * part.groups
            codes = from_bits(bits[bit : bit + bit_count], bit_count // numbers, numbers)
            index = _unrank(codes, part) if self.coding == "combinatorial" else codes
            groups = np.zeros((part.groups, part.size), out.dtype)
            stored = packed.values[value : value + part.groups * part.held].reshape(shape)
            np.put_along_axis(groups, index.reshape(shape), stored, axis=1)
            target[:, part.columns] = groups.reshape(target[:, part.columns].shape)
            value, bit = value + stored.size, bit + bit_count


@dataclass(frozen=True)
class _Part:
    """Groups of equal size: which columns, elements and slots of a group, groups of all lines."""

    columns: slice
    size: int
    held: int
    groups: int


def _binomials(part: _Part) -> Ints:
    """C(c, i + 1) at [c, i] for the positions c and the slots i of a group."""
    table = [[comb(c, i + 1) for i in range(part.held)] for c in range(part.size)]
    return np.array(table, np.int64)


def _rank(index: Ints, part: _Part) -> Ints:
    """Number of each ascending choice in the combinatorial number system, int64 [groups]."""
    rank: Ints = _binomials(part)[index, np.arange(part.held)].sum(axis=1)
    return rank


def _unrank(rank: Ints, part: _Part) -> Ints:
    """The ascending choices that `_rank` numbered, int64 [groups, held]."""
    table = _binomials(part)
    index = np.empty((part.groups, part.held), np.int64)
    left = rank.copy()
    for i in reversed(range(part.held)):
        index[:, i] = np.searchsorted(table[:, i], left, side="right") - 1
        left -= table[index[:, i], i]
    return index
