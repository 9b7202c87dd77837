"""Columns of cores that multiply streamed weights with the activations they hold.

One row of cores: column c holds a slice of the reduction for some items. Weights arrive row by row;
each kept weight of the slice is one packet and one AXPY of `axpy` cycles, then a command takes
`command` cycles and the column's sums go to the next column, `hop` cycles away and `send` cycles
long, which adds its own. A column has room for `sums` rows of sums, and its queue for packets of
`window` rows.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def pace_rows(packets, axpy, command, hop, send, sums, window):
    """When each row of weights is worked off, and when its last sum has left.

    `packets` is int64 [rows, columns]. Column c begins row r when it has ended row r - 1, the sums
    of its row r - sums have left, and every column has ended row r - window. Returns two int64
    [rows]: the cycle at which the slowest column ends the row, and that of its complete result.
    """
    rows, columns = packets.shape
    ended = np.zeros(rows, np.int64)
    complete = np.zeros(rows, np.int64)
    free = np.zeros(columns, np.int64)
    sent = np.zeros((sums, columns), np.int64)
    for r in range(rows):
        admitted = ended[r - window] if r >= window else 0
        slot = r % sums
        last = (r - 1) % sums
        arrived = 0
        for c in range(columns):
            start = max(free[c], admitted)
            if r >= sums:
                start = max(start, sent[slot, c] + send)
            end = start + packets[r, c] * axpy + command
            free[c] = end
            ended[r] = max(ended[r], end)
            leaves = max(end, arrived)
            if r > 0:
                leaves = max(leaves, sent[last, c] + send)
            sent[slot, c] = leaves
            arrived = leaves + hop
        complete[r] = sent[slot, columns - 1] + send
    return ended, complete


@njit(cache=True, nogil=True)
def _next_kept(keep, row, start, stop):
    """The first kept column of a row from `start` on, or `stop`."""
    for j in range(start, stop):
        if keep[row, j]:
            return j
    return stop


@njit(cache=True, nogil=True)
def step_rows(act, w, keep, depth, axpy, command, hop, send, sums, window):
    """`pace_rows` cycle by cycle, with the numbers.

    `act` is [items, k], `w` and `keep` are [rows, k]; column c holds the inputs c * depth to
    (c + 1) * depth - 1. Returns (products [items, rows], ended, complete, AXPYs).
    """
    items, k = act.shape
    rows = w.shape[0]
    columns = -(-k // depth)
    held = np.zeros((columns, sums, items), act.dtype)
    out = np.zeros((items, rows), act.dtype)
    partial = np.zeros((rows, items), act.dtype)
    end = np.full((rows, columns), -1, np.int64)
    sent = np.full((rows, columns), -1, np.int64)
    row = np.zeros(columns, np.int64)
    at = np.full(columns, -1, np.int64)
    left = np.zeros(columns, np.int64)
    to_send = np.zeros(columns, np.int64)
    all_ended = np.zeros(rows, np.int64)
    axpys, clock = 0, 0
    while to_send[columns - 1] < rows:
        for c in range(columns):
            stop = min((c + 1) * depth, k)
            if left[c] == 0 and at[c] >= 0:
                r = row[c]
                if at[c] < stop:
                    for i in range(items):
                        held[c, r % sums, i] += w[r, at[c]] * act[i, at[c]]
                    axpys += 1
                    at[c] = _next_kept(keep, r, at[c] + 1, stop)
                    left[c] = axpy if at[c] < stop else command
                else:
                    end[r, c] = clock
                    all_ended[r] += 1
                    row[c], at[c] = r + 1, -1
        for c in range(columns):
            stop = min((c + 1) * depth, k)
            r = row[c]
            if at[c] < 0 and r < rows:
                room = r < sums or (sent[r - sums, c] >= 0 and sent[r - sums, c] + send <= clock)
                admitted = r < window or all_ended[r - window] == columns
                if room and admitted:
                    held[c, r % sums, :] = 0
                    at[c] = _next_kept(keep, r, c * depth, stop)
                    left[c] = axpy if at[c] < stop else command
            q = to_send[c]
            if q < rows and 0 <= end[q, c] <= clock:
                here = c == 0 or (sent[q, c - 1] >= 0 and sent[q, c - 1] + hop <= clock)
                clear = q == 0 or sent[q - 1, c] + send <= clock
                if here and clear:
                    sent[q, c] = clock
                    partial[q] += held[c, q % sums]
                    to_send[c] = q + 1
                    if c == columns - 1:
                        out[:, q] = partial[q]
        for c in range(columns):
            if at[c] >= 0:
                left[c] -= 1
        clock += 1
    ended = np.zeros(rows, np.int64)
    for r in range(rows):
        ended[r] = end[r].max()
    return out, ended, sent[:, columns - 1] + send, axpys
