"""Tasks on equal cores in their order: what a rule of thumb makes of those still to be placed."""

from __future__ import annotations

import numpy as np
from numba import njit

CUT_ALL, EARLIEST, FRUGAL = range(3)
"""Rules: cut what can be cut, end as early as possible, spend the fewest joules."""
ALONE, CUT = 0, 1
"""Columns of the costs."""


@njit(cache=True, nogil=True)
def finish_by_rule(
    rule, at, unit, cycles, link_cycles, joules, dep_ptr, dep_idx, free, link_free, ends, cores
):
    """Place tasks `at` and later by a rule: on the core whose unit is free first, or cut over all.

    Task i waits for tasks dep_idx[dep_ptr[i] : dep_ptr[i + 1]], all earlier, and for its kind of
    unit[i] on its core or on all; `cycles`, `link_cycles` and `joules` are float64[n, 2], infinite
    cycles where it cannot be cut. The link serves tasks in their order. `free` float64[cores,
    kinds] (changed), `link_free` and `ends` float64[n] (its tail is written) are the state so far;
    `cores` int64[n] receives the core of each, or -1. Returns the latest end and the joules of
    these tasks.
    """
    latest = 0.0
    spent = 0.0
    for i in range(at, len(unit)):
        ready = 0.0
        for e in range(dep_ptr[i], dep_ptr[i + 1]):
            ready = max(ready, ends[dep_idx[e]])
        u = unit[i]
        first = 0
        last = 0
        for core in range(1, free.shape[0]):
            if free[core, u] < free[first, u]:
                first = core
            if free[core, u] > free[last, u]:
                last = core
        end = max(ready, free[first, u]) + cycles[i, ALONE]
        moved = link_free
        if link_cycles[i, ALONE] > 0.0:
            moved = max(link_free, max(ready, free[first, u])) + link_cycles[i, ALONE]
            end = max(end, moved)
        end_cut = max(ready, free[last, u]) + cycles[i, CUT]
        moved_cut = link_free
        if link_cycles[i, CUT] > 0.0:
            moved_cut = max(link_free, max(ready, free[last, u])) + link_cycles[i, CUT]
            end_cut = max(end_cut, moved_cut)
        how = ALONE
        if cycles[i, CUT] < np.inf and (
            rule == CUT_ALL
            or (rule == EARLIEST and end_cut < end)
            or (rule == FRUGAL and joules[i, CUT] < joules[i, ALONE])
        ):
            how = CUT
        if how == CUT:
            end = end_cut
            moved = moved_cut
            free[:, u] = end
            cores[i] = -1
        else:
            free[first, u] = end
            cores[i] = first
        link_free = moved
        ends[i] = end
        latest = max(latest, end)
        spent += joules[i, how]
    return latest, spent
