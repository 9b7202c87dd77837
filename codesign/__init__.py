"""Co-design of sparse neural networks and the hardware that runs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codesign.arch import load_arch
    from codesign.evaluate import evaluate
    from codesign.trace.extract import extract
    from codesign.trace.sparsify import sparsify
    from codesign.trace.workload import load_workload

__version__ = "0.1.0"

_PUBLIC = {
    "extract": "codesign.trace.extract",
    "load_workload": "codesign.trace.workload",
    "load_arch": "codesign.arch",
    "sparsify": "codesign.trace.sparsify",
    "evaluate": "codesign.evaluate",
}

__all__ = ["__version__", "evaluate", "extract", "load_arch", "load_workload", "sparsify"]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'codesign' has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """The package, whose `evaluate` stays the function when the module of that name is imported."""

    @property
    def evaluate(self) -> Callable[..., Any]:
        function: Callable[..., Any] = import_module("codesign.evaluate").evaluate
        return function

    @evaluate.setter
    def evaluate(self, module: ModuleType) -> None:
        """Importing a submodule binds it to the package; sys.modules reaches this one."""


sys.modules[__name__].__class__ = _Package
