"""The accuracy of a design, from whatever the package has for the kind that a sweep asks for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from codesign.arch.base import AnyMachine
from codesign.config import CodesignError
from codesign.trace.op import Trace

_SOURCES = "codesign.accuracy"
FIGURES = ("accuracy", "accuracy_drop")


def accuracy_of(
    kind: str, trace: Trace, machine: AnyMachine, config: Mapping[str, Any]
) -> dict[str, float]:
    """Accuracy and its loss against the dense model, as fractions.

    Raises CodesignError where the package has no source of this kind, or the source has no figure
    for the model, method and pattern.
    """
    require_source(kind)
    found = import_module(f"{_SOURCES}.{kind}").accuracy_of(trace, machine, config)
    return {name: float(found[name]) for name in FIGURES}


def require_source(kind: str) -> None:
    """Raise CodesignError unless the package has a source of this kind of accuracy."""
    if find_spec(_SOURCES) is None or find_spec(f"{_SOURCES}.{kind}") is None:
        raise CodesignError(
            f"accuracy: {kind} has no source in this version of codesign; leave `accuracy` out, "
            "and `accuracy` and `accuracy_drop` out of metrics and constraints"
        )
    if not hasattr(import_module(f"{_SOURCES}.{kind}"), "accuracy_of"):
        raise CodesignError(
            f"accuracy: {kind} has no source in this version of codesign for a single design; "
            "leave `accuracy` out, and `accuracy`, `accuracy_drop` out of metrics and constraints"
        )
