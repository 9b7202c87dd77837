"""Traces of models that are written elsewhere: finds the user's factory and runs the extractor."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from codesign.config import CodesignError, did_you_mean
from codesign.trace.op import Trace

_FORM = "write torch:package.module:factory or torch:path/to/file.py:factory"


def extract(source: str, *, phase: str = "inference", **options: Any) -> Trace:
    """The trace of the `nn.Module` that the factory `torch:package.module:factory` makes.

    Modules are looked up in the current folder first. The factory takes no arguments, or any of
    `batch` and `seq`, and returns a module, or (module, inputs). Inputs are a tensor, a tuple of
    arguments or a mapping of keyword arguments; without them the module's `example_inputs(batch,
    seq)` is called. In training the module's `loss(output)` is minimised where it has one, else the
    sum of its output. `options` are those of `torch_extract.extract_module` and `batch`, `seq`. The
    code of the factory is executed. Raises CodesignError when something is missing or the module
    does not run.
    """
    return extract_with_weights(source, phase=phase, **options)[0]


def extract_with_weights(
    source: str,
    *,
    phase: str = "inference",
    batch: int = 1,
    seq: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = "fp16",
    real: bool = False,
) -> tuple[Trace, Mapping[str, NDArray[Any]]]:
    """The trace and, with `real`, the weights in the layout that `sparsify(weights=...)` reads.

    By default the module is built and run on the meta device: shapes only, no memory, no weights.
    """
    if phase not in ("inference", "training"):
        hint = did_you_mean(str(phase), ["inference", "training"])
        raise CodesignError(
            f"a module is extracted for inference or training, got phase {str(phase)[:40]!r}"
            + (f"; did you mean {hint!r}?" if hint else "")
            + "; for prefill and decode let the factory give inputs of that shape"
        )
    factory = load_factory(source)
    from codesign.trace.torch_extract import build_module, extract_module

    module, inputs = build_module(factory, batch=batch, seq=seq, real=real)
    trace, weights = extract_module(
        module,
        inputs,
        name=source.rpartition(":")[2],
        phase=phase,
        optimizer_name=optimizer,
        dtype=dtype,
    )
    meta: dict[str, str | int | float] = {"source": source, "batch": batch}
    if seq is not None:
        meta["seq"] = seq
    return Trace(
        trace.name, trace.ops, trace.parameters, trace.masks, {**trace.meta, **meta}
    ), weights


def load_factory(source: str) -> Callable[..., Any]:
    """The callable that `torch:package.module:factory` or `torch:file.py:factory` names."""
    framework, _, rest = source.partition(":")
    module_name, _, attribute = rest.rpartition(":")
    if framework != "torch" or not module_name or not attribute:
        raise CodesignError(f"{source[:80]!r}: {_FORM}")
    module = _from_file(Path(module_name)) if module_name.endswith(".py") else _import(module_name)
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        hint = did_you_mean(attribute, public)
        raise CodesignError(
            f"module {module_name!r} has no {attribute!r}"
            + (f"; did you mean {hint!r}?" if hint else "")
        )
    factory = getattr(module, attribute)
    if not callable(factory):
        raise CodesignError(f"{attribute!r} of module {module_name!r} cannot be called")
    return factory  # type: ignore[no-any-return]


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
