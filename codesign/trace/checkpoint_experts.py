"""Weights of experts, which checkpoints store one by one or stacked, as products group them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.trace.checkpoint_tensors import Source

_GROUP = re.compile(r"(.+)\.mlp\.experts(?:\.(\d+)-(\d+))?\.(gate_up|down)(?:_proj|\.weight)")
_ONE_BY_ONE = {
    "mlp": {"gate_up": ("gate_proj", "up_proj"), "down": ("down_proj",)},
    "block_sparse_moe": {"gate_up": ("w1", "w3"), "down": ("w2",)},
}
"""What the parts of an expert are called below the module that holds the experts."""


@dataclass(frozen=True)
class Rows(Source):
    """Tensors of equally many columns, one below the other, as [experts, rows, columns]."""

    parts: tuple[Source, ...]

    @property
    def is_real(self) -> bool:
        return all(part.is_real for part in self.parts)

    def mask(self) -> tuple[Mask, int]:
        masks = [part.mask() for part in self.parts]
        packed = np.concatenate([mask.packed for mask, _ in masks])
        return Mask(len(packed), self.shape[-1], packed), sum(nan for _, nan in masks)

    def values(self) -> NDArray[Any]:
        rows = [part.values().reshape(-1, self.shape[-1]) for part in self.parts]
        return np.concatenate(rows).reshape(self.shape)


@dataclass(frozen=True)
class Some(Source):
    """Experts `first` and on of a stack of them."""

    stack: Source
    first: int

    @property
    def is_real(self) -> bool:
        return self.stack.is_real

    def mask(self) -> tuple[Mask, int]:
        mask, nan = self.stack.mask()
        start = self.first * self.shape[1]
        return mask[start : start + self.shape[0] * self.shape[1], :], nan

    def values(self) -> NDArray[Any]:
        return self.stack.values()[self.first : self.first + self.shape[0]]


def find_experts(sources: Mapping[str, Source], weight: str) -> Source | None:
    """The tensors that make up the grouped weight of some experts; None where there are none.

    Raises CodesignError where some experts of a group are stored and others are not, and for
    experts of different shapes.
    """
    match = _GROUP.fullmatch(weight)
    if match is None:
        return None
    layer, first, last, part = match.groups()
    stack = sources.get(f"{layer}.mlp.experts.{part}_proj")
    if stack is not None and first is not None:
        shape = (int(last) - int(first) + 1, *stack.shape[1:])
        return Some(weight, shape, stack, int(first))
    for module, names in _ONE_BY_ONE.items():
        at = f"{layer}.{module}.experts"
        if f"{at}.0.{names[part][0]}.weight" in sources:
            return _stacked(sources, weight, at, names[part], first, last)
    return None


def _stacked(
    sources: Mapping[str, Source],
    weight: str,
    at: str,
    names: tuple[str, ...],
    first: str | None,
    last: str | None,
) -> Source:
    begin = int(first or 0)
    end = int(last) + 1 if last is not None else begin
    while last is None and f"{at}.{end}.{names[0]}.weight" in sources:
        end += 1
    parts: list[Source] = []
    for i in range(begin, end):
        for name in (f"{at}.{i}.{part}.weight" for part in names):
            if name not in sources:
                raise CodesignError(f"{name} is missing, though other experts are there")
            parts.append(sources[name])
    shape = parts[0].shape
    for source in parts:
        if source.shape != shape or len(shape) != 2:
            raise CodesignError(f"{source.name}: shape {source.shape}, other experts have {shape}")
    return Rows(weight, (end - begin, len(names) * shape[0], shape[1]), tuple(parts))


def router_name(weight: str) -> str:
    """What the router of a mixture is called beside experts that are stored one by one."""
    return weight.replace(".mlp.gate.", ".block_sparse_moe.gate.")
