"""An operator cut into equal shares for chips and cores."""

from __future__ import annotations

from dataclasses import dataclass, replace

from codesign.trace.op import Op


@dataclass(frozen=True, slots=True)
class Part:
    """The largest share of an operator, and how many have one."""

    op: Op
    cores: int
    """On the busiest chip."""
    chips: int


def share_items(op: Op, ways: int) -> tuple[Op, int]:
    """A share of images, rows, independent products or elements, and how many shares there are.

    >>> from codesign.trace.op import Kind, Phase
    >>> share_items(Op(name="a", kind=Kind.GEMM, phase=Phase.FORWARD, m=10, n=4, k=4), 4)[0].m
    3
    """
    if not op.is_matmul:
        each = -(-op.elements // ways)
        shares = -(-op.elements // each)
        reads, writes = -(-op.reads // shares), -(-op.writes // shares)
        return replace(op, elements=each, reads=reads, writes=writes), shares
    if op.conv is not None:
        images = -(-op.conv.batch // ways)
        rows = op.m // op.conv.batch * images
        one = replace(op, m=rows, conv=replace(op.conv, batch=images))
        return one, -(-op.conv.batch // images)
    if op.groups > 1:
        groups = -(-op.groups // ways)
        return replace(op, groups=groups), -(-op.groups // groups)
    rows = -(-op.m // ways)
    return replace(op, m=rows), -(-op.m // rows)


def share_outputs(op: Op, ways: int) -> tuple[Op, int]:
    """A share of a product's output channels, or of its groups, and how many shares there are."""
    if op.groups > 1:
        each = -(-op.groups // ways)
        conv = op.conv
        if conv is not None:
            inputs = conv.in_channels // op.groups * each
            conv = replace(conv, groups=each, in_channels=inputs, out_channels=op.n * each)
        return replace(op, groups=each, conv=conv), -(-op.groups // each)
    each = -(-op.n // ways)
    conv = None if op.conv is None else replace(op.conv, out_channels=each)
    return replace(op, n=each, conv=conv), -(-op.n // each)
