"""Cycles of the systolic array from the numbers of its folds, without stepping anything."""

from __future__ import annotations

import numpy as np


def weight_stationary_cycles(m, kept, rows, cols, add_latency, overlap, full_size_edges):
    """Per fold: cycles at which the stream starts and the last result is out."""
    n, groups = kept.shape
    start, end = [], []
    previous = 0
    for col0 in range(0, n, cols):
        for g0 in range(0, groups, rows):
            block = kept[col0 : col0 + cols, g0 : g0 + rows]
            s = max(1, int(block.max()))
            u = rows if full_size_edges else block.shape[1]
            v = cols if full_size_edges else block.shape[0]
            if not start or not overlap:
                begin = (end[-1] if end else 0) + u * s
            else:
                begin = start[-1] + max(m * previous, u * s)
            start.append(begin)
            end.append(begin + m * s + add_latency * u + v - 2)
            previous = s
    return start, end


def output_stationary_cycles(
    m, kept, rows, cols, add_latency, interleave, overlap, full_size_edges, drain
):
    """Per fold: cycles at which the stream starts and the last result is out."""
    n = kept.shape[0]
    tiles = []
    for col0 in range(0, n, cols):
        steps = int(np.maximum(kept[col0 : col0 + cols].max(axis=0), 1).sum())
        for row0 in range(0, m, rows):
            u = rows if full_size_edges else min(rows, m - row0)
            v = cols if full_size_edges else min(cols, n - col0)
            tiles.append((steps, u, v))
    start, end, issue, free = [], [], [], []
    for first in range(0, len(tiles), interleave):
        fold = tiles[first : first + interleave]
        steps = [tile[0] for tile in fold]
        u = max(tile[1] for tile in fold)
        v = max(tile[2] for tile in fold)
        running = [sum(k > r for k in steps) for r in range(max(steps))]
        t = sum(max(add_latency, a) for a in running[:-1]) + running[-1]
        if not start:
            begin = 0
        elif not overlap:
            begin = end[-1]
        else:
            begin = max(start[-1] + issue[-1], free[-2] if len(free) > 1 else 0)
        if drain:
            column_0 = max(begin + t + u + add_latency - 2, free[-1] if free else 0)
            free.append(column_0 + len(fold) * u)
            end.append(free[-1] + v - 1)
        else:
            free.append(begin + t + add_latency - 1)
            end.append(begin + t + u + v + add_latency - 3)
        start.append(begin)
        issue.append(t)
    return start, end
