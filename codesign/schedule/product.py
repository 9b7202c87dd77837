"""Steps of a tiled product on double-buffered scratchpads, and of what follows each tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.schedule.epilogue import Finish
from codesign.schedule.folds import TileCycles
from codesign.schedule.program import COMPUTE, STORE, Int64, Steps
from codesign.schedule.streaming import (
    ARRAY,
    MAC,
    STATIONARY_LOAD,
    KeptTransfer,
    Link,
    Operand,
    Outline,
    Selection,
    bytes_of,
    place_of,
)
from codesign.schedule.tiling import TileTable


@dataclass(frozen=True)
class TiledProduct:
    """A product in tiles: their cycles on the array, its operands, and where its results go.

    `macs` has one entry for each tile. The last partial sums are stored, over `results` if they
    are kept, or are what `finish` works on.
    """

    table: TileTable
    cycles: TileCycles
    streamed: Operand
    stationary: Operand
    macs: Int64
    results: Link | None = None
    finish: Finish | None = None

    def emit(self, steps: Steps, link: Link) -> tuple[Int64, Int64]:
        """Append the steps; return those that free the buffers, those that end the product.

        Per tile: loads of both operands where they change, the fill of the stationary registers,
        the array's body and tail, and after the last partial sum the store of C or what follows.
        """
        table, cycles = self.table, self.cycles
        at = place_of(np.arange(len(table)))
        fill = steps.add(STATIONARY_LOAD.name, cycles.fill, at=at, stage=COMPUTE)
        body = steps.add(ARRAY.name, cycles.body, at=at, stage=COMPUTE)
        tail = steps.add(
            ARRAY.name, cycles.tail, at=at, stage=COMPUTE, latency_cycles=cycles.latency,
            action=MAC, count=self.macs,
        )  # fmt: skip
        steps.depend(fill, self.stationary.emit(steps, link, tail))
        steps.depend(body, self.streamed.emit(steps, link, tail))
        steps.depend(fill[1:], body[:-1])
        steps.depend(body, fill)
        steps.depend(tail, body)

        begin_at = np.flatnonzero(table.first_k)
        if self.finish is not None:
            work, freed, store = self.finish.emit(steps, link, table, tail)
            steps.depend(body[begin_at[2:]], freed[:-2])
            return np.concatenate([tail[-1:], work[-2:-1]]), store
        summed = np.flatnonzero(table.last_k)
        c_bytes = bytes_of(table.c_elements[summed], table.op.c_dtype)
        store = (self.results or link).move(
            steps, c_bytes, place_of(summed), stage=STORE, write=True
        )
        steps.depend(store, tail[summed])
        steps.depend(body[begin_at[2:]], store[:-2])
        return np.concatenate([tail[-1:], store[-2:-1]]), store

    def outline(self, link: Link) -> Outline:
        """The few numbers of the product that its run takes from it at tile fidelity."""
        table, cycles, results, finish = self.table, self.cycles, self.results, self.finish
        c_bytes = bytes_of(table.c_elements[table.last_k], table.op.c_dtype)
        fills = np.maximum(0, cycles.fill[1:] - cycles.tail[:-1])
        held = int(cycles.fill[0] + cycles.body.sum() + cycles.tail.sum() + fills.sum())
        operands = (self.streamed, self.stationary)
        chosen = [
            Selection(s.unit, s.action, s.busy_cycles[o.loads], s.count[o.loads])
            for o in operands
            if (s := o.selection) is not None
        ]
        kept = [
            KeptTransfer(o.kept, int(o.size_bytes[o.loads].sum()), False)
            for o in operands
            if o.kept is not None
        ]
        read = sum(int(o.loaded_bytes.sum()) for o in operands)
        result_cycles = float(cycles.latency.mean())
        tiles, tail_bytes, last_work, turns = len(c_bytes), int(c_bytes[-1]), None, 0.0
        if finish is not None:
            pieces = finish.pieces(table)
            first = int(np.flatnonzero(table.last_k)[0]) + 1
            last_work = finish.last_work(
                pieces, int((cycles.fill + cycles.body + cycles.tail)[:first].sum())
            )
            kept += finish.kept(pieces)
            read += int(pieces.read_bytes.sum())
            c_bytes, tail_bytes = pieces.write_bytes, int(pieces.write_bytes[-1])
            if tiles > 2:
                waits = finish.latency_cycles + result_cycles + pieces.busy_cycles.sum() / tiles
                turns = (held + (tiles - 2) * waits) / 2
        elif results is not None:
            kept.append(KeptTransfer(results, int(c_bytes.sum()), True))
            c_bytes, tail_bytes = np.zeros_like(c_bytes), 0
        written = int(c_bytes.sum())
        transfers = max(
            0 if results is not None else tiles,
            *(0 if o.kept is not None else int(o.loads.sum()) for o in operands),
        )
        turns = max(turns, link.turns(read + written, transfers, held, result_cycles))
        return Outline(
            unit=ARRAY.name,
            action=MAC,
            count=int(self.macs.sum()),
            compute_cycles=held,
            latency_cycles=int(cycles.latency[-1]) + max(0, round(turns) - held),
            head_bytes=sum(int(o.loaded_bytes[0]) for o in operands),
            read_bytes=read,
            write_bytes=written,
            tail_bytes=tail_bytes,
            selections=tuple(chosen),
            kept=tuple(kept),
            finish=last_work,
        )
