"""Models of the shipped tasks: wide enough for groups of 16, small enough to feel pruning."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional


def digits_mlp() -> nn.Module:
    """64 pixels, two hidden layers of 64, 10 classes; the head stays dense."""
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(64, 64), relu1=nn.ReLU(),
            fc2=nn.Linear(64, 64), relu2=nn.ReLU(),
            head=nn.Linear(64, 10),
        )
    )  # fmt: skip


def digits_cnn() -> nn.Module:
    """Three convolutions of 16, 16 and 32 channels and a head; stem and head stay dense."""
    return nn.Sequential(
        OrderedDict(
            image=nn.Unflatten(1, (1, 8, 8)),
            stem=nn.Conv2d(1, 16, 3, padding=1), relu0=nn.ReLU(),
            conv1=nn.Conv2d(16, 16, 3, stride=2, padding=1), relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, stride=2, padding=1), relu2=nn.ReLU(),
            flat=nn.Flatten(),
            head=nn.Linear(128, 10),
        )
    )  # fmt: skip


def image_cnn(classes: int) -> nn.Module:
    """Colour images of any size: four convolutions of 32 to 128 channels; stem and head dense."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 32, 3, padding=1), relu0=nn.ReLU(),
            conv1=nn.Conv2d(32, 64, 3, stride=2, padding=1), relu1=nn.ReLU(),
            conv2=nn.Conv2d(64, 64, 3, padding=1), relu2=nn.ReLU(),
            conv3=nn.Conv2d(64, 128, 3, stride=2, padding=1), relu3=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(),
            head=nn.Linear(128, classes),
        )
    )  # fmt: skip


class _Block(nn.Module):
    """Pre-norm causal attention and a feed-forward part of four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        down: Tensor = self.down(functional.gelu(self.up(self.norm2(x))))
        return x + down


class CharTransformer(nn.Module):
    """A decoder of two blocks of width 32 over characters; embedding and head stay dense.

    Takes codes [batch, length] and gives logits [batch, length, letters].
    """

    def __init__(self, letters: int, context: int, *, width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, width)
        self.position = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.ModuleList(_Block(width, 4) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, letters)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.embedding(codes) + self.position[: codes.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits
