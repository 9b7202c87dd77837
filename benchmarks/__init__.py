"""Speed in figures against goals; nothing here gates a change."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One measured figure; `better` says whether values above or below the goal are good."""

    name: str
    value: float
    unit: str
    goal: float
    better: str = "higher"
    baseline: str | None = None
    """What the figure is compared with, in words."""

    @property
    def times_goal(self) -> float:
        """How many times better than the goal the value is."""
        if self.better == "lower":
            return self.goal / self.value if self.value else float("inf")
        return self.value / self.goal
