"""Safetensors files, read and written in place: nothing is loaded before it is asked for."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask

_MAX_HEADER_BYTES = 100_000_000
_CHUNK_BYTES = 1 << 26

DTYPES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
"""Bytes of an element of each type."""

_WORDS: dict[int, type[np.unsignedinteger[Any]]] = {
    1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64,
}  # fmt: skip
_INFINITY = {
    "F8_E4M3": 0x7E, "F8_E5M2": 0x7C, "F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000,
    "F64": 0x7FF << 52,
}  # fmt: skip
"""The largest magnitude, as a bit pattern, that is not NaN (E4M3 has no infinity)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies; `start` counts from the beginning of the file."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def rows(self) -> int:
        """Rows of the tensor as a matrix whose columns are its last dimension."""
        return prod(self.shape[:-1])

    def words(self) -> NDArray[Any]:
        """The bits of all elements, unsigned, mapped from the file; shape as the tensor's."""
        word = _WORDS[DTYPES[self.dtype]]
        if not self.elements:
            return np.zeros(self.shape, word)
        mapped = np.memmap(self.path, np.uint8, "r", self.start, self.elements * word().itemsize)
        return mapped.view(word).reshape(self.shape)

    def kept(self) -> Iterator[tuple[NDArray[np.bool_], int]]:
        """Blocks of rows: which elements are not zero (NaN is not), and how many are NaN.

        Blocks are boolean [some rows, last dimension] of at most 64 MiB of the file.
        """
        words = self.words().reshape(max(self.rows, 1), -1) if self.elements else None
        if words is None:
            return
        step = max(1, _CHUNK_BYTES // (words.shape[1] * words.itemsize))
        limit = _INFINITY.get(self.dtype)
        magnitude = (1 << (8 * words.itemsize - 1)) - 1
        for first in range(0, len(words), step):
            block = words[first : first + step]
            if limit is None:
                yield block != 0, 0
                continue
            size = block & words.dtype.type(magnitude)
            yield size != 0, int((size > limit).sum())


@dataclass(frozen=True, slots=True)
class TensorFile:
    """The tensors of a file by name, and its metadata."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def read_tensors(path: Path) -> TensorFile:
    """The header of a safetensors file; no tensor is read.

    Raises CodesignError for a file that is cut short, for a header that is no JSON object of
    tensors, and for tensors that overlap, leave the file or have an unknown type.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            if not 0 <= length <= min(size - 8, _MAX_HEADER_BYTES):
                raise CodesignError(
                    f"{path}: this is no safetensors file, or it is cut short: {size} bytes, and a "
                    f"header of {length}"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise CodesignError(f"{path}: {error.strerror or error}") from None
    except CodesignError:
        raise
    except (ValueError, RecursionError) as error:
        raise CodesignError(f"{path}: the header is no JSON text: {str(error)[:120]}") from None
    if not isinstance(header, dict):
        raise CodesignError(f"{path}: the header is no object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise CodesignError(f"{path}: __metadata__ is no object")
    tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in header.items()}
    end = 8 + length
    for tensor in sorted(tensors.values(), key=lambda t: (t.start, t.elements)):
        if tensor.start < end:
            raise CodesignError(f"{path}: {tensor.name!r} overlaps another tensor")
        end = tensor.start + tensor.elements * DTYPES[tensor.dtype]
    if end > size:
        raise CodesignError(f"{path}: the file is cut short: {size} bytes of {end}")
    return TensorFile(path, tensors, {str(k): str(v) for k, v in metadata.items()})


def _tensor(path: Path, name: str, entry: object, base: int) -> Tensor:
    where = f"{path}: {name[:80]!r}"
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise CodesignError(f"{where} has dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in DTYPES:
        raise CodesignError(f"{where}: no data type {str(dtype)[:40]!r} here")
    if not _whole(shape) or not _whole(offsets) or len(offsets) != 2 or len(shape) > 16:
        raise CodesignError(f"{where}: shape and data_offsets are lists of whole numbers")
    if offsets[1] - offsets[0] != prod(shape) * DTYPES[dtype]:
        raise CodesignError(f"{where}: {offsets} are not the bytes of {shape} of {dtype}")
    return Tensor(path, name, dtype, tuple(shape), base + offsets[0])


def _whole(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in value)


def save_masks(
    path: Path, shapes: Mapping[str, tuple[int, int]], masks: Iterable[tuple[str, Mask]]
) -> None:
    """Write masks one after another, in the order of `shapes`, each gone before the next comes.

    A mask of the tensor X is the tensor `X.bitmask`, uint8 [rows, ceil(columns / 8)], with its true
    shape in the metadata: bitmasks of compressed-tensors are packed the same way.
    """
    header: dict[str, Any] = {"__metadata__": {}}
    end = 0
    for name, (rows, cols) in shapes.items():
        size = rows * -(-cols // 8)
        header["__metadata__"][f"{name}.shape"] = f"{rows},{cols}"
        header[f"{name}.bitmask"] = {
            "dtype": "U8", "shape": [rows, -(-cols // 8)], "data_offsets": [end, end + size],
        }  # fmt: skip
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    expected = iter(shapes.items())
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, mask in masks:
            if next(expected, None) != (name, mask.shape):
                raise CodesignError(f"masks come in the order of their shapes, got {name!r}")
            file.write(mask.packed.data)
        if (missing := next(expected, None)) is not None:
            raise CodesignError(f"no mask came for {missing[0]!r}")
