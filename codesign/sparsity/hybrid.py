"""Matrices of which some tiles are dense and the others N:M (PATCH), or some rows (SpenseGPT)."""

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
    largest,
    magnitudes,
    random_keys,
    require_count,
)
from codesign.sparsity.mask import Bits, Mask
from codesign.sparsity.nm import NM
from codesign.sparsity.removal import require_fraction
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


class _Hybrid(Pattern):
    """Equal tiles, of which as many are N:M as bring the fraction removed to `sparsity`.

    With t tiles, floor(t * sparsity / (1 - n/m) + 1/2) of them are N:M: those that lose least.
    """

    n: int
    m: int
    sparsity: float

    def _check(self) -> None:
        NM(self.n, self.m)
        object.__setattr__(self, "sparsity", require_fraction(self.sparsity))
        if self._sparse_share > 1:
            raise CodesignError(
                f"{self.n}:{self.m} tiles remove at most {1 - self.n / self.m:g}, "
                f"got {self.sparsity!r}"
            )

    @property
    def _sparse_share(self) -> Fraction:
        """The fraction of the tiles that is N:M."""
        if self.n == self.m:
            return Fraction(0) if self.sparsity == 0 else Fraction(2)
        return Fraction(repr(self.sparsity)) / (1 - Fraction(self.n, self.m))

    @property
    def density(self) -> float:
        return float(1 - Fraction(repr(self.sparsity)))

    def tile(self, rows: int, cols: int) -> tuple[int, int]:
        """Rows and columns of a tile in a matrix of this shape."""
        raise NotImplementedError

    def _grid(self, rows: int, cols: int) -> tuple[int, int]:
        height, width = self.tile(rows, cols)
        return -(-rows // height), -(-cols // width)

    def sparse_tiles(self, rows: int, cols: int) -> int:
        """How many tiles of a matrix of this shape are N:M."""
        grid = self._grid(rows, cols)
        return int(self._sparse_share * grid[0] * grid[1] + Fraction(1, 2))

    @property
    def format(self) -> formats.Format:
        return formats.DenseFormat() if self.is_dense else self._map()

    def _map(self) -> TileMap:
        raise NotImplementedError

    def project(self, weights: Weights) -> Mask:
        magnitude = magnitudes(weights)
        inside = NM(self.n, self.m).project(magnitude).to_dense()
        lost = np.where(inside, np.zeros((), magnitude.dtype), magnitude)
        return self._combined(inside, self._sums(lost.astype(np.float64)))

    def _sums(self, matrix: Weights) -> Weights:
        height, width = self.tile(*matrix.shape)
        sums = np.add.reduceat(matrix, range(0, matrix.shape[0], height), 0)
        return np.asarray(np.add.reduceat(sums, range(0, matrix.shape[1], width), 1))

    def _combined(self, inside: Flags, losses: Weights) -> Mask:
        """N:M where the losses are least, dense elsewhere."""
        rows, cols = inside.shape
        dense = largest(losses.reshape(-1), losses.size - self.sparse_tiles(rows, cols))
        height, width = self.tile(rows, cols)
        wide = np.repeat(dense.reshape(losses.shape), width, axis=1)[:, :cols]
        return Mask.from_dense(inside | np.repeat(wide, height, axis=0)[:rows])

    def sample(self, rows: int, cols: int, seed: int) -> Mask:
        keys = random_keys(*self._grid(rows, cols), seed)
        return self._combined(NM(self.n, self.m).sample(rows, cols, seed).to_dense(), keys)

    def accepts(self, mask: Mask) -> bool:
        return self.is_dense or self._map().stored_units(mask) <= self.stored_units(*mask.shape)

    def stored_units(self, rows: int, cols: int) -> int:
        if self.is_dense:
            return rows * cols
        grid = self._grid(rows, cols)
        return grid[0] * grid[1] - self.sparse_tiles(rows, cols)

    def exact_nnz(self, rows: int, cols: int) -> int | None:
        height, width = self.tile(rows, cols)
        if rows % height or cols % width or width % self.m:
            return rows * cols if self.is_dense else None
        lost = height * width // self.m * (self.m - self.n)
        return rows * cols - self.sparse_tiles(rows, cols) * lost


@dataclass(frozen=True)
class Tiles(_Hybrid):
    """Tiles that are dense or N:M: text `tiles(64x64, 2:4, 0.25)`, with the fraction removed.

    PATCH (Learnable Tile-level Hybrid Sparsity for LLMs). Groups lie along the columns and do not
    cross tiles: the width of a tile is a multiple of m.
    """

    tile_rows: int
    tile_cols: int
    n: int
    m: int
    sparsity: float

    def __post_init__(self) -> None:
        require_count("tile rows", self.tile_rows)
        require_count("tile columns", self.tile_cols)
        self._check()
        if self.tile_cols % self.m:
            raise CodesignError(f"tiles of {self.tile_cols} columns cut groups of {self.m}")

    def __str__(self) -> str:
        size = f"{self.tile_rows}x{self.tile_cols}"
        return f"tiles({size}, {self.n}:{self.m}, {self.sparsity!r})"

    def tile(self, rows: int, cols: int) -> tuple[int, int]:
        return self.tile_rows, self.tile_cols

    def _map(self) -> TileMap:
        return TileMap(self.n, self.m, self.tile_rows, self.tile_cols)

    def transpose(self) -> Pattern:
        raise CodesignError(f"the transpose of {self} has N:M groups along its rows")


@dataclass(frozen=True)
class Split(_Hybrid):
    """Some rows dense, the others N:M: text `split(2:4, 0.25)`, with the fraction removed.

    SpenseGPT (One-shot Pruning Enabling Sparse and Dense GEMMs): the rows can be sorted, so that
    two products remain, one dense and one N:M.
    """

    n: int
    m: int
    sparsity: float

    def __post_init__(self) -> None:
        self._check()

    def __str__(self) -> str:
        return f"split({self.n}:{self.m}, {self.sparsity!r})"

    def tile(self, rows: int, cols: int) -> tuple[int, int]:
        return 1, cols

    def _map(self) -> TileMap:
        return TileMap(self.n, self.m, 1, None)

    def transpose(self) -> Pattern:
        raise CodesignError(f"the transpose of {self} has N:M groups along its rows")


@dataclass(frozen=True)
class TileMap(Format):
    """One bit for every tile; dense tiles whole, the others with n slots for every m columns.

    A slot has a value and an index of ceil(log2 m) bits. Tiles and groups at the edges are stored
    at full size; a tile without a stated width is as wide as the matrix. The unit is a dense tile.
    """

    n: int
    m: int
    tile_rows: int
    tile_cols: int | None

    def __str__(self) -> str:
        width = "row" if self.tile_cols is None else str(self.tile_cols)
        return f"tile_map({self.tile_rows}x{width}, {self.n}:{self.m})"

    def _width(self, cols: int) -> int:
        return -(-cols // self.m) * self.m if self.tile_cols is None else self.tile_cols

    def _grid(self, rows: int, cols: int) -> tuple[int, int]:
        return -(-rows // self.tile_rows), -(-cols // self._width(cols))

    def dense_tiles(self, mask: Mask) -> Flags:
        """The tiles that are not N:M, bool [tile rows, tile columns]."""
        width = self._width(mask.cols)
        full = mask.group_counts(self.m) > self.n
        groups = width // self.m
        over = np.add.reduceat(full, range(0, full.shape[1], groups), 1, np.int64)
        over = np.add.reduceat(over, range(0, mask.rows, self.tile_rows), 0)
        return np.asarray(over > 0)

    def stored_units(self, mask: Mask) -> int:
        return int(self.dense_tiles(mask).sum())

    def contents(self, extent: Extent) -> Contents:
        grid = self._grid(extent.rows, extent.cols)
        tiles, size = grid[0] * grid[1], self.tile_rows * self._width(extent.cols)
        slots = (tiles - extent.units) * size // self.m * self.n
        return Contents(extent.units * size + slots, (tiles, slots * bit_width(self.m - 1)))

    def _pack(self, weights: Values, mask: Mask) -> tuple[Values, tuple[Bits, ...]]:
        dense = self.dense_tiles(mask)
        tiles = self._tiles(weights)
        groups = self._tiles(mask.to_dense())[~dense].reshape(-1, self.m)
        index = np.sort(np.argsort(~groups, axis=1, kind="stable")[:, : self.n], axis=1)
        slots = np.take_along_axis(tiles[~dense].reshape(-1, self.m), index, axis=1)
        values = np.concatenate([tiles[dense].reshape(-1), slots.reshape(-1)])
        flags = np.packbits(dense.reshape(-1), bitorder="little")
        return values, (flags, pack_numbers(index, bit_width(self.m - 1)))

    def _unpack(self, packed: Packed, out: Values) -> None:
        grid = self._grid(*out.shape)
        flags = np.unpackbits(packed.metadata[0], count=grid[0] * grid[1], bitorder="little")
        dense = flags.view(np.bool_).reshape(grid)
        tiles = np.zeros((*grid, self.tile_rows, self._width(out.shape[1])), out.dtype)
        whole = int(dense.sum()) * tiles[0, 0].size
        tiles[dense] = packed.values[:whole].reshape(-1, *tiles.shape[2:])
        slots = packed.values[whole:].reshape(-1, self.n)
        index = unpack_numbers(packed.metadata[1], bit_width(self.m - 1), slots.size)
        groups = np.zeros((len(slots), self.m), out.dtype)
        np.put_along_axis(groups, index.reshape(slots.shape), slots, axis=1)
        tiles[~dense] = groups.reshape(-1, *tiles.shape[2:])
        whole_matrix = tiles.transpose(0, 2, 1, 3).reshape(grid[0] * self.tile_rows, -1)
        out[:] = whole_matrix[: out.shape[0], : out.shape[1]]

    def _tiles(self, matrix: Values) -> Values:
        """[tile rows, tile columns, rows, columns], filled up with zeros."""
        grid, width = self._grid(*matrix.shape), self._width(matrix.shape[1])
        padded = np.zeros((grid[0] * self.tile_rows, grid[1] * width), matrix.dtype)
        padded[: matrix.shape[0], : matrix.shape[1]] = matrix
        return padded.reshape(grid[0], self.tile_rows, grid[1], width).transpose(0, 2, 1, 3)
