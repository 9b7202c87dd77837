"""Do the parts of an operator do its work, all of it, and read what they need and no more?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codesign
from codesign.schedule.cut import axes, cut
from codesign.sparsity.mask import Mask
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.window import Conv
from tests import convolution_layers

SIZES = st.integers(1, 40)


def gemm(m: int = 8, n: int = 12, k: int = 16, groups: int = 1, **more: object) -> Op:
    return Op(name="p", kind=Kind.GEMM, phase=Phase.FORWARD, m=m, n=n, k=k, groups=groups, **more)  # type: ignore[arg-type]


@st.composite
def convolutions(draw: st.DrawFn) -> Op:
    kernel, stride, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(SIZES) % 3 + 1
    size, padding = draw(st.integers(kernel, 12)), draw(st.integers(0, kernel - 1))
    channels, filters = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 6))
    batch = draw(st.integers(1, 5))
    out = (size + 2 * padding - kernel) // stride + 1
    conv = Conv(
        batch, size, size, channels, filters, kernel, kernel, stride, stride, padding, padding,
        groups, out, out,
    )  # fmt: skip
    return gemm(
        m=batch * out * out, n=filters // groups, k=kernel * kernel * channels // groups,
        groups=groups, conv=conv,
    )  # fmt: skip


def touched_rows(conv: Conv, first: int, last: int) -> set[int]:
    """Rows of the input map that the windows of outputs cover, one by one."""
    places = {
        out * conv.stride_h - conv.padding_h + tap
        for out in range(first, last)
        for tap in range(conv.kernel_h)
    }
    return places & set(range(conv.in_h))


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        convolutions(),
        st.builds(gemm, SIZES, SIZES, SIZES, st.integers(1, 9)),
        convolution_layers.products(),
    ),
    st.integers(2, 5),
)
def test_products_of_the_parts_are_those_of_the_whole(op: Op, parts: int) -> None:
    for axis in axes(op, parts):
        found = [part.op for part in cut(op, axis, parts)]
        assert len(found) == parts
        assert all(part.macs > 0 for part in found)
        assert sum(part.macs for part in found) == op.macs
        assert sum(part.c_elements for part in found) == op.c_elements
        sizes = {getattr(part, axis) for part in found}
        assert op.conv is not None or max(sizes) - min(sizes) <= 1
        a, b = (sum(getattr(part, f"{name}_elements") for part in found) for name in "ab")
        if axis == "m":
            assert (a >= op.a_elements) if op.conv else (a == op.a_elements)
            assert b == parts * op.b_elements
        elif axis == "n":
            assert (a, b) == (parts * op.a_elements, op.b_elements)
        else:
            assert (a, b) == (op.a_elements, op.b_elements)


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(2, 4))
def test_a_part_of_an_image_reads_the_rows_under_its_windows(op: Op, parts: int) -> None:
    assert op.conv is not None
    one = replace(op, m=op.m // op.conv.batch, conv=replace(op.conv, batch=1))
    if "m" not in axes(one, parts):
        return
    whole, first = one.conv, 0
    assert whole is not None
    for part in cut(one, "m", parts):
        conv = part.op.conv
        assert conv is not None
        rows = touched_rows(conv, 0, conv.out_h)
        assert rows == touched_rows(whole, first, first + conv.out_h)
        if conv.kernel_h >= conv.stride_h:
            across = len(touched_rows(whole, 0, whole.out_h))
            assert conv.touched_elements == len(rows) * across * conv.in_channels
        first += conv.out_h
    assert first == whole.out_h


@pytest.mark.parametrize("axis", ["n", "groups"])
def test_a_part_has_the_rows_of_its_columns_in_the_mask(axis: str) -> None:
    op = gemm(n=7, k=9, groups=5)
    kept = np.random.default_rng(0).random((5, 7, 9)) < 0.5
    found = cut(op, axis, 3, Mask.from_dense(kept.reshape(35, 9)))
    edges = [0, 2, 4, 7] if axis == "n" else [0, 1, 3, 5]
    for part, start, stop in zip(found, edges, edges[1:], strict=False):
        own = kept[:, start:stop] if axis == "n" else kept[start:stop]
        assert part.mask == Mask.from_dense(own.reshape(-1, 9))
    assert [part.mask for part in cut(op, "m", 3, Mask.full(35, 9))] == [Mask.full(35, 9)] * 3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 4), st.integers(0, 3), st.integers(2, 6))
def test_vector_work_is_dealt_out_whole(elements: int, reads: int, writes: int, parts: int) -> None:
    op = Op(
        name="v", kind=Kind.ELEMENTWISE, phase=Phase.FORWARD, elements=elements, passes=1,
        alu_per_element=1, reads=reads * elements, writes=writes * elements // 2,
    )  # fmt: skip
    if not axes(op, parts):
        assert min(elements, op.writes) < parts
        return
    found = [part.op for part in cut(op, "elements", parts)]
    for name in ("elements", "reads", "writes"):
        assert sum(getattr(part, name) for part in found) == getattr(op, name)
    assert all(part.elements > 0 for part in found)


def test_gradients_of_weights_are_not_cut_along_their_windows() -> None:
    trace = codesign.load_workload("resnet18", image=32, phase="training")
    gradients = [
        op for op in trace if op.is_matmul and op.phase is Phase.BACKWARD_WEIGHT and op.conv
    ]
    assert gradients
    assert {axes(op, 4) for op in gradients} == {("n",)}
