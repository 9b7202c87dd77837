"""Networks of the S4's published tables, built from the shapes of their papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from codesign.trace.network import Network, Value, conv_op
from codesign.trace.op import Trace
from codesign.trace.window import Conv

Side = int | tuple[int, int]


class Maps:
    """Convolutions with folded normalisation and activation on a `Network`, named in order."""

    def __init__(self, batch: int, height: int, width: int, dtype: str) -> None:
        self.net = Network(dtype=dtype)
        self.image = Value(None, (batch, height, width, 3))
        self._count = 0

    def name(self, what: str) -> str:
        self._count += 1
        return f"{what}.{self._count}"

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: Side,
        *,
        stride: int = 1,
        padding: Side | None = None,
        groups: int = 1,
        relu: bool = True,
    ) -> Value:
        """A convolution; the default padding keeps the size of the map at stride 1."""
        high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        pad = (high // 2, wide // 2) if padding is None else padding
        pad_h, pad_w = pad if isinstance(pad, tuple) else (pad, pad)
        batch, height, width, inputs = x.shape
        window = Conv(
            batch=batch, in_h=height, in_w=width, in_channels=inputs, out_channels=channels,
            kernel_h=high, kernel_w=wide, stride_h=stride, stride_w=stride, padding_h=pad_h,
            padding_w=pad_w, groups=groups, out_h=(height + 2 * pad_h - high) // stride + 1,
            out_w=(width + 2 * pad_w - wide) // stride + 1,
        )  # fmt: skip
        name, net = self.name("conv"), self.net
        net.parameters[f"{name}.weight"] = channels * inputs // groups * high * wide
        deps = () if x.op is None else (x.op,)
        op = conv_op(
            name, window, weight=f"{name}.weight", phase=net.phase, deps=deps, dtype=net.dtype
        )
        y = net.add(op, (batch, window.out_h, window.out_w, channels))
        return net.vector(f"{name}.relu", "relu", y) if relu else y

    def pool(self, x: Value, kernel: int, stride: int, padding: int = 0) -> Value:
        return self.net.pool(x, self.name("pool"), kernel, stride=stride, padding=padding)

    def add(self, x: Value, y: Value) -> Value:
        return self.net.vector(self.name("add"), "add", x, y)

    def concat(self, *branches: Value) -> Value:
        """Branches side by side: the last one to finish stands for all, and nothing moves."""
        batch, height, width, _ = branches[0].shape
        channels = sum(branch.shape[-1] for branch in branches)
        return Value(branches[-1].op, (batch, height, width, channels))

    def classify(self, x: Value) -> Network:
        """The network with the 1,000 classes of ImageNet."""
        self.net.linear(self.net.mean(x, "mean"), "classifier", 1000)
        return self.net


def vgg(batch: int, dtype: str, depths: Sequence[int]) -> Network:
    """VGG with `depths` convolutions in its five stages (arXiv 1409.1556)."""
    maps = Maps(batch, 224, 224, dtype)
    x = maps.image
    for channels, depth in zip((64, 128, 256, 512, 512), depths, strict=True):
        for _ in range(depth):
            x = maps.conv(x, channels, 3)
        x = maps.pool(x, 2, 2)
    x = Value(x.op, (batch, x.elements // batch))
    for i, width in enumerate((4096, 4096, 1000)):
        x = maps.net.linear(x, f"linear.{i}", width)
    return maps.net


def resnet(batch: int, dtype: str, depths: Sequence[int], *, variant_d: bool = False) -> Network:
    """ResNet of bottlenecks (arXiv 1512.03385); variant D of arXiv 1812.01187, table 2."""
    maps = Maps(batch, 224, 224, dtype)
    x = maps.image
    if variant_d:
        x = maps.conv(maps.conv(maps.conv(x, 32, 3, stride=2), 32, 3), 64, 3)
    else:
        x = maps.conv(x, 64, 7, stride=2)
    x = maps.pool(x, 3, 2, 1)
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for i in range(depth):
            stride = 2 if stage and i == 0 else 1
            y = maps.conv(maps.conv(x, width, 1), width, 3, stride=stride)
            y = maps.conv(y, 4 * width, 1, relu=False)
            if i == 0 and variant_d and stride == 2:
                x = maps.conv(maps.pool(x, 2, 2), 4 * width, 1, relu=False)
            elif i == 0:
                x = maps.conv(x, 4 * width, 1, stride=stride, relu=False)
            x = maps.add(y, x)
    return maps.classify(x)


def darknet53(batch: int, dtype: str) -> Network:
    """DarkNet-53 at 256x256 (Redmon and Farhadi, arXiv 1804.02767, table 1)."""
    maps = Maps(batch, 256, 256, dtype)
    x = maps.conv(maps.image, 32, 3)
    for width, depth in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        x = maps.conv(x, width, 3, stride=2)
        for _ in range(depth):
            x = maps.add(maps.conv(maps.conv(x, width // 2, 1), width, 3), x)
    return maps.classify(x)


def shufflenet_v2(batch: int, dtype: str) -> Network:
    """ShuffleNetV2 x1.0 (Ma et al., arXiv 1807.11164, table 5); a shuffle is a copy of the map."""
    maps = Maps(batch, 224, 224, dtype)
    x = maps.pool(maps.conv(maps.image, 24, 3, stride=2), 3, 2, 1)
    for width, depth in ((116, 4), (232, 8), (464, 4)):
        half = width // 2
        for i in range(depth):
            stride = 2 if i == 0 else 1
            batch_, height, wide, channels = x.shape
            y = x if i == 0 else Value(x.op, (batch_, height, wide, channels // 2))
            z = y
            y = maps.conv(y, half, 1)
            y = maps.conv(y, half, 3, stride=stride, groups=half, relu=False)
            y = maps.conv(y, half, 1)
            if i == 0:
                z = maps.conv(z, channels, 3, stride=2, groups=channels, relu=False)
                z = maps.conv(z, half, 1)
            x = maps.net.vector(maps.name("shuffle"), "copy", maps.concat(z, y))
    return maps.classify(maps.conv(x, 1024, 1))


def inception_v3(batch: int, dtype: str) -> Network:
    """Inception v3 at 300x304 (Szegedy et al., arXiv 1512.00567), without its second classifier."""
    maps = Maps(batch, 300, 304, dtype)
    conv = maps.conv
    x = conv(conv(maps.image, 32, 3, stride=2, padding=0), 32, 3, padding=0)
    x = maps.pool(conv(x, 64, 3), 3, 2)
    x = maps.pool(conv(conv(x, 80, 1), 192, 3, padding=0), 3, 2)
    for pooled in (32, 64, 64):
        x = maps.concat(
            conv(x, 64, 1),
            conv(conv(x, 48, 1), 64, 5),
            conv(conv(conv(x, 64, 1), 96, 3), 96, 3),
            conv(maps.pool(x, 3, 1, 1), pooled, 1),
        )
    x = maps.concat(
        conv(x, 384, 3, stride=2, padding=0),
        conv(conv(conv(x, 64, 1), 96, 3), 96, 3, stride=2, padding=0),
        maps.pool(x, 3, 2),
    )
    for width in (128, 160, 160, 192):
        x = maps.concat(
            conv(x, 192, 1),
            _chain(maps, x, (width, 1), (width, (1, 7)), (192, (7, 1))),
            _chain(
                maps,
                x,
                (width, 1),
                (width, (7, 1)),
                (width, (1, 7)),
                (width, (7, 1)),
                (192, (1, 7)),
            ),
            conv(maps.pool(x, 3, 1, 1), 192, 1),
        )
    last = _chain(maps, x, (192, 1), (192, (1, 7)), (192, (7, 1)))
    x = maps.concat(
        conv(conv(x, 192, 1), 320, 3, stride=2, padding=0),
        conv(last, 192, 3, stride=2, padding=0),
        maps.pool(x, 3, 2),
    )
    for _ in range(2):
        wide, deep = conv(x, 384, 1), conv(conv(x, 448, 1), 384, 3)
        x = maps.concat(
            conv(x, 320, 1),
            conv(wide, 384, (1, 3)), conv(wide, 384, (3, 1)),
            conv(deep, 384, (1, 3)), conv(deep, 384, (3, 1)),
            conv(maps.pool(x, 3, 1, 1), 192, 1),
        )  # fmt: skip
    return maps.classify(x)


def inception_v4(batch: int, dtype: str) -> Network:
    """Inception v4 at 300x304 (Szegedy et al., arXiv 1602.07261, figures 3 to 9)."""
    maps = Maps(batch, 300, 304, dtype)
    conv = maps.conv
    x = conv(conv(maps.image, 32, 3, stride=2, padding=0), 32, 3, padding=0)
    x = conv(x, 64, 3)
    x = maps.concat(maps.pool(x, 3, 2), conv(x, 96, 3, stride=2, padding=0))
    left = conv(conv(x, 64, 1), 96, 3, padding=0)
    right = _chain(maps, x, (64, 1), (64, (7, 1)), (64, (1, 7)))
    x = maps.concat(left, conv(right, 96, 3, padding=0))
    x = maps.concat(conv(x, 192, 3, stride=2, padding=0), maps.pool(x, 3, 2))
    for _ in range(4):
        x = maps.concat(
            conv(maps.pool(x, 3, 1, 1), 96, 1),
            conv(x, 96, 1),
            conv(conv(x, 64, 1), 96, 3),
            conv(conv(conv(x, 64, 1), 96, 3), 96, 3),
        )
    x = maps.concat(
        maps.pool(x, 3, 2),
        conv(x, 384, 3, stride=2, padding=0),
        conv(conv(conv(x, 192, 1), 224, 3), 256, 3, stride=2, padding=0),
    )
    for _ in range(7):
        x = maps.concat(
            conv(maps.pool(x, 3, 1, 1), 128, 1),
            conv(x, 384, 1),
            _chain(maps, x, (192, 1), (224, (1, 7)), (256, (7, 1))),
            _chain(maps, x, (192, 1), (192, (1, 7)), (224, (7, 1)), (224, (1, 7)), (256, (7, 1))),
        )
    last = _chain(maps, x, (256, 1), (256, (1, 7)), (320, (7, 1)))
    x = maps.concat(
        maps.pool(x, 3, 2),
        conv(conv(x, 192, 1), 192, 3, stride=2, padding=0),
        conv(last, 320, 3, stride=2, padding=0),
    )
    for _ in range(3):
        wide = conv(x, 384, 1)
        deep = _chain(maps, x, (384, 1), (448, (1, 3)), (512, (3, 1)))
        x = maps.concat(
            conv(maps.pool(x, 3, 1, 1), 256, 1), conv(x, 256, 1),
            conv(wide, 256, (1, 3)), conv(wide, 256, (3, 1)),
            conv(deep, 256, (3, 1)), conv(deep, 256, (1, 3)),
        )  # fmt: skip
    return maps.classify(x)


def _chain(maps: Maps, x: Value, *layers: tuple[int, Side]) -> Value:
    for channels, kernel in layers:
        x = maps.conv(x, channels, kernel)
    return x


NETWORKS: Mapping[str, Callable[[int, str], Network]] = {
    "ResNet50": lambda batch, dtype: resnet(batch, dtype, (3, 4, 6, 3)),
    "ResNet50_vd": lambda batch, dtype: resnet(batch, dtype, (3, 4, 6, 3), variant_d=True),
    "ResNet101": lambda batch, dtype: resnet(batch, dtype, (3, 4, 23, 3)),
    "InceptionV3": inception_v3,
    "InceptionV4": inception_v4,
    "DarkNet53": darknet53,
    "ShuffleNetV2": shufflenet_v2,
    "VGG16": lambda batch, dtype: vgg(batch, dtype, (2, 2, 3, 3, 3)),
    "VGG19": lambda batch, dtype: vgg(batch, dtype, (2, 2, 4, 4, 4)),
}
"""Every network of the table by the vendor's name, for a batch and a data type."""


def network(name: str, batch: int, dtype: str) -> Trace:
    """The operators of one forward pass of a network of the table."""
    net = NETWORKS[name](batch, dtype)
    meta: dict[str, str | int | float] = {"phase": "inference", "batch": batch, "dtype": dtype}
    return Trace(name, tuple(net.ops), net.parameters, meta=meta)
