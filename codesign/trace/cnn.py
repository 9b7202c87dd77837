"""Convolutional families: residual networks, and plain stacks such as VGG and MobileNet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from codesign.config import EntryError, Spec
from codesign.trace.network import Network, Value
from codesign.trace.spec import Depth, Request, Size, WorkloadSpec

_EXPANSION = 4
"""Channels out of a bottleneck block over its inner width (He et al. 2016, table 1)."""


class ResNet(WorkloadSpec):
    """Residual network of He et al. 2016 (arXiv 1512.03385), stride in the 3x3 convolution (v1.5).

    The `imagenet` stem is a 7x7 convolution of stride 2 and a max pool, the `cifar` stem one 3x3
    convolution. Layers are named as in torchvision.
    """

    family: Literal["resnet"]
    block: Literal["basic", "bottleneck"]
    stages: tuple[Depth, ...] = Field(min_length=1, max_length=16)
    width: Size = 64
    stem: Literal["imagenet", "cifar"] = "imagenet"
    image: Size = 224
    channels: Size = 3
    classes: Size = 1000

    def build(self, request: Request) -> Network:
        self.resolve(request)
        net = request.network()
        x = Value(None, (request.batch, self.image, self.image, self.channels))
        if self.stem == "imagenet":
            x = _conv_bn(net, x, "conv1", "bn1", self.width, 7, stride=2, relu="relu")
            x = net.pool(x, "maxpool", 3, stride=2, padding=1)
        else:
            x = _conv_bn(net, x, "conv1", "bn1", self.width, 3, relu="relu")
        for stage, depth in enumerate(self.stages):
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                x = self._block(net, x, f"layer{stage + 1}.{i}", self.width << stage, stride)
        x = net.mean(x, "avgpool")
        net.loss(net.linear(x, "fc", self.classes))
        return net

    def _block(self, net: Network, x: Value, name: str, width: int, stride: int) -> Value:
        if self.block == "basic":
            out = width
            y = _conv_bn(
                net,
                x,
                f"{name}.conv1",
                f"{name}.bn1",
                width,
                3,
                stride=stride,
                relu=f"{name}.relu1",
            )
            y = _conv_bn(net, y, f"{name}.conv2", f"{name}.bn2", width, 3)
        else:
            out = width * _EXPANSION
            y = _conv_bn(net, x, f"{name}.conv1", f"{name}.bn1", width, 1, relu=f"{name}.relu1")
            y = _conv_bn(
                net,
                y,
                f"{name}.conv2",
                f"{name}.bn2",
                width,
                3,
                stride=stride,
                relu=f"{name}.relu2",
            )
            y = _conv_bn(net, y, f"{name}.conv3", f"{name}.bn3", out, 1)
        if stride != 1 or x.shape[-1] != out:
            x = _conv_bn(
                net, x, f"{name}.downsample.0", f"{name}.downsample.1", out, 1, stride=stride
            )
        return net.vector(f"{name}.relu", "relu", net.vector(f"{name}.add", "add", y, x))


class ConvItem(Spec):
    """A convolution with batch normalisation and activation."""

    conv: Size
    kernel: Size = 3
    stride: Size = 1


class SeparableItem(Spec):
    """A 3x3 depthwise and a 1x1 convolution, each with batch normalisation and activation."""

    separable: Size
    stride: Size = 1


class ResidualItem(Spec):
    """3x3 convolutions whose output is added to their input."""

    residual: tuple[Size, ...] = Field(min_length=1, max_length=64)


class PoolItem(Spec):
    """Maximum over square windows."""

    max_pool: Size


class GlobalPoolItem(Spec):
    """One value for each channel."""

    global_pool: Literal["max", "mean"]


class PlainCNN(WorkloadSpec):
    """A stack of the items of `body`, and a linear classifier on what is left."""

    family: Literal["cnn"]
    body: tuple[ConvItem | SeparableItem | ResidualItem | PoolItem | GlobalPoolItem, ...] = Field(
        min_length=1, max_length=10_000
    )
    activation: Literal["relu", "relu6"] = "relu"
    conv_bias: bool = False
    classifier_bias: bool = True
    hidden: tuple[Size, ...] = Field(default=(), max_length=64)
    """Widths of fully connected layers before the classifier."""
    image: Size = 224
    channels: Size = 3
    classes: Size = 1000

    @model_validator(mode="after")
    def _items_fit_their_maps(self) -> PlainCNN:
        self._features(Request())
        return self

    def _features(self, request: Request) -> tuple[Network, Value]:
        """The operators of the body and their result; EntryError at an item that does not fit."""
        net = request.network()
        x = Value(None, (request.batch, self.image, self.image, self.channels))
        for i, item in enumerate(self.body):
            _, height, width, _ = x.shape
            x = self._item(net, x, i, item)
            if 0 in x.shape:
                raise EntryError(
                    ("body", i), f"the map before it is {height} x {width}, smaller than it needs"
                )
        return net, x

    def build(self, request: Request) -> Network:
        self.resolve(request)
        net, x = self._features(request)
        x = Value(x.op, (x.shape[0], x.elements // x.shape[0]))
        for i, width in enumerate(self.hidden):
            x = net.vector(f"hidden.{i}.relu", "relu", net.linear(x, f"hidden.{i}", width))
        net.loss(net.linear(x, "classifier", self.classes, bias=self.classifier_bias))
        return net

    def _item(self, net: Network, x: Value, place: int, item: Spec) -> Value:
        name = f"features.{place}"
        match item:
            case ConvItem():
                return self._conv(net, x, name, item.conv, item.kernel, item.stride)
            case SeparableItem():
                x = self._conv(
                    net, x, f"{name}.depthwise", x.shape[-1], 3, item.stride, x.shape[-1]
                )
                return self._conv(net, x, f"{name}.pointwise", item.separable, 1, 1)
            case ResidualItem():
                y = x
                for i, width in enumerate(item.residual):
                    y = self._conv(net, y, f"{name}.{i}", width, 3, 1)
                if y.shape != x.shape:
                    raise EntryError(
                        ("body", place),
                        f"changes the number of channels from {x.shape[-1]} to {y.shape[-1]}",
                    )
                return net.vector(f"{name}.add", "add", y, x)
            case PoolItem():
                return net.pool(x, f"{name}.pool", item.max_pool)
            case GlobalPoolItem():
                pool = net.max if item.global_pool == "max" else net.mean
                return pool(x, f"{name}.pool")
        raise TypeError(item)

    def _conv(
        self, net: Network, x: Value, name: str, out: int, kernel: int, stride: int, groups: int = 1
    ) -> Value:
        return _conv_bn(
            net, x, f"{name}.conv", f"{name}.bn", out, kernel, stride=stride, groups=groups,
            bias=self.conv_bias, relu=f"{name}.{self.activation}", activation=self.activation,
        )  # fmt: skip


def _conv_bn(
    net: Network,
    x: Value,
    conv: str,
    norm: str,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    relu: str = "",
    activation: str = "relu",
) -> Value:
    x = net.conv(x, conv, channels, kernel, stride=stride, groups=groups, bias=bias)
    x = net.norm(x, norm, "batchnorm")
    return net.vector(relu, activation, x) if relu else x
