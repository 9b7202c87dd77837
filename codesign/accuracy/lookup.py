"""The accuracy of one design: measured, by proxy or published, and always which of the three."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codesign.accuracy.point import SOURCES, AccuracyPoint
from codesign.accuracy.published import Point, allows, every_point, published_name
from codesign.config import CodesignError, suggestion
from codesign.sparsity.pattern import NM, Pattern, parse_pattern
from codesign.trace.transform import is_change

STORE = Path("runs") / "accuracy.db"


def accuracy_of(
    source: str,
    model_name: str,
    method: str | None = None,
    pattern: Pattern | str | None = None,
    machine: object = None,
    *,
    store: Path = STORE,
) -> AccuracyPoint | None:
    """The accuracy that a source has for a model under a method and a pattern; None if it has none.

    `pattern` is that of the design (None: dense): a point counts if each of its masks is one of the
    design's. With no point of the very pattern, the one that loses least counts. Without `method`
    it is, again, the one that loses least; the point names it. `machine` may be a pattern that the
    machine requires beside the design's own. A machine itself restricts nothing more, since what it
    is told of the zeros is the design's pattern. All points of a model and a method come from one
    source and protocol, also those of other patterns. Measured and proxy points are those of the
    models in `store`, named as MODEL or TASK_MODEL. Raises CodesignError for an unknown source.
    """
    if source not in SOURCES:
        raise CodesignError(
            f"accuracy is {', '.join(SOURCES[:-1])} or {SOURCES[-1]}, not {source[:40]!r}"
            + suggestion(source, list(SOURCES))
        )
    if isinstance(pattern, str) and is_change(pattern):
        return None
    design = pattern if isinstance(pattern, Pattern) else parse_pattern(pattern or "dense")
    required = parse_pattern(machine) if isinstance(machine, str) else machine
    if source == "published":
        found = _published(published_name(model_name), method)
    else:
        from codesign.accuracy.own import own_points

        found = own_points(source, model_name, store)
        if method is not None:
            found = [p for p in found if p.method in (method, "dense")]
    if design.is_dense:
        return next((p for p in found if p.pattern == "dense"), None)
    holding = [
        p for p in found
        if p.pattern != "dense"
        and allows(design, parse_pattern(p.pattern))
        and (not isinstance(required, Pattern) or allows(required, parse_pattern(p.pattern)))
    ]  # fmt: skip
    exact = [p for p in holding if p.pattern == str(design)]
    return min(exact or holding, key=_badness, default=None)


def why_none(source: str, model_name: str, method: str | None, pattern: object) -> str:
    """One line that says what a source lacks where `accuracy_of` gives None, and what to do."""
    what = f"{model_name} with {pattern or 'dense'}" + (f" by {method}" if method else "")
    if source != "published":
        return (
            f"nothing is {'measured' if source == 'measured' else 'estimated'} here for {what}; "
            "see `codesign accuracy run` and `codesign accuracy proxy`"
        )
    name = published_name(model_name)
    here = [p for p in every_point() if p.model == name]
    if not here:
        return f"nothing is published here for {what}; see `codesign accuracy published`"
    chosen = _published(name, method)
    if not chosen:
        known = ", ".join(dict.fromkeys(p.method for p in here))
        return f"nothing is published here for {what} (methods of {name}: {known})"
    patterns = ", ".join(dict.fromkeys(p.pattern for p in chosen if p.pattern != "dense"))
    return f"{chosen[0].citation} has no figure for {what} (it has {patterns})"


def _badness(point: AccuracyPoint) -> float:
    if point.drop is not None:
        return point.drop
    value = point.value or 0.0
    return -value if point.better == "higher" else value


def _published(name: str, method: str | None) -> list[AccuracyPoint]:
    """The points of the block that says most of the model, N:M patterns before others."""
    blocks: dict[tuple[str, ...], list[Point]] = {}
    for point in every_point():
        if point.model == name:
            blocks.setdefault(point.comparable_with, []).append(point)
    fitting = [
        of for of in blocks.values() if method is None or any(p.method == method for p in of)
    ]
    if not fitting:
        return []
    chosen = max(fitting, key=_says)
    first = chosen[0]
    scale = 0.01 if first.metric.endswith("%") else 1.0
    dense = [] if first.dense is None else [_point(first, scale, dense=True)]
    return dense + [
        _point(point, scale) for point in chosen if method is None or point.method == method
    ]


def _says(of: Sequence[Point]) -> tuple[bool, int, int]:
    """Whether it says how much is lost, of how many N:M designs, of how many designs."""
    structured = sum(isinstance(parse_pattern(p.pattern), NM) for p in of)
    return of[0].loss is not None, structured, len(of)


def _point(point: Point, scale: float, *, dense: bool = False) -> AccuracyPoint:
    value = point.dense if dense else point.sparse
    loss = 0.0 if dense else point.loss
    notes = [point.note] if point.note else []
    if point.dense_status == "unverified":
        notes.insert(0, "the dense figure is unverified")
    return AccuracyPoint(
        kind="published",
        model=point.model,
        method="dense" if dense else point.method,
        pattern="dense" if dense else point.pattern,
        value=None if value is None else value * scale,
        drop=None if loss is None else loss * scale,
        error=None,
        metric=f"{point.dataset}, {point.metric}",
        better="higher" if point.better == "higher" else "lower",
        citation=f"{point.source}; {point.protocol}",
        comparable_with=point.comparable_with,
        note="; ".join(notes),
    )
