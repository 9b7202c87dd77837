"""What a step table means, by ticking a clock and moving steps through queues."""

from __future__ import annotations

from collections import deque


def run_steps_by_clock(unit, busy, latency, dep_ptr, dep_idx, servers, order):
    """Lists of the cycles at which every step is ready, starts and ends."""
    n = len(unit)
    ready: list[int | None] = [None] * n
    start: list[int | None] = [None] * n
    end: list[int | None] = [None] * n
    queue = [deque() for _ in servers]
    held_until = [[] for _ in servers]
    for i in range(n):
        if servers[unit[i]] > 0 and order[unit[i]] == 0:
            queue[unit[i]].append(i)

    def begin(i, clock):
        start[i] = clock
        end[i] = clock + int(busy[i]) + int(latency[i])

    def serve(u, clock):
        while queue[u]:
            held_until[u] = [until for until in held_until[u] if until > clock]
            head = queue[u][0]
            if ready[head] is None or len(held_until[u]) >= servers[u]:
                return
            queue[u].popleft()
            begin(head, clock)
            held_until[u].append(clock + int(busy[head]))

    clock = 0
    while any(s is None for s in start):
        for u in range(len(servers)):
            serve(u, clock)
        for i in range(n):
            deps = dep_idx[dep_ptr[i] : dep_ptr[i + 1]]
            if ready[i] is None and all(end[d] is not None and end[d] <= clock for d in deps):
                ready[i] = clock
                if servers[unit[i]] == 0:
                    begin(i, clock)
                elif order[unit[i]] == 1:
                    queue[unit[i]].append(i)
                serve(unit[i], clock)
        clock += 1
    return ready, start, end
