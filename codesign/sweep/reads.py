"""Which fields of a specification a computation reads, so that its answer serves all that agree on
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
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
    def __class__(self) -> type[Spec]:
        return type(self._spec)

    def __getattr__(self, name: str) -> Any:
        """Called for what is read for the first time: a field becomes an attribute of its own."""
        value = getattr(self._spec, name)
        if name not in type(self._spec).__pydantic_fields__:
            self._log[WHOLE[0]] = None
            return value
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

    The paths are WHOLE where it took a property or method, compared or hashed a section, or could
    not
    work on a stand-in. CodesignErrors pass.
    """
    log: dict[str, None] = {}
    try:
        value = compute(_Watched(spec, "", log))
    except CodesignError:
        raise
    except Exception:
        return compute(spec), WHOLE
    return value, WHOLE if WHOLE[0] in log else tuple(sorted(log))


class View:
    """A specification and its values at sets of paths, each looked up once."""

    __slots__ = ("_known", "spec")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._known: dict[tuple[str, ...], Hashable] = {}

    def at(self, paths: tuple[str, ...]) -> Hashable:
        """The values at some paths; CodesignError never, TypeError where one cannot be compared."""
        known = self._known.get(paths)
        if known is None:
            known = attrgetter(*paths)(self.spec) if paths else ()
            hash(known)
            self._known[paths] = known
        return known


class ReadMemo(Generic[V]):
    """Answers of computations by key and by the fields that they read; the oldest are dropped.

    `weigh` gives an answer's size; all answers together weigh at most `capacity`.
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._capacity, self._weigh = capacity, weigh
        self._answers: dict[Hashable, dict[tuple[str, ...], dict[Hashable, V]]] = {}
        self._order: deque[tuple[dict[Hashable, V], Hashable, int]] = deque()
        self._weight = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable, view: View, compute: Callable[[Any], V]) -> V:
        """The answer for a key and a specification, computed on a stand-in if it is not known."""
        by_paths = self._answers.setdefault(key, {})
        for paths, answers in by_paths.items():
            values = view.at(paths)
            if values in answers:
                self.hits += 1
                return answers[values]
        self.misses += 1
        answer, paths = reads_of(view.spec, compute)
        try:
            values = view.at(paths)
        except TypeError:
            paths = WHOLE
            values = view.at(paths)
        answers = by_paths.setdefault(paths, {})
        answers[values] = answer
        weight = self._weigh(answer)
        self._order.append((answers, values, weight))
        self._weight += weight
        while self._weight > self._capacity and len(self._order) > 1:
            oldest, at, freed = self._order.popleft()
            oldest.pop(at, None)
            self._weight -= freed
        return answer
