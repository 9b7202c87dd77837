"""The names of torch's dispatched operators, and what they are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from codesign.trace.op import Conv

DTYPES = {
    torch.float64: "fp64", torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16",
    torch.int64: "int32", torch.int32: "int32", torch.int16: "int16", torch.int8: "int8",
    torch.uint8: "int8", torch.bool: "bool", torch.float8_e4m3fn: "fp8", torch.float8_e5m2: "fp8",
}  # fmt: skip

PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
"""The matrix products, and the place of their first factor among the arguments."""

CONVOLUTIONS = frozenset({"convolution", "convolution_backward"})
_FUSED = ("attention", "rnn", "lstm", "gru", "transformer_encoder_layer", "linear", "matmul")


def hides_products(name: str, counts_flops: bool) -> bool:
    """Whether an operator multiplies matrices in a way that is not taken apart here."""
    known = name in PRODUCTS or name in CONVOLUTIONS
    return not known and (counts_flops or any(word in name for word in _FUSED))


VECTOR_FUNCTIONS = {
    "relu": "relu", "relu_": "relu", "threshold_backward": "relu.gradient", "hardtanh": "relu6",
    "hardtanh_": "relu6", "hardtanh_backward": "relu6.gradient", "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "gelu_backward_tanh": "gelu_tanh.gradient",
    "gelu_backward": "gelu.gradient", "silu": "silu", "silu_": "silu",
    "silu_backward": "silu.gradient", "sigmoid": "sigmoid", "sigmoid_backward": "sigmoid.gradient",
    "tanh": "tanh", "tanh_backward": "tanh.gradient", "native_layer_norm": "layernorm",
    "native_layer_norm_backward": "layernorm.gradient", "_fused_rms_norm": "rmsnorm",
    "native_batch_norm": "batchnorm", "_native_batch_norm_legit": "batchnorm",
    "_native_batch_norm_legit_no_training": "batchnorm_inference",
    "native_batch_norm_backward": "batchnorm.gradient", "_softmax": "softmax",
    "_safe_softmax": "softmax", "_softmax_backward_data": "softmax.gradient",
    "_log_softmax": "softmax", "_log_softmax_backward_data": "softmax.gradient",
    "embedding": "embedding", "embedding_dense_backward": "embedding.gradient",
    "max_pool2d_with_indices": "max_pool", "max_pool2d_with_indices_backward": "max_pool.gradient",
    "mean": "mean", "avg_pool2d": "mean", "avg_pool2d_backward": "mean.gradient",
    "_adaptive_avg_pool2d": "mean", "_adaptive_avg_pool2d_backward": "mean.gradient", "sum": "sum",
    "clone": "copy", "_to_copy": "copy", "copy_": "copy", "cat": "copy", "slice_backward": "copy",
    "select_backward": "copy", "split_with_sizes_copy": "copy", "add": "add", "add_": "add",
    "mul": "multiply", "mul_": "multiply", "div": "multiply",
}  # fmt: skip
"""Rows of `trace.vector_work` by operator name; any other operator is `elementwise`."""


def convolution_window(args: Sequence[Any]) -> Conv | None:
    """The window of aten.convolution; None if it is transposed, dilated or three-dimensional."""
    x, w, _, stride, padding, dilation, transposed, _, groups = args[:9]
    if transposed or w.dim() > 4 or any(step != 1 for step in dilation):
        return None
    one = w.dim() == 3
    (stride_h, stride_w), (pad_h, pad_w) = (
        (fill if one else values[0], values[-1]) for values, fill in ((stride, 1), (padding, 0))
    )
    height, kernel_h = (1, 1) if one else (x.shape[-2], w.shape[-2])
    return Conv(
        batch=x.shape[0] if x.dim() == w.dim() else 1, in_h=height, in_w=x.shape[-1],
        in_channels=w.shape[1] * groups, out_channels=w.shape[0], kernel_h=kernel_h,
        kernel_w=w.shape[-1], stride_h=stride_h, stride_w=stride_w, padding_h=pad_h,
        padding_w=pad_w, groups=groups, out_h=(height + 2 * pad_h - kernel_h) // stride_h + 1,
        out_w=(x.shape[-1] + 2 * pad_w - w.shape[-1]) // stride_w + 1,
    )  # fmt: skip
