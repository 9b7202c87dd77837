"""Element-wise work on the tiles of a product: lanes take each tile as it leaves the array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codesign.schedule.program import FINISH, LOAD, STORE, Int64, Steps
from codesign.schedule.streaming import PIECES, KeptTransfer, LastWork, Link, bytes_of, place_of
from codesign.schedule.tiling import TileTable
from codesign.trace.op import Op, ceil_bytes


@dataclass(frozen=True, slots=True)
class Epilogue:
    """Operators that follow a product on each tile of its result, in their order.

    `stored` says which of all results, the product's own first, leave for memory; the last always
    does. `operand_bytes` are those that the operators read beside the result before them.
    """

    ops: tuple[Op, ...] = ()
    stored: tuple[bool, ...] = (True,)

    @property
    def operand_bytes(self) -> int:
        return sum(op.read_bytes - ceil_bytes(op.elements, op.a_dtype) for op in self.ops)

    @property
    def whole_rows(self) -> bool:
        """Whether an operator reduces the rows of the result, which a tile then holds whole."""
        return any(op.passes > 1 for op in self.ops)

    def dtypes(self, product_dtype: str) -> list[str]:
        """Of the results that are stored."""
        every = [product_dtype, *(op.c_dtype for op in self.ops)]
        return [dtype for dtype, stored in zip(every, self.stored, strict=True) if stored]

    def stored_bytes(self, product: Op) -> int:
        """Bytes of all results that are stored."""
        return sum(ceil_bytes(product.c_elements, each) for each in self.dtypes(product.c_dtype))

    def moved_bytes(self, product: Op) -> int:
        """Bytes that pass the lanes' buffer: other operands, and what is stored."""
        return self.operand_bytes + self.stored_bytes(product)

    def __str__(self) -> str:
        return ", ".join(op.function or op.kind.value for op in self.ops)


NO_EPILOGUE = Epilogue()


@dataclass(frozen=True)
class Pieces:
    """Columns with a row for each piece of a tile that passes the lanes' buffer."""

    tile: Int64
    """Which row of the product's table."""
    number: Int64
    """Which piece of its tile."""
    elements: Int64
    busy_cycles: Int64
    read_bytes: Int64
    kept_read_bytes: Int64
    write_bytes: Int64
    kept_write_bytes: Int64

    @cached_property
    def last(self) -> Int64:
        """The rows that are the last piece of their tile."""
        return np.append(np.flatnonzero(self.number[1:] == 0), len(self.number) - 1)


@dataclass(frozen=True)
class Finish:
    """How lanes carry out an epilogue.

    They read a tile's sums from the scratchpad where they lie. Other operands come through half of
    the lanes' buffer, results leave through the other, `piece_bytes` at most at a time. An element
    takes `cycles_per_element` for all operators together. `kept_read_bytes` of the operands, and
    the last result if `keeps_result`, are in scratchpads at the end of `pads`.
    """

    epilogue: Epilogue
    unit: str
    action: str
    lanes: int
    cycles_per_element: int
    latency_cycles: int
    piece_bytes: int
    kept_read_bytes: int = 0
    keeps_result: bool = False
    pads: Link | None = None

    @property
    def alu_per_element(self) -> int:
        return sum(op.alu_per_element for op in self.epilogue.ops)

    def pieces(self, table: TileTable) -> Pieces:
        """The pieces of all tiles of a product's result, in the order in which lanes take them."""
        tiles = np.flatnonzero(table.last_k)
        elements = table.c_elements[tiles]
        kept_read = _dealt(self.kept_read_bytes, elements)
        read = _dealt(self.epilogue.operand_bytes - self.kept_read_bytes, elements)
        dtypes = self.epilogue.dtypes(table.op.c_dtype)
        written = [bytes_of(elements, dtype) for dtype in dtypes]
        kept_write = written.pop() if self.keeps_result else np.zeros_like(elements)
        write = sum(written, np.zeros_like(elements))
        rows = -(-elements // self.lanes)
        most = np.maximum(read + kept_read, write + kept_write)
        pieces = np.clip(-(-most // self.piece_bytes), 1, np.minimum(rows, PIECES - 1))
        number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)

        def cut(amount: Int64) -> Int64:
            whole, parts = np.repeat(amount, pieces), np.repeat(pieces, pieces)
            sizes: Int64 = whole * (number + 1) // parts - whole * number // parts
            return sizes

        return Pieces(
            np.repeat(tiles, pieces), number, cut(elements), cut(rows) * self.cycles_per_element,
            cut(read), cut(kept_read), cut(write), cut(kept_write),
        )  # fmt: skip

    def emit(
        self, steps: Steps, link: Link, table: TileTable, summed: Int64
    ) -> tuple[Int64, Int64, Int64]:
        """Append the steps of the lanes, after those of all tiles (`summed`).

        Returns those of the lanes, one for each piece; of them the last of each tile, which free
        its sums; and those that store the results.
        """
        pieces = self.pieces(table)
        at = place_of(pieces.tile, pieces.number)
        work = steps.add(
            self.unit, pieces.busy_cycles, at=at, stage=FINISH, latency_cycles=self.latency_cycles,
            action=self.action, count=pieces.elements * self.alu_per_element,
        )  # fmt: skip
        steps.depend(work, summed[pieces.tile])
        stores = []
        for way, read, write in (
            (link, pieces.read_bytes, pieces.write_bytes),
            (self.pads, pieces.kept_read_bytes, pieces.kept_write_bytes),
        ):
            if way is None:
                continue
            if read.any():
                load = way.move(steps, read, at, stage=LOAD)
                steps.depend(load, steps.inputs_ready)
                steps.depend(load[:2], steps.engine_ready)
                steps.depend(load[2:], work[:-2])
                steps.depend(work, load)
            if write.any():
                store = way.move(steps, write, at, stage=STORE, write=True)
                steps.depend(store, work)
                steps.depend(work[2:], store[:-2])
                stores.append(store)
        return work, work[pieces.last], np.concatenate(stores)

    def tally(self, steps: Steps, product: Op, special_action: str, buffer: str) -> None:
        """Count what takes no time of its own: transcendental operations, the lanes' buffer."""
        ops = self.epilogue.ops
        steps.tally(special_action, sum(op.elements * op.special_per_element for op in ops))
        moved = self.epilogue.moved_bytes(product)
        steps.tally(f"{buffer}_read", moved)
        steps.tally(f"{buffer}_write", moved)

    def kept(self, pieces: Pieces) -> tuple[KeptTransfer, ...]:
        """What of the work stays on the chip, for an outline."""
        if self.pads is None:
            return ()
        return (
            KeptTransfer(self.pads, self.kept_read_bytes, False),
            KeptTransfer(self.pads, int(pieces.kept_write_bytes.sum()), True),
        )

    def last_work(self, pieces: Pieces, first_cycles: int) -> LastWork:
        """The lanes' work for an outline: on the last tile it waits for all of the product.

        The first tile is computed after `first_cycles`.
        """
        last = pieces.tile == pieces.tile[-1]
        held, counts = pieces.busy_cycles, pieces.elements * self.alu_per_element
        return LastWork(
            self.unit, self.action, int(held[~last].sum()), int(counts[~last].sum()),
            int(held[last].sum()), int(counts[last].sum()), first_cycles, self.latency_cycles,
        )  # fmt: skip


def _dealt(total: int, weights: NDArray[np.int64]) -> Int64:
    """Whole parts of a whole number, in the ratio of `weights`; they add up to it."""
    ends = np.cumsum(weights)
    each, rest = divmod(total, int(ends[-1]))
    edges = each * ends + np.floor(rest * (ends / ends[-1])).astype(np.int64)
    parts: Int64 = np.diff(edges, prepend=0)
    return parts
