"""Opens checkpoints: safetensors in one file or many, bitmasks in them, and torch files."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from codesign.config import CodesignError
from codesign.trace.checkpoint_packed import PACKED, PARTS, packed_integers
from codesign.trace.checkpoint_tensors import (
    Source,
    StoredMask,
    StoredTensor,
    TorchTensor,
    stated_shape,
)
from codesign.trace.tensor_file import Tensor, TensorFile, read_tensors

_TORCH = (".pt", ".pth", ".bin", ".ckpt")


def open_checkpoint(path: Path) -> Iterator[Source]:
    """The tensors of a file, or of a folder with an index or files of tensors.

    Raises CodesignError for what is damaged and for torch files that hold more than tensors: they
    are read with `weights_only`, which runs no code.
    """
    for file in _files(path):
        if file.suffix == ".safetensors":
            yield from _of_safetensors(read_tensors(file))
        elif file.suffix in _TORCH:
            yield from _of_torch(file)
        else:
            raise CodesignError(f"{file}: a checkpoint ends in .safetensors, {', '.join(_TORCH)}")


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        if index.is_file():
            return _indexed(index)
        found = sorted(path.glob("*.safetensors")) or sorted(
            file for suffix in _TORCH for file in path.glob(f"*{suffix}")
        )
        if not found:
            raise CodesignError(f"{path}: no checkpoint is in this folder")
        return found
    if path.name.endswith(".index.json"):
        return _indexed(path)
    if not path.is_file():
        raise CodesignError(f"{path}: no such file")
    return [path]


def _indexed(index: Path) -> list[Path]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = sorted(set(content["weight_map"].values()))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise CodesignError(f"{index}: this is no index of a checkpoint") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CodesignError(f"{index}: {str(name)[:80]!r} is no file beside the index")
        if not (index.parent / name).is_file():
            raise CodesignError(f"{index}: the file {name!r} is missing")
    return [index.parent / name for name in names]


def _of_safetensors(file: TensorFile) -> Iterator[Source]:
    """Tensors; `X.bitmask` and `X_packed` stand for X, whose other parts are left out."""
    masked = {name.removesuffix(".bitmask") for name in file.tensors if name.endswith(".bitmask")}
    packed = {name.removesuffix(PACKED) for name in file.tensors if name.endswith(PACKED)}
    parts = {f"{owner}{part}" for owner in packed for part in PARTS}
    for name, tensor in file.tensors.items():
        owner, _, part = name.rpartition(".")
        if part == "bitmask":
            yield StoredMask(owner, _masked_shape(file, owner, tensor), tensor)
        elif name.removesuffix(PACKED) in packed:
            yield packed_integers(file, name.removesuffix(PACKED))
        elif owner not in masked and name not in parts:
            yield StoredTensor(name, tensor.shape, tensor)


def _masked_shape(file: TensorFile, owner: str, packed: Tensor) -> tuple[int, ...]:
    shape = stated_shape(file, f"{owner}.shape")
    if shape is None:
        raise CodesignError(f"{file.path}: nothing states the shape of the bitmask of {owner!r}")
    expected = (prod(shape[:-1]), -(-shape[-1] // 8)) if len(shape) >= 2 else None
    if packed.dtype != "U8" or expected is None or prod(expected) != packed.elements:
        raise CodesignError(f"{file.path}: {owner!r}: a bitmask of {packed.shape} is not {shape}")
    return shape


def _of_torch(path: Path) -> Iterator[Source]:
    import pickle
    import zipfile

    import torch
    from torch.sparse import (
        SparseSemiStructuredTensorCUSPARSELT,
        SparseSemiStructuredTensorCUTLASS,
    )

    packed: list[Any] = [SparseSemiStructuredTensorCUSPARSELT, SparseSemiStructuredTensorCUTLASS]
    try:
        with torch.serialization.safe_globals(packed), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except OSError as error:
        raise CodesignError(f"{path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global|operand|class) ([A-Za-z_][\w.]*)", str(error))
        what = f": {named[1]}" if named else ""
        raise CodesignError(
            f"{path}: it holds more than tensors{what}; nothing of it was executed"
        ) from None
    except Exception as error:
        raise CodesignError(
            f"{path}: this is no torch file, or it is cut short: {str(error)[:200]}"
        ) from None
    for key in ("state_dict", "model", "module"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise CodesignError(f"{path}: this holds a {type(content).__name__}, no tensors by name")
    for name, value in content.items():
        if isinstance(value, torch.Tensor) and value.dim():
            yield TorchTensor(str(name), tuple(value.shape), value)
