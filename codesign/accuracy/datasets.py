"""Data sets that a user has on disk: CIFAR-10, folders of images, WikiText; no downloads."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codesign.config import CodesignError

_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_PARTS = (tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",))
_IMAGES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, as its pretrained models expect them."""
_MARGIN = 256 / 224
"""Shorter side of the resized image over the edge of the crop."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Samples and their classes, trained on and held out; inputs float32, labels int64."""

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]


def cifar10(folder: Path) -> Labelled:
    """CIFAR-10 from its `python` or its `binary` version; pixels between -1 and 1, [n, 3, 32, 32].

    Of the parts of the training set those that are there are taken. Raises CodesignError if there
    are none, or for a file that is something else.
    """
    inner = next(
        (d for d in ("cifar-10-batches-py", "cifar-10-batches-bin") if (folder / d).is_dir()), "."
    )
    halves = []
    for names in _CIFAR_PARTS:
        read = [_cifar_part(path) for name in names if (path := _either(folder / inner / name))]
        if not read:
            raise CodesignError(
                f"{folder}: no {names[0]} or {names[0]}.bin of CIFAR-10; unpack its archive there"
            )
        pixels = torch.cat([part[0] for part in read]).float().div_(127.5).sub_(1)
        halves.append((pixels, torch.cat([part[1] for part in read])))
    return Labelled(*halves)


def _either(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(path.name + ".bin")) if p.is_file()), None)


class _Arrays(pickle.Unpickler):
    """Reads pickles of NumPy arrays and plain values, and runs nothing else that a file names."""

    _ALLOWED = frozenset({
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    })  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of CIFAR-10")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _cifar_part(path: Path) -> tuple[Tensor, Tensor]:
    size = int(np.prod(_CIFAR_SHAPE))
    try:
        if path.suffix == ".bin":
            rows = np.fromfile(path, np.uint8).reshape(-1, 1 + size)
            labels, pixels = rows[:, 0], rows[:, 1:]
        else:
            with path.open("rb") as file:
                found = _Arrays(file, encoding="bytes").load()
            pixels, labels = np.asarray(found[b"data"]), np.asarray(found[b"labels"])
        pixels = pixels.reshape(-1, *_CIFAR_SHAPE)
        if not len(labels) or len(labels) != len(pixels) or labels.max() > 9:
            raise ValueError("labels and pixels do not fit")
    except (OSError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise CodesignError(f"{path}: no part of CIFAR-10 ({error})") from None
    return torch.from_numpy(pixels.copy()), torch.from_numpy(labels.astype(np.int64))


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Images in a folder for each class, read when they are asked for."""

    classes: tuple[str, ...]
    train: tuple[tuple[Path, int], ...]
    held_out: tuple[tuple[Path, int], ...]

    def batch(self, of: Sequence[tuple[Path, int]], edge: int) -> tuple[Tensor, Tensor]:
        """Images [n, 3, edge, edge], their middle, normalised as ImageNet's; and classes [n]."""
        images = torch.stack([_image(path, edge) for path, _ in of])
        return images, torch.tensor([label for _, label in of])

    def batches(
        self, of: Sequence[tuple[Path, int]], edge: int, size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, `size` at a time."""
        for start in range(0, len(of), size):
            yield self.batch(of[start : start + size], edge)


def image_folder(folder: Path) -> ImageFolder:
    """The images of train/CLASS/ and val/CLASS/ (or test/CLASS/), as ImageNet is laid out.

    Raises CodesignError for a folder without them, for a class of val that train lacks, and where
    Pillow is not installed.
    """
    if find_spec("PIL") is None:
        raise CodesignError("folders of images need Pillow: pip install pillow")
    held_out = next((folder / d for d in ("val", "test") if (folder / d).is_dir()), None)
    if not (folder / "train").is_dir() or held_out is None:
        raise CodesignError(f"{folder}: expected folders train/CLASS and val/CLASS of images")
    classes = tuple(sorted(d.name for d in (folder / "train").iterdir() if d.is_dir()))
    strange = sorted(d.name for d in held_out.iterdir() if d.is_dir() and d.name not in classes)
    if strange:
        raise CodesignError(f"{held_out}: train has no class {strange[0]!r}")
    found = [
        tuple(
            (path, number)
            for number, name in enumerate(classes)
            for path in sorted((half / name).glob("*"))
            if path.suffix.lower() in _IMAGES
        )
        for half in (folder / "train", held_out)
    ]
    for half, images in zip((folder / "train", held_out), found, strict=True):
        if not images:
            raise CodesignError(f"{half}: no images ({', '.join(_IMAGES)})")
    return ImageFolder(classes, *found)


def _image(path: Path, edge: int) -> Tensor:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise CodesignError("images need pillow: pip install 'codesign[bench]'") from None
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise CodesignError(f"{path}: no image ({error})") from None
    scale = edge * _MARGIN / min(image.size)
    wide, high = (max(edge, round(side * scale)) for side in image.size)
    left, top = (wide - edge) // 2, (high - edge) // 2
    cropped = image.resize((wide, high)).crop((left, top, left + edge, top + edge))
    pixels = torch.from_numpy(np.array(cropped)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_DEVIATION)[:, None, None]


def wikitext(folder: Path) -> tuple[str, str]:
    """The text to train on and the held-out text of a folder of WikiText, or of any text files.

    Takes wiki.train.* and wiki.test.* (`.tokens` or `.raw`), or train.txt and test.txt. Raises
    CodesignError where they are missing, empty or no UTF-8.
    """
    halves = []
    for half in ("train", "test"):
        names = (f"wiki.{half}.tokens", f"wiki.{half}.raw", f"{half}.txt")
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            raise CodesignError(f"{folder}: none of {', '.join(names)}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CodesignError(f"{path}: no UTF-8 text ({error.reason})") from None
        if not text.strip():
            raise CodesignError(f"{path}: no text")
        halves.append(text)
    return halves[0], halves[1]
