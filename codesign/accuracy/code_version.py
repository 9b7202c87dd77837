"""What a method's code is: a fingerprint that changes when the code that decides a run changes."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from types import ModuleType

from codesign.config import fingerprint
from codesign.prune.registry import SPARSIFIERS

_FOLLOWED = ("codesign.prune.", "codesign.kernels.")
_LEFT_OUT = ("codesign.prune.registry", "codesign.prune.export")
"""They choose among methods and give masks to traces: no run depends on them."""


@cache
def code_version(method: str) -> str:
    """Fingerprint of the modules that a sparsifier is made of, without comments and docstrings.

    Those are its class's module and the modules of `prune` and `kernels` that it names, and theirs.
    """
    found: dict[str, ModuleType] = {}
    waiting = [SPARSIFIERS[method].__module__]
    while waiting:
        name = waiting.pop()
        if name in found or name in _LEFT_OUT or not name.startswith(_FOLLOWED):
            continue
        found[name] = sys.modules[name]
        waiting += {str(getattr(value, "__module__", "")) for value in vars(found[name]).values()}
    return fingerprint({name: _meaning(module) for name, module in sorted(found.items())})


@cache
def _meaning(module: ModuleType) -> str:
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [each for each in body if not _is_text(each)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
