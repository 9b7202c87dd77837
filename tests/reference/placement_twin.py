"""The rules that finish a placement, task by task as their definition says."""

from __future__ import annotations

from math import inf


def finish_by_rule(rule, at, unit, cycles, link_cycles, joules, deps, free, link_free, ends):
    """As the kernel, on lists: `deps` of each task; returns cores, ends, latest end and joules."""
    free, ends = [list(row) for row in free], list(ends)
    cores, spent = [], 0.0
    for i in range(at, len(unit)):
        ready = max((ends[dep] for dep in deps[i]), default=0.0)
        own = [row[unit[i]] for row in free]
        options = []
        for how, busy in enumerate((min(own), max(own))):
            start = max(ready, busy)
            end, moved = start + cycles[i][how], link_free
            if link_cycles[i][how] > 0:
                moved = max(link_free, start) + link_cycles[i][how]
                end = max(end, moved)
            options.append((end, moved, joules[i][how]))
        alone, cut = options
        better = {
            "cut_all": True,
            "earliest": cut[0] < alone[0],
            "frugal": cut[2] < alone[2],
        }[rule]
        is_cut = cycles[i][1] < inf and better
        end, link_free, energy = cut if is_cut else alone
        held = range(len(free)) if is_cut else [own.index(min(own))]
        for core in held:
            free[core][unit[i]] = end
        cores.append(-1 if is_cut else held[0])
        ends[i] = end
        spent += energy
    return cores, ends, max(ends[at:], default=0.0), spent
