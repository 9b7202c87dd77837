"""Step tables become start and end cycles: units with servers, queues and dependencies."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _hold(free, first, servers, until):
    """Occupy the server that is free first, the root of heap free[first : first + servers]."""
    hole = 0
    child = 1
    while child < servers:
        if child + 1 < servers and free[first + child + 1] < free[first + child]:
            child += 1
        if free[first + child] >= until:
            break
        free[first + hole] = free[first + child]
        hole = child
        child = 2 * hole + 1
    free[first + hole] = until


@njit(cache=True, nogil=True)
def _push(heap_ready, heap_step, size, ready, step):
    """Add (ready, step) to a binary heap of `size` entries."""
    hole = size
    while hole > 0:
        parent = (hole - 1) >> 1
        above = heap_ready[parent]
        if above < ready or (above == ready and heap_step[parent] < step):
            break
        heap_ready[hole] = above
        heap_step[hole] = heap_step[parent]
        hole = parent
    heap_ready[hole] = ready
    heap_step[hole] = step


@njit(cache=True, nogil=True)
def _drop_least(heap_ready, heap_step, size):
    """Remove the root of a binary heap of `size` entries."""
    last = size - 1
    ready = heap_ready[last]
    step = heap_step[last]
    hole = 0
    child = 1
    while child < last:
        right = child + 1
        if right < last and (
            heap_ready[right] < heap_ready[child]
            or (heap_ready[right] == heap_ready[child] and heap_step[right] < heap_step[child])
        ):
            child = right
        if heap_ready[child] > ready or (heap_ready[child] == ready and heap_step[child] > step):
            break
        heap_ready[hole] = heap_ready[child]
        heap_step[hole] = heap_step[child]
        hole = child
        child = 2 * hole + 1
    heap_ready[hole] = ready
    heap_step[hole] = step


@njit(cache=True, nogil=True)
def _in_program_order(
    unit, busy, latency, dep_ptr, dep_idx, servers, first, free, last_start, ready, start, end
):
    """One pass for programs whose units all serve in program order or have no limit."""
    for i in range(len(unit)):
        at = 0
        for e in range(dep_ptr[i], dep_ptr[i + 1]):
            at = max(at, end[dep_idx[e]])
        ready[i] = at
        u = unit[i]
        if servers[u] == 1:
            at = max(at, free[first[u]])
            free[first[u]] = at + busy[i]
        elif servers[u] > 1:
            at = max(at, last_start[u], free[first[u]])
            last_start[u] = at
            _hold(free, first[u], servers[u], at + busy[i])
        start[i] = at
        end[i] = at + busy[i] + latency[i]


@njit(cache=True, nogil=True)
def resume_steps(
    unit, busy, latency, dep_ptr, dep_idx, servers, first, by_arrival, free, last_start, watched,
    ready, start, end,
):  # fmt: skip
    """Run the rows whose `end` is -1 until all are done, or until a watched row is.

    A row is ready no earlier than `ready` says at first. Unit u has the servers free[first[u] :
    first[u + 1]], a heap of the cycles at which they are free; `last_start` is the start of its
    latest step. Once a row of `watched` (only rows of units without a limit) is done, no further
    step in order of arrival (`by_arrival`) is served: what waits for such a row may come before it.

    Every unresolved step depends on a heap element, possibly by way of its unit's program order: it
    is ready no earlier than the heap's least, and on a tie it is a later row, as links lead back.
    """
    n = len(unit)
    last_step = np.full(len(servers), -1, dtype=np.int64)
    previous = np.full(n, -1, dtype=np.int64)
    scanned = dep_ptr[:-1].copy()
    # A blocked step waits on one unresolved step at a time: waiter and sibling are linked lists.
    waiter = np.full(n, -1, dtype=np.int64)
    sibling = np.full(n, -1, dtype=np.int64)
    queued = 0
    for i in range(n):
        queued += by_arrival[unit[i]]
    stop_serving = False
    heap_ready = np.empty(queued, dtype=np.int64)
    heap_step = np.empty(queued, dtype=np.int64)
    size = 0
    row = 0
    todo = -1
    while True:
        if todo >= 0:
            i = todo
            todo = sibling[i]
        elif row < n:
            i = row
            row += 1
            if end[i] >= 0:
                continue
            if servers[unit[i]] > 0 and not by_arrival[unit[i]]:
                previous[i] = last_step[unit[i]]
                last_step[unit[i]] = i
        elif size > 0 and not stop_serving:
            i = heap_step[0]
            _drop_least(heap_ready, heap_step, size)
            size -= 1
            scanned[i] = -1
        else:
            break
        u = unit[i]
        at = ready[i]
        if scanned[i] >= 0:
            blocker = -1
            e = scanned[i]
            stop = dep_ptr[i + 1]
            while e < stop:
                seen = end[dep_idx[e]]
                if seen < 0:
                    blocker = dep_idx[e]
                    break
                at = max(at, seen)
                e += 1
            ready[i] = at
            if blocker < 0 and previous[i] >= 0 and end[previous[i]] < 0:
                blocker = previous[i]
            if blocker >= 0:
                scanned[i] = e
                sibling[i] = waiter[blocker]
                waiter[blocker] = i
                continue
            if by_arrival[u]:
                _push(heap_ready, heap_step, size, at, i)
                size += 1
                continue
        if servers[u] == 1:
            at = max(at, free[first[u]])
            free[first[u]] = at + busy[i]
        elif servers[u] > 1:
            at = max(at, last_start[u], free[first[u]])
            last_start[u] = at
            _hold(free, first[u], servers[u], at + busy[i])
        else:
            stop_serving |= watched[i]
        start[i] = at
        end[i] = at + busy[i] + latency[i]
        woken = waiter[i]
        while woken >= 0:
            following = sibling[woken]
            sibling[woken] = todo
            todo = woken
            woken = following


@njit(cache=True, nogil=True)
def idle_units(servers, order, steps_of):
    """The state of units before their first step, as `resume_steps` takes it.

    `servers` (int64[u]) and `order` (int8[u]) are those of `run_steps`, `steps_of` (int64[u]) the
    steps that each unit will serve in all. Returns servers, first, by_arrival, free, last_start.
    """
    first = np.zeros(len(servers) + 1, dtype=np.int64)
    used = np.empty(len(servers), dtype=np.int64)
    by_arrival = np.zeros(len(servers), dtype=np.int64)
    for u in range(len(servers)):
        # More servers than steps never matter: such a unit is one where nobody waits for a server.
        used[u] = min(servers[u], max(steps_of[u], 1))
        first[u + 1] = first[u] + used[u]
        by_arrival[u] = order[u] == 1 and servers[u] > 0 and steps_of[u] > 0
    free = np.zeros(first[-1], dtype=np.int64)
    return used, first, by_arrival, free, np.zeros(len(servers), dtype=np.int64)


@njit(cache=True, nogil=True)
def run_steps(unit, busy, latency, dep_ptr, dep_idx, servers, order):
    """Cycles at which every step is ready, starts and ends.

    Step i (unit int32[n], busy and latency int64[n] cycles) is ready when the steps
    dep_idx[dep_ptr[i] : dep_ptr[i + 1]], all in earlier rows, have ended; it starts when its unit
    serves it, holds one server for busy[i] cycles and ends latency[i] cycles after that. A unit has
    `servers` (int64[u]; 0: nobody waits) and an `order` (int8[u]): 0 starts its steps in program
    order, each no earlier than the one before and at the first cycle with a free server; 1 serves
    them in the order of (ready, row), each on the server that is free first. Returns ready, start
    and end, int64[n] each.
    """
    n = len(unit)
    ready = np.empty(n, dtype=np.int64)
    start = np.empty(n, dtype=np.int64)
    end = np.empty(n, dtype=np.int64)
    steps_of = np.zeros(len(servers), dtype=np.int64)
    for i in range(n):
        steps_of[unit[i]] += 1
    used, first, by_arrival, free, last_start = idle_units(servers, order, steps_of)
    if by_arrival.any():
        ready[:] = 0
        end[:] = -1
        resume_steps(
            unit, busy, latency, dep_ptr, dep_idx, used, first, by_arrival, free, last_start,
            np.zeros(n, dtype=np.bool_), ready, start, end,
        )  # fmt: skip
    else:
        _in_program_order(
            unit, busy, latency, dep_ptr, dep_idx, used, first, free, last_start, ready, start, end
        )
    return ready, start, end


@njit(cache=True, nogil=True)
def sum_parts(unit, ready, start, first, units):
    """When each part of a program begins to work, and how long its steps wait.

    Part i is the rows first[i] to first[i + 1]. Returns for each part the least start of its rows
    of units other than 0, the markers' (the largest int64 where it has none), and the cycles that
    its steps waited for each of the `units` (int64[parts, units]).
    """
    parts = len(first) - 1
    begun = np.empty(parts, dtype=np.int64)
    waited = np.zeros((parts, units), dtype=np.int64)
    for part in range(parts):
        least = np.iinfo(np.int64).max
        for i in range(first[part], first[part + 1]):
            waited[part, unit[i]] += start[i] - ready[i]
            if unit[i] != 0:
                least = min(least, start[i])
        begun[part] = least
    return begun, waited
