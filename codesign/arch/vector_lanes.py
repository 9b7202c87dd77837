"""Vector lanes behind a double buffer: how operators stream through them."""

from __future__ import annotations

from codesign.arch.parts import Component, VectorUnit
from codesign.schedule.program import Unit
from codesign.schedule.streaming import Selection
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
    simple = max(op.passes, -(-op.alu_per_element // lanes.alu_per_lane))
    return Stream(
        op=op,
        unit=unit.name,
        action=f"{unit.name}_alu",
        special_action=f"{unit.name}_special",
        chunk_bytes=lanes.buffer_bytes // 2,
        cycles_per_element=max(1, simple + op.special_per_element * lanes.special_cycles),
        lanes=lanes.lanes,
        latency_cycles=lanes.latency_cycles,
        extra_write_bytes=extra_write_bytes,
        after=after,
    )


def stream_buffer(name: str, lanes: VectorUnit) -> Component:
    """The double buffer that vector lanes stream through."""
    return Component(
        name=f"{name} buffer", kind="sram", actions=(f"{name}_buffer_read", f"{name}_buffer_write"),
        capacity_bytes=lanes.buffer_bytes,
    )  # fmt: skip
