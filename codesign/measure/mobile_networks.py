"""Mobile networks at the widths that were published, as chains of convolutions."""

from __future__ import annotations

from collections.abc import Iterator

from codesign.config import validate_spec
from codesign.trace.layers import Layers
from codesign.trace.op import Trace
from codesign.trace.spec import Request

_V1 = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
"""Howard et al. 2017 (arXiv 1704.04861), table 1: channels and stride of each separable layer."""
_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Sandler et al. 2018 (arXiv 1801.04381), table 2: expansion, channels, repeats and stride."""
_IMAGE, _CLASSES, _HEAD = 224, 1000, 1280

Item = dict[str, object]


def mobilenet_v1(width: float) -> Trace:
    """MobileNet v1 in FP32 on one image, with channels times `width`."""
    return _trace(f"mobilenet_v1 x{width:g}", list(_separable(width)))


def mobilenet_v2(width: float) -> Trace:
    """MobileNet v2, the same way; residual additions are left out."""
    return _trace(f"mobilenet_v2 x{width:g}", list(_inverted(width)))


def _separable(width: float) -> Iterator[Item]:
    channels, size = _scaled(32, width), _IMAGE // 2
    yield _conv("first", 3, channels, _IMAGE, 3, stride=2)
    for i, (base, stride) in enumerate(_V1):
        out = _scaled(base, width)
        yield _conv(f"{i}.depthwise", channels, channels, size, 3, stride=stride, groups=channels)
        size //= stride
        yield _conv(f"{i}.pointwise", channels, out, size, 1)
        channels = out
    yield {"name": "last", "gemm": [1, _CLASSES, channels]}


def _inverted(width: float) -> Iterator[Item]:
    channels, size = _scaled(32, width), _IMAGE // 2
    yield _conv("first", 3, channels, _IMAGE, 3, stride=2)
    number = 0
    for expansion, base, repeats, first_stride in _V2:
        out = _scaled(base, width)
        for i in range(repeats):
            stride, inner = (first_stride if i == 0 else 1), channels * expansion
            if expansion > 1:
                yield _conv(f"{number}.expand", channels, inner, size, 1)
            yield _conv(f"{number}.depthwise", inner, inner, size, 3, stride=stride, groups=inner)
            size //= stride
            yield _conv(f"{number}.project", inner, out, size, 1)
            channels, number = out, number + 1
    head = max(_HEAD, _scaled(_HEAD, width))
    yield _conv("head", channels, head, size, 1)
    yield {"name": "last", "gemm": [1, _CLASSES, head]}


def _conv(
    name: str,
    inputs: int,
    outputs: int,
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
) -> Item:
    conv = {
        "in_channels": inputs, "out_channels": outputs, "height": size, "width": size,
        "kernel": kernel, "stride": stride, "groups": groups,
    }  # fmt: skip
    return {"name": name, "conv": conv}


def _scaled(channels: int, width: float) -> int:
    """Channels times a width, as a multiple of 8."""
    return max(8, int(channels * width + 4) // 8 * 8)


def _trace(name: str, layers: list[Item]) -> Trace:
    spec = validate_spec(Layers, {"name": name, "layers": layers})
    net = spec.build(Request(dtype="fp32"))
    return Trace(name, tuple(net.ops), net.parameters)
