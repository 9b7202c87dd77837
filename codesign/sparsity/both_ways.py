"""N:M patterns that hold along rows and along columns at once: double-pruned and transposable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from math import comb

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.base import (
    Flags,
    Pattern,
    Weights,
    magnitudes,
    random_keys,
    require_shape,
    sampling_key,
)
from codesign.sparsity.mask import Mask
from codesign.sparsity.nm import NM

_LISTED = 4
"""Largest m of which all transposable blocks are listed: 90 of them for 2:4."""
_LP_BLOCKS = 64
"""Blocks that share one linear program."""


class _BothWays(NM):
    """At most n of every m neighbours, along the columns and along the rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axis != "in":
            raise CodesignError(f"{self} holds along both axes: it takes none")

    def transpose(self) -> Pattern:
        return self

    def accepts(self, mask: Mask) -> bool:
        return NM(self.n, self.m).accepts(mask) and NM(self.n, self.m, "out").accepts(mask)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        return rows * cols if self.is_dense else None

    def exact_group_count(self, m: int) -> int | None:
        return m if self.is_dense else None


@dataclass(frozen=True)
class DoublePruned(_BothWays):
    """N:M along the columns, then pruned once more N:M along the rows: text `double(2:4)`.

    The backward mask of SLoPe (arXiv 2405.16325, eq. 4.1-4.11 of the thesis). Projection follows
    these two steps, which do not keep the largest sum; sampling takes a random choice in both. The
    density is the one that independent columns give (its lemma, eq. 4.8). Storage has all slots of
    the first step.
    """

    def __str__(self) -> str:
        return f"double({self.n}:{self.m})"

    @property
    def density(self) -> float:
        n, m = self.n, self.m
        s = n / m
        lost = sum(
            comb(m, j) * s**j * (1 - s) ** (m - j) * (j - n) / m for j in range(n + 1, m + 1)
        )
        return s - lost

    @property
    def is_dense(self) -> bool:
        return self.n == self.m

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        once = NM(self.n, self.m).project(magnitude).to_dense()
        left = np.where(once, magnitude, np.zeros((), magnitude.dtype))
        twice = NM(self.n, self.m, "out").project(left).to_dense()
        return Mask.from_dense(once & twice)

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        from codesign.kernels.sampling import sample_groups, thin_rows

        require_shape(rows, cols)
        key = sampling_key(seed)
        packed = sample_groups(rows, cols, self.n, self.m, key)
        thin_rows(packed, cols, self.n, self.m, ~key)
        return Mask(rows, cols, packed)


@dataclass(frozen=True)
class Transposable(_BothWays):
    """Exactly n in every row and column of every m x m block: text `transposable(2:4)`.

    Hubara et al., NeurIPS 2021 (arXiv 2102.08124). The projection is their optimum: a choice among
    all blocks for m up to 4, a linear program beyond, whose vertices are integral. A block at the
    edge keeps as many as rows and columns of it allow. Samples are equally likely for m up to 4,
    and a shuffled band beyond.
    """

    def __str__(self) -> str:
        return f"transposable({self.n}:{self.m})"

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        full_r, rest_r = divmod(rows, self.m)
        full_c, rest_c = divmod(cols, self.m)
        sizes = {(self.m, self.m): full_r * full_c, (rest_r, self.m): full_c}
        sizes[self.m, rest_c] = full_r
        sizes[rest_r, rest_c] = 1
        return sum(count * self._kept(r, c) for (r, c), count in sizes.items() if r and c)

    def _kept(self, rows: int, cols: int) -> int:
        return min(rows * min(self.n, cols), cols * min(self.n, rows))

    def accepts(self, mask: Mask) -> bool:
        if not super().accepts(mask):
            return False
        dense = mask.to_dense()
        full = mask.nnz == self.exact_nnz(*mask.shape)
        return full or bool((self.project(dense).to_dense() >= dense).all())

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights).astype(np.float64)
        blocks = _blocks(magnitude, self.m)
        out = np.zeros(blocks.shape, np.bool_)
        for (rows, cols), where in _by_size(magnitude.shape, self.m).items():
            part = blocks[where][:, :rows, :cols]
            if rows == cols == self.m <= _LISTED:
                table = _all_blocks(self.n, self.m)
                sums = part.reshape(len(part), -1) @ table.reshape(len(table), -1).T
                chosen = table[np.argmax(sums, axis=1)]
            else:
                chosen = self._optimum(part)
            padded = np.zeros((len(part), self.m, self.m), np.bool_)
            padded[:, :rows, :cols] = chosen
            out[where] = padded
        return Mask.from_dense(_joined(out, magnitude.shape))

    def _optimum(self, blocks: NDArray[np.float64]) -> Flags:
        """The best mask of equal blocks by linear programs over several of them."""
        from scipy.optimize import linprog
        from scipy.sparse import block_diag, eye_array, kron

        count, rows, cols = blocks.shape
        per_row, per_col = min(self.n, cols), min(self.n, rows)
        by_row = kron(eye_array(rows), np.ones((1, cols)))
        by_col = kron(np.ones((1, rows)), eye_array(cols))
        rows_are_full = rows * per_row <= cols * per_col
        full, loose = (by_row, by_col) if rows_are_full else (by_col, by_row)
        caps = (per_row, per_col) if rows_are_full else (per_col, per_row)
        chosen = []
        scaled = blocks / max(float(blocks.max()), np.finfo(np.float64).tiny)
        for first in range(0, count, _LP_BLOCKS):
            part = scaled[first : first + _LP_BLOCKS]
            repeat = len(part)
            found = linprog(
                -part.reshape(-1),
                A_eq=block_diag([full] * repeat, format="csr"),
                b_eq=np.full(repeat * full.shape[0], caps[0]),
                A_ub=block_diag([loose] * repeat, format="csr"),
                b_ub=np.full(repeat * loose.shape[0], caps[1]),
                bounds=(0, 1),
                method="highs-ds",
            )
            if not found.success:
                raise CodesignError(f"{self}: the solver gave up ({found.message})")
            chosen.append(found.x.reshape(part.shape) > 0.5)
        return np.concatenate(chosen)

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        if self.m <= _LISTED:
            table = _all_blocks(self.n, self.m)
            corners = random_keys(rows, cols, seed, step=self.m)
            out = table[corners.reshape(-1) % np.uint64(len(table))]
        else:
            out = self._shuffled_bands(_blocks(random_keys(rows, cols, seed), self.m))
        if rows % self.m or cols % self.m:
            blocks = _blocks(random_keys(rows, cols, seed), self.m)
            for (r, c), where in _by_size((rows, cols), self.m).items():
                if (r, c) != (self.m, self.m):
                    out[where] = False
                    best = self._optimum(blocks[where][:, :r, :c].astype(np.float64))
                    out[where, :r, :c] = best
        return Mask.from_dense(_joined(out, (rows, cols)))

    def _shuffled_bands(self, keys: NDArray[np.uint64]) -> Flags:
        """Blocks with n neighbours, counted in a circle, in each row; rows and columns shuffled."""
        i, j = np.indices((self.m, self.m))
        band = (i + j) % self.m < self.n
        row, col = np.argsort(keys[:, :, 0], axis=1), np.argsort(keys[:, 0, :], axis=1)
        return band[row[:, :, np.newaxis], col[:, np.newaxis, :]]


@cache
def _all_blocks(n: int, m: int) -> Flags:
    """Every m x m block with n in each row and column, bool [blocks, m, m]."""
    lines = [[i in kept for i in range(m)] for kept in combinations(range(m), n)]
    square = np.array(list(product(lines, repeat=m)), np.bool_)
    return np.asarray(square[(square.sum(axis=1) == n).all(axis=1)])


def _blocks(matrix: Weights, m: int) -> Weights:
    """Square blocks of a matrix filled up with zeros, [blocks, m, m] in row order."""
    rows, cols = (-(-size // m) for size in matrix.shape)
    padded = np.zeros((rows * m, cols * m), matrix.dtype)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded.reshape(rows, m, cols, m).transpose(0, 2, 1, 3).reshape(-1, m, m)


def _joined(blocks: Flags, shape: tuple[int, ...]) -> Flags:
    m = blocks.shape[1]
    rows, cols = (-(-size // m) for size in shape)
    whole = blocks.reshape(rows, cols, m, m).transpose(0, 2, 1, 3).reshape(rows * m, cols * m)
    return np.ascontiguousarray(whole[: shape[0], : shape[1]])


def _by_size(shape: tuple[int, ...], m: int) -> dict[tuple[int, int], NDArray[np.int64]]:
    """The places of the blocks of each size in row order."""
    heights = np.minimum(m, shape[0] - np.arange(0, shape[0], m))
    widths = np.minimum(m, shape[1] - np.arange(0, shape[1], m))
    out = {}
    for rows in sorted(set(heights.tolist())):
        for cols in sorted(set(widths.tolist())):
            grid = np.outer(heights == rows, widths == cols)
            out[rows, cols] = np.flatnonzero(grid)
    return out
