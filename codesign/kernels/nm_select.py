"""Chooses the N largest of M neighbours in matrices of float32, for masks that change each step."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def keep_along_rows(values, n, m, kept):
    """Set kept[i, j] where |values[i, j]| is among the n largest of its group of m columns.

    Of equal magnitudes the lower column is kept; a smaller last group of r keeps min(n, r). float32
    [rows, cols] and bool [rows, cols], both C-contiguous, no NaN. Counts who is larger: m - 1
    comparisons for each element and no branch, over groups laid side by side.
    """
    rows, cols = values.shape
    groups = cols // m
    full = groups * m
    size = np.empty((m, groups), np.float32)
    ahead = np.empty(groups, np.int32)
    for i in range(rows):
        for g in range(groups):
            for j in range(m):
                size[j, g] = abs(values[i, g * m + j])
        for j in range(m):
            for g in range(groups):
                ahead[g] = 0
            for other in range(j):
                for g in range(groups):
                    ahead[g] += size[other, g] >= size[j, g]
            for other in range(j + 1, m):
                for g in range(groups):
                    ahead[g] += size[other, g] > size[j, g]
            for g in range(groups):
                kept[i, g * m + j] = ahead[g] < n
        for j in range(full, cols):
            own = abs(values[i, j])
            larger = 0
            for other in range(full, cols):
                rival = abs(values[i, other])
                larger += rival > own or (rival == own and other < j)
            kept[i, j] = larger < n


@njit(cache=True, nogil=True)
def keep_along_columns(values, n, m, kept):
    """As `keep_along_rows` for groups of m rows in each column; vectorises across columns."""
    rows, cols = values.shape
    ahead = np.empty(cols, np.int32)
    for start in range(0, rows, m):
        stop = min(rows, start + m)
        for i in range(start, stop):
            for j in range(cols):
                ahead[j] = 0
            for other in range(start, i):
                for j in range(cols):
                    ahead[j] += abs(values[other, j]) >= abs(values[i, j])
            for other in range(i + 1, stop):
                for j in range(cols):
                    ahead[j] += abs(values[other, j]) > abs(values[i, j])
            for j in range(cols):
                kept[i, j] = ahead[j] < n


@njit(cache=True, nogil=True)
def shrink_along_rows(values, n, m, scale, out):
    """Write scale * sign(v) * max(|v| - t, 0), t the largest magnitude that is not among the n
    largest of its group of m columns, 0 where none is left out.

    float32 [rows, cols] each, C-contiguous, no NaN; counts as `keep_along_rows` does.
    """
    rows, cols = values.shape
    groups = cols // m
    full = groups * m
    size = np.empty((m, groups), np.float32)
    ahead = np.empty(groups, np.int32)
    threshold = np.empty(groups, np.float32)
    for i in range(rows):
        for g in range(groups):
            threshold[g] = 0.0
            for j in range(m):
                size[j, g] = abs(values[i, g * m + j])
        for j in range(m):
            for g in range(groups):
                ahead[g] = 0
            for other in range(j):
                for g in range(groups):
                    ahead[g] += size[other, g] >= size[j, g]
            for other in range(j + 1, m):
                for g in range(groups):
                    ahead[g] += size[other, g] > size[j, g]
            for g in range(groups):
                dropped = size[j, g] if ahead[g] >= n else np.float32(0.0)
                threshold[g] = max(threshold[g], dropped)
        for g in range(groups):
            t = threshold[g]
            for j in range(m):
                v = values[i, g * m + j]
                out[i, g * m + j] = (v - min(max(v, -t), t)) * scale
        t = np.float32(0.0)
        for j in range(full, cols):
            own = abs(values[i, j])
            larger = 0
            for other in range(full, cols):
                rival = abs(values[i, other])
                larger += rival > own or (rival == own and other < j)
            if larger >= n:
                t = max(t, own)
        for j in range(full, cols):
            v = values[i, j]
            out[i, j] = (v - min(max(v, -t), t)) * scale


@njit(cache=True, nogil=True)
def draw_along_columns(values, uniforms, n, m, out):
    """Write an unbiased estimate that keeps n = 1 or 2 of every m rows of each column.

    The rule is that of codesign.prune.mvue. float32 [rows, cols] each, `uniforms` in [0, 1) with
    two rows for every group; C-contiguous.
    """
    rows, cols = values.shape
    odds = np.empty(m)
    for group in range(-(-rows // m)):
        start = group * m
        stop = min(rows, start + m)
        for j in range(cols):
            total = 0.0
            for i in range(start, stop):
                out[i, j] = 0.0
                total += abs(values[i, j])
            if total <= 0.0:
                continue
            left = uniforms[2 * group, j] * total
            first = -1
            for i in range(start, stop):
                size = abs(values[i, j])
                if size > 0.0 and (left >= 0.0 or first < 0):
                    first = i
                left -= size
            if n == 1:
                out[first, j] = total if values[first, j] > 0 else -total
                continue
            every = 0.0
            for i in range(start, stop):
                size = abs(values[i, j])
                rest = total - size
                odds[i - start] = 0.0 if rest <= 1e-6 * total else size / (total * rest)
                every += odds[i - start]
            rest = total - abs(values[first, j])
            second = -1
            left = uniforms[2 * group + 1, j] * rest
            for i in range(start, stop):
                size = abs(values[i, j])
                if i == first:
                    continue
                if size > 0.0 and (left >= 0.0 or second < 0):
                    second = i
                left -= size
            for i in (first, second):
                if i >= 0:
                    size = abs(values[i, j])
                    alone = total - size <= 1e-6 * total
                    chance = 1.0 if alone else size / total + size * (every - odds[i - start])
                    out[i, j] = values[i, j] / chance
