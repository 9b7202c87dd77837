"""Feature maps that stay on the chip: what an operator keeps, and the scratchpads that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from codesign.arch.systolic_parts import Buffers
from codesign.schedule.program import MARKER, NO_ACTION, Int64, Steps
from codesign.schedule.streaming import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class PadLink(Link):
    """The way between a kept map, which lies over all scratchpads, and an operator's buffers.

    Each scratchpad holds the share `capacity_bytes` of every map and moves its width per cycle. As
    transfers from DRAM, copies do not wait for the ports that feed the array.
    """

    unit = MARKER.name
    read_action = write_action = NO_ACTION

    names: tuple[str, ...]
    capacity_bytes: tuple[int, ...]

    def tally(self, steps: Steps, amount: Int64, *, write: bool) -> None:
        total = int(np.sum(amount))
        for name, part in zip(self.names, split(total, self.capacity_bytes), strict=True):
            steps.tally(f"{name}_{'write' if write else 'read'}", part)


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Whole parts of a whole number in the ratio of `weights`; they add up to it.

    >>> split(10, [1, 1, 2])
    [2, 3, 5]
    """
    edges = [total * edge // sum(weights) for edge in (0, *np.cumsum(weights).tolist())]
    return [after - before for before, after in pairwise(edges)]


def pad_link(buffers: Buffers) -> PadLink:
    """The way to what is kept in the scratchpads of an array."""
    pads = {name: getattr(buffers, name) for name in type(buffers).model_fields}
    return PadLink(
        bytes_per_cycle=float(sum(pad.width_bytes for pad in pads.values())),
        names=tuple(pads),
        capacity_bytes=tuple(pad.capacity_bytes for pad in pads.values()),
    )


def room_bytes(buffers: Buffers) -> int:
    """Bytes of all scratchpads together."""
    return sum(pad_link(buffers).capacity_bytes)


def narrowed(buffers: Buffers, taken_bytes: int) -> Buffers:
    """The scratchpads with what maps leave of them; each gives the same share."""
    room = room_bytes(buffers)
    left = {
        name: pad.model_copy(
            update={"capacity_bytes": pad.capacity_bytes * (room - taken_bytes) // room}
        )
        for name in type(buffers).model_fields
        if (pad := getattr(buffers, name))
    }
    return buffers.model_copy(update=left)
