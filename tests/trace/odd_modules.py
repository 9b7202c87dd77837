"""Small modules whose extraction is not obvious."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

WIDTH = 32


class Features(nn.Module):
    """Takes (batch, seq, WIDTH) features."""

    def example_inputs(self, batch: int, seq: int | None) -> Tensor:
        return torch.randn(batch, seq or 16, WIDTH)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, WIDTH)
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 100, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.middle(self.embedding(tokens)))

    def example_inputs(self, batch: int, seq: int | None) -> Tensor:
        return torch.zeros(batch, seq or 16, dtype=torch.long)


class StoredTransposed(Features):
    """Weights as [in, out], as GPT-2 of transformers has them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, 48))
        self.bias = nn.Parameter(torch.zeros(48))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, WIDTH), self.weight)


class ByHand(Features):
    """Attention written out, query, key and value in one product."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(len(x), -1, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Grouped(Features):
    """Four query heads share one key-value head."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(WIDTH, WIDTH)
        self.k = nn.Linear(WIDTH, WIDTH // 4)
        self.v = nn.Linear(WIDTH, WIDTH // 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, WIDTH // 4)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        return scaled_dot_product_attention(q, k, v, enable_gqa=True)


class Recomputed(Features):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=False))


class Decides(Features):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y * 2 if y.sum() > 0 else y


def tied() -> nn.Module:
    return Tied()


def stored_transposed() -> nn.Module:
    return StoredTransposed()


def by_hand() -> nn.Module:
    return ByHand()


def grouped() -> nn.Module:
    return Grouped()


def recomputed() -> nn.Module:
    return Recomputed()


def decides() -> nn.Module:
    return Decides()


def encoder() -> tuple[nn.Module, Tensor]:
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True)
    return nn.TransformerEncoder(layer, 2), torch.randn(2, 16, WIDTH)


def convolutions() -> tuple[nn.Module, tuple[Tensor]]:
    net = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(), nn.Conv2d(8, 16, 1, stride=2),
        nn.MaxPool2d(2), nn.Flatten(2), nn.Conv1d(16, 8, 3, padding=1, groups=2),
    )  # fmt: skip
    return net, (torch.randn(2, 8, 8, 8),)


def shared_layer() -> tuple[nn.Module, Tensor]:
    layer = nn.Linear(WIDTH, WIDTH)
    return nn.Sequential(layer, nn.ReLU(), layer), torch.randn(3, WIDTH)


def frozen() -> tuple[nn.Module, dict[str, Tensor]]:
    net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4))
    net[0].requires_grad_(False)
    return net, {"input": torch.randn(3, WIDTH)}


def of_size(batch: int, seq: int) -> tuple[nn.Module, Tensor]:
    return nn.Linear(seq, 2), torch.randn(batch, seq)


def recurrent() -> tuple[nn.Module, Tensor]:
    return nn.LSTM(WIDTH, 16, batch_first=True), torch.randn(2, 5, WIDTH)


def no_inputs() -> nn.Module:
    return nn.Linear(3, 3)


def wrong_inputs() -> tuple[nn.Module, Tensor]:
    return nn.Linear(3, 3), torch.randn(4, 5)


def text_inputs() -> tuple[nn.Module, str]:
    return nn.Linear(3, 3), "x"


def no_module() -> Any:
    return 5


def fails() -> nn.Module:
    raise ValueError("this factory is broken")


NOT_CALLABLE = 3
