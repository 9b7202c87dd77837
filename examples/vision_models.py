"""Segmentation and video networks to extract: `torch:examples.vision_models:deeplabv3_resnet50`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

CLASSES = 21
"""Of Pascal VOC, the background among them."""


def convolution(
    channels: int, out: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> nn.Sequential:
    """A convolution without bias, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


class Bottleneck(nn.Module):
    """Residual block of ResNet-50; its 3x3 convolution is strided or dilated."""

    def __init__(self, channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        out = 4 * width
        self.body = nn.Sequential(
            convolution(channels, width, 1),
            convolution(width, width, 3, stride, dilation, dilation),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.body(x) + self.downsample(x))


def backbone(depths: tuple[int, ...] = (3, 4, 6, 3)) -> tuple[nn.Sequential, nn.Sequential]:
    """ResNet-50 to its third stage, and its fourth; the last two are dilated, not strided."""
    layers: list[nn.Module] = [convolution(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, depth in enumerate(depths):
        width, dilation, before = 64 << stage, (1, 1, 2, 4)[stage], (1, 1, 1, 2)[stage]
        blocks = []
        for i in range(depth):
            stride = 2 if stage == 1 and i == 0 else 1
            blocks.append(Bottleneck(channels, width, stride, dilation if i else before))
            channels = 4 * width
        layers.append(nn.Sequential(*blocks))
    return nn.Sequential(*layers[:-1]), nn.Sequential(layers[-1])


class FCNHead(nn.Sequential):
    """The head of Long et al. 2015."""

    def __init__(self, channels: int) -> None:
        inner = channels // 4
        super().__init__(
            convolution(channels, inner, 3, padding=1),
            nn.Dropout(0.1),
            nn.Conv2d(inner, CLASSES, 1),
        )


class ASPP(nn.Module):
    """Windows of four sizes side by side, and the mean of the map (Chen et al. 2017)."""

    def __init__(
        self, channels: int, out: int = 256, rates: tuple[int, ...] = (12, 24, 36)
    ) -> None:
        super().__init__()
        self.windows = nn.ModuleList([convolution(channels, out, 1)])
        for rate in rates:
            self.windows.append(convolution(channels, out, 3, padding=rate, dilation=rate))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), convolution(channels, out, 1))
        self.project = nn.Sequential(
            convolution(out * len(self.windows) + out, out, 1), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = interpolate(self.pool(x), size=x.shape[-2:], mode="bilinear")
        joined: Tensor = self.project(torch.cat([*(each(x) for each in self.windows), mean], dim=1))
        return joined


class Segmentation(nn.Module):
    """A dilated ResNet-50, a head on its fourth stage and an auxiliary one on its third."""

    def __init__(self, head: nn.Module, depths: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.stages, self.last = backbone(depths)
        self.head, self.auxiliary = head, FCNHead(1024)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = x.shape[-2:]
        early = self.stages(x)
        made = self.head(self.last(early))
        return (
            interpolate(made, size=size, mode="bilinear"),
            interpolate(self.auxiliary(early), size=size, mode="bilinear"),
        )


class SpatioTemporal(nn.Module):
    """A residual block of two 3x3x3 convolutions (Tran et al. 2018), whole or factorised."""

    def __init__(self, channels: int, out: int, stride: int, factorised: bool) -> None:
        super().__init__()
        inner = channels * out * 27 // (9 * channels + 3 * out)

        def volume(channels: int, stride: int) -> nn.Module:
            if not factorised:
                return nn.Conv3d(channels, out, 3, stride, 1, bias=False)
            return nn.Sequential(
                nn.Conv3d(channels, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
                nn.BatchNorm3d(inner),
                nn.ReLU(),
                nn.Conv3d(inner, out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
            )

        self.body = nn.Sequential(
            volume(channels, stride), nn.BatchNorm3d(out), nn.ReLU(), volume(out, 1),
            nn.BatchNorm3d(out),
        )  # fmt: skip
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, out, 1, stride, bias=False), nn.BatchNorm3d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.body(x) + self.downsample(x))


class VideoResNet(nn.Module):
    """R3D-18, or R(2+1)D-18 where `factorised`, for clips of Kinetics-400."""

    def __init__(self, *, factorised: bool) -> None:
        super().__init__()
        if factorised:
            self.stem = nn.Sequential(
                nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(45),
                nn.ReLU(), nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
                nn.BatchNorm3d(64), nn.ReLU(),
            )  # fmt: skip
        else:
            self.stem = nn.Sequential(
                nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(64),
                nn.ReLU(),
            )  # fmt: skip
        blocks, channels = [], 64
        for stage in range(4):
            for i in range(2):
                stride = 2 if stage and i == 0 else 1
                blocks.append(SpatioTemporal(channels, 64 << stage, stride, factorised))
                channels = 64 << stage
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(512, 400)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))
        return scores


def deeplabv3_resnet50(batch: int = 1) -> tuple[nn.Module, Tensor]:
    """DeepLabV3 with an auxiliary head, on images of 520 pixels."""
    head = nn.Sequential(
        ASPP(2048), convolution(256, 256, 3, padding=1), nn.Conv2d(256, CLASSES, 1)
    )
    return Segmentation(head), torch.empty(batch, 3, 520, 520)


def fcn_resnet50(batch: int = 1) -> tuple[nn.Module, Tensor]:
    """FCN with an auxiliary head, on images of 520 pixels."""
    return Segmentation(FCNHead(2048)), torch.empty(batch, 3, 520, 520)


def r3d_18(batch: int = 1) -> tuple[nn.Module, Tensor]:
    """R3D-18 on clips of 16 pictures of 112 pixels."""
    return VideoResNet(factorised=False), torch.empty(batch, 3, 16, 112, 112)


def r2plus1d_18(batch: int = 1) -> tuple[nn.Module, Tensor]:
    """R(2+1)D-18 on clips of 16 pictures of 112 pixels."""
    return VideoResNet(factorised=True), torch.empty(batch, 3, 16, 112, 112)
