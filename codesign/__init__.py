"""Co-design of sparse neural networks and the hardware that runs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "extract": "codesign.trace.extract",
    "load_workload": "codesign.trace.workload",
    "load_arch": "codesign.arch",
    "sparsify": "codesign.trace.sparsify",
    "evaluate": "codesign.evaluate",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'codesign' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
