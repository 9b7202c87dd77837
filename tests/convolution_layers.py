"""Layers with windows of every kind, for property tests."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import strategies as st

from codesign.trace.network import conv_op
from codesign.trace.op import Op, Phase
from codesign.trace.training import backward_data_op, backward_weight_op
from codesign.trace.window import Axis, Conv, window


@st.composite
def layers(draw: st.DrawFn, most: int = 3) -> tuple[Conv, dict[str, Any]]:
    """A layer of one to `most` dimensions, and what torch wants to know of it."""
    many, transposed = draw(st.integers(1, most)), draw(st.booleans())
    dims = st.integers(1, 3)
    kernel, stride, dilation = ([draw(dims) for _ in range(many)] for _ in range(3))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = [draw(st.integers(0, r - 1)) for r in reach]
    size = [
        draw(st.integers(max(1, r - 2 * p), r + 4)) for r, p in zip(reach, padding, strict=True)
    ]
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    if transposed:
        room = zip(stride, dilation, strict=True)
        options["output_padding"] = [draw(st.integers(0, max(s, d) - 1)) for s, d in room]
        lengths = zip(size, stride, padding, reach, options["output_padding"], strict=True)
        if min((n - 1) * s - 2 * p + r + m for n, s, p, r, m in lengths) < 1:
            options["padding"] = [0] * many
    groups = options["groups"] = draw(st.integers(1, 2))
    channels = (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)))
    batch = draw(st.integers(1, 2))
    return window(batch, size, channels, kernel, transposed=transposed, **options), options


def forward(conv: Conv) -> Op:
    """The product of a layer."""
    return conv_op("c", conv, weight="c.weight", phase=Phase.FORWARD, deps=(), dtype="fp16")


@st.composite
def products(draw: st.DrawFn, most: int = 3) -> Op:
    """The product of a layer, or of one of its gradients."""
    conv, _ = draw(layers(most))
    op = forward(conv)
    return draw(st.sampled_from([op, backward_data_op(op, ()), backward_weight_op(op, ())]))


def positions(axis: Axis, start: int, stop: int) -> set[int]:
    """What the windows of outputs along an axis read, one by one."""
    places = {
        out * axis.stride - axis.padding + tap * axis.dilation
        for out in range(start, stop)
        for tap in range(axis.kernel)
    }
    real = {place // axis.spread for place in places if place % axis.spread == 0}
    return real & set(range(axis.size))


def touched(conv: Conv, first: int, count: int) -> set[tuple[int, ...]]:
    """Input positions under the windows of a run of output pixels, one by one."""
    found: set[tuple[int, ...]] = set()
    for pixel in range(first, first + count):
        row, column = divmod(pixel, conv.out_w)
        plane, row = divmod(row, conv.out_h)
        image, plane = divmod(plane, conv.out_d)
        read = (
            positions(axis, at, at + 1)
            for axis, at in ((conv.depth, plane), (conv.height, row), (conv.width, column))
        )
        found |= set(product((image,), *read))
    return found
