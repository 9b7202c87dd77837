"""The names of torch's dispatched operators, and what they are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from codesign.trace.window import Conv, window

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
    known = name in PRODUCTS or name in CONVOLUTIONS or name in VECTOR_FUNCTIONS
    return not known and (counts_flops or any(word in name for word in _FUSED))


VECTOR_FUNCTIONS = {
    "relu": "relu", "relu_": "relu", "threshold_backward": "relu.gradient", "hardtanh": "relu6",
    "hardtanh_": "relu6", "hardtanh_backward": "relu6.gradient", "leaky_relu": "relu",
    "leaky_relu_": "relu", "leaky_relu_backward": "relu.gradient", "hardsigmoid": "relu6",
    "hardsigmoid_backward": "relu6.gradient", "hardswish": "silu", "hardswish_": "silu",
    "hardswish_backward": "silu.gradient", "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
    "gelu_backward_tanh": "gelu_tanh.gradient",
    "gelu_backward": "gelu.gradient", "silu": "silu", "silu_": "silu",
    "silu_backward": "silu.gradient", "sigmoid": "sigmoid", "sigmoid_backward": "sigmoid.gradient",
    "tanh": "tanh", "tanh_backward": "tanh.gradient", "native_layer_norm": "layernorm",
    "native_layer_norm_backward": "layernorm.gradient", "native_group_norm": "layernorm",
    "native_group_norm_backward": "layernorm.gradient", "_fused_rms_norm": "rmsnorm",
    "native_batch_norm": "batchnorm", "_native_batch_norm_legit": "batchnorm",
    "_native_batch_norm_legit_no_training": "batchnorm_inference",
    "native_batch_norm_backward": "batchnorm.gradient", "_softmax": "softmax",
    "_safe_softmax": "softmax", "_softmax_backward_data": "softmax.gradient",
    "_log_softmax": "softmax", "_log_softmax_backward_data": "softmax.gradient",
    "embedding": "embedding", "embedding_dense_backward": "embedding.gradient",
    "max_pool2d_with_indices": "max_pool", "max_pool2d_with_indices_backward": "max_pool.gradient",
    "max_pool3d_with_indices": "max_pool", "max_pool3d_with_indices_backward": "max_pool.gradient",
    "adaptive_max_pool2d": "max_pool", "adaptive_max_pool2d_backward": "max_pool.gradient",
    "mean": "mean", "avg_pool2d": "mean", "avg_pool2d_backward": "mean.gradient",
    "_adaptive_avg_pool2d": "mean", "_adaptive_avg_pool2d_backward": "mean.gradient",
    "avg_pool3d": "mean", "avg_pool3d_backward": "mean.gradient", "_adaptive_avg_pool3d": "mean",
    "_adaptive_avg_pool3d_backward": "mean.gradient", "sum": "sum",
    "upsample_linear1d": "interpolate", "upsample_linear1d_backward": "interpolate.gradient",
    "upsample_bilinear2d": "interpolate", "upsample_bilinear2d_backward": "interpolate.gradient",
    "upsample_bicubic2d": "interpolate", "upsample_bicubic2d_backward": "interpolate.gradient",
    "upsample_trilinear3d": "interpolate", "upsample_trilinear3d_backward": "interpolate.gradient",
    "upsample_nearest1d": "enlarge", "upsample_nearest1d_backward": "enlarge.gradient",
    "upsample_nearest2d": "enlarge", "upsample_nearest2d_backward": "enlarge.gradient",
    "upsample_nearest3d": "enlarge", "upsample_nearest3d_backward": "enlarge.gradient",
    "constant_pad_nd": "copy",
    "clone": "copy", "_to_copy": "copy", "copy_": "copy", "cat": "copy", "slice_backward": "copy",
    "select_backward": "copy", "split_with_sizes_copy": "copy", "add": "add", "add_": "add",
    "mul": "multiply", "mul_": "multiply", "div": "multiply",
}  # fmt: skip
"""Rows of `trace.vector_work` by operator name; any other operator is `elementwise`."""


def convolution_window(args: Sequence[Any]) -> Conv:
    """The window of aten.convolution, in one to three dimensions."""
    x, w, _, stride, padding, dilation, transposed, output_padding, groups = args[:9]
    inputs, outputs = w.shape[1] * groups, w.shape[0]
    return window(
        x.shape[0] if x.dim() == w.dim() else 1, x.shape[2 - w.dim() :],
        (outputs, inputs) if transposed else (inputs, outputs), w.shape[2:], stride=stride,
        padding=padding, dilation=dilation, groups=groups, transposed=transposed,
        output_padding=output_padding,
    )  # fmt: skip
