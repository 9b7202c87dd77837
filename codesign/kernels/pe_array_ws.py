"""The weight-stationary array, stepped cycle by cycle; operands and cycles as in pe_array."""

from __future__ import annotations

import numpy as np
from numba import njit

# Columns of the table of tokens; a token is what the corner PE passes on at one cycle.
_HEIGHT, _WIDTH, _ROW, _COL, _GROUP, _SLOT, _FOLD, _FIELDS = range(8)
_VALUE, _INDEX = range(2)
_IDLE = -1


@njit(cache=True, nogil=True)
def _weight_stationary_row(tokens, operands, active, above, sums):
    """Step the PEs of one row by one cycle; returns multiply-accumulates."""
    macs = 0
    for x in range(len(sums)):
        slot = tokens[x, _SLOT]
        total = above[x]
        pick = active[x, slot, _INDEX]
        if pick != _IDLE:
            total += active[x, slot, _VALUE] * operands[x, pick]
            macs += 1
        sums[x] = total
    return macs


@njit(cache=True, nogil=True)
def _add_leaving_sums(tokens, height, sums, c, end, out_cycle):
    """Add the sums of a row that is the last of its fold to the result; returns how many do."""
    results = 0
    for x in range(len(sums)):
        if tokens[x, _HEIGHT] == height and x < tokens[x, _WIDTH]:
            col = tokens[x, _COL] + x
            if col < c.shape[1]:
                c[tokens[x, _ROW], col] += sums[x]
            end[tokens[x, _FOLD]] = out_cycle
            results += 1
    return results


@njit(cache=True, nogil=True)
def run_weight_stationary(
    a, values, index, kept, group_size, rows, cols, add_latency, overlap, full_size_edges
):
    """Product and cycles of a weight-stationary array.

    Activations move right, one PE per cycle, held for s cycles; the partial sum of each slot moves
    down, one PE per `add_latency` cycles, and the foot of the column adds it to the result. Weights
    follow the same skew into shadow registers, which the first activation of a fold makes active.
    An edge fold leaves its columns after the last used row. Returns c int64[m, n], per fold the
    cycles at which the stream starts and the last result is out, both int64[folds], and the number
    of multiply-accumulates.
    """
    m, k = a.shape
    n, groups, lanes = values.shape
    along_k = -(-groups // rows)
    folds = along_k * -(-n // cols)
    used_rows = np.empty(folds, dtype=np.int64)
    used_cols = np.empty(folds, dtype=np.int64)
    slots = np.empty(folds, dtype=np.int64)
    for f in range(folds):
        g0 = f % along_k * rows
        col0 = f // along_k * cols
        g1 = min(g0 + rows, groups)
        col1 = min(col0 + cols, n)
        slots[f] = max(1, kept[col0:col1, g0:g1].max())
        used_rows[f] = rows if full_size_edges else g1 - g0
        used_cols[f] = cols if full_size_edges else col1 - col0
    c = np.zeros((m, n), dtype=np.int64)
    stream_start = np.full(folds, -1, dtype=np.int64)
    end = np.full(folds, -1, dtype=np.int64)
    macs = 0

    # PE (r, x) meets r L + x cycles later what a cycle sends in. It is written twice, `size` apart,
    # so that what the PEs of a row meet is contiguous.
    longest = rows * add_latency + cols
    size = longest + 1
    tokens = np.zeros((2 * size, _FIELDS), dtype=np.int64)
    tokens[:, _SLOT] = lanes
    load_fold = np.full(size, -1, dtype=np.int64)
    load_row = np.zeros(size, dtype=np.int64)
    load_slot = np.zeros(size, dtype=np.int64)
    operands = np.zeros((rows, 2 * size, group_size), dtype=np.int64)
    # The slot after the last is never loaded: cycles without a token use it.
    shadow = np.full((rows, cols, lanes + 1, 2), _IDLE, dtype=np.int64)
    active = np.full((rows, cols, lanes + 1, 2), _IDLE, dtype=np.int64)
    sums = np.zeros((add_latency, rows, cols), dtype=np.int64)
    nothing = np.zeros(cols, dtype=np.int64)

    loading = 0
    loaded = 0
    streaming = -1
    row = m
    slot = 0
    last_token = -longest
    last_load = 0
    results_left = 0
    cycle = 0
    while streaming < folds - 1 or results_left > 0:
        idle = row == m and (
            overlap or streaming < 0 or (results_left == 0 and cycle >= end[streaming])
        )
        if idle and not overlap and loading == streaming and loading + 1 < folds:
            loading += 1
            loaded = 0
        if idle and loading > streaming and loaded == used_rows[loading] * slots[loading]:
            streaming = loading
            stream_start[streaming] = cycle
            row = 0
            results_left += m * slots[streaming] * used_cols[streaming]
            if overlap and loading + 1 < folds:
                loading += 1
                loaded = 0
        here = cycle % size
        load_fold[here] = -1
        if loaded < used_rows[loading] * slots[loading]:
            load_fold[here] = loading
            load_row[here] = loaded // slots[loading]
            load_slot[here] = loaded % slots[loading]
            loaded += 1
            last_load = cycle
        here = -cycle % size
        tokens[here, _HEIGHT] = 0
        tokens[here, _SLOT] = lanes
        if row < m:
            tokens[here, _HEIGHT] = used_rows[streaming]
            tokens[here, _WIDTH] = used_cols[streaming]
            tokens[here, _ROW] = row
            tokens[here, _COL] = streaming // along_k * cols
            tokens[here, _GROUP] = streaming % along_k * rows
            tokens[here, _SLOT] = slot
            tokens[here, _FOLD] = streaming
            last_token = cycle
            slot += 1
            if slot == slots[streaming]:
                slot = 0
                row += 1
        tokens[here + size] = tokens[here]

        stage = cycle % add_latency
        for r in range(rows - 1, -1, -1):
            if cycle - r * add_latency - last_token >= cols:
                continue
            here = (r * add_latency - cycle) % size
            if r < tokens[here, _HEIGHT]:
                first = (tokens[here, _GROUP] + r) * group_size
                for lane in range(min(group_size, k - first)):
                    operands[r, here, lane] = a[tokens[here, _ROW], first + lane]
                operands[r, here + size] = operands[r, here]
            f = streaming
            while f >= 0 and cycle - stream_start[f] < longest:
                x = cycle - stream_start[f] - r * add_latency
                if 0 <= x < cols and r < used_rows[f]:
                    active[r, x] = shadow[r, x]
                elif 0 <= x < cols:
                    active[r, x] = _IDLE
                f -= 1
            macs += _weight_stationary_row(
                tokens[here : here + cols],
                operands[r, here : here + cols],
                active[r],
                sums[stage, r - 1] if r > 0 else nothing,
                sums[stage, r],
            )
            if r + 1 == used_rows[0] or r + 1 == used_rows[-1]:
                results_left -= _add_leaving_sums(
                    tokens[here : here + cols],
                    r + 1,
                    sums[stage, r],
                    c,
                    end,
                    cycle + add_latency,
                )
        # After the PEs: a weight may arrive at the cycle at which its predecessor becomes active.
        if cycle - last_load < longest:
            for age in range(min(longest, cycle + 1)):
                here = (cycle - age) % size
                r = load_row[here]
                x = age - r * add_latency
                if load_fold[here] < 0 or x < 0 or x >= cols:
                    continue
                g = load_fold[here] % along_k * rows + r
                col = load_fold[here] // along_k * cols + x
                q = load_slot[here]
                if g < groups and col < n and q < kept[col, g]:
                    shadow[r, x, q, _INDEX] = index[col, g, q]
                    shadow[r, x, q, _VALUE] = values[col, g, q]
                else:
                    shadow[r, x, q, _INDEX] = _IDLE
        cycle += 1
    return c, stream_start, end, macs
