"""What is known of a design's accuracy, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["measured", "proxy", "published"]
SOURCES: tuple[Source, ...] = ("measured", "proxy", "published")


@dataclass(frozen=True, slots=True)
class AccuracyPoint:
    """What a design's accuracy is, and where that comes from.

    Metrics in percent are given as fractions of 1, others, such as perplexity, in their own unit.
    """

    kind: Source
    model: str
    method: str
    pattern: str
    """Of the point; every mask of it is one that the design allows."""
    value: float | None
    drop: float | None
    """How much worse than dense, positive when worse; None where the source does not say."""
    error: float | None
    """Of `drop`: a deviation over seeds, or what the proxy was off where it was measured."""
    metric: str
    better: Literal["higher", "lower"]
    citation: str
    comparable_with: tuple[str, ...]
    """Equal for points that may be compared with each other."""
    note: str = ""

    @property
    def is_share(self) -> bool:
        """Whether `value` is a fraction that is better when it is higher."""
        return self.better == "higher" and self.metric.endswith("%")
