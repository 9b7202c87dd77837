"""One layer with a weight that a sparsifier works on, and the matrix that its masks speak of."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask

Layer = nn.Linear | nn.Conv2d
"""Also the linear layer of `inputs_first`, which has the attributes of the first."""


def is_layer(module: nn.Module) -> TypeGuard[Layer]:
    """Whether sparsifiers can take the module over."""
    return isinstance(module, nn.Linear | nn.Conv2d) or inputs_first(module)


def inputs_first(module: nn.Module) -> bool:
    """Whether it is a linear layer with a weight [in, out]: `Conv1D` of Transformers, as in GPT-2.

    A module can only be one if its library is loaded, which is not done here.
    """
    library = sys.modules.get("transformers.pytorch_utils")
    return library is not None and isinstance(module, library.Conv1D)


@dataclass(eq=False)
class Target:
    """A linear layer or a convolution, its name in the model, and the masks that it carries.

    Masks are boolean [n, k] in the layout of a trace: n outputs; k inputs, or (kernel_h, kernel_w,
    in_channels / groups) with channels innermost. `backward_mask` speaks of the same matrix, not of
    its transpose, and is None where backward-data reads the forward weight. `state` holds what else
    a method remembers, by name.
    """

    name: str
    layer: Layer
    mask: Tensor | None = None
    backward_mask: Tensor | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the parameter: the `weight` of the operators of a trace of the model."""
        return f"{self.name}.weight" if self.name else "weight"

    @property
    def weight(self) -> Tensor:
        return self.layer.weight

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and elements per output."""
        rows = self.weight.t() if inputs_first(self.layer) else self.weight
        return rows.shape[0], rows[0].numel()

    @property
    def taps(self) -> int:
        """Kernel positions: k is taps times the input channels of a group."""
        return 1 if self.weight.ndim == 2 else self.weight.shape[2] * self.weight.shape[3]

    def rows(self, weight: Tensor | None = None) -> Tensor:
        """A tensor of the weight's shape (default: the weight, detached) as a matrix [n, k]."""
        tensor = self.weight.detach() if weight is None else weight
        if tensor.ndim == 2:
            return tensor.t() if inputs_first(self.layer) else tensor
        return tensor.permute(0, 2, 3, 1).reshape(tensor.shape[0], -1)

    def shaped(self, rows: Tensor) -> Tensor:
        """A matrix [n, k] in the shape of the weight."""
        if self.weight.ndim == 2:
            return rows.t() if inputs_first(self.layer) else rows
        out, channels, height, width = self.weight.shape
        return rows.reshape(out, height, width, channels).permute(0, 3, 1, 2)

    def masked(self, values: Tensor, kept: Tensor) -> Tensor:
        """A tensor of the weight's shape, zero where a mask [n, k] is not set."""
        return values * as_numbers(self.shaped(kept))

    def low_rank(self, rank: int, random: torch.Generator) -> tuple[nn.Parameter, nn.Parameter]:
        """Factors of an n x k product that is zero: [n, rank] zeros, [rank, k] normal / sqrt(k).

        Rank 0 stands for a sixteenth of the shorter side, at least 1.
        """
        n, k = self.shape
        rank = rank or max(1, min(n, k) // 16)
        up, down = torch.zeros(n, rank), torch.randn(rank, k, generator=random) / math.sqrt(k)
        return nn.Parameter(up.to(self.weight)), nn.Parameter(down.to(self.weight))

    def by_input(self, rows: Tensor) -> Tensor:
        """A matrix [n, k] as backward-data reads it: [in, taps * n], n innermost."""
        n = rows.shape[0]
        return rows.reshape(n, self.taps, -1).permute(2, 1, 0).reshape(-1, self.taps * n)

    def by_output(self, turned: Tensor) -> Tensor:
        """The inverse of `by_input`."""
        n, k = self.shape
        return turned.reshape(k // self.taps, self.taps, n).permute(2, 1, 0).reshape(n, k)

    def inputs(self, x: Tensor) -> Tensor:
        """The layer's input as the rows of its product, [tokens, k] (groups = 1 only)."""
        layer = self.layer
        if not isinstance(layer, nn.Conv2d):
            return x.reshape(-1, x.shape[-1])
        if layer.groups != 1:
            raise CodesignError(f"{self.name}: calibration of grouped convolutions is not known")
        if isinstance(layer.padding, str):
            raise CodesignError(f"{self.name}: padding is given in elements, not as a word")
        columns = torch.nn.functional.unfold(
            x,
            layer.kernel_size,
            layer.dilation,
            layer.padding,
            layer.stride,
        )
        batch, _, places = columns.shape
        channels = layer.in_channels
        by_tap = columns.reshape(batch, channels, -1, places).permute(0, 3, 2, 1)
        return by_tap.reshape(batch * places, -1)


def as_numbers(kept: Tensor) -> Tensor:
    """Booleans as 0 and 1 without a copy: CPUs multiply by bytes three times faster."""
    return kept.view(torch.uint8)


def as_mask(kept: Tensor) -> Mask:
    """A boolean matrix as a packed mask."""
    return Mask.from_dense(np.ascontiguousarray(kept.detach().cpu().numpy()))
