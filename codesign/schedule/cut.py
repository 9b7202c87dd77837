"""An operator cut along one axis into operators that do its work together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from codesign.sparsity.mask import Mask
from codesign.trace.op import Op, Phase
from codesign.trace.window import Conv

_ROWS_OF_LANES = 64
"""Elements of vector work are cut in whole multiples, where there are enough."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an operator, and the part of its B's mask."""

    op: Op
    mask: Mask | None


def axes(op: Op, parts: int) -> tuple[str, ...]:
    """The axes along which an operator can be cut into so many parts that need no other's results.

    Products are cut along their `groups`, rows `m` or columns `n`, never along the reduction; a
    convolution's rows are whole images or, of a single image, whole rows of the output map; where
    it scatters, the parts must read all of the map between them. Vector work is cut along its
    `elements`, unless it reduces them to fewer values than there are parts.
    """
    if not op.is_matmul:
        enough = min(op.elements, op.writes + op.b_writes) >= parts
        return ("elements",) if enough else ()
    sizes = {"groups": op.groups, "m": _rows(op), "n": op.n}
    found = (axis for axis, size in sizes.items() if size >= parts)
    return tuple(axis for axis in found if axis != "m" or _covers(op, parts))


def cut(op: Op, axis: str, parts: int, mask: Mask | None = None) -> list[Part]:
    """Equal parts of an operator, as far as whole numbers allow, in the order of the axis.

    Each part reads all that it needs: rows of B's mask that its columns or groups have, the rows of
    an input map that its windows touch.
    """
    if axis == "elements":
        return [Part(part, mask) for part in _vector(op, parts)]
    if axis == "m":
        return [Part(part, mask) for part in _row_parts(op, parts)]
    return [
        Part(part, None if mask is None else _rows_of(op, mask, axis, start, stop))
        for part, start, stop in _column_parts(op, axis, parts)
    ]


def _edges(size: int, parts: int) -> list[int]:
    return [size * part // parts for part in range(parts + 1)]


def _rows(op: Op) -> int:
    """How many rows there are to deal out, each with some of m."""
    if op.conv is None:
        return op.m
    if op.phase is Phase.BACKWARD_WEIGHT:
        return 0
    rows = op.conv.batch if op.conv.batch > 1 else op.conv.out_h
    return rows if op.m >= rows else 0


def _covers(op: Op, parts: int) -> bool:
    """Whether every part along m has work, and all of A is read."""
    if not op.scatters or op.conv is None or op.conv.batch > 1:
        return True
    found = list(_row_parts(op, parts))
    read = sum(part.a_elements for part in found)
    return min(part.m for part in found) > 0 and read >= op.a_elements


def _row_parts(op: Op, parts: int) -> Iterator[Op]:
    edges = list(pairwise(_edges(_rows(op), parts)))
    if op.conv is None:
        for start, stop in edges:
            yield replace(op, m=stop - start)
        return
    windows = [_rows_of_map(op.conv, start, stop) for start, stop in edges]
    work = [stop - start for start, stop in edges]
    if op.scatters and op.conv.batch == 1 and op.conv.touched_elements > 0:
        work = [conv.touched_elements for conv in windows]
    done = [0, *accumulate(work)]
    for conv, (before, after) in zip(windows, pairwise(done), strict=True):
        yield replace(op, m=op.m * after // done[-1] - op.m * before // done[-1], conv=conv)


def _rows_of_map(conv: Conv, start: int, stop: int) -> Conv:
    """The windows of some images or, of a single image, of some rows of the output map."""
    if conv.batch > 1:
        return replace(conv, batch=stop - start)
    padding = conv.padding_h - start * conv.stride_h
    return replace(conv, out_h=stop - start, padding_h=padding)


def _column_parts(op: Op, axis: str, parts: int) -> Iterator[tuple[Op, int, int]]:
    """Parts along n or groups with where they start and stop."""
    conv = op.conv
    for start, stop in pairwise(_edges(op.groups if axis == "groups" else op.n, parts)):
        size = stop - start
        part = replace(op, groups=size) if axis == "groups" else replace(op, n=size)
        if conv is not None and axis == "n":
            part = replace(part, conv=replace(conv, out_channels=size * conv.groups))
        elif conv is not None:
            own = replace(
                conv, groups=size, in_channels=conv.in_channels // conv.groups * size,
                out_channels=conv.out_channels // conv.groups * size,
            )  # fmt: skip
            part = replace(part, conv=own)
        yield part, start, stop


def _rows_of(op: Op, mask: Mask, axis: str, start: int, stop: int) -> Mask:
    """The rows of B's mask for columns or groups from `start` to `stop`."""
    if axis == "groups":
        return mask if op.b_shared else mask[start * op.n : stop * op.n, :]
    blocks = mask.packed.reshape(-1, op.n, mask.packed.shape[1])[:, start:stop]
    rows = blocks.shape[0] * (stop - start)
    return Mask(rows, mask.cols, blocks.reshape(rows, -1))


def _vector(op: Op, parts: int) -> Iterator[Op]:
    granule = _ROWS_OF_LANES if op.elements >= _ROWS_OF_LANES * parts else 1
    edges = [granule * edge for edge in _edges(op.elements // granule, parts)]
    edges[-1] = op.elements

    def between(amount: int, start: int, stop: int) -> int:
        return amount * stop // op.elements - amount * start // op.elements

    for start, stop in pairwise(edges):
        yield replace(
            op, elements=stop - start, reads=between(op.reads, start, stop),
            writes=between(op.writes, start, stop), b_reads=between(op.b_reads, start, stop),
            b_writes=between(op.b_writes, start, stop),
        )  # fmt: skip
