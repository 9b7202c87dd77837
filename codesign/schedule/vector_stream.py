"""Steps of vector work that streams through a double buffer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.schedule.program import COMPUTE, FINISH, LOAD, STORE, Int64, Steps
from codesign.schedule.streaming import KeptTransfer, Link, Outline, Selection, share
from codesign.trace.op import Op, ceil_bytes

_CHUNK_DOUBLINGS = 6


@dataclass(frozen=True)
class Stream:
    """Vector work that passes through a double buffer in chunks: load, compute, store.

    `after` is a unit that the results pass before they are stored, for its cycles in total.
    `kept_read_bytes` of the operands, and the first operand's results if `keeps_result`, are in
    scratchpads at the end of `pads`, and do not leave the chip.
    """

    op: Op
    unit: str
    action: str
    special_action: str
    chunk_bytes: int
    cycles_per_element: int
    lanes: int
    latency_cycles: int
    extra_write_bytes: int = 0
    after: Selection | None = None
    kept_read_bytes: int = 0
    keeps_result: bool = False
    pads: Link | None = None

    @property
    def write_bytes(self) -> int:
        return self.op.write_bytes + self.extra_write_bytes

    @property
    def kept_write_bytes(self) -> int:
        return ceil_bytes(self.op.writes, self.op.c_dtype) if self.keeps_result else 0

    @property
    def loaded_bytes(self) -> int:
        """Bytes that come from off the chip."""
        return self.op.read_bytes - self.kept_read_bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes that leave the chip."""
        return self.write_bytes - self.kept_write_bytes

    @property
    def work_cycles(self) -> int:
        """Cycles of its lanes, however it is cut."""
        return -(-self.op.elements // self.lanes) * self.cycles_per_element

    def chunks(self, link: Link) -> int:
        """Into how many chunks, each at most half the buffer, the work is cut to end soonest.

        Chunks are whole rows of lanes. More of them overlap better and wait for the link's latency
        more often.
        """
        op = self.op
        most = max(op.read_bytes, self.write_bytes)
        fewest = max(1, min(op.elements, -(-most // self.chunk_bytes)))
        counts = [fewest << i for i in range(_CHUNK_DOUBLINGS)]
        counts = [count for count in counts if count <= max(fewest, op.elements // self.lanes)]
        return min(counts, key=lambda count: self.estimate(count, link))

    def estimate(self, chunks: int, link: Link) -> float:
        """Cycles in equal chunks, as for a product's tiles."""
        compute = self.work_cycles
        if link.bytes_per_cycle is None:
            return compute
        read, write = (n / link.bytes_per_cycle for n in (self.loaded_bytes, self.stored_bytes))
        most = max(self.loaded_bytes, self.stored_bytes)
        turns = link.turns(most, chunks, compute, self.latency_cycles)
        ends = (read + write) / chunks
        return max(compute, read + write - ends, turns) + ends

    def outline(self, link: Link) -> Outline:
        op, chunks = self.op, self.chunks(link)
        return Outline(
            unit=self.unit,
            action=self.action,
            count=op.elements * op.alu_per_element,
            compute_cycles=self.work_cycles,
            latency_cycles=self.latency_cycles,
            head_bytes=self.loaded_bytes // chunks,
            read_bytes=self.loaded_bytes,
            write_bytes=self.stored_bytes,
            tail_bytes=self.stored_bytes // chunks,
            selections=() if self.after is None else (self.after,),
            kept=self._kept(),
        )

    def _kept(self) -> tuple[KeptTransfer, ...]:
        if self.pads is None:
            return ()
        return (
            KeptTransfer(self.pads, self.kept_read_bytes, False),
            KeptTransfer(self.pads, self.kept_write_bytes, True),
        )

    def _ways(self, link: Link, off_chip: int, kept: int) -> list[tuple[Link, int]]:
        """The links that data passes, with the bytes that pass each."""
        if self.pads is None or not kept:
            return [(link, off_chip)]
        return [(self.pads, kept), *([(link, off_chip)] if off_chip else [])]

    def emit(self, steps: Steps, link: Link) -> tuple[Int64, Int64]:
        """Append the steps; return those that free the buffers and those that end the work."""
        op, chunks = self.op, self.chunks(link)
        at = np.arange(chunks)
        rows = share(-(-op.elements // self.lanes), chunks)
        loads = [
            way.move(steps, share(size, chunks), at, stage=LOAD)
            for way, size in self._ways(link, self.loaded_bytes, self.kept_read_bytes)
        ]
        compute = steps.add(
            self.unit, rows * self.cycles_per_element, at=at, stage=COMPUTE,
            latency_cycles=self.latency_cycles, action=self.action,
            count=share(op.elements * op.alu_per_element, chunks),
        )  # fmt: skip
        finished = compute
        if self.after is not None:
            finished = steps.add(
                self.after.unit, share(int(self.after.busy_cycles.sum()), chunks), at=at,
                stage=FINISH, action=self.after.action,
                count=share(int(self.after.count.sum()), chunks),
            )  # fmt: skip
            steps.depend(finished, compute)
        stores = [
            way.move(steps, share(size, chunks), at, stage=STORE, write=True)
            for way, size in self._ways(link, self.stored_bytes, self.kept_write_bytes)
        ]
        for load in loads:
            steps.depend(load, steps.inputs_ready)
            steps.depend(load[:2], steps.engine_ready)
            steps.depend(load[2:], compute[:-2])
            steps.depend(compute, load)
        for store in stores:
            steps.depend(compute[2:], store[:-2])
            steps.depend(store, finished)
        return compute[-1:], np.concatenate(stores)

    def tally(self, steps: Steps, buffer: str) -> None:
        """Count what takes no time of its own: special operations and accesses of the buffer."""
        op = self.op
        steps.tally(self.special_action, op.elements * op.special_per_element)
        steps.tally(f"{buffer}_read", op.read_bytes + self.write_bytes)
        steps.tally(f"{buffer}_write", op.read_bytes + self.write_bytes)
