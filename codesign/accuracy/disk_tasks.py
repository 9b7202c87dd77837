"""Tasks on what a user has on disk, named as KIND:FOLDER, and tasks that a factory makes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codesign.accuracy.datasets import cifar10, image_folder, wikitext
from codesign.accuracy.models import CharTransformer, image_cnn
from codesign.accuracy.tasks import Task, classify, mean_score, next_code, score
from codesign.config import CodesignError, fingerprint

_BYTES = 256
_EDGE = 224
_HELD_OUT_IMAGES = 1000
"""Of each folder of images, spread evenly over it: an evaluation of all takes hours."""
_HF_CONTEXT, _HF_WINDOWS = 512, 64
_HF_TRAINED_CHARACTERS, _HF_HELD_OUT_CHARACTERS = 2_000_000, 400_000


def cifar10_task(folder: str) -> Task:
    """CIFAR-10 with a small CNN; `cifar10:FOLDER`."""
    found = cifar10(Path(folder))
    x, y = found.train
    held_out = found.held_out

    def batches(seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randint(len(x), (64,), generator=generator)
            yield x[chosen], y[chosen]

    return Task(
        name=f"cifar10:{folder}",
        models={"cnn": partial(image_cnn, 10)},
        batches=batches,
        loss=classify,
        evaluate=lambda model: score(model, *held_out),
        calibration=lambda: [x[:256]],
        dense_layers={"cnn": ("stem", "head")},
        steps=2000,
        learning_rate=1e-3,
        sample="held-out images",
        fingerprint=fingerprint([y.numpy(), held_out[1].numpy()]),
    )


def images_task(folder: str) -> Task:
    """A folder of images as ImageNet is laid out, with a small CNN; `images:FOLDER`."""
    found = image_folder(Path(folder))
    step = max(1, len(found.held_out) // _HELD_OUT_IMAGES)
    held_out = found.held_out[::step]

    def batches(seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randint(len(found.train), (32,), generator=generator).tolist()
            yield found.batch([found.train[i] for i in chosen], _EDGE)

    return Task(
        name=f"images:{folder}",
        models={"cnn": partial(image_cnn, len(found.classes))},
        batches=batches,
        loss=classify,
        evaluate=lambda model: mean_score(model, found.batches(held_out, _EDGE, 64)),
        calibration=lambda: [next(batches(0, 1))[0]],
        dense_layers={"cnn": ("stem", "head")},
        steps=1000,
        learning_rate=1e-3,
        sample=f"{len(held_out)} held-out images",
        fingerprint=fingerprint([len(found.train), len(found.held_out), list(found.classes)]),
    )


def wikitext_task(folder: str) -> Task:
    """Next bytes of WikiText, or of any text, with the character model; `wikitext:FOLDER`."""
    train, held_out = (
        torch.from_numpy(np.frombuffer(text.encode(), np.uint8).astype(np.int64))
        for text in wikitext(Path(folder))
    )
    return next_code(
        f"wikitext:{folder}",
        {"transformer": lambda: CharTransformer(_BYTES, 64, width=64)},
        train,
        held_out,
        steps=1000,
        sample="held-out bytes",
        fingerprint=fingerprint([len(train), len(held_out), train[:4096].numpy()]),
    )


def hf_task(folders: str) -> Task:
    """A causal language model of Hugging Face on disk, as it was trained; `hf:MODEL,TEXT`.

    MODEL is a folder with a model and its tokenizer, TEXT one that `wikitext` reads. Nothing is
    downloaded and no code of the folder is run. Its runs have no steps of training: methods that
    prune at once are measured on the model as it is, others after `--steps` of fine-tuning.
    """
    model_folder, _, text_folder = folders.partition(",")
    if not text_folder:
        raise CodesignError("a Hugging Face task is hf:MODEL_FOLDER,TEXT_FOLDER")
    if find_spec("transformers") is None:
        raise CodesignError("hf: needs transformers: pip install 'codesign[hf]'")
    texts = wikitext(Path(text_folder))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def read(kind: Any) -> Any:
        try:
            return kind.from_pretrained(model_folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise CodesignError(f"{model_folder}: {reason}") from None

    if not (Path(model_folder) / "config.json").is_file():
        raise CodesignError(f"{model_folder}: no config.json of a Hugging Face model")
    tokenizer = read(AutoTokenizer)
    shortened = (texts[0][:_HF_TRAINED_CHARACTERS], texts[1][:_HF_HELD_OUT_CHARACTERS])
    train, held_out = (
        torch.tensor(tokenizer(text, verbose=False)["input_ids"]) for text in shortened
    )
    plain = next_code(
        f"hf:{folders}",
        {"pretrained": lambda: _Logits(read(AutoModelForCausalLM).float())},
        train,
        held_out[: _HF_CONTEXT * _HF_WINDOWS + 1],
        steps=0,
        sample="held-out tokens",
        fingerprint=fingerprint([Path(model_folder).name, train[:4096].numpy(), len(held_out)]),
        context=min(_HF_CONTEXT, (len(held_out) - 1) // 2, (len(train) - 1) // 2),
        size=4,
        learning_rate=1e-5,
    )
    return replace(plain, dense_layers={"pretrained": ("*lm_head", "*embed_out")})


class _Logits(nn.Module):
    """A Hugging Face model that gives logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor) -> Tensor:
        found: Tensor = self.model(input_ids=codes, use_cache=False).logits
        return found


def factory_task(place: str) -> Task:
    """The Task that a function of yours makes; `torch:package.module:NAME` or `torch:FILE.py:NAME`.

    This runs your code. The task is known by this text, whatever name it gives itself.
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise CodesignError("a task of your own is torch:package.module:NAME or torch:FILE.py:NAME")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = import_module(where)
        made = getattr(module, name)()
    except (ImportError, OSError, AttributeError, TypeError) as error:
        raise CodesignError(f"torch:{place}: {error}") from None
    if not isinstance(made, Task):
        raise CodesignError(f"torch:{place} gives no Task of codesign.accuracy.tasks")
    return replace(made, name=f"torch:{place}")


KINDS: Mapping[str, tuple[str, Callable[[str], Task]]] = {
    "cifar10": ("FOLDER", cifar10_task),
    "images": ("FOLDER", images_task),
    "wikitext": ("FOLDER", wikitext_task),
    "hf": ("MODEL,TEXT", hf_task),
    "torch": ("FILE.py:NAME", factory_task),
}
"""What comes after the colon, and what makes the task."""
