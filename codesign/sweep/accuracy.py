"""The accuracy of a design, of the kind that a sweep asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codesign.accuracy import accuracy_of as look_up
from codesign.accuracy import why_none
from codesign.accuracy.lookup import STORE
from codesign.arch.base import AnyMachine
from codesign.config import CodesignError
from codesign.trace.op import Trace

FIGURES = ("accuracy", "accuracy_drop")


def accuracy_of(
    kind: str, trace: Trace, machine: AnyMachine, config: Mapping[str, Any]
) -> dict[str, float]:
    """`accuracy`, a fraction, and `accuracy_drop`, positive when worse than dense.

    A metric that is no fraction, such as perplexity, has only the drop, in its own unit; a source
    that does not say what dense is has no drop. Raises CodesignError where the source has no figure
    for the model, method and pattern.
    """
    sparsity = config["sparsity"]
    asked = kind, trace.name, sparsity["method"], sparsity["pattern"]
    found = look_up(*asked, machine)
    if found is None:
        raise CodesignError(why_none(*asked))
    figures = {}
    if found.value is not None and found.is_share:
        figures["accuracy"] = found.value
    if found.drop is not None:
        figures["accuracy_drop"] = found.drop
    if not figures:
        raise CodesignError(f"{found.citation} says neither a fraction nor what is lost")
    return figures


def source_mark(kind: str | None) -> str:
    """Another text once what that kind of accuracy is read from has changed; "" if it cannot."""
    if kind not in ("measured", "proxy") or not STORE.is_file():
        return ""
    from codesign.accuracy.store import RunStore  # PyTorch, which other sweeps do without

    return RunStore(STORE).mark()


def require_source(kind: str) -> None:
    """Raise CodesignError unless there is something to look that kind of accuracy up in."""
    if kind != "published" and not STORE.is_file():
        raise CodesignError(
            f"accuracy: {kind} reads {STORE}, which is not there; measure with `codesign accuracy "
            "run`, or take accuracy: published"
        )
