"""Which fields a computation reads of a specification: its answer serves all that agree on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from itertools import count
from operator import attrgetter
from typing import Any, Generic, TypeVar

from codesign.config import CodesignError, Spec

V = TypeVar("V")

WHOLE = ("fingerprint",)
"""The fields of a computation that looked at its specification in a way that cannot be followed."""


class _Watched:
    """Stands in for a Spec and notes the leaves that are read through it."""

    def __init__(self, spec: Spec, path: str, log: dict[str, None]) -> None:
        self._spec, self._path, self._log = spec, path, log

    @property  # type: ignore[misc]
    def __class__(self) -> type[Spec]:  # type: ignore[override]
        return type(self._spec)

    def __getattr__(self, name: str) -> Any:
        """Called for what is read for the first time: a field becomes an attribute of its own."""
        kind = type(self._spec)
        if name not in kind.__pydantic_fields__:
            derived = getattr(kind, name, None)
            if isinstance(derived, property) and derived.fget is not None:
                return derived.fget(self)
            self._log[WHOLE[0]] = None
            return getattr(self._spec, name)
        value = getattr(self._spec, name)
        path = self._path + name
        if isinstance(value, Spec):
            value = _Watched(value, path + ".", self._log)
        else:
            self._log[path] = None
        self.__dict__[name] = value
        return value

    def __eq__(self, other: object) -> bool:
        self._log[WHOLE[0]] = None
        return bool(self._spec == (other._spec if type(other) is _Watched else other))

    def __hash__(self) -> int:
        self._log[WHOLE[0]] = None
        return hash(self._spec)


def reads_of(spec: Spec, compute: Callable[[Any], V]) -> tuple[V, tuple[str, ...]]:
    """What `compute` makes of a specification, and the dotted paths of the leaves that it read.

    A property is followed to the leaves that it reads. The paths are WHOLE where `compute` took a
    method, compared or hashed a section, or could not work on a stand-in. CodesignErrors pass.
    """
    log: dict[str, None] = {}
    try:
        value = compute(_Watched(spec, "", log))
    except CodesignError:
        raise
    except Exception:
        return compute(spec), WHOLE
    return value, WHOLE if WHOLE[0] in log else tuple(sorted(log))


class _Paths:
    """A set of dotted paths, and numbers for the values that specifications have there."""

    __slots__ = ("_get", "_numbers")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._get: Callable[[Any], Hashable] = attrgetter(*names) if names else lambda _: ()
        self._numbers: dict[Hashable, int] = {}

    def number(self, spec: Spec) -> int:
        """Equal for specifications that agree here; TypeError where a value cannot be compared."""
        if len(self._numbers) >= _MOST_VALUES:
            self._numbers.clear()
        return self._numbers.setdefault(self._get(spec), next(_fresh))


_MOST_VALUES = 100_000
_fresh = count()


class View:
    """A specification and the numbers of its values at sets of paths, each looked up once."""

    __slots__ = ("_known", "spec")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._known: dict[_Paths, int] = {}

    def at(self, paths: _Paths) -> int:
        """The number of the values at some paths."""
        known = self._known.get(paths)
        if known is None:
            known = self._known[paths] = paths.number(self.spec)
        return known


class ReadMemo(Generic[V]):
    """Answers of computations by key and by the fields that they read; the oldest are dropped.

    `weigh` gives an answer's size; all answers together weigh at most `capacity`. Memos that share
    `paths` look values up once for all of them.
    """

    def __init__(
        self,
        capacity: int,
        weigh: Callable[[V], int] = lambda _: 1,
        paths: dict[tuple[str, ...], _Paths] | None = None,
    ) -> None:
        self._capacity, self._weigh = capacity, weigh
        self._paths = {} if paths is None else paths
        self._answers: dict[Hashable, dict[_Paths, dict[int, V]]] = {}
        self._order: deque[tuple[dict[int, V], int, int]] = deque()
        self._weight = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable, view: View, compute: Callable[[Any], V]) -> V:
        """The answer for a key and a specification, computed on a stand-in if it is not known."""
        by_paths = self._answers.get(key)
        if by_paths is None:
            by_paths = self._answers[key] = {}
        for paths, answers in by_paths.items():
            known = answers.get(view.at(paths))
            if known is not None:
                self.hits += 1
                return known
        self.misses += 1
        answer, names = reads_of(view.spec, compute)
        try:
            place = view.at(paths := self._set(names))
        except TypeError:
            place = view.at(paths := self._set(WHOLE))
        answers = by_paths.setdefault(paths, {})
        answers[place] = answer
        weight = self._weigh(answer)
        self._order.append((answers, place, weight))
        self._weight += weight
        while self._weight > self._capacity and len(self._order) > 1:
            oldest, at, freed = self._order.popleft()
            oldest.pop(at, None)
            self._weight -= freed
        return answer

    def _set(self, names: tuple[str, ...]) -> _Paths:
        return self._paths.setdefault(names, _Paths(names))
