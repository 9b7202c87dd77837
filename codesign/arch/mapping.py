"""How an operator is laid on a machine: tiles, what stays on the chip, what is fused, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codesign.schedule.epilogue import NO_EPILOGUE, Epilogue
from codesign.trace.op import Op, ceil_bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What of an operator's traffic stays on the chip, and the room that others' maps take.

    `a`, `b` and `c` are the operands and the result of a product; a vector operator keeps its
    result `c` and `read_bytes` of what it reads. While it runs, kept maps hold `taken_bytes`.
    """

    a: bool = False
    b: bool = False
    c: bool = False
    read_bytes: int = 0
    taken_bytes: int = 0

    def saved_bytes(self, op: Op) -> int:
        """Compulsory traffic that the operator is spared."""
        if not op.is_matmul:
            return self.read_bytes + self.c * ceil_bytes(op.writes, op.c_dtype)
        return self.a * op.a_bytes + self.b * op.b_bytes + self.c * op.c_bytes

    def __str__(self) -> str:
        names = [name for name in "abc" if getattr(self, name)]
        return "".join([*names, "r" * bool(self.read_bytes)])


NOTHING_KEPT = Kept()


@dataclass(frozen=True, slots=True)
class Place:
    """Where on a machine of several equal cores an operator runs: on one core, or cut over all
    along an axis (`m`, `n` or `groups` of a product, `elements` of vector work).
    """

    core: int = 0
    axis: str = ""

    def __str__(self) -> str:
        return f"{self.axis} over all cores" if self.axis else f"on core {self.core}"


@dataclass(frozen=True, slots=True)
class Mapping:
    """How an operator is laid on a machine: dataflow, tile sizes in elements, order of loops.

    `order` is "mn" (the tiles of B pass by each tile of A) or "nm" (the reverse); the reduction is
    innermost. `tile_groups` independent products share a tile. `kept` stays on the chip. Tiles are
    those of the part that a core runs where `place` cuts the operator; None has no cores to choose
    from.
    """

    dataflow: str
    tile_m: int
    tile_n: int
    tile_k: int
    tile_groups: int = 1
    order: str = "mn"
    kept: Kept = NOTHING_KEPT
    place: Place | None = None
    epilogue: Epilogue = NO_EPILOGUE
    """What follows on each tile of the result; `kept` then is of its operands and last result."""
    fused_into: str = ""
    """The product on whose tiles the operator works, if any; it then does nothing of its own."""

    def spared_bytes(self, op: Op) -> int:
        """Bytes by which the operator's compulsory traffic is less than without neighbours."""
        kept, after = self.kept, self.epilogue
        if not after.ops:
            return kept.saved_bytes(op)
        operands = kept.a * op.a_bytes + kept.b * op.b_bytes
        last = after.ops[-1]
        moved = after.moved_bytes(op) - kept.read_bytes
        moved -= kept.c * ceil_bytes(last.elements, last.c_dtype)
        return operands + op.c_bytes - moved

    def __str__(self) -> str:
        if self.fused_into:
            return f"fused into {self.fused_into}"
        kept = f" keeps {self.kept}" if str(self.kept) else ""
        kept = f" + {self.epilogue}{kept}" if self.epilogue.ops else kept
        place = "" if self.place is None else f", {self.place}"
        tiles = f"{self.tile_m}x{self.tile_n}x{self.tile_k}"
        return f"{self.dataflow} {tiles} {self.order}{kept}{place}"


@dataclass(frozen=True)
class Candidates:
    """Mappings that a search may try, as columns; `at` makes the mapping of one of them.

    No run of candidate i takes fewer than `least_cycles[i]` or moves fewer than `least_bytes[i]`
    off chip; `likely_cycles` ranks them.
    """

    least_cycles: NDArray[np.float64]
    least_bytes: NDArray[np.float64]
    likely_cycles: NDArray[np.float64]
    at: Callable[[int], Mapping]

    def __len__(self) -> int:
        return len(self.least_cycles)

    def placed(self, place: Place) -> Candidates:
        """The same mappings at a place."""
        return replace(self, at=lambda number: replace(self.at(number), place=place))


def joined_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Several sets of candidates as one, in their order."""
    starts = np.cumsum([0, *(len(part) for part in parts)])

    def at(place: int) -> Mapping:
        part = int(np.searchsorted(starts, place, side="right")) - 1
        return parts[part].at(place - int(starts[part]))

    none = [np.empty(0)]
    return Candidates(
        np.concatenate([part.least_cycles for part in parts] or none),
        np.concatenate([part.least_bytes for part in parts] or none),
        np.concatenate([part.likely_cycles for part in parts] or none),
        at,
    )
