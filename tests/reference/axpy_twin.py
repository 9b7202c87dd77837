"""Definition of the wafer's cores: objects that tick, with numbers; imports nothing of ours."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Core:
    """One column: activations by input, a queue of instructions, sums of rows under way."""

    activations: dict[int, list[int]]
    work: deque[tuple[str, int, int, int]] = field(default_factory=deque)
    """(kind, row, input, weight): an AXPY or the command that ends a row."""
    remaining: int = 0
    current: tuple[str, int, int, int] | None = None
    sums: dict[int, list[int]] = field(default_factory=dict)
    rows_ended: int = 0
    outbox: deque[tuple[int, list[int]]] = field(default_factory=deque)
    inbox: dict[int, tuple[int, list[int]]] = field(default_factory=dict)
    """Sums from the column before, by row: the cycle at which they can be used, and they."""
    link_free: int = 0
    held_until: dict[int, int | None] = field(default_factory=dict)
    """By row: when the place of its sums is free again; None while they have not left."""


def run(activations, weights, depth, axpy, command, hop, send, sums, window):
    """Products [items][rows], and by row when all columns ended it and when its result is complete.

    `weights` is a list of rows of integers or None where a weight is dropped; zeros can be kept.
    """
    items, k, rows = len(activations), len(activations[0]), len(weights)
    columns = -(-k // depth)
    cores = [
        Core(
            {
                j: [activations[i][j] for i in range(items)]
                for j in range(c * depth, min(k, c * depth + depth))
            }
        )
        for c in range(columns)
    ]
    for core in cores:
        for r in range(rows):
            for j in core.activations:
                if weights[r][j] is not None:
                    core.work.append(("axpy", r, j, weights[r][j]))
            core.work.append(("command", r, 0, 0))
    ended, complete, out, axpys = [0] * rows, [0] * rows, [[0] * rows for _ in range(items)], 0
    finished = 0
    cycle = 0
    while finished < rows:
        for core in cores:  # what was begun earlier ends at the edge of this cycle
            if core.current is not None and core.remaining == 0:
                kind, r, j, weight = core.current
                core.current = None
                if kind == "axpy":
                    axpys += 1
                    core.sums[r] = [
                        s + weight * a
                        for s, a in zip(core.sums[r], core.activations[j], strict=True)
                    ]
                else:
                    core.rows_ended += 1
                    ended[r] = max(ended[r], cycle)
                    core.outbox.append((r, core.sums.pop(r)))
        slowest = min(core.rows_ended for core in cores)
        for c, core in enumerate(cores):
            if core.current is None and core.work:
                r = core.work[0][1]
                if r in core.sums:
                    core.current = core.work.popleft()
                else:
                    places = sum(
                        until is None or until > cycle for until in core.held_until.values()
                    )
                    if places < sums and slowest > r - window:
                        core.sums[r] = [0] * items
                        core.held_until[r] = None
                        core.current = core.work.popleft()
                if core.current is not None:
                    core.remaining = axpy if core.current[0] == "axpy" else command
            if core.outbox and core.link_free <= cycle:
                r, own = core.outbox[0]
                if c == 0:
                    before = [0] * items
                elif r in core.inbox and core.inbox[r][0] <= cycle:
                    before = core.inbox[r][1]
                else:
                    continue
                core.outbox.popleft()
                total = [x + y for x, y in zip(before, own, strict=True)]
                core.link_free = core.held_until[r] = cycle + send
                if c + 1 < columns:
                    cores[c + 1].inbox[r] = (cycle + hop, total)
                else:
                    complete[r] = cycle + send
                    for i in range(items):
                        out[i][r] = total[i]
                    finished += 1
        for core in cores:
            if core.current is not None:
                core.remaining -= 1
        cycle += 1
    return out, ended, complete, axpys
