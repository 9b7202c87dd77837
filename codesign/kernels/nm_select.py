"""Chooses N of M neighbours in matrices of float32, for masks that change each step."""

from __future__ import annotations

import numpy as np
from numba import njit

_GROUPS = 256
"""Groups of a row that are ranked together, so that they stay in the first cache."""
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_TINY = np.finfo(np.float32).tiny


@njit(cache=True, nogil=True)
def keep_along_rows(values, n, m, kept):
    """Set kept[i, j] where |values[i, j]| is among the n largest of its group of m columns.

    Of equal magnitudes the lower column is kept; a smaller last group of r keeps min(n, r). float32
    [rows, cols] and bool [rows, cols], both C-contiguous, no NaN. Counts who is larger: m - 1
    comparisons for each element and no branch, over groups laid side by side.
    """
    rows, flags = _whole_groups(values, m), _whole_groups(kept, m)
    size = np.full((m, _GROUPS), np.float32(-1.0))
    ahead = np.empty(_GROUPS, np.int32)
    for i in range(rows.shape[0]):
        for start in range(0, rows.shape[1], m * _GROUPS):
            row = rows[i, start : start + m * _GROUPS]
            into = flags[i, start : start + m * _GROUPS]
            used = ahead[: _lay_side_by_side(row, m, size)]
            for j in range(m):
                _count_ahead(size, j, m, used)
                for g in range((row.size - j + m - 1) // m):
                    into[g * m + j] = used[g] < n


@njit(cache=True, nogil=True)
def keep_along_columns(values, n, m, kept):
    """As `keep_along_rows` for groups of m rows in each column."""
    rows, cols = values.shape
    size = np.empty((m, cols), np.float32)
    ahead = np.empty(cols, np.int32)
    for start in range(0, rows, m):
        height = min(m, rows - start)
        for j in range(height):
            for c in range(cols):
                size[j, c] = abs(values[start + j, c])
        for j in range(height):
            _count_ahead(size, j, height, ahead)
            for c in range(cols):
                kept[start + j, c] = ahead[c] < n


@njit(cache=True, nogil=True)
def shrink_along_rows(values, n, m, scale, out, kept):
    """Write scale * sign(v) * max(|v| - t, 0), t the largest magnitude that is not among the n
    largest of its group of m columns, 0 where none is left out; and where that is not 0.

    float32 [rows, cols] and bool, C-contiguous, no NaN; ranks as `keep_along_rows` does.
    """
    rows, shrunk, flags = _whole_groups(values, m), _whole_groups(out, m), _whole_groups(kept, m)
    size = np.full((m, _GROUPS), np.float32(-1.0))
    ahead = np.empty(_GROUPS, np.int32)
    threshold = np.empty(_GROUPS, np.float32)
    for i in range(rows.shape[0]):
        for start in range(0, rows.shape[1], m * _GROUPS):
            row = rows[i, start : start + m * _GROUPS]
            into = shrunk[i, start : start + m * _GROUPS]
            flag = flags[i, start : start + m * _GROUPS]
            used = ahead[: _lay_side_by_side(row, m, size)]
            threshold[:] = _ZERO
            for j in range(m):
                _count_ahead(size, j, m, used)
                for g in range(used.size):
                    dropped = size[j, g] if used[g] >= n else _ZERO
                    threshold[g] = max(threshold[g], dropped)
            for j in range(m):
                for g in range((row.size - j + m - 1) // m):
                    v = row[g * m + j]
                    t = threshold[g]
                    soft = (v - min(max(v, -t), t)) * scale
                    into[g * m + j] = soft
                    flag[g * m + j] = soft != _ZERO


@njit(cache=True, nogil=True)
def _whole_groups(values, m):
    """The same elements as one row where no group crosses the end of a row."""
    return values.reshape(1, values.size) if values.shape[1] % m == 0 else values


@njit(cache=True, nogil=True)
def _lay_side_by_side(row, m, size):
    """Write magnitude j of group g to size[j, g] and count groups; -1 where the last is short."""
    groups = -(-row.size // m)
    size[:, groups - 1] = np.float32(-1.0)
    for j in range(m):
        for g in range((row.size - j + m - 1) // m):
            size[j, g] = abs(row[g * m + j])
    return groups


@njit(cache=True, nogil=True)
def _count_ahead(size, j, m, ahead):
    """How many of m magnitudes rank before the one in row j; of equal ones the upper does."""
    ahead[:] = 0
    for other in range(j):
        for g in range(ahead.size):
            ahead[g] += size[other, g] >= size[j, g]
    for other in range(j + 1, m):
        for g in range(ahead.size):
            ahead[g] += size[other, g] > size[j, g]


@njit(cache=True, nogil=True, error_model="numpy")
def draw_along_columns(values, uniforms, n, m, out):
    """Write an unbiased estimate that keeps n = 1 or 2 of every m rows of each column.

    The rule is that of codesign.prune.mvue. float32 [rows, cols] each, `uniforms` in [0, 1) with
    n rows for every group; C-contiguous, no NaN.
    """
    rows, cols = values.shape
    odds = np.empty((m, cols), np.float32)
    top, low = np.empty(cols, np.float32), np.empty(cols, np.float32)
    share, left = np.empty(cols, np.float32), np.empty(cols, np.float32)
    first, second = np.empty(cols, np.int32), np.empty(cols, np.int32)
    for group in range(-(-rows // m)):
        part, into = values[group * m : (group + 1) * m], out[group * m : (group + 1) * m]
        height = part.shape[0]
        _largest_and_rest(part, top, low)
        second[:] = -1
        for c in range(cols):
            left[c] = uniforms[n * group, c] * (top[c] + low[c])
        _draw(part, left, second, first)
        if n == 1:
            for j in range(height):
                for c in range(cols):
                    estimate = top[c] + low[c]
                    estimate = estimate if part[j, c] > _ZERO else -estimate
                    into[j, c] = estimate if first[c] == j else _ZERO
            continue
        for c in range(cols):
            share[c] = _ONE / max(top[c] + low[c], _TINY)
        for j in range(height):
            for c in range(cols):
                size = abs(part[j, c])
                others = low[c] + (top[c] - size)
                drawn, before = uniforms[n * group + 1, c] * others, left[c]
                left[c] = drawn if first[c] == j else before
                odds[j, c] = size * share[c] / max(others, _TINY)
        _draw(part, left, first, second)
        _largest_and_rest(odds[:height], top, low)
        for j in range(height):
            for c in range(cols):
                estimate = _ONE / (share[c] + (low[c] + (top[c] - odds[j, c])))
                estimate = estimate if part[j, c] > _ZERO else -estimate
                into[j, c] = estimate if (first[c] == j) | (second[c] == j) else _ZERO


@njit(cache=True, nogil=True)
def _largest_and_rest(values, top, low):
    """The largest magnitude of each column and the sum of the others.

    low + (top - one) is then the sum without one of them, and keeps the digits that the sum of all
    minus the largest loses.
    """
    top[:] = _ZERO
    low[:] = _ZERO
    for j in range(values.shape[0]):
        for c in range(top.size):
            size = abs(values[j, c])
            low[c] += min(size, top[c])
            top[c] = max(size, top[c])


@njit(cache=True, nogil=True)
def _draw(values, left, without, found):
    """The row where magnitudes, summed from above, pass `left`; -1 where all are 0.

    Row `without` does not take part; `left` is used up.
    """
    found[:] = -1
    for j in range(values.shape[0]):
        for c in range(left.size):
            size = abs(values[j, c])
            size = _ZERO if without[c] == j else size
            before, last = left[c], found[c]
            found[c] = j if (size > _ZERO) & (before >= _ZERO) else last
            left[c] = before - size
