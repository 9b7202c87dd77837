"""Modules with dilated, transposed, one- and three-dimensional convolutions, as their users write.

Small forms of: DCGAN's generator (Radford et al. 2016), WaveNet (van den Oord et al. 2016), U-Net
with attention as in diffusion models (Ho et al. 2020), DeepLab's pyramid (Chen et al. 2017), V-Net
(Milletari et al. 2016), and HiFi-GAN's vocoder (Kong et al. 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

Made = tuple[nn.Module, Tensor]


def dcgan(batch: int = 1) -> Made:
    layers: list[nn.Module] = []
    channels = 20
    for out, stride, padding in ((64, 1, 0), (32, 2, 1), (16, 2, 1)):
        layers.append(nn.ConvTranspose2d(channels, out, 4, stride, padding, bias=False))
        layers += [nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    layers += [nn.ConvTranspose2d(channels, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers), torch.randn(batch, 20, 1, 1)


class WaveNet(nn.Module):
    """Gated causal convolutions, each of twice the dilation of the one before."""

    def __init__(self, width: int = 16, depth: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 2, dilation=1 << i) for i in range(depth)
        )
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(depth))
        self.last = nn.Conv1d(width, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for gate, skip in zip(self.gates, self.skips, strict=True):
            value, share = gate(functional.pad(x, (gate.dilation[0], 0))).chunk(2, 1)
            x = x + skip(torch.tanh(value) * torch.sigmoid(share))
        made: Tensor = self.last(functional.relu(x))
        return made


def wavenet(batch: int = 1) -> Made:
    return WaveNet(), torch.randn(batch, 1, 100)


class UNet(nn.Module):
    """Two levels, attention between them, group norms."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()

        def double(channels: int, out: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(channels, out, 3, padding=1), nn.GroupNorm(4, out), nn.SiLU(),
                nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(4, out), nn.SiLU(),
            )  # fmt: skip

        self.down, self.middle = double(3, width), double(width, 2 * width)
        self.qkv = nn.Linear(2 * width, 6 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join, self.last = double(2 * width, width), nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        y = self.middle(functional.max_pool2d(x, 2))
        q, k, v = self.qkv(y.flatten(2).transpose(1, 2)).chunk(3, -1)
        y = y + functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(y.shape)
        made: Tensor = self.last(self.join(torch.cat([self.up(y), x], 1)))
        return made


def unet(batch: int = 1) -> Made:
    return UNet(), torch.randn(batch, 3, 16, 16)


class Pyramid(nn.Module):
    """Windows of several dilations side by side, enlarged to the size of the image."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, 2, 1)
        self.windows = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)
        )
        self.last = nn.Conv2d(3 * width, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first(x))
        y = self.last(torch.cat([window(y) for window in self.windows], 1))
        return functional.interpolate(y, scale_factor=2, mode="bilinear")


def pyramid(batch: int = 1) -> Made:
    return Pyramid(), torch.randn(batch, 3, 24, 24)


def vnet(batch: int = 1) -> Made:
    net = nn.Sequential(
        nn.Conv3d(1, 8, 5, padding=2), nn.PReLU(8), nn.Conv3d(8, 16, 2, 2), nn.ELU(),
        nn.Conv3d(16, 16, 3, padding=2, dilation=2), nn.InstanceNorm3d(16),
        nn.ConvTranspose3d(16, 8, 2, 2), nn.MaxPool3d((1, 2, 2)),
        nn.ConvTranspose3d(8, 8, 3, (1, 2, 2), 1, output_padding=(0, 1, 1), dilation=(1, 1, 2)),
        nn.Upsample(scale_factor=2, mode="trilinear"), nn.AvgPool3d(2),
    )  # fmt: skip
    return net, torch.randn(batch, 1, 4, 8, 8)


def vocoder(batch: int = 1) -> Made:
    net = nn.Sequential(
        nn.Conv1d(20, 32, 7, padding=3), nn.LeakyReLU(0.1), nn.ConvTranspose1d(32, 16, 16, 8, 4),
        nn.LeakyReLU(0.1), nn.Conv1d(16, 16, 3, padding=5, dilation=5),
        nn.ConvTranspose1d(16, 8, 4, 2, 1, output_padding=1, groups=4), nn.Conv1d(8, 1, 7),
    )  # fmt: skip
    return net, torch.randn(batch, 20, 16)


def normed(batch: int = 1) -> Made:
    """Weights that are made of parameters at each run, as in HiFi-GAN and in SN-GAN."""
    net = nn.Sequential(
        weight_norm(nn.Conv1d(8, 16, 3, dilation=2)), nn.LeakyReLU(0.1),
        weight_norm(nn.ConvTranspose1d(16, 8, 4, 2, 1)), spectral_norm(nn.Conv1d(8, 8, 3)),
        spectral_norm(nn.Linear(30, 8)),
    )  # fmt: skip
    return net, torch.randn(batch, 8, 20)


def lazy() -> Made:
    return nn.Sequential(nn.LazyConvTranspose3d(4, 3, 2)), torch.randn(1, 3, 4, 6, 6)


def separable(batch: int = 1) -> Made:
    """Depthwise windows in time and in space, as in X3D (Feichtenhofer 2020)."""
    net = nn.Sequential(
        nn.Conv3d(3, 8, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
        nn.Conv3d(8, 8, (5, 1, 1), padding=(2, 0, 0), groups=8, bias=False), nn.BatchNorm3d(8),
        nn.ReLU(), nn.Conv3d(8, 20, 1), nn.Hardswish(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(20, 4),
    )  # fmt: skip
    return net, torch.randn(batch, 3, 6, 12, 12)
