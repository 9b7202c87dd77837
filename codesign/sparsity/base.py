"""What a sparsity pattern is, and the steps that several patterns share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError, fingerprint
from codesign.sparsity.mask import Mask
from codesign.sparsity.storage import Format

Weights = NDArray[Any]
Flags = NDArray[np.bool_]

MAX_SIZE = 65_536
"""Largest group and largest block edge."""
MAX_ELEMENTS = 1 << 32
"""Masks are sampled up to this number of elements, the range of one random draw."""


class Pattern(ABC):
    """Which elements of a matrix may be kept; `str` gives the text that `parse_pattern` reads."""

    @property
    @abstractmethod
    def density(self) -> float:
        """Fraction of the elements that is kept, ragged edges and rounding left out."""

    @property
    def is_dense(self) -> bool:
        """Everything is kept, whatever the shape."""
        return self.density == 1.0

    @property
    @abstractmethod
    def format(self) -> Format:
        """The storage format that fits the pattern."""

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(["pattern", str(self)])

    @abstractmethod
    def transpose(self) -> Pattern:
        """The pattern of the transposed matrix."""

    @abstractmethod
    def project(self, weights: Weights) -> Mask:
        """The mask of the pattern that keeps the largest sum of magnitudes.

        A method that chooses by a rule of its own says so. `weights` is a real matrix
        [rows, cols]; among equals the lower index is kept. Raises CodesignError for other arrays
        and for NaN.
        """

    @abstractmethod
    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        """A random mask of the pattern, decided by the seed on every platform.

        Each is equally likely unless the pattern says otherwise.
        """

    @abstractmethod
    def accepts(self, mask: Mask) -> bool:
        """Whether some mask of the pattern keeps everything that `mask` keeps."""

    @abstractmethod
    def stored_units(self, rows: int, cols: int) -> int:
        """How many units of its natural format a mask of the pattern fills."""

    @abstractmethod
    def exact_nnz(self, rows: int, cols: int) -> int | None:
        """Kept elements of every mask of this shape, or None where masks differ."""

    def exact_group_count(self, m: int) -> int | None:
        """Kept elements of every full group of m neighbouring columns, or None if they differ."""
        return m if self.is_dense else None


def magnitudes(weights: Weights) -> Weights:
    """Absolute values of a real matrix, exact for every NumPy number type of up to 64 bits.

    Raises CodesignError for another number of dimensions, another type, an empty matrix, or NaN.
    """
    if weights.ndim != 2 or weights.size == 0:
        raise CodesignError(f"weights are a matrix that is not empty, got shape {weights.shape}")
    if weights.dtype.kind == "f":
        if np.isnan(weights).any():
            raise CodesignError("weights hold NaN, which has no magnitude to choose by")
        wide = weights.astype(np.float64 if weights.itemsize > 4 else np.float32)
        return np.asarray(np.abs(wide))
    if weights.dtype.kind == "i":
        return np.abs(weights.astype(np.int64)).view(np.uint64)
    if weights.dtype.kind in "ub":
        return weights.astype(np.uint64)
    raise CodesignError(f"weights are real numbers, got {weights.dtype}")


def largest(scores: Weights, kept: int) -> Flags:
    """True at the `kept` largest of a vector, the lower index first among equals."""
    if kept == 0:
        return np.zeros(len(scores), np.bool_)
    threshold = np.partition(scores, len(scores) - kept)[len(scores) - kept]
    flags: Flags = scores > threshold
    flags[np.flatnonzero(scores == threshold)[: kept - np.count_nonzero(flags)]] = True
    return flags


def require_shape(rows: int, cols: int) -> None:
    """Raise CodesignError unless masks of this shape can be sampled."""
    if rows < 1 or cols < 1 or rows * cols > MAX_ELEMENTS:
        raise CodesignError(
            "a mask has at least one row and one column and is sampled up to "
            f"{MAX_ELEMENTS} elements, got {rows} x {cols}"
        )


def require_count(name: str, value: int) -> None:
    """Raise CodesignError unless a size of a pattern is an integer from 1 to MAX_SIZE."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
        raise CodesignError(
            f"{name} of a pattern is an integer from 1 to {MAX_SIZE}, got {str(value)[:40]}"
        )


def sampling_key(seed: int) -> np.uint64:
    """The seed as the kernels take it; raises CodesignError outside 0 <= seed < 2**64."""
    if not 0 <= seed < 1 << 64:
        raise CodesignError(f"a seed is an integer from 0 to 2**64 - 1, got {str(seed)[:40]}")
    return np.uint64(seed)


def random_keys(rows: int, cols: int, seed: int, *, step: int = 1) -> NDArray[np.uint64]:
    """Uniform random numbers [rows, cols] that are the same on every platform.

    SplitMix64 (Steele, Lea, Flood 2014) at the position of each element. The mask that keeps the
    largest of them is a random one. With `step` those of every step-th row and column alone.
    """
    require_shape(rows, cols)
    first = np.arange(0, rows * cols, step * cols, dtype=np.uint64)
    place: NDArray[np.uint64] = np.add.outer(first, np.arange(1, cols + 1, step, dtype=np.uint64))
    x = sampling_key(seed) + place * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    keys: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return keys
