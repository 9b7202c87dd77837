"""Vector lanes behind a double buffer: how operators stream through them."""

from __future__ import annotations

from collections.abc import Sequence

from codesign.arch.mapping import Kept
from codesign.arch.parts import Component, VectorUnit
from codesign.schedule.epilogue import Epilogue, Finish
from codesign.schedule.program import Unit
from codesign.schedule.streaming import Link, Selection
from codesign.schedule.vector_stream import Stream
from codesign.trace.op import Op


def stream_through(
    op: Op,
    unit: Unit,
    lanes: VectorUnit,
    extra_write_bytes: int = 0,
    after: Selection | None = None,
) -> Stream:
    """An operator on vector lanes: an element takes its sweeps, or its operations if more."""
    return Stream(
        op=op,
        unit=unit.name,
        action=f"{unit.name}_alu",
        special_action=f"{unit.name}_special",
        chunk_bytes=lanes.buffer_bytes // 2,
        cycles_per_element=cycles_per_element((op,), lanes),
        lanes=lanes.lanes,
        latency_cycles=lanes.latency_cycles,
        extra_write_bytes=extra_write_bytes,
        after=after,
    )


def cycles_per_element(ops: Sequence[Op], lanes: VectorUnit) -> int:
    """Cycles that a lane takes for an element and all operators that follow each other on it.

    Each operator's first sweep is the last one of the operator before it.
    """
    sweeps = sum(op.passes for op in ops) - sum(op.passes > 0 for op in ops[1:])
    simple = max(sweeps, -(-sum(op.alu_per_element for op in ops) // lanes.alu_per_lane))
    return max(1, simple + sum(op.special_per_element for op in ops) * lanes.special_cycles)


def finish_on(
    epilogue: Epilogue, unit: Unit, lanes: VectorUnit, kept: Kept, pads: Link
) -> Finish | None:
    """How lanes carry out what follows on each tile of a product; None where nothing does."""
    if not epilogue.ops:
        return None
    return Finish(
        epilogue=epilogue,
        unit=unit.name,
        action=f"{unit.name}_alu",
        lanes=lanes.lanes,
        cycles_per_element=cycles_per_element(epilogue.ops, lanes),
        latency_cycles=lanes.latency_cycles * len(epilogue.ops),
        piece_bytes=lanes.buffer_bytes // 2,
        kept_read_bytes=kept.read_bytes,
        keeps_result=kept.c,
        pads=pads if kept.read_bytes or kept.c else None,
    )


def stream_buffer(name: str, lanes: VectorUnit) -> Component:
    """The double buffer that vector lanes stream through."""
    return Component(
        name=f"{name} buffer", kind="sram", actions=(f"{name}_buffer_read", f"{name}_buffer_write"),
        capacity_bytes=lanes.buffer_bytes,
    )  # fmt: skip
