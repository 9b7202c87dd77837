"""Plain PyTorch models to extract: `codesign extract torch:examples.models:resnet50`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, relu, scaled_dot_product_attention


class Bottleneck(nn.Module):
    """Residual block of He et al. 2016 with the stride in its 3x3 convolution."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        return relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet-50 v1.5 for 224x224 images."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = 64
        for stage, depth in enumerate((3, 4, 6, 3)):
            width, blocks = 64 << stage, []
            for i in range(depth):
                blocks.append(Bottleneck(channels, width, 2 if stage > 0 and i == 0 else 1))
                channels = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(relu(self.bn1(self.conv1(x))))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits

    def example_inputs(self, batch: int, seq: int | None) -> Tensor:
        """One batch of images; a convolutional network has no sequence."""
        return torch.empty(batch, 3, 224, 224)

    def loss(self, logits: Tensor) -> Tensor:
        """Cross entropy against class 0."""
        return cross_entropy(
            logits, torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device)
        )


class GPT2Block(nn.Module):
    """One layer of GPT-2: causal attention and an MLP, each after a layer norm."""

    def __init__(self, width: int = 768, heads: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        z: Tensor = self.down(gelu(self.up(self.norm2(x)), approximate="tanh"))
        return x + z

    def example_inputs(self, batch: int, seq: int | None) -> Tensor:
        """One batch of token features, 1024 tokens unless told otherwise."""
        return torch.empty(batch, seq or 1024, self.qkv.in_features, requires_grad=True)


def resnet50() -> ResNet50:
    """ResNet-50 with 1000 classes."""
    return ResNet50()


def gpt2_block() -> GPT2Block:
    """A layer of GPT-2 small."""
    return GPT2Block()
