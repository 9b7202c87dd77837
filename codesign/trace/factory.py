"""Finds the function of the user's that makes a module."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codesign.config import CodesignError, suggestion

_FORM = "write torch:package.module:factory or torch:path/to/file.py:factory"


def load_factory(source: str) -> Callable[..., Any]:
    """The callable that `torch:package.module:factory` or `torch:file.py:factory` names."""
    framework, _, rest = source.partition(":")
    module_name, _, attribute = rest.rpartition(":")
    if framework != "torch" or not module_name or not attribute:
        raise CodesignError(f"{source[:80]!r}: {_FORM}")
    module = _from_file(Path(module_name)) if module_name.endswith(".py") else _import(module_name)
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise CodesignError(
            f"module {module_name!r} has no {attribute!r}" + suggestion(attribute, public)
        )
    factory = getattr(module, attribute)
    if not callable(factory):
        raise CodesignError(f"{attribute!r} of module {module_name!r} cannot be called")
    return factory  # type: ignore[no-any-return]


def arguments(factory: Callable[..., Any]) -> frozenset[str]:
    """The names of the arguments that a factory takes."""
    try:
        return frozenset(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _import(name: str) -> Any:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise CodesignError(
                f"no module {error.name!r} in {here} or among installed packages"
            ) from None
        raise CodesignError(
            f"module {name!r} needs {error.name!r}, which is not installed"
        ) from None
    except Exception as error:
        raise CodesignError(f"module {name!r} fails to import: {_short(error)}") from error
    finally:
        sys.path.remove(here)


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise CodesignError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CodesignError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CodesignError(f"{path} fails to run: {_short(error)}") from error
    return module


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
