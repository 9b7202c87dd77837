"""The accuracy of compared designs: looked up, held to a limit, and printed with its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from codesign.cli.console import show, table
from codesign.cli.suggest import OneOf, Share

if TYPE_CHECKING:
    from codesign.accuracy import AccuracyPoint
    from codesign.report.study import Scenario

_KIND = click.option(
    "--accuracy", "accuracy_kind", default=None,
    type=OneOf("measured", "proxy", "published", what="kind of accuracy"),
    help="Add the accuracy of each design, of this kind, with its source.",
)  # fmt: skip
_LIMIT = click.option(
    "--max-drop", type=Share(), default=None, metavar="X",
    help="Leave designs out that lose more accuracy than X, a fraction, or whose loss is unknown.",
)  # fmt: skip


def accuracy_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --accuracy and --max-drop to a command."""
    return _KIND(_LIMIT(command))


@dataclass(frozen=True)
class Accuracies:
    """What one kind of accuracy says of patterns; None where it has no figure."""

    kind: str
    by_pattern: dict[str, AccuracyPoint | None]
    reasons: dict[str, str]
    """By pattern, why there is no figure."""

    def within(self, pattern: str, max_drop: float | None) -> bool:
        """Whether a design of a pattern loses no more than a limit."""
        found = self.by_pattern[pattern]
        if max_drop is None:
            return True
        return found is not None and found.drop is not None and found.drop <= max_drop

    def share(self, pattern: str) -> float | None:
        """The accuracy of a pattern as a fraction, for the fields of results."""
        found = self.by_pattern[pattern]
        return found.value if found is not None and found.is_share else None

    def plain(self, pattern: str) -> dict[str, Any] | None:
        """A pattern's point as JSON values."""
        found = self.by_pattern[pattern]
        return None if found is None else asdict(found)

    def column(self, pattern: str) -> str:
        """A pattern's accuracy in a table."""
        found = self.by_pattern[pattern]
        if found is None or found.value is None:
            return "-"
        return f"{100 * found.value:.1f} %" if found.is_share else f"{found.value:g}"

    def tell(self, scenario: Scenario, patterns: Sequence[str]) -> None:
        """Print what each pattern loses, by which method, from where, and the front."""
        from codesign.sweep.pareto import costs, front

        known = [p for p in self.by_pattern.values() if p is not None]
        metrics = ", ".join(dict.fromkeys(p.metric for p in known))
        show(f"\naccuracy, {self.kind}" + (f": {metrics}" if metrics else ""), bold=True)
        grid = table("sparsity", "accuracy", "lost", "±", "pattern", "method", left=1)
        for pattern in dict.fromkeys(patterns):
            found = self.by_pattern[pattern]
            if found is None:
                continue
            lost = "" if found.drop is None else _amount(found.drop, found)
            error = "" if found.error is None else _amount(found.error, found)
            grid.add_row(
                pattern, self.column(pattern), lost, error, found.pattern, found.method
            )  # fmt: skip
        if grid.rows:
            show(grid)
        for said in dict.fromkeys(
            p.citation + (f" ({p.note})" if p.note else "") for p in known
        ):  # fmt: skip
            show(f"- {said}")
        for pattern, reason in self.reasons.items():
            show(f"- {pattern}: {reason}")
        if len({p.comparable_with for p in known}) > 1:
            show("- these figures are of several sources or protocols: do not rank them")
            return
        rows = []
        for run, pattern in zip(scenario.runs, patterns, strict=True):
            point = self.by_pattern[pattern]
            drop = {} if point is None or point.drop is None else {"drop": point.drop}
            rows.append({"latency": run.result.latency_s, **drop})
        best = front(costs(rows, {"latency": "minimize", "drop": "minimize"}))
        if best:
            names = ", ".join(scenario.runs[place].label for place in best)
            show(f"front of latency and accuracy lost: {names}")


def _amount(value: float, point: AccuracyPoint) -> str:
    return f"{100 * value:.2f} points" if point.is_share else f"{value:g}"


def look_up(
    kind: str, model: str, patterns: Sequence[str], method: str | None
) -> Accuracies:  # fmt: skip
    """The accuracies of one kind of a model under patterns and a method."""
    from codesign.accuracy import accuracy_of, why_none
    from codesign.config import CodesignError
    from codesign.trace.sparsify import STORED

    if STORED in patterns:
        raise CodesignError(
            "--accuracy is known of patterns, and stored masks are none: name one, such as "
            "--sparsity 2:4"
        )
    found = {pattern: accuracy_of(kind, model, method, pattern) for pattern in patterns}
    reasons = {
        pattern: why_none(kind, model, method, pattern)
        for pattern, point in found.items()
        if point is None
    }
    return Accuracies(kind, found, reasons)
