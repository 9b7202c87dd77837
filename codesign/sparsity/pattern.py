"""Sparsity patterns: frozen values that say which elements of a weight matrix may be kept.

All matrices have the layout of a linear layer's weight: rows are outputs, columns the reduction.
Every pattern projects a weight to the mask with the largest sum of kept magnitudes, samples a
random mask by seed, and accepts a mask that lies inside one of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from codesign.config import CodesignError, did_you_mean
from codesign.sparsity import formats
from codesign.sparsity.base import (
    MAX_ELEMENTS,
    MAX_SIZE,
    Pattern,
    Weights,
    magnitudes,
    require_count,
    require_shape,
    sampling_key,
)
from codesign.sparsity.mask import Mask
from codesign.sparsity.removal import Block, Columns, Rows, Unstructured

__all__ = [
    "DENSE",
    "MAX_ELEMENTS",
    "MAX_SIZE",
    "NM",
    "Block",
    "Columns",
    "Dense",
    "Pattern",
    "Rows",
    "Unstructured",
    "parse_pattern",
]

Axis = Literal["in", "out"]


@dataclass(frozen=True)
class Dense(Pattern):
    """Everything is kept."""

    def __str__(self) -> str:
        return "dense"

    @property
    def density(self) -> float:
        return 1.0

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat()

    def transpose(self) -> Pattern:
        return self

    def project(self, weights: Weights) -> Mask:
        return Mask.full(*magnitudes(weights).shape)

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        sampling_key(seed)
        return Mask.full(rows, cols)

    def accepts(self, mask: Mask) -> bool:
        return True

    def stored_units(self, rows: int, cols: int) -> int:
        return rows * cols

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return rows * cols


DENSE = Dense()


@dataclass(frozen=True)
class NM(Pattern):
    """At most n of every m neighbours are kept; a smaller last group of r elements keeps min(n, r).

    With `axis` "in" (text `2:4` or `2:4@in`) the neighbours lie along the columns, the reduction
    of the operator, which is what an N:M engine can skip. With "out" (text `2:4@out`) they lie
    along the rows. In N:M training, grouping for the forward pass (FF) is `N:M` on the forward
    operator and grouping for the backward pass (BP) is `N:M` on the backward-data operator, whose
    weight is the transpose: seen on the parameter of a linear layer, FF is `@in`, BP is `@out`.
    """

    n: int
    m: int
    axis: Axis = "in"

    def __post_init__(self) -> None:
        require_count("m", self.m)
        require_count("n", self.n)
        if self.n > self.m:
            raise CodesignError(
                f"pattern N:M keeps N of M elements, so N is at most M, got {self.n}:{self.m}"
                + (f"; did you mean '{self.m}:{self.n}'?" if self.n <= MAX_SIZE else "")
            )
        if self.axis not in ("in", "out"):
            raise CodesignError(f"the axis of an N:M pattern is 'in' or 'out', got {self.axis!r}")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}" + ("" if self.axis == "in" else "@out")

    @property
    def density(self) -> float:
        return self.n / self.m

    @property
    def format(self) -> formats.Format:
        if self.is_dense:
            return formats.DenseFormat()
        return formats.NMCompact(self.n, self.m, self.axis)

    def transpose(self) -> Pattern:
        return NM(self.n, self.m, "out" if self.axis == "in" else "in")

    def project(self, weights: Weights) -> Mask:
        from codesign.kernels.tiles import choose_groups

        magnitude = magnitudes(weights)
        if self.axis == "out":
            magnitude = magnitude.T
        magnitude = np.ascontiguousarray(magnitude)
        rows, cols = magnitude.shape
        mask = Mask(rows, cols, choose_groups(magnitude, self.n, self.m))
        return mask if self.axis == "in" else mask.transpose()

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        from codesign.kernels.tiles import sample_groups

        require_shape(rows, cols)
        if self.axis == "out":
            return self.transpose().sample(cols, rows, seed).transpose()
        return Mask(rows, cols, sample_groups(rows, cols, self.n, self.m, sampling_key(seed)))

    def accepts(self, mask: Mask) -> bool:
        along = mask if self.axis == "in" else mask.transpose()
        return bool((along.slowest_lane(self.m, along.rows) <= self.n).all())

    def stored_units(self, rows: int, cols: int) -> int:
        if self.axis == "out":
            rows, cols = cols, rows
        return rows * (cols // self.m * self.n + min(self.n, cols % self.m))

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return self.stored_units(rows, cols)

    def exact_group_count(self, m: int) -> int | None:
        if self.is_dense:
            return m
        return m // self.m * self.n if self.axis == "in" and m % self.m == 0 else None


_FORMS = "dense, N:M, N:M@in, N:M@out, unstructured(S), block(RxC, S), row(S), column(S)"
_SPARSITY = r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*"
_SIZE = r"([0-9]{1,9})"
_NM_TEXT = re.compile(rf"{_SIZE}\s*:\s*{_SIZE}(?:@(in|out))?", re.ASCII)
_BLOCK_TEXT = re.compile(rf"block\(\s*{_SIZE}\s*x\s*{_SIZE}\s*,{_SPARSITY}\)", re.ASCII)
_FRACTION_TEXT = re.compile(rf"(unstructured|row|column)\({_SPARSITY}\)", re.ASCII)
_FRACTIONS: dict[str, type[Unstructured] | type[Rows] | type[Columns]] = {
    "unstructured": Unstructured,
    "row": Rows,
    "column": Columns,
}
_EXAMPLES = ("dense", "unstructured(0.9)", "block(32x32, 0.9)", "row(0.5)", "column(0.5)")
_MAX_TEXT = 80


def parse_pattern(text: str) -> Pattern:
    """The pattern that a text such as `2:4` or `block(32x32, 0.8)` names.

    The number in brackets is the fraction removed. Raises CodesignError that says what is allowed.

    >>> parse_pattern("2:8").density
    0.25
    """
    if not isinstance(text, str):
        raise CodesignError(f"a sparsity pattern is a text such as '2:4', got {text!r:.40}")
    short = text.strip()
    if len(short) <= _MAX_TEXT:
        if short == "dense":
            return DENSE
        if match := _NM_TEXT.fullmatch(short):
            return NM(int(match[1]), int(match[2]), "out" if match[3] == "out" else "in")
        if match := _FRACTION_TEXT.fullmatch(short):
            return _FRACTIONS[match[1]](float(match[2]))
        if match := _BLOCK_TEXT.fullmatch(short):
            return Block(int(match[1]), int(match[2]), float(match[3]))
    hint = did_you_mean(short[:_MAX_TEXT].lower(), _EXAMPLES)
    raise CodesignError(
        f"{short[:40]!r} is no sparsity pattern; allowed: {_FORMS}, with S the fraction removed"
        + (f"; did you mean {hint!r}?" if hint else "")
    )
