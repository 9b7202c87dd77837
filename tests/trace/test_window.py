"""Do the windows of convolutions read, multiply and write what torch's own do?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from codesign.trace.training import backward_data_op, backward_weight_op
from codesign.trace.window import Axis, Conv, by_output, window
from tests.convolution_layers import forward, layers, positions

RUN = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TURN = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
axes = st.builds(
    Axis,
    st.integers(1, 12), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4),
    st.integers(-3, 9), st.integers(1, 4), st.integers(1, 3),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(axes, st.data())
def test_an_axis_counts_each_position_once(axis: Axis, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, axis.out - 1))
    stop = data.draw(st.integers(start + 1, axis.out))
    found = len(positions(axis, start, stop))
    if axis.stride > 1 and axis.spread > 1 and axis.is_gapless:
        assert axis.covered(start, stop) >= found  # no convolution is strided and spread
    else:
        assert axis.covered(start, stop) == found
    both = axis.covered(np.array([start, 0]), np.array([stop, axis.out]))
    assert both.tolist() == [axis.covered(start, stop), axis.whole]


def tensors(conv: Conv, options: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Input, weight and output of a layer of ones, both with gradients to come."""
    many = len(options["stride"])
    size = (conv.in_d, conv.in_h, conv.in_w)[3 - many :]
    kernel = (conv.kernel_d, conv.kernel_h, conv.kernel_w)[3 - many :]
    first, then = conv.out_channels, conv.in_channels
    if conv.transposed:
        first, then = then, first
    x = torch.ones(conv.batch, conv.in_channels, *size, dtype=torch.float64, requires_grad=True)
    w = torch.ones(first, then // conv.groups, *kernel, dtype=torch.float64, requires_grad=True)
    run = TURN if conv.transposed else RUN
    return x, w, run[many](x, w, **options)


@settings(max_examples=80, deadline=None)
@given(layers())
def test_a_layer_reads_and_writes_what_torch_does(made: tuple[Conv, dict[str, Any]]) -> None:
    """Touched inputs are those whose gradient is not zero; outputs have torch's shape."""
    conv, options = made
    x, _, y = tensors(conv, options)
    y.sum().backward()
    op = forward(conv)
    assert y.numel() == conv.out_elements == op.c_elements
    assert x.grad is not None
    assert int((x.grad != 0).sum()) == conv.touched_elements
    assert x.numel() == conv.in_elements
    assert int((y != 0).sum()) == conv.adjoint.touched_elements


@settings(max_examples=80, deadline=None)
@given(layers())
def test_a_layer_multiplies_what_torch_does(made: tuple[Conv, dict[str, Any]]) -> None:
    """A weight's products: windows of a plain layer, positions of the input of a transposed one.

    Without padding every product of a window is real, so that the outputs of ones add up to them.
    """
    conv, options = made
    if any(options["padding"]):
        options = {**options, "padding": [0] * len(options["padding"])}
        size = (conv.in_d, conv.in_h, conv.in_w)[3 - len(options["stride"]) :]
        kernel = (conv.kernel_d, conv.kernel_h, conv.kernel_w)[3 - len(options["stride"]) :]
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, options["dilation"], strict=True)]
        size = tuple(max(n, r) for n, r in zip(size, reach, strict=True))
        channels = (conv.in_channels, conv.out_channels)
        conv = window(conv.batch, size, channels, kernel, transposed=conv.transposed, **options)
    _, _, y = tensors(conv, options)
    assert forward(conv).macs == int(y.sum())


@settings(max_examples=100, deadline=None)
@given(layers())
def test_gradients_are_the_products_of_the_forward_pass(made: tuple[Conv, dict[str, Any]]) -> None:
    conv, _ = made
    op = forward(conv)
    data, weight = backward_data_op(op, ()), backward_weight_op(op, ())
    assert op.macs == data.macs == weight.macs
    assert data.conv is not None
    assert data.conv.adjoint == conv
    assert op.scatters == conv.transposed != data.scatters
    assert data.c_elements == conv.in_elements
    assert weight.c_elements == op.b_elements == data.b_elements
    if conv.transposed:
        assert (weight.conv, weight.b_elements) == (data.conv, conv.in_elements)
        assert weight.a_elements == data.a_elements
    else:
        assert (weight.conv, weight.b_elements) == (conv, conv.out_elements)


@settings(max_examples=100, deadline=None)
@given(layers())
def test_the_weight_s_gradient_reads_the_windows_of_the_output_s(
    made: tuple[Conv, dict[str, Any]],
) -> None:
    """Of a transposed layer: outputs on which the input's gradient depends."""
    conv, _ = made
    data = backward_data_op(forward(conv), ())
    assert data.conv is not None
    axes = (data.conv.depth, data.conv.height, data.conv.width)
    read = [len(positions(axis, 0, axis.out)) for axis in axes]
    assert data.conv.touched_elements == data.conv.batch * data.conv.in_channels * int(
        np.prod(read)
    )


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_columns_of_unfold_hold_the_elements_of_the_map(dilation: int, stride: int) -> None:
    """The matrix of im2col: m rows of k, and as many different elements as are touched."""
    size, channels, padding = 13, 2, 2
    conv = window(
        1, (size, size), (channels, 5), (3, 3), stride=(stride,), padding=(padding,),
        dilation=(dilation,),
    )  # fmt: skip
    numbered = torch.arange(1.0, channels * size * size + 1).reshape(1, channels, size, size)
    columns = functional.unfold(numbered, 3, dilation=dilation, padding=padding, stride=stride)
    op = forward(conv)
    assert tuple(columns.shape) == (1, op.k, op.m)
    assert len(columns.unique()) - 1 == conv.touched_elements
    assert op.macs == columns.numel() * 5


def test_a_transposed_weight_is_that_of_the_layer_by_its_outputs() -> None:
    weight = np.arange(6 * 2 * 3).reshape(6, 2, 3)  # 6 inputs in 2 groups, 2 outputs of each
    turned = by_output(weight, 2)
    assert turned.shape == (4, 3, 3)
    assert np.array_equal(turned[3, 1], weight[4, 1])  # group 1: its second output and input


def test_a_transposed_layer_of_stride_1_multiplies_each_input_once() -> None:
    """Not each output: at the border taps fall beside the input, as torch counts them."""
    conv = window(1, (1, 1), (100, 8), (4, 4), transposed=True)
    op = forward(conv)
    assert (conv.out_h, op.m, op.macs, op.c_elements) == (4, 1, 100 * 8 * 16, 8 * 16)
    plain = replace(conv, transposed=False)
    assert forward(plain).macs == 16 * op.macs
