"""The window of a convolution: its geometry, and the positions of the input that it covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: output o reads the spread input at o * stride - padding + tap * dilation.

    The input of `size` positions is spread by `spread` with zeros between, which are never counted.
    """

    size: int
    out: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    spread: int

    @property
    def reach(self) -> int:
        """Positions from the first tap of a window to its last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def is_gapless(self) -> bool:
        """Whether neighbouring windows cover everything between the first and the last position."""
        return self.dilation == 1 and self.kernel >= self.stride

    @property
    def is_single(self) -> bool:
        """Whether it has one position, which its one window reads: the depth of an image."""
        return self.size == self.out == self.kernel == 1 and self.padding == 0

    @property
    def whole(self) -> int:
        """Input positions that all windows together cover."""
        return int(self.covered(0, self.out))

    def covered(self, start: Int64 | int, stop: Int64 | int) -> Int64:
        """Input positions that the windows of outputs start to stop - 1 cover, each once."""
        start, stop = np.asarray(start, dtype=np.int64), np.asarray(stop, dtype=np.int64)
        if not self.is_gapless:
            return self._distinct(start, stop)
        first = np.maximum(0, -((self.padding - start * self.stride) // self.spread))
        end = (stop - 1) * self.stride - self.padding + self.reach - 1
        last = np.minimum(self.size - 1, end // self.spread)
        covered: Int64 = np.maximum(0, last - first + 1)
        return covered

    def _distinct(self, start: Int64, stop: Int64) -> Int64:
        """Pairs of an output and a tap, less those that another pair meets at the same position.

        The pair (o + dilation, tap - stride), both without their common factor, reads what (o, tap)
        reads; of such a chain only the last one is counted.
        """
        common = gcd(self.stride, self.dilation)
        taps, outputs = self.stride // common, self.dilation // common
        total = np.zeros(np.broadcast(start, stop).shape, dtype=np.int64)
        for tap in range(self.kernel):
            total += self._readers(tap, start, stop)
            if tap >= taps:
                total -= self._readers(tap, start, stop - outputs)
        return total

    def _readers(self, tap: int, start: Int64, stop: Int64) -> Int64:
        """Outputs from start to stop - 1 of which a tap meets an input, not padding or a zero."""
        at, last = tap * self.dilation - self.padding, (self.size - 1) * self.spread
        period = self.spread // gcd(self.stride, self.spread)
        first = next((o for o in range(period) if (o * self.stride + at) % self.spread == 0), None)
        if first is None:
            return np.zeros_like(start)
        low = np.maximum(start, -(at // self.stride))
        high = np.minimum(stop - 1, (last - at) // self.stride)
        readers: Int64 = np.maximum(0, (high - first) // period - (low - 1 - first) // period)
        return readers


@dataclass(frozen=True, slots=True)
class Conv:
    """The window of a convolution; sizes in elements, input and output in N(D)HWC terms.

    Two-dimensional ones have a depth of 1. `transposed` says that the layer is a transposed
    convolution, and stays with its gradients. For its forward product, as for `backward_data` of
    any other, the fields describe the convolution that is really computed: the input is spread by
    `input_dilation`, the stride of the layer, with zeros that no product reads. For
    `backward_weight` they describe the convolution whose input is operand A: the forward one, or
    for a transposed layer the one that reads the output's gradient.
    """

    silent_defaults: ClassVar[frozenset[str]] = frozenset(
        {
            "dilation_h", "dilation_w", "transposed", "in_d", "kernel_d", "stride_d", "padding_d",
            "out_d", "input_dilation_d", "dilation_d",
        }
    )  # fmt: skip

    batch: int
    in_h: int
    in_w: int
    in_channels: int
    out_channels: int
    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    padding_h: int = 0
    padding_w: int = 0
    groups: int = 1
    out_h: int = 0
    out_w: int = 0
    input_dilation_h: int = 1
    input_dilation_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    in_d: int = 1
    kernel_d: int = 1
    stride_d: int = 1
    padding_d: int = 0
    out_d: int = 1
    input_dilation_d: int = 1
    dilation_d: int = 1
    transposed: bool = False

    @property
    def adjoint(self) -> Conv:
        """The convolution that computes the input's gradient; its adjoint is this one again."""
        return replace(
            self, in_channels=self.out_channels, out_channels=self.in_channels,
            in_d=self.out_d, in_h=self.out_h, in_w=self.out_w,
            out_d=self.in_d, out_h=self.in_h, out_w=self.in_w,
            stride_d=self.input_dilation_d, input_dilation_d=self.stride_d,
            stride_h=self.input_dilation_h, input_dilation_h=self.stride_h,
            stride_w=self.input_dilation_w, input_dilation_w=self.stride_w,
            padding_d=self.depth.reach - 1 - self.padding_d,
            padding_h=self.height.reach - 1 - self.padding_h,
            padding_w=self.width.reach - 1 - self.padding_w,
        )  # fmt: skip

    @property
    def depth(self) -> Axis:
        return Axis(
            self.in_d, self.out_d, self.kernel_d, self.stride_d, self.padding_d, self.dilation_d,
            self.input_dilation_d,
        )  # fmt: skip

    @property
    def height(self) -> Axis:
        return Axis(
            self.in_h, self.out_h, self.kernel_h, self.stride_h, self.padding_h, self.dilation_h,
            self.input_dilation_h,
        )  # fmt: skip

    @property
    def width(self) -> Axis:
        return Axis(
            self.in_w, self.out_w, self.kernel_w, self.stride_w, self.padding_w, self.dilation_w,
            self.input_dilation_w,
        )  # fmt: skip

    @property
    def taps(self) -> int:
        """Positions of the window."""
        return self.kernel_d * self.kernel_h * self.kernel_w

    @property
    def in_pixels(self) -> int:
        """Positions of the input, of all images."""
        return self.batch * self.in_d * self.in_h * self.in_w

    @property
    def out_pixels(self) -> int:
        """Positions of the output, of all images."""
        return self.batch * self.out_d * self.out_h * self.out_w

    @property
    def in_elements(self) -> int:
        return self.in_pixels * self.in_channels

    @property
    def touched_elements(self) -> int:
        """Input elements that some window covers, fewer than all where windows leave gaps."""
        return _touched_elements(self)

    @property
    def out_elements(self) -> int:
        return self.out_pixels * self.out_channels


@lru_cache(maxsize=4096)
def _touched_elements(conv: Conv) -> int:
    covered = conv.depth.whole * conv.height.whole * conv.width.whole
    return conv.batch * covered * conv.in_channels


def window(
    batch: int,
    size: Sequence[int],
    channels: tuple[int, int],
    kernel: Sequence[int],
    *,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
    transposed: bool = False,
    output_padding: Sequence[int] = (0,),
    out: Sequence[int] | None = None,
) -> Conv:
    """The window of a layer of one to three dimensions from what frameworks state of it.

    `channels` are those of the input and the output; sequences have an entry for each dimension of
    `size`, depth first, or one for all. `padding` lies before the first position and, unless `out`
    states the output, behind the last one too.

    >>> window(1, (8, 8), (16, 4), (4, 4), stride=(2,), padding=(1,), transposed=True).out_h
    16
    """
    many = len(size)
    steps, pads, gaps = (_spatial(given, many) for given in (stride, padding, dilation))
    reach = [(taps - 1) * gap + 1 for taps, gap in zip(kernel, gaps, strict=True)]
    if out is None:
        more = _spatial(output_padding, many)
        out = [
            (n - 1) * s - 2 * p + r + m if transposed else (n + 2 * p - r) // s + 1
            for n, s, p, r, m in zip(size, steps, pads, reach, more, strict=True)
        ]
    spread = [1] * many
    if transposed:
        pads = [r - 1 - p for r, p in zip(reach, pads, strict=True)]
        steps, spread = spread, steps
    fields: dict[str, int] = {}
    for name, values, fill in (
        ("in", size, 1), ("kernel", kernel, 1), ("stride", steps, 1), ("padding", pads, 0),
        ("out", out, 1), ("dilation", gaps, 1), ("input_dilation", spread, 1),
    ):  # fmt: skip
        whole = (*(fill,) * (3 - many), *values)
        fields |= {f"{name}_{axis}": n for axis, n in zip("dhw", whole, strict=True)}
    return Conv(
        batch=batch, in_channels=channels[0], out_channels=channels[1], groups=groups,
        transposed=transposed, **fields,
    )  # fmt: skip


def _spatial(values: Sequence[int], many: int) -> list[int]:
    return list(values) * many if len(values) == 1 else list(values)


def by_output(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """A transposed convolution's weight [in, out / groups, ...] as [out, in / groups, ...]."""
    split = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(split).reshape(-1, *split.shape[2:])
