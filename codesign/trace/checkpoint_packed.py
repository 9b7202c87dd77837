"""Integers of 4 or 8 bits in words of 32, as compressed-tensors packs quantised weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.trace.checkpoint_tensors import Source, StoredTensor, stated_shape
from codesign.trace.tensor_file import Tensor, TensorFile

PACKED = "_packed"
PARTS = SHAPE, SCALE, ZERO, ORDER = "_shape", "_scale", "_zero_point", "_g_idx"
_WORDS = ("I32", "U32")
_WIDTHS = (4, 8)
_WORD_BITS = 32


@dataclass(frozen=True)
class PackedIntegers(Source):
    """Codes of `bits` bits, first columns in low bits; a weight is (code - zero) * scale.

    The code of 0 is 2 ** (bits - 1), or that of `zero`, which is packed along rows and has one
    column for each group of neighbouring columns.
    """

    packed: Tensor
    bits: int
    zero: Tensor | None
    scale: Tensor | None

    @property
    def is_real(self) -> bool:
        return True

    def mask(self) -> tuple[Mask, int]:
        return Mask.from_dense(self._codes() != self._zeros()), 0

    def values(self) -> NDArray[Any]:
        if self.scale is None:
            raise CodesignError(f"{self.name}: no scale of its packed integers is stored")
        scale = StoredTensor(self.name, self.scale.shape, self.scale).values()
        steps: NDArray[Any] = self._codes().astype(np.float32) - self._zeros()
        weights: NDArray[Any] = steps * self._by_column(scale)
        return weights

    def _codes(self) -> NDArray[np.uint8]:
        return _unpacked(self.packed.words(), self.bits)[:, : self.shape[1]]

    def _zeros(self) -> NDArray[np.uint8] | np.uint8:
        if self.zero is None:
            return np.uint8(1 << (self.bits - 1))
        codes = _unpacked(np.ascontiguousarray(self.zero.words().T), self.bits)
        return self._by_column(codes[:, : self.shape[0]].T)

    def _by_column(self, groups: NDArray[Any]) -> NDArray[Any]:
        """Values [rows or 1, groups] spread over the columns of their groups."""
        if groups.ndim != 2 or self.shape[1] % groups.shape[1]:
            raise CodesignError(
                f"{self.name}: {groups.shape} scales or zeros do not divide {self.shape}"
            )
        return np.repeat(groups, self.shape[1] // groups.shape[1], axis=1)


def packed_integers(file: TensorFile, owner: str) -> PackedIntegers:
    """The weight whose codes are the tensor `owner`_packed.

    Raises CodesignError where its shape is not stated, where that gives no width of 4 or 8 bits, or
    both, and for zeros in an order of columns of their own.
    """
    packed = file.tensors[f"{owner}{PACKED}"]
    shape = stated_shape(file, f"{owner}{SHAPE}")
    if packed.dtype not in _WORDS or shape is None or len(shape) != 2:
        raise CodesignError(
            f"{file.path}: {owner}{PACKED} is read as integers in words of 32 bits with "
            f"{owner}{SHAPE} beside it, got {packed.dtype} of {packed.shape}"
        )
    rows, cols = shape
    widths = [
        bits for bits in _WIDTHS if packed.shape == (rows, -(-cols * bits // _WORD_BITS))
    ]  # fmt: skip
    if len(widths) != 1:
        raise CodesignError(
            f"{file.path}: {owner}{PACKED} of {packed.shape} for a weight of {shape} is not of 4 "
            "bits or 8, one of them"
        )
    zero = file.tensors.get(f"{owner}{ZERO}")
    if zero is not None and zero.dtype not in _WORDS and not zero.words().any():
        zero = None
    if zero is not None and (zero.dtype not in _WORDS or f"{owner}{ORDER}" in file.tensors):
        raise CodesignError(
            f"{file.path}: zeros of {owner} that are not packed, or whose groups are no "
            "neighbours, are not read here"
        )
    return PackedIntegers(
        owner, shape, packed, widths[0], zero, file.tensors.get(f"{owner}{SCALE}")
    )


def _unpacked(words: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Codes of each row of words, the lowest bits first."""
    data = np.ascontiguousarray(words).astype("<u4", copy=False).view(np.uint8)
    if bits == 8:
        return data.reshape(len(words), -1)
    pairs = np.stack([data & 0x0F, data >> 4], axis=-1)
    return pairs.reshape(len(words), -1)
