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
