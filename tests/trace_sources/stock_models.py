"""Factories of modules as their users write them: nothing is prepared for tracing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CONFIGS = Path(__file__).parents[2] / "examples" / "hf_configs"


def _stock(name: str, batch: int, seq: int | None, **changed: Any) -> tuple[nn.Module, Any]:
    import transformers

    stated = {**json.loads((CONFIGS / f"{name}.json").read_text()), **changed}
    config = transformers.AutoConfig.for_model(**stated)
    module = transformers.AutoModelForCausalLM.from_config(config)
    ids = torch.zeros(batch, seq or 16, dtype=torch.int64)
    return module, {"input_ids": ids, "use_cache": False}


def llama(batch: int, seq: int | None) -> tuple[nn.Module, Any]:
    return _stock("llama3_8b", batch, seq, num_hidden_layers=1)


def gpt2(batch: int, seq: int | None) -> tuple[nn.Module, Any]:
    return _stock("gpt2", batch, seq, n_layer=1)


def mixtral(batch: int, seq: int | None) -> tuple[nn.Module, Any]:
    module, inputs = _stock("mixtral_8x7b", batch, seq, num_hidden_layers=1)
    module.config._experts_implementation = "eager"  # type: ignore[union-attr]
    return module, inputs


class EarlyExit(nn.Module):
    """Runs its second layer only where the first one is not sure."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 32)
        self.second = nn.Linear(32, 64)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if y.mean() > 0.5:
            return y
        return self.second(y)


def early_exit(batch: int) -> tuple[nn.Module, Tensor]:
    return EarlyExit(), torch.zeros(batch, 32)


class Cached(nn.Module):
    """One projection of new tokens, and a product with what is cached."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(32, 32)

    def forward(self, x: Tensor, cache: Tensor) -> Tensor:
        keys = torch.cat([cache, self.project(x)], dim=1)
        return x @ keys.mT


def cached(
    batch: int, seq: int | None, phase: str, context: int | None
) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    tokens = 1 if phase == "decode" else seq or 16
    return Cached(), (torch.zeros(batch, tokens, 32), torch.zeros(batch, context or 0, 32))
