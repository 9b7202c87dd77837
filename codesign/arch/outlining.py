"""Machines that outline all operators of a trace at once, for sweeps at tile fidelity."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from codesign.arch.base import AnyMachine
from codesign.schedule.program import Int64
from codesign.trace.op import Op

HEAD, COMPUTE, READ, WRITE, SELECT, TAIL, STEPS = 2, 3, 4, 5, 6, 7, 10
"""Columns of the steps of an outline in the order of its program: two markers, then these, then two
markers. An operator without a selection lacks that step.
"""


@dataclass(frozen=True)
class Outlines:
    """Operators as emit_outline writes them, one row each, in the order in which they were given.

    `busy_cycles` and `latency_cycles` have STEPS columns, `counts` a column for each of the
    machine's actions; all are of one run of the operator. `compulsory_bytes` and
    `peak_macs_per_cycle` are what the machine's functions of these names say.
    """

    busy_cycles: Int64
    latency_cycles: Int64
    counts: Int64
    compulsory_bytes: Int64
    peak_macs_per_cycle: int


class Rows(Protocol):
    """What of some operators does not depend on sizes of the array, the memories and the link."""

    @property
    def structure(self) -> Hashable:
        """Equal for rows whose programs have the same steps, units, actions and dependencies."""


class Outliner(Protocol):
    """What a machine family may offer as `outliner`: the numbers of its `lower`, in less time.

    Rows are made for many designs once, and their content is the family's own affair.
    """

    def product_rows(self, machine: Any, ops: Sequence[Op]) -> Rows | None:
        """Of products; None where one of them needs a mask or steps of its own."""

    def stream_rows(self, machine: Any, ops: Sequence[Op]) -> Rows:
        """Of operators that stream through lanes."""

    def outlines(self, machine: Any, products: Any, streams: Any) -> Outlines | None:
        """The products, then the streams; None where `lower` has to decide, or has to complain."""


def outliner_of(family: type[AnyMachine]) -> Outliner | None:
    """The outliner of a machine family, if it has one."""
    return getattr(family, "outliner", None)
