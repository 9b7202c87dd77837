"""Accuracy that papers report: curated points with their source, compared only where that is fair.

Two points may be compared inside one block: one source, protocol, data set and metric. A point
holds for a machine when every mask of the point's pattern is one that the machine's pattern allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from codesign.config import CodesignError, Spec, load_spec, suggestion
from codesign.sparsity.pattern import (
    NM,
    Dense,
    Pattern,
    Transposable,
    Unstructured,
    parse_pattern,
)

DATA = Path(__file__).with_name("published.yaml")


class _Entry(Spec):
    method: str = Field(min_length=1)
    pattern: str
    values: Mapping[str, float] = Field(default={}, strict=False)
    """The metric of the sparse model, by model."""
    changes: Mapping[str, float] = Field(default={}, strict=False)
    """Sparse minus dense, by model, where the source gives no more."""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, text: str) -> str:
        return str(parse_pattern(text))

    @model_validator(mode="after")
    def _has_points(self) -> _Entry:
        if not self.values and not self.changes:
            raise ValueError("an entry has values or changes")
        return self


class _PublishedBlock(Spec):
    source: str = Field(min_length=1)
    kind: Literal["paper", "author_repository", "vendor", "secondary"]
    protocol: str = Field(min_length=1)
    scope: str = ""
    """Which layers are sparse, as far as the source says."""
    dataset: str
    metric: str
    better: Literal["higher", "lower"]
    note: str = ""
    dense: Mapping[str, float] = Field(default={}, strict=False)
    dense_status: Literal["published", "unverified", "unknown"] = "published"
    """Unverified: not in the source that is named, so that the change is unverified as well."""
    points: tuple[_Entry, ...] = Field(min_length=1, strict=False)

    @model_validator(mode="after")
    def _knows_its_dense_models(self) -> _PublishedBlock:
        used = {model for entry in self.points for model in entry.values}
        lacking = sorted(used - set(self.dense))
        if lacking and self.dense_status != "unknown":
            raise ValueError(f"no dense value of {', '.join(lacking)}")
        return self


class _File(Spec):
    workloads: Mapping[str, str] = Field(strict=False)
    """Shipped workloads by the name that the sources give the model."""
    blocks: tuple[_PublishedBlock, ...] = Field(strict=False)


@dataclass(frozen=True, slots=True)
class Point:
    """One published figure; `change` is sparse minus dense in the metric's own unit, None where the
    source does not say what dense is."""

    model: str
    method: str
    pattern: str
    metric: str
    better: str
    dense: float | None
    sparse: float | None
    change: float | None
    dataset: str
    protocol: str
    scope: str
    source: str
    kind: str
    dense_status: str
    note: str

    @property
    def comparable_with(self) -> tuple[str, ...]:
        """Equal for points that may be compared with each other."""
        return (self.source, self.protocol, self.scope, self.dataset, self.metric)

    @property
    def loss(self) -> float | None:
        """How much worse than dense, positive when worse, in the metric's own unit."""
        if self.change is None:
            return None
        return -self.change if self.better == "higher" else self.change

    @property
    def _badness(self) -> float:
        """Orders comparable points of one model, with or without a dense figure."""
        if self.sparse is not None:
            return self.sparse if self.better == "lower" else -self.sparse
        return self.loss or 0.0


@cache
def _file() -> _File:
    return load_spec(_File, DATA)


def published_name(workload: str) -> str:
    """The name that sources give a shipped workload; any other name stays as it is.

    >>> published_name("llama2_7b")
    'LLaMA-2-7B'
    """
    return _file().workloads.get(workload, workload)


@cache
def every_point() -> tuple[Point, ...]:
    """All points of the package, in the order of the file."""
    found: list[Point] = []
    for block in _file().blocks:
        for entry in block.points:
            for model, sparse in entry.values.items():
                dense = block.dense.get(model)
                change = None if dense is None else sparse - dense
                found.append(_point(block, entry, model, dense, sparse, change))
            for model, change in entry.changes.items():
                found.append(_point(block, entry, model, None, None, change))
    return tuple(found)


def _point(
    block: _PublishedBlock, entry: _Entry, model: str, dense: float | None, sparse: float | None,
    change: float | None,
) -> Point:  # fmt: skip
    return Point(
        model, entry.method, entry.pattern, block.metric, block.better, dense, sparse,
        None if change is None else round(change, 6), block.dataset, block.protocol, block.scope,
        block.source, block.kind, block.dense_status, block.note,
    )  # fmt: skip


def points(
    *,
    model: str | None = None,
    method: str | None = None,
    pattern: Pattern | str | None = None,
    machine: Pattern | str | None = None,
) -> list[Point]:
    """Published points of a model, a method and a pattern; what is None is not asked for.

    `pattern` is the one of the paper, `machine` the one that a machine requires of weights: a point
    is offered only if the machine takes every mask of its pattern. Raises CodesignError for a model
    or a method that no point has, with what comes near; an empty answer is no error.
    """
    found = list(every_point())
    for name, wanted in (("model", model), ("method", method)):
        if wanted is None:
            continue
        known = list(dict.fromkeys(str(getattr(p, name)) for p in every_point()))
        if wanted not in known:
            raise CodesignError(
                f"nothing is published here for the {name} {wanted[:40]!r}"
                + suggestion(wanted, known)
            )
        found = [p for p in found if getattr(p, name) == wanted]
    if pattern is not None:
        exact = str(_read(pattern))
        found = [p for p in found if p.pattern == exact]
    if machine is not None:
        takes = _read(machine)
        found = [p for p in found if allows(takes, parse_pattern(p.pattern))]
    return found


def rank(of: Sequence[Point]) -> list[Point]:
    """Comparable points of one model from best to worst.

    Raises CodesignError for points of different sources, protocols, data, metrics or models.
    """
    if len({(*p.comparable_with, p.model) for p in of}) > 1:
        raise CodesignError(
            "published figures are compared inside one source, protocol, data set, metric and "
            "model only; choose points with equal `comparable_with`"
        )
    return sorted(of, key=lambda p: p._badness)


def allows(machine: Pattern, point: Pattern) -> bool:
    """Whether every mask of the point's pattern is a mask of the machine's; False if in doubt.

    Densities leave the rounding of ragged edges out.

    >>> allows(parse_pattern("4:8"), parse_pattern("2:4"))
    True
    >>> allows(parse_pattern("2:4"), parse_pattern("4:8"))
    False
    """
    if machine == point or isinstance(machine, Dense):
        return True
    kind = type(point)  # several patterns are built on N:M and are stricter
    if type(machine) is Unstructured:
        return kind in (NM, Transposable, Unstructured) and point.density <= machine.density
    if type(machine) is NM and isinstance(point, NM | Transposable):
        along = kind is Transposable or (kind is NM and point.axis == machine.axis)
        return along and _groups_fit(machine.n, machine.m, point.n, point.m)
    return False


def _groups_fit(n: int, m: int, point_n: int, point_m: int) -> bool:
    """Whether any m aligned neighbours hold n elements or fewer when point_m hold point_n."""
    if m % point_m == 0:
        return point_n * (m // point_m) <= n
    if point_m % m == 0:
        return min(point_n, m) <= n
    return False


def _read(pattern: Pattern | str) -> Pattern:
    return parse_pattern(pattern) if isinstance(pattern, str) else pattern
