"""Weights as products and sums of smaller ones: low rank, Monarch, butterfly, ARMOR, sparse + low.

A form replaces one matrix by paths of products; a path is a chain, and the paths are added. Every
product has the layout of a linear layer: `groups` matrices of n rows and k columns, the reduction
last.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError, suggestion
from codesign.sparsity.base import Pattern, Weights, magnitudes, random_keys, require_count
from codesign.sparsity.butterfly import FlatButterfly
from codesign.sparsity.formats import expected_bytes
from codesign.sparsity.mask import Mask
from codesign.sparsity.nm import DENSE, NM
from codesign.sparsity.pattern import parse_pattern

Factors = tuple[NDArray[Any], ...]
"""One array [groups, n, k] for each product of a form, path after path."""


@dataclass(frozen=True)
class Product:
    """`groups` products with a weight of n x k each; `dtype` where it is not that of the layer."""

    name: str
    n: int
    k: int
    groups: int = 1
    pattern: Pattern = DENSE
    dtype: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.groups, self.n, self.k


class Form(ABC):
    """What a weight matrix is made of; `str` gives the text that `parse_form` reads."""

    @abstractmethod
    def paths(self, rows: int, cols: int) -> tuple[tuple[Product, ...], ...]:
        """The chains of products that take the place of a matrix of this shape."""

    @abstractmethod
    def project(self, weights: Weights) -> Factors:
        """Factors close to a matrix, by the rule that the form states."""

    @abstractmethod
    def dense(self, factors: Factors, rows: int, cols: int) -> Weights:
        """The matrix that factors stand for."""

    def products(self, rows: int, cols: int) -> tuple[Product, ...]:
        return tuple(product for path in self.paths(rows, cols) for product in path)

    def sample(self, rows: int, cols: int, seed: int) -> Factors:
        """Random factors between -1 and 1 with the masks of their patterns."""
        out = []
        for number, product in enumerate(self.products(rows, cols)):
            lines, k = product.groups * product.n, product.k
            keys = random_keys(lines, k, (seed + 0x5DEECE66D * number) % (1 << 64))
            values = keys.astype(np.float64) / 2.0**63 - 1
            mask = product.pattern.sample(lines, k, seed).to_dense()
            out.append((values * mask).reshape(product.shape))
        return tuple(out)

    def accepts(self, factors: Factors, rows: int, cols: int) -> bool:
        """Whether factors have the shapes of the form and zeros where its patterns want them."""
        products = self.products(rows, cols)
        return len(factors) == len(products) and all(
            factor.shape == product.shape
            and product.pattern.accepts(Mask.from_dense(factor.reshape(-1, product.k) != 0))
            for factor, product in zip(factors, products, strict=True)
        )

    def density(self, rows: int, cols: int) -> float:
        """Values that are kept over those of the dense matrix."""
        kept = sum(p.groups * p.n * p.k * p.pattern.density for p in self.products(rows, cols))
        return kept / (rows * cols)

    def stored_bytes(self, rows: int, cols: int, dtype: str) -> int:
        """Bytes of all factors, each in the format of its pattern."""
        return sum(
            expected_bytes(p.pattern, p.groups * p.n, p.k, p.dtype or dtype).bytes
            for p in self.products(rows, cols)
        )


@dataclass(frozen=True)
class LowRank(Form):
    """Two thin factors, the best of their rank (Eckart and Young): text `lowrank(64)`."""

    rank: int

    def __post_init__(self) -> None:
        require_count("rank", self.rank)

    def __str__(self) -> str:
        return f"lowrank({self.rank})"

    def paths(self, rows: int, cols: int) -> tuple[tuple[Product, ...], ...]:
        return ((Product("down", self.rank, cols), Product("up", rows, self.rank)),)

    def project(self, weights: Weights) -> Factors:
        magnitudes(weights)
        down, up = truncated(weights.astype(np.float64), self.rank)
        return down[np.newaxis], up[np.newaxis]

    def dense(self, factors: Factors, rows: int, cols: int) -> Weights:
        return np.asarray(factors[1][0] @ factors[0][0])


@dataclass(frozen=True)
class Monarch(Form):
    """Two block-diagonal factors with a permutation between: text `monarch(32)`.

    Dao et al. 2022 (arXiv 2204.00595): b blocks in each factor. Seen as a b x b grid of blocks the
    matrix has rank at most `rank` in each, by default min(rows, cols) / b**2; the best factors are
    the truncated singular vectors of the blocks. The fixed permutation of the outputs, which costs
    nothing, is left out; sizes that b does not divide are filled up.
    """

    blocks: int
    rank: int = 0

    def __post_init__(self) -> None:
        require_count("blocks", self.blocks)
        if self.rank:
            require_count("rank", self.rank)

    def __str__(self) -> str:
        return f"monarch({self.blocks}" + (f", {self.rank})" if self.rank else ")")

    def _sizes(self, rows: int, cols: int) -> tuple[int, int, int]:
        """Rank, rows and columns of a block."""
        rank = self.rank or max(1, min(rows, cols) // self.blocks**2)
        return rank, -(-rows // self.blocks), -(-cols // self.blocks)

    def paths(self, rows: int, cols: int) -> tuple[tuple[Product, ...], ...]:
        rank, height, width = self._sizes(rows, cols)
        middle = self.blocks * rank
        return (
            (
                Product("right", middle, width, self.blocks),
                Product("left", height, middle, self.blocks),
            ),
        )

    def project(self, weights: Weights) -> Factors:
        magnitudes(weights)
        rank, height, width = self._sizes(*weights.shape)
        b = self.blocks
        padded = np.zeros((b * height, b * width))
        padded[: weights.shape[0], : weights.shape[1]] = weights
        grid = padded.reshape(b, height, b, width).transpose(0, 2, 1, 3)
        down, up = truncated(grid, rank)
        right = down.transpose(1, 0, 2, 3).reshape(b, b * rank, width)
        left = up.transpose(0, 2, 1, 3).reshape(b, height, b * rank)
        return right, left

    def dense(self, factors: Factors, rows: int, cols: int) -> Weights:
        b = self.blocks
        right = factors[0].reshape(b, b, -1, factors[0].shape[2]).transpose(1, 0, 2, 3)
        left = factors[1].reshape(b, factors[1].shape[1], b, -1).transpose(0, 2, 1, 3)
        grid = (left @ right).transpose(0, 2, 1, 3)
        return np.asarray(grid.reshape(b * grid.shape[1], -1)[:rows, :cols])


@dataclass(frozen=True)
class ButterflyFactors(Form):
    """log2(N) factors of 2 x 2 blocks: text `butterfly_factors`.

    Dao et al. 2019 (arXiv 1903.05895). N is the next power of two that holds rows and columns. The
    factors are found level by level as best rank-1 blocks, which is exact for a matrix that has the
    form.
    """

    def __str__(self) -> str:
        return "butterfly_factors"

    @staticmethod
    def _edge(rows: int, cols: int) -> int:
        return 1 << max(max(rows, cols) - 1, 1).bit_length()

    def paths(self, rows: int, cols: int) -> tuple[tuple[Product, ...], ...]:
        edge = self._edge(rows, cols)
        return (
            tuple(Product(f"factor{i}", 2, 2, edge // 2) for i in range(edge.bit_length() - 1)),
        )

    def project(self, weights: Weights) -> Factors:
        magnitudes(weights)
        edge = self._edge(*weights.shape)
        rest = np.zeros((1, edge, edge))
        rest[0, : weights.shape[0], : weights.shape[1]] = weights
        factors = []
        while rest.shape[1] > 1:
            count, half = len(rest), rest.shape[1] // 2
            pairs = rest.reshape(count, 2, half, 2, half).transpose(0, 3, 2, 1, 4)
            down, up = truncated(pairs, 1)
            factors.append(up[..., 0].transpose(0, 2, 3, 1).reshape(-1, 2, 2))
            rest = down[..., 0, :].reshape(2 * count, half, half)
        factors[-1] *= rest.reshape(-1, 1, 2)
        return tuple(reversed(factors))

    def dense(self, factors: Factors, rows: int, cols: int) -> Weights:
        whole = np.ones((2 * len(factors[0]), 1, 1))
        for factor in factors:
            half = whole.shape[1]
            count = len(whole) // 2
            blocks = factor.reshape(count, half, 2, 2)
            inner = whole.reshape(count, 2, half, half)
            whole = np.einsum("chij,cjhw->cihjw", blocks, inner).reshape(count, 2 * half, 2 * half)
        return np.asarray(whole[0, :rows, :cols])


@dataclass(frozen=True)
class Armor(Form):
    """An N:M core between two block-diagonal matrices: text `armor(2:4, 128)`.

    ARMOR (High-Performance Semi-Structured Pruning via Adaptive Matrix Factorization). The factors
    of a projection are the start of its descent: the pruned matrix between identities.
    """

    n: int
    m: int
    block: int

    def __post_init__(self) -> None:
        NM(self.n, self.m)
        require_count("block", self.block)

    def __str__(self) -> str:
        return f"armor({self.n}:{self.m}, {self.block})"

    def paths(self, rows: int, cols: int) -> tuple[tuple[Product, ...], ...]:
        b = self.block
        return (
            (
                Product("right", b, b, -(-cols // b)),
                Product("core", rows, cols, pattern=NM(self.n, self.m)),
                Product("left", b, b, -(-rows // b)),
            ),
        )

    def project(self, weights: Weights) -> Factors:
        core = weights * NM(self.n, self.m).project(weights).to_dense()
        right, _, left = self.products(*weights.shape)
        eyes = [np.tile(np.eye(self.block), (part.groups, 1, 1)) for part in (right, left)]
        return eyes[0], core[np.newaxis], eyes[1]

    def dense(self, factors: Factors, rows: int, cols: int) -> Weights:
        right, left = (block_diagonal(factors[i]) for i in (0, 2))
        return np.asarray(left[:rows, :rows] @ factors[1][0] @ right[:cols, :cols])


@dataclass(frozen=True)
class Sum(Form):
    """A pattern and a low rank, added: text `2:4+lowrank(64)`, `dense+lowrank(16)` (LoRA).

    SLoPe's adapters, SLTrain (arXiv 2406.02214), Pixelated Butterfly. The projection prunes first
    and approximates what is left. A flat butterfly is stored as its blocks, one group for each
    block row.
    """

    pattern: Pattern
    low: LowRank

    def __str__(self) -> str:
        return f"{self.pattern}+{self.low}"

    def _core(self, rows: int, cols: int) -> Product:
        if isinstance(self.pattern, FlatButterfly):
            grid = self.pattern.grid
            width = self.pattern.blocks_per_row * -(-cols // grid)
            return Product("core", -(-rows // grid), width, grid)
        return Product("core", rows, cols, pattern=self.pattern)

    def paths(self, rows: int, cols: int) -> tuple[tuple[Product, ...], ...]:
        return ((self._core(rows, cols),), *self.low.paths(rows, cols))

    def project(self, weights: Weights) -> Factors:
        core = self._gather(np.asarray(weights))
        left = weights - self._spread(core, *weights.shape)
        return (core, *self.low.project(left))

    def dense(self, factors: Factors, rows: int, cols: int) -> Weights:
        return np.asarray(self._spread(factors[0], rows, cols)) + self.low.dense(
            factors[1:], rows, cols
        )

    def _gather(self, weights: Weights) -> NDArray[Any]:
        if not isinstance(self.pattern, FlatButterfly):
            return np.asarray((weights * self.pattern.project(weights).to_dense())[np.newaxis])
        core = self._core(*weights.shape)
        grid, width = core.groups, -(-weights.shape[1] // core.groups)
        padded = np.zeros((grid * core.n, grid * width), weights.dtype)
        padded[: weights.shape[0], : weights.shape[1]] = weights
        blocks = padded.reshape(grid, core.n, grid, width).transpose(0, 2, 1, 3)
        kept = blocks[self.pattern.blocks()].reshape(grid, -1, core.n, width)
        return np.asarray(kept.transpose(0, 2, 1, 3).reshape(core.shape))

    def _spread(self, core: NDArray[Any], rows: int, cols: int) -> Weights:
        if not isinstance(self.pattern, FlatButterfly):
            return np.asarray(core[0])
        grid, height, width = len(core), core.shape[1], -(-cols // len(core))
        blocks = np.zeros((grid, grid, height, width), core.dtype)
        kept = core.reshape(grid, height, -1, width).transpose(0, 2, 1, 3)
        blocks[self.pattern.blocks()] = kept.reshape(-1, height, width)
        whole = blocks.transpose(0, 2, 1, 3).reshape(grid * height, -1)
        return np.asarray(whole[:rows, :cols])


def truncated(matrix: Weights, rank: int) -> tuple[Weights, Weights]:
    """The best factors of a rank of matrices [..., n, k]: down [..., rank, k], up [..., n, rank].

    A rank above the smaller side is filled up with zeros.
    """
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    used = min(rank, s.shape[-1])
    down = np.zeros((*matrix.shape[:-2], rank, matrix.shape[-1]))
    up = np.zeros((*matrix.shape[:-1], rank))
    down[..., :used, :] = v[..., :used, :]
    up[..., :used] = u[..., :used] * s[..., np.newaxis, :used]
    return down, up


def block_diagonal(blocks: Weights) -> Weights:
    """Blocks [groups, n, k] along the diagonal of one matrix."""
    groups, n, k = blocks.shape
    whole = np.zeros((groups, n, groups, k))
    whole[range(groups), :, range(groups)] = blocks
    return whole.reshape(groups * n, groups * k)


_EXAMPLES = (
    "lowrank(64)", "monarch(32)", "butterfly_factors", "armor(2:4, 128)", "2:4+lowrank(64)",
)  # fmt: skip


def parse_form(text: str) -> Form:
    """The form that a text such as `monarch(32)` or `2:4+lowrank(64)` names.

    >>> parse_form("2:4 + lowrank(64)").density(4096, 4096)
    0.53125
    """
    short = text.strip()
    if len(short) <= 100:
        if match := re.fullmatch(r"(.*)\+\s*lowrank\(\s*([0-9]{1,9})\s*\)", short, re.ASCII):
            return Sum(parse_pattern(match[1]), LowRank(int(match[2])))
        if match := re.fullmatch(r"lowrank\(\s*([0-9]{1,9})\s*\)", short, re.ASCII):
            return LowRank(int(match[1]))
        form = r"monarch\(\s*([0-9]{1,9})\s*(?:,\s*([0-9]{1,9})\s*)?\)"
        if match := re.fullmatch(form, short, re.ASCII):
            return Monarch(int(match[1]), int(match[2] or 0))
        if short == "butterfly_factors":
            return ButterflyFactors()
        form = r"armor\(\s*([0-9]{1,9})\s*:\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*\)"
        if match := re.fullmatch(form, short, re.ASCII):
            return Armor(int(match[1]), int(match[2]), int(match[3]))
    raise CodesignError(
        f"{short[:40]!r} is no form of a weight; allowed: lowrank(R), PATTERN+lowrank(R), "
        "monarch(B), monarch(B, R), butterfly_factors, armor(N:M, B)"
        + suggestion(short[:80].lower(), _EXAMPLES)
    )
