"""A core of bank-balanced lanes, stepped cycle by cycle, with its numbers."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _next_kept(keep, lane, start, stop):
    """The first kept column of one lane from `start` on, or `stop`."""
    for j in range(start, stop):
        if keep[lane, j]:
            return j
    return stop


@njit(cache=True, nogil=True)
def _step_lanes(a, w, keep, c, at, ends, rows, lanes):
    """One cycle: every bank of every lane takes its next kept weight; returns the banks that did.

    `at[x, b]` is the column that lane x looks at in bank b; `rows`, `lanes` are (first, last + 1).
    """
    served = 0
    for x in range(lanes[0], lanes[1]):
        for b in range(len(ends)):
            j = at[x - lanes[0], b]
            if j < ends[b]:
                served += 1
                for i in range(rows[0], rows[1]):
                    c[i, x] += a[i, j] * w[x, j]
                at[x - lanes[0], b] = _next_kept(keep, x, j + 1, ends[b])
    return served


@njit(cache=True, nogil=True)
def _open_set(keep, start, k, bank, at, ends, lanes):
    """Point every lane at its first kept weight in each bank; returns whether there is any."""
    found = False
    for b in range(len(ends)):
        first = min(start + b * bank, k)
        ends[b] = min(first + bank, k)
        for x in range(lanes[0], lanes[1]):
            at[x - lanes[0], b] = _next_kept(keep, x, first, ends[b])
            found = found or at[x - lanes[0], b] < ends[b]
    return found


@njit(cache=True, nogil=True)
def run_bank_groups(a, w, keep, shape, gather_cycles, drain_values_per_cycle):
    """Product, cycles and multiply-accumulates of one core on A [m, k] and B as [n, k].

    `shape` is (rows, cols, banks, bank): a block of outputs is up to `rows` rows of A by up to
    `cols` lanes; its reduction passes in sets of `banks` banks of `bank` values. In each cycle
    every bank of every lane multiplies its next kept weight; all wait for the slowest. While a set
    is computed the activations of the next one are gathered in `gather_cycles`; sets without kept
    weights are passed over. A finished block drains while the next one runs. Row blocks pass by
    each block of lanes.

    Returns (C [m, n], cycles until the last block begins to drain, cycles of that drain, MACs).
    """
    rows, cols, banks, bank = shape
    m, k = a.shape
    n = w.shape[0]
    c = np.zeros((m, n), a.dtype)
    at = np.zeros((cols, banks), np.int64)
    ends = np.zeros(banks, np.int64)
    clock, drain, macs = 0, 0, 0
    gathering = gather_cycles
    for left in range(0, n, cols):
        lanes = (left, min(left + cols, n))
        for top in range(0, m, rows):
            block = (top, min(top + rows, m))
            for start in range(0, k, banks * bank):
                if not _open_set(keep, start, k, bank, at, ends, lanes):
                    continue
                while gathering > 0:
                    gathering -= 1
                    drain = max(0, drain - 1)
                    clock += 1
                gathering = gather_cycles
                while True:
                    served = _step_lanes(a, w, keep, c, at, ends, block, lanes)
                    if served == 0:
                        break
                    macs += served * (block[1] - block[0])
                    gathering = max(0, gathering - 1)
                    drain = max(0, drain - 1)
                    clock += 1
            while drain > 0:
                drain -= 1
                gathering = max(0, gathering - 1)
                clock += 1
            values = (block[1] - block[0]) * (lanes[1] - lanes[0])
            drain = -(-values // drain_values_per_cycle)
    return c, clock, drain, macs


@njit(cache=True, nogil=True)
def pace_blocks(slots, m, n, shape, gather_cycles, drain_values_per_cycle):
    """The cycles of `run_bank_groups`, from the most kept weights of a bank.

    `slots` is int64 [blocks of lanes, sets], 0 where a set has no kept weights.
    Returns (cycles until the last block begins to drain, cycles of that drain).
    """
    rows, cols = shape[0], shape[1]
    gathered, handed, drain = gather_cycles, 0, 0
    for block in range(slots.shape[0]):
        first_to_last, first_to_next = 0, 0
        any_set = False
        for s in range(slots.shape[1]):
            if slots[block, s] > 0:
                first_to_last = first_to_next + slots[block, s]
                first_to_next += max(slots[block, s], gather_cycles)
                any_set = True
        lanes = min(cols, n - block * cols)
        for top in range(0, m, rows):
            end = handed
            if any_set:
                start = max(handed, gathered)
                end, gathered = start + first_to_last, start + first_to_next
            handed = max(end, handed + drain)
            drain = -(-min(rows, m - top) * lanes // drain_values_per_cycle)
    return handed, drain
