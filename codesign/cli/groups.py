"""Operators gathered by layer, so that a deep network fits a screen."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, Protocol, TypeVar

SCREEN_ROWS = 20
FEW_ROWS = 6
_LEAST_RUN = 3
_BLOCK = re.compile(r".*?\.\d+(-\d+)?\.")


class Layered(Protocol):
    """An operator of a trace or of a result."""

    @property
    def name(self) -> str: ...
    @property
    def layer(self) -> str: ...


T = TypeVar("T", bound=Layered)
Member = tuple[tuple[str, ...], T]
"""What is left of the operator's path, and the operator."""


@dataclass(frozen=True, slots=True)
class Group(Generic[T]):
    """Operators that share a row."""

    label: str
    ops: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class _Node(Generic[T]):
    prefix: tuple[str, ...]
    members: tuple[Member[T], ...]


def indented(labels: Sequence[str]) -> list[tuple[str | None, str]]:
    """A heading or None, and a label, for each row.

    Neighbours that lie in the same numbered blocks share a heading and lose it from their labels.

    >>> indented(["m.layers.0-3.q", "m.layers.0-3.k", "m.layers.0-3.v", "head"])
    [('m.layers.0-3', '  q'), (None, '  k'), (None, '  v'), (None, 'head')]
    """
    rows: list[tuple[str | None, str]] = []
    for block, run in groupby(labels, key=lambda label: (_BLOCK.match(label) or [""])[0]):
        members = list(run)
        if not block or len(members) < _LEAST_RUN:
            rows += [(None, label) for label in members]
            continue
        rows += [
            (block.rstrip(".") if i == 0 else None, f"  {label.removeprefix(block)}")
            for i, label in enumerate(members)
        ]
    return rows


def layer_groups(
    ops: Sequence[T],
    *,
    weight: Callable[[T], float],
    likeness: Callable[[T], Hashable],
    rows: int = SCREEN_ROWS,
) -> list[Group[T]]:
    """At most `rows` groups by the prefix of the layer's path, in order of first appearance.

    All groups are split at the same depth, as deep as fits. Neighbouring numbered blocks whose
    operators are alike share a row (`layers.0-31`). What still does not fit and weighs least is
    joined as `others`.
    """
    nodes = [_Node((), tuple((tuple((op.layer or op.name).split(".")), op) for op in ops))]
    while any(rest for node in nodes for rest, _ in node.members):
        finer = [child for node in nodes for child in _children(node, likeness)]
        if len(finer) > rows and len(nodes) >= FEW_ROWS:
            break
        nodes = finer
        if len(nodes) > rows:
            break
    groups = [Group(".".join(node.prefix), tuple(op for _, op in node.members)) for node in nodes]
    if len(groups) <= rows:
        return groups
    weights = [sum(map(weight, group.ops)) for group in groups]
    kept = set(sorted(range(len(groups)), key=lambda i: -weights[i])[: rows - 1])
    others = tuple(op for i, group in enumerate(groups) if i not in kept for op in group.ops)
    return [*(group for i, group in enumerate(groups) if i in kept), Group("others", others)]


def _children(node: _Node[T], likeness: Callable[[T], Hashable]) -> list[_Node[T]]:
    """The node split by the next word of its members' paths."""
    by_word: dict[str, list[Member[T]]] = {}
    for rest, op in node.members:
        by_word.setdefault(rest[0] if rest else "", []).append((rest[1:], op))

    def block(child: tuple[str, list[Member[T]]]) -> Hashable:
        """Equal for numbered blocks of the same operators; None for other children."""
        word, members = child
        if not word.isdecimal():
            return None
        return tuple(sorted(repr((rest, likeness(op))) for rest, op in members))

    children = []
    for alike, found in groupby(by_word.items(), key=block):
        run = list(found)
        if alike is not None and len(run) > 1:
            word = f"{run[0][0]}-{run[-1][0]}"
            members = tuple(member for _, members in run for member in members)
            children.append(_Node((*node.prefix, word), members))
            continue
        children.extend(
            _Node((*node.prefix, word) if word else node.prefix, tuple(members))
            for word, members in run
        )
    return children
