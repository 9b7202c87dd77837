"""Tensors of checkpoints, each of which can be asked for its mask and its values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.trace.tensor_file import DTYPES, Tensor, TensorFile

_COUNT_BYTES = 1 << 22
_MOST_UNPACKED = 1 << 30


@dataclass(frozen=True)
class Source(ABC):
    """A tensor that can be asked for its mask; `shape` is that of the weight it stands for."""

    name: str
    shape: tuple[int, ...]

    @property
    @abstractmethod
    def is_real(self) -> bool:
        """Whether elements are real numbers or masks of them."""

    @abstractmethod
    def mask(self) -> tuple[Mask, int]:
        """Which elements are not zero, columns the last dimension, and how many are NaN."""

    @abstractmethod
    def values(self) -> NDArray[Any]:
        """The elements as fp32; CodesignError where only the mask is stored."""

    def count(self) -> tuple[int, int]:
        """Non-zeros and elements."""
        mask, _ = self.mask()
        return mask.nnz, mask.size


@dataclass(frozen=True)
class StoredTensor(Source):
    """All elements, zeros too, in a safetensors file."""

    tensor: Tensor

    @property
    def is_real(self) -> bool:
        return self.tensor.dtype.startswith(("F", "BF", "I8"))

    def mask(self) -> tuple[Mask, int]:
        rows, cols = prod(self.shape[:-1]), self.shape[-1]
        packed = np.empty((rows, -(-cols // 8)), np.uint8)
        row = nan = 0
        for kept, bad in self.tensor.kept():
            packed[row : row + len(kept)] = np.packbits(kept, axis=1, bitorder="little")
            row, nan = row + len(kept), nan + bad
        return Mask(rows, cols, packed), nan

    def count(self) -> tuple[int, int]:
        return sum(int(np.count_nonzero(kept)) for kept, _ in self.tensor.kept()), prod(self.shape)

    def values(self) -> NDArray[Any]:
        words = self.tensor.words()
        match self.tensor.dtype:
            case "BF16":
                return (words.astype(np.uint32) << 16).view(np.float32)
            case "F16" | "F32" | "F64":
                return words.view(f"f{words.itemsize}").astype(np.float32)
            case "I8":
                return words.view(np.int8).astype(np.float32)
        raise CodesignError(f"{self.name}: elements of {self.tensor.dtype} have no values here")


@dataclass(frozen=True)
class StoredMask(Source):
    """One bit for each element, packed along rows, least significant first."""

    tensor: Tensor

    @property
    def is_real(self) -> bool:
        return True

    def mask(self) -> tuple[Mask, int]:
        packed = np.array(self.tensor.words()).reshape(prod(self.shape[:-1]), -1)
        return Mask(prod(self.shape[:-1]), self.shape[-1], packed), 0

    def count(self) -> tuple[int, int]:
        bits = self.tensor.words().reshape(-1)
        step = _COUNT_BYTES
        aligned = len(bits) // 8 * 8
        wide = bits[:aligned].view(np.uint64) if bits.ctypes.data % 8 == 0 else bits[:aligned]
        total = sum(
            int(np.bitwise_count(wide[i : i + step]).sum(dtype=np.int64))
            for i in range(0, len(wide), step)
        )
        return total + int(np.bitwise_count(bits[aligned:]).sum()), prod(self.shape)

    def values(self) -> NDArray[Any]:
        raise CodesignError(f"{self.name}: only its mask is stored, or its values are packed")


@dataclass(frozen=True)
class TorchTensor(Source):
    """A tensor of torch, strided or sparse."""

    data: Any

    @property
    def is_real(self) -> bool:
        return bool(self.data.is_floating_point())

    def mask(self) -> tuple[Mask, int]:
        dense = self._dense()
        matrix = dense.reshape(-1, dense.shape[-1])
        nan = int(matrix.isnan().sum()) if matrix.is_floating_point() else 0
        return Mask.from_dense((matrix != 0).numpy()), nan

    def _dense(self) -> Any:
        import torch.sparse._semi_structured_conversions as semi_structured

        kind = type(self.data).__name__
        if kind == "SparseSemiStructuredTensorCUTLASS":
            return semi_structured.sparse_semi_structured_to_dense_cutlass(  # type: ignore[no-untyped-call]
                self.data.packed, self.data.meta
            )
        if kind.startswith("SparseSemiStructured"):
            raise CodesignError(
                f"{self.name}: the packing of {kind} is known to its library alone; save what "
                "its to_dense() gives"
            )
        data = self.data.detach()
        if str(data.layout) == "torch.strided":
            if data.numel() * data.element_size() > data.untyped_storage().nbytes():
                raise CodesignError(f"{self.name}: elements of {self.shape} share their storage")
            return data
        if data.numel() > _MOST_UNPACKED:
            raise CodesignError(
                f"{self.name}: a sparse tensor is unpacked up to {_MOST_UNPACKED:,} elements, "
                f"got {self.shape}"
            )
        return data.to_dense()

    def values(self) -> NDArray[Any]:
        array: NDArray[Any] = self._dense().float().numpy()
        return array


def stated_shape(file: TensorFile, name: str) -> tuple[int, ...] | None:
    """The shape that a tensor of integers states, or the metadata; None where neither does."""
    stated, text = file.tensors.get(name), file.metadata.get(name, "")
    if stated is not None and stated.dtype in ("I64", "I32") and stated.elements <= 16:
        sizes = stated.words().view(f"i{DTYPES[stated.dtype]}").reshape(-1)
        return tuple(int(n) for n in sizes)
    if text and all(part.isdecimal() for part in text.split(",")):
        return tuple(map(int, text.split(",")))
    return None
