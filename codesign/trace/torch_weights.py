"""Which tensors of a running module are its weights, and how its products read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codesign.trace.window import Conv, by_output


class Weights:
    """Parameters by the key of their storage, and tensors that are made of nothing else.

    What a module makes of parameters and buffers alone (a weight norm, a cast, a mask) stands for
    the largest of them wherever a product reads it whole.
    """

    def __init__(self, module: nn.Module, key: Callable[[Tensor], int]) -> None:
        self.inputs_first: set[str] = set()
        """Parameters of products that are stored [in, out]."""
        self.windows: dict[str, Conv] = {}
        """Of convolutions, by the names of their weights."""
        self._module, self._key = module, key
        named = list(module.named_parameters())
        self._names = {key(parameter): name for name, parameter in named}
        self._sizes = {name: parameter.numel() for name, parameter in named}
        self._made_of = {**{key(buffer): "" for buffer in module.buffers()}, **self._names}

    def parameter(self, tensor: Tensor) -> str | None:
        """The parameter of which a tensor is a view or a copy in another type."""
        return self._names.get(self._key(tensor))

    def weight(self, tensor: Tensor) -> str | None:
        """The parameter that a product reads with a tensor."""
        name = self._made_of.get(self._key(tensor))
        whole = bool(name) and tensor.numel() == self._sizes[str(name)]
        return self.parameter(tensor) or (name if whole else None)

    def note(self, name: str, inputs: Sequence[Tensor], made: Iterable[Tensor]) -> None:
        """Take note of an operator on `inputs`, and of what it made."""
        floats = [t for t in inputs if t.is_floating_point()]
        if not floats or not all(self._key(t) in self._made_of for t in floats):
            return
        largest = self._made_of[self._key(max(floats, key=torch.numel))]
        for tensor in made:
            self._made_of[self._key(tensor)] = largest
            if name == "_to_copy" and largest:
                self._names[self._key(tensor)] = largest

    def values(self) -> dict[str, NDArray[Any]]:
        """Parameters with data, those that were stored [in, out, ...] turned to [out, in, ...]."""
        out: dict[str, NDArray[Any]] = {}
        for name, parameter in self._module.named_parameters():
            if parameter.device.type == "meta":
                continue
            data = parameter.detach().float().cpu().numpy()
            window = self.windows.get(name)
            if name in self.inputs_first:
                data = np.ascontiguousarray(data.T)
            if window is not None and window.transposed:
                data = by_output(data, window.groups)
            out[name] = np.expand_dims(data, 2) if window and data.ndim == 3 else data
        return out
