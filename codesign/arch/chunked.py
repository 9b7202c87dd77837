"""Products in chunks of their rows of weights: load, compute, store, as a stream."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from codesign.schedule.program import COMPUTE, LOAD, STORE, Int64, Steps
from codesign.schedule.streaming import DRAM, DRAM_READ, DRAM_WRITE, MAC, Link, share

_BUFFERS = 2


@dataclass(frozen=True)
class Chunks:
    """Cycles, multiply-accumulates and bytes of each chunk of a product, all int64 [chunks].

    `latency_cycles` is how long after its last chunk the product is complete. `loads_maps` says
    that what is loaded is not weights alone, so that another operator has to store it first.
    """

    unit: str
    busy_cycles: Int64
    macs: Int64
    loaded_bytes: Int64
    stored_bytes: Int64
    latency_cycles: int = 0
    loads_maps: bool = False

    def emit(self, steps: Steps, link: Link) -> tuple[Int64, Int64]:
        """Append the steps; return those that free the buffers and those that end the product.

        Two chunks are buffered; as many more are on the link as its latency holds.
        """
        chunks = len(self.busy_cycles)
        window = min(chunks, _BUFFERS + self._on_the_way(link))
        at = np.arange(chunks)
        latency = np.zeros(chunks, dtype=np.int64)
        latency[-1] = self.latency_cycles
        compute = steps.add(
            self.unit, self.busy_cycles, at=at, stage=COMPUTE, latency_cycles=latency, action=MAC,
            count=self.macs,
        )  # fmt: skip
        steps.depend(compute[:1], steps.inputs_ready)
        done = [compute]
        if self.loaded_bytes.any():
            load = steps.add(
                DRAM.name, link.cycles(self.loaded_bytes), at=at, stage=LOAD,
                latency_cycles=link.delay, action=DRAM_READ, count=self.loaded_bytes,
            )  # fmt: skip
            if self.loads_maps:
                steps.depend(load, steps.inputs_ready)
            steps.depend(load[:window], steps.engine_ready)
            steps.depend(load[window:], compute[:-window])
            steps.depend(compute, load)
        else:
            steps.depend(compute[:1], steps.engine_ready)
        if self.stored_bytes.any():
            store = steps.add(
                DRAM.name, link.cycles(self.stored_bytes), at=at, stage=STORE,
                latency_cycles=link.delay, action=DRAM_WRITE, count=self.stored_bytes,
            )  # fmt: skip
            steps.depend(store, compute)
            done.append(store)
        return compute[chunks + 1 - max(2, window) :][:1], np.concatenate(done)

    def _on_the_way(self, link: Link) -> int:
        """Chunks that the link holds while the first of them has not arrived."""
        if not link.bytes_per_cycle:
            return 0
        each = max(1.0, float(self.loaded_bytes.mean()))
        return int(link.latency_cycles * link.bytes_per_cycle / each)


def spread(amount: int, running: Int64) -> Int64:
    """Cut a whole number in proportion to the steps of a running total."""
    last = int(running[-1])
    if last == 0:
        return share(amount, len(running) - 1)
    places = [int(edge) * amount // last for edge in running]
    return np.array([end - start for start, end in pairwise(places)], dtype=np.int64)


def edges(rows: int, most_chunks: int) -> Int64:
    """Where at most so many chunks of nearly equal length begin, and where the last ends."""
    chunks = min(rows, most_chunks)
    return np.arange(chunks + 1, dtype=np.int64) * rows // chunks
