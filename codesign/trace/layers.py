"""Workloads that list their products one by one: `gemm:M,N,K`, and files with a `layers` list."""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from codesign.config import CodesignError, Spec
from codesign.trace.network import Network, Value
from codesign.trace.op import Kind, Op
from codesign.trace.spec import Depth, Request, Size, WorkloadSpec

_GEMM = re.compile(r"\s*gemm:\s*([^,]*),([^,]*),([^,]*?)(?:,([^,]*))?\s*")


class ConvShape(Spec):
    """A convolution by hand; `kernel`, `stride` and the others hold along every axis."""

    in_channels: Size
    out_channels: Size
    height: Size
    width: Size
    kernel: Size
    stride: Size = 1
    padding: int | None = Field(default=None, ge=0, le=1 << 20)
    """None keeps the size at stride 1."""
    dilation: Size = 1
    groups: Size = 1
    depth: Size | None = None
    """Planes of a volume; the kernel is a cube then."""
    transposed: bool = False
    output_padding: int = Field(default=0, ge=0, le=1 << 20)
    """Of a transposed convolution, whose output is that much larger at its end."""

    @model_validator(mode="after")
    def _groups_divide(self) -> ConvShape:
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"groups {self.groups} do not divide the channels")
        reach = (self.kernel - 1) * self.dilation + 1
        pad = self.dilation * (self.kernel // 2) if self.padding is None else self.padding
        least = min(self.height, self.width, self.depth or self.height)
        if not self.transposed and least + 2 * pad < reach:
            raise ValueError(f"kernel {self.kernel} is larger than the padded map")
        if self.transposed and (least - 1) * self.stride + reach + self.output_padding <= 2 * pad:
            raise ValueError(f"padding {pad} leaves nothing of the output")
        if self.output_padding and not self.transposed:
            raise ValueError("output_padding belongs to a transposed convolution")
        if self.output_padding >= max(self.stride, self.dilation):
            raise ValueError("output_padding is smaller than the stride or the dilation")
        return self


class Layer(Spec):
    """One product: `gemm: [m, n, k]` or `conv`, `count` times in a row with different weights."""

    name: str = Field(min_length=1)
    gemm: tuple[Size, Size, Size] | None = None
    conv: ConvShape | None = None
    groups: Size = 1
    """Independent products of a gemm, each with its own B."""
    weights: bool = True
    """B holds weights; false makes the gemm a product of two activations."""
    count: Depth = 1

    @model_validator(mode="after")
    def _one_product(self) -> Layer:
        if (self.gemm is None) == (self.conv is None):
            raise ValueError("a layer has either gemm or conv")
        if self.conv is not None and (self.groups != 1 or not self.weights):
            raise ValueError("groups of a convolution belong under conv; it always has weights")
        return self


class Layers(WorkloadSpec):
    """Products in a chain; `batch` multiplies m of a gemm, or its groups if B is no weight."""

    family: Literal["layers"] = "layers"
    layers: tuple[Layer, ...] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _names_differ(self) -> Layers:
        counts = Counter(layer.name for layer in self.layers)
        name, count = counts.most_common(1)[0]
        if count > 1:
            raise ValueError(f"two layers are named {name!r}")
        return self

    def build(self, request: Request) -> Network:
        self.resolve(request)
        net = request.network()
        before: tuple[str, ...] = ()
        for layer in self.layers:
            for i in range(layer.count):
                name = layer.name if layer.count == 1 else f"{layer.name}.{i}"
                if layer.conv is not None:
                    _conv(net, name, layer.conv, request.batch, before)
                elif layer.gemm is not None:
                    net.ops.append(_gemm(net, name, f"{name}.weight", layer, request.batch, before))
                before = (name,)
        return net


class Gemm(WorkloadSpec):
    """One product C (m x n) = A (m x k) . B (k x n) whose B is the tensor `weight`."""

    input_gradient: ClassVar[bool] = True

    m: Size
    n: Size
    k: Size

    def build(self, request: Request) -> Network:
        self.resolve(request)
        net = request.network()
        layer = Layer(name="gemm", gemm=(self.m, self.n, self.k))
        net.ops.append(_gemm(net, "gemm", "weight", layer, request.batch, ()))
        return net


def parse_gemm(text: str) -> tuple[Gemm, str | None]:
    """The product that `gemm:M,N,K` or `gemm:M,N,K,dtype` names, and its data type where given.

    >>> parse_gemm("gemm:64,128,256")[0].k
    256
    """
    match = _GEMM.fullmatch(text)
    if match is None:
        raise CodesignError(
            f"{text[:80]!r}: write gemm:M,N,K or gemm:M,N,K,dtype "
            "(A is MxK, B is KxN and holds the weights)"
        )
    sizes = [
        _size(text, name, value) for name, value in zip("MNK", match.groups()[:3], strict=True)
    ]
    m, n, k = sizes
    return Gemm(name=f"gemm:{m},{n},{k}", m=m, n=n, k=k), match[4] and match[4].strip()


def _size(text: str, name: str, value: str) -> int:
    digits = value.strip()
    if not re.fullmatch(r"[0-9]{1,12}", digits) or not 1 <= int(digits) <= 1 << 31:
        raise CodesignError(
            f"{text[:80]!r}: {name} is a whole number from 1 to {1 << 31}, got {digits[:40]!r}"
        )
    return int(digits)


def _gemm(
    net: Network, name: str, weight: str, layer: Layer, batch: int, deps: tuple[str, ...]
) -> Op:
    assert layer.gemm is not None
    m, n, k = layer.gemm
    if layer.weights:
        net.parameters[weight] = layer.groups * n * k
    return Op(
        name=name, kind=Kind.GEMM if layer.weights else Kind.ATTENTION, phase=net.phase, layer=name,
        m=m * batch if layer.weights else m, n=n, k=k,
        groups=layer.groups if layer.weights else layer.groups * batch,
        weight=weight if layer.weights else None, a_dtype=net.dtype, b_dtype=net.dtype,
        c_dtype=net.dtype, deps=deps,
    )  # fmt: skip


def _conv(net: Network, name: str, shape: ConvShape, batch: int, deps: tuple[str, ...]) -> None:
    planes = () if shape.depth is None else (shape.depth,)
    size = (batch, *planes, shape.height, shape.width, shape.in_channels)
    net.conv(
        Value(deps[0] if deps else None, size), name, shape.out_channels, shape.kernel,
        stride=shape.stride, padding=shape.padding, dilation=shape.dilation, groups=shape.groups,
        transposed=shape.transposed, output_padding=shape.output_padding,
    )  # fmt: skip
