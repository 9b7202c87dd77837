"""Several requests of a model in flight at once."""

from __future__ import annotations

from dataclasses import replace

from codesign.config import CodesignError
from codesign.trace.op import Op, Trace


def in_flight(trace: Trace, requests: int, streams: int = 1, ahead: int | None = None) -> Trace:
    """The trace run `requests` times on inputs of their own, `streams` at a time.

    The operators of requests that run at once take turns in the order of the trace. Inputs are
    taken in for `ahead` requests that have not ended: without it each stream does so for its next
    one while it works. Weights keep their names: every request reads the same tensors.

    >>> from codesign.trace.workload import load_workload
    >>> len(in_flight(load_workload("gemm:64,64,64"), 5, streams=2))
    5
    """
    if requests < 1 or streams < 1:
        raise CodesignError(f"requests and streams are at least 1, got {requests} and {streams}")
    held = 2 * streams if ahead is None else ahead
    if held < streams:
        raise CodesignError(f"{streams} streams need the inputs of as many requests, got {held}")
    consumed = {dep for op in trace for dep in op.deps}
    last = tuple(op.name for op in trace if op.name not in consumed)
    ops: list[Op] = []
    masks = {}
    for first in range(0, requests, streams):
        running = range(first, min(first + streams, requests))
        for op in trace:
            for request in running:
                own = f"{request}."
                deps = tuple(own + dep for dep in op.deps)
                if not deps and request >= held:
                    deps = tuple(f"{request - held}.{name}" for name in last)
                ops.append(replace(op, name=own + op.name, deps=deps))
                if op.name in trace.masks:
                    masks[own + op.name] = trace.masks[op.name]
    meta = {**trace.meta, "requests": requests, "streams": streams}
    return replace(trace, ops=tuple(ops), masks=masks, meta=meta)
