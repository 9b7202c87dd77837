"""The `config.json` of a Hugging Face model: read, and asked for its numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.config import CodesignError, did_you_mean

_MAX_BYTES = 1 << 24
_MAX_SIZE = 1 << 31

ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
"""Names of activations there, and rows of `trace.vector_work` here."""


@dataclass(frozen=True, slots=True)
class HFConfig:
    """The content of a config.json; `path` is named in errors.

    Keys that a file leaves out have the default of `transformers`, which the families state.
    """

    path: Path
    data: dict[str, Any]

    @property
    def model_type(self) -> str:
        return str(self.data["model_type"])

    @property
    def name(self) -> str:
        """The file's own name, or its folder's where the file is called config.json."""
        return self.path.stem if self.path.stem != "config" else self.path.absolute().parent.name

    def size(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """The whole number of the first key that is there; older files use older names."""
        for key in keys:
            value = self.data.get(key)
            if value is None:
                continue
            if isinstance(value, list) and len(set(map(str, value))) == 1:
                value = value[0]
            if type(value) is not int or not least <= value <= _MAX_SIZE:
                raise self.error(f"{key} is a whole number from {least}, got {value!r:.40}")
            return value
        if default is None:
            raise self.error(f"the key {keys[0]} is missing")
        return default

    def maybe(self, *keys: str) -> int | None:
        """As `size`, or None where no key is there."""
        return self.size(*keys) if any(self.data.get(key) is not None for key in keys) else None

    def flag(self, key: str, default: bool) -> bool:
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(f"{key} is true or false, got {value!r:.40}")
        return value

    def sizes(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        value = self.data.get(key)
        if value is None:
            return default
        whole = isinstance(value, list) and value and len(value) <= 64
        if not whole or not all(type(n) is int and 1 <= n <= _MAX_SIZE for n in value):
            raise self.error(f"{key} is a list of whole numbers from 1, got {value!r:.60}")
        return tuple(value)

    def activation(self, key: str, default: str) -> str:
        given = self.data.get(key, default)
        if not isinstance(given, str) or given not in ACTIVATIONS:
            raise self.error(f"{key} is one of {', '.join(ACTIVATIONS)}, got {given!r:.40}")
        return ACTIVATIONS[given]

    def error(self, what: str) -> CodesignError:
        return CodesignError(f"{self.path}: {what}")


def read_config(path: Path) -> HFConfig:
    """The configuration in a file, or in the config.json of a folder.

    Raises CodesignError for a file that is no JSON object with a `model_type`.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise CodesignError(f"{file} is no configuration: it has more than {_MAX_BYTES} bytes")
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CodesignError(f"{file}: {error.strerror or error}") from None
    except CodesignError:
        raise
    except (ValueError, RecursionError) as error:
        raise CodesignError(f"{file}: this is no JSON text: {str(error)[:200]}") from None
    if not isinstance(data, dict) or not isinstance(data.get("model_type"), str):
        others = [key for key in data if key != "model_type"] if isinstance(data, dict) else []
        near = did_you_mean("model_type", others)
        raise CodesignError(
            f'{file}: the configuration of a model has a key "model_type", a text'
            + (f"; did {near!r} mean it?" if near else "")
        )
    return HFConfig(file, data)
