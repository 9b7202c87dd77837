"""The three products of a training step with an operand of its own for each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from codesign.prune.target import Layer, inputs_first

GradientRule = Callable[[Tensor], Tensor]


class _Product(torch.autograd.Function):
    """y = x * forward; dx = data_rule(dy) * backward; dw = weight_rule(dy) * x, straight through.

    The gradient of the weight product goes to `weight` whole: what a mask does to it is the rule of
    the method, applied after the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, forward: Tensor, backward: Tensor, layer: Layer,
        data_rule: GradientRule | None, weight_rule: GradientRule | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, backward)
        ctx.layer, ctx.data_rule, ctx.weight_rule = layer, data_rule, weight_rule
        return _forward(x, forward, layer)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, backward = ctx.saved_tensors
        needs_x, needs_w = ctx.needs_input_grad[:2]
        dx = dw = None
        if needs_x:
            seen = dy if ctx.data_rule is None else ctx.data_rule(dy)
            dx = _backward_data(seen, x, backward, ctx.layer)
        if needs_w:
            seen = dy if ctx.weight_rule is None else ctx.weight_rule(dy)
            dw = _backward_weight(seen, x, backward, ctx.layer)
        return dx, dw, None, None, None, None, None


def product(
    x: Tensor,
    layer: Layer,
    forward: Tensor,
    backward: Tensor | None = None,
    *,
    data_rule: GradientRule | None = None,
    weight_rule: GradientRule | None = None,
) -> Tensor:
    """The layer's output with the weight `forward`, bias included.

    Backward-data reads `backward` (default: `forward`) and `data_rule` of the output gradient;
    the weight gradient reads `weight_rule` of it and goes straight through to `layer.weight`.
    """
    y: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
        x, layer.weight, forward, forward if backward is None else backward, layer, data_rule,
        weight_rule,
    )  # fmt: skip
    if layer.bias is None:
        return y
    return y + (layer.bias.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else layer.bias)


def differentiable(x: Tensor, layer: Layer, weight: Tensor, *, bias: bool = True) -> Tensor:
    """The layer's output with a weight that autograd follows back to its own parameters."""
    return _forward(x, weight, layer, layer.bias if bias else None)


def _forward(x: Tensor, weight: Tensor, layer: Layer, bias: Tensor | None = None) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(
            x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    return functional.linear(x, weight.t() if inputs_first(layer) else weight, bias)


def _backward_data(dy: Tensor, x: Tensor, weight: Tensor, layer: Layer) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return _convolution_backward(dy, x, weight, layer, [True, False, False])[0]
    return dy @ (weight.t() if inputs_first(layer) else weight)


def _backward_weight(dy: Tensor, x: Tensor, weight: Tensor, layer: Layer) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return _convolution_backward(dy, x, weight, layer, [False, True, False])[1]
    made, read = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return read.t() @ made if inputs_first(layer) else made.t() @ read


def _convolution_backward(
    dy: Tensor, x: Tensor, weight: Tensor, layer: nn.Conv2d, wanted: list[bool]
) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        dy, x, weight, None, layer.stride, layer.padding, layer.dilation, False, [0, 0],
        layer.groups, wanted,
    )  # fmt: skip
    return found
