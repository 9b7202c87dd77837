"""Dense matrices, and N:M groups along either axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity import formats
from codesign.sparsity.base import (
    MAX_SIZE,
    Pattern,
    Weights,
    magnitudes,
    require_count,
    require_shape,
    sampling_key,
)
from codesign.sparsity.mask import Mask

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
        from codesign.kernels.sampling import sample_groups

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
