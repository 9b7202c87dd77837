"""The output-stationary array, stepped cycle by cycle; operands and cycles as in pe_array."""

from __future__ import annotations

import numpy as np
from numba import njit

# Columns of the table of tokens; a token is what the corner PE passes on at one cycle.
_HEIGHT, _WIDTH, _ROW, _COL, _GROUP, _SLOT, _FOLD, _FROM, _TO, _LAST, _FIELDS = range(11)
_VALUE, _INDEX = range(2)
_IDLE = -1


@njit(cache=True, nogil=True)
def _longest_first(steps, order):
    """Order tiles by descending steps, equal ones as they stand."""
    for i in range(len(steps)):
        j = i
        while j > 0 and steps[order[j - 1]] < steps[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i


@njit(cache=True, nogil=True)
def _output_stationary_row(tokens, leaving, weights, operands, accumulators, adder):
    """Step the PEs of one row by one cycle; returns multiply-accumulates.

    `adder` holds the sums that were issued `add_latency` cycles ago for the tokens `leaving`; each
    goes to its accumulator before the PE reads one. The last operand tells whether the row is used.
    """
    macs = 0
    in_use = operands.shape[1] - 1
    for x in range(len(adder)):
        accumulators[x, leaving[x, _TO]] = adder[x]
        total = accumulators[x, tokens[x, _FROM]]
        pick = weights[_INDEX, x]
        if pick != _IDLE:
            total += weights[_VALUE, x] * operands[x, pick]
            macs += operands[x, in_use]
        adder[x] = total
    return macs


@njit(cache=True, nogil=True)
def _take_finished(r, tokens, adder, c, results_left, end, out_cycle):
    """Let the finished sums of row r leave without a drain; returns how many do."""
    results = 0
    for x in range(len(adder)):
        if tokens[x, _LAST] and r < tokens[x, _HEIGHT] and x < tokens[x, _WIDTH]:
            row = tokens[x, _ROW] + r
            col = tokens[x, _COL] + x
            if row < c.shape[0] and col < c.shape[1]:
                c[row, col] = adder[x]
            results_left[tokens[x, _FOLD]] -= 1
            end[tokens[x, _FOLD]] = out_cycle
            results += 1
    return results


@njit(cache=True, nogil=True)
def run_output_stationary(
    a,
    values,
    index,
    kept,
    group_size,
    rows,
    cols,
    add_latency,
    interleave,
    overlap,
    full_size_edges,
    drain,
):
    """Product and cycles of an output-stationary array.

    Groups of A move right and compressed B moves down, one PE per cycle. A PE adds into one of two
    banks of `interleave` accumulators; a sum can be used `add_latency` cycles after its issue. A
    finished bank shifts down its column, column x follows x cycles behind column 0; with `overlap`
    the next fold computes meanwhile in the other bank. Without `drain` results leave when they are
    finished. Returns c int64[m, n], per fold the cycles at which the stream starts and the last
    result is out, both int64[folds], and the number of multiply-accumulates.
    """
    m, k = a.shape
    n, groups, _ = values.shape
    along_m = -(-m // rows)
    along_n = -(-n // cols)
    tiles = along_m * along_n
    folds = -(-tiles // interleave)
    slots = np.empty((along_n, groups), dtype=np.int64)
    for tile_col in range(along_n):
        for g in range(groups):
            last_col = min((tile_col + 1) * cols, n)
            slots[tile_col, g] = max(1, kept[tile_col * cols : last_col, g].max())
    used_rows = np.zeros(folds, dtype=np.int64)
    used_cols = np.zeros(folds, dtype=np.int64)
    tiles_of = np.zeros(folds, dtype=np.int64)
    for tile in range(tiles):
        f = tile // interleave
        tile_rows = rows if full_size_edges else min(rows, m - tile % along_m * rows)
        tile_cols = cols if full_size_edges else min(cols, n - tile // along_m * cols)
        used_rows[f] = max(used_rows[f], tile_rows)
        used_cols[f] = max(used_cols[f], tile_cols)
        tiles_of[f] += 1
    c = np.zeros((m, n), dtype=np.int64)
    stream_start = np.full(folds, -1, dtype=np.int64)
    end = np.full(folds, -1, dtype=np.int64)
    last_issue = np.full(folds, -1, dtype=np.int64)
    results_left = used_rows * used_cols * tiles_of
    all_results_left = results_left.sum()
    macs = 0

    # PE (r, x) meets r + x cycles later what a cycle sends in. It is written twice, `size` apart,
    # so that what the PEs of a row meet is contiguous.
    size = rows + cols + add_latency
    tokens = np.zeros((2 * size, _FIELDS), dtype=np.int64)
    # Two banks of accumulators, one entry that stays zero and one where idle cycles write.
    zero = 2 * interleave
    tokens[:, _FROM] = zero
    tokens[:, _TO] = zero + 1
    drain_fold = np.full(size, -1, dtype=np.int64)
    drain_step = np.zeros(size, dtype=np.int64)
    operands = np.zeros((rows, 2 * size, group_size + 1), dtype=np.int64)
    weights = np.full((size, 2, cols), _IDLE, dtype=np.int64)
    accumulators = np.zeros((rows, cols, zero + 2), dtype=np.int64)
    adder = np.zeros((add_latency, rows, cols), dtype=np.int64)

    group_of = np.zeros(interleave, dtype=np.int64)
    slot_of = np.zeros(interleave, dtype=np.int64)
    usable_at = np.zeros(interleave, dtype=np.int64)
    order = np.zeros(interleave, dtype=np.int64)
    steps = np.zeros(interleave, dtype=np.int64)
    streaming = -1
    running = 0
    turn = 0
    draining = 0
    step = 0
    last_token = -cols - add_latency
    cycle = 0
    while all_results_left > 0:
        if running == 0 and streaming < folds - 1:
            if streaming < 0:
                free = True
            elif not overlap:
                free = results_left[streaming] == 0 and cycle >= end[streaming]
            elif streaming == 0:
                free = True
            elif drain:
                free = draining >= streaming
            else:
                free = cycle >= last_issue[streaming - 1] + add_latency
            if free:
                streaming += 1
                stream_start[streaming] = cycle
                running = tiles_of[streaming]
                turn = 0
                for j in range(running):
                    steps[j] = slots[(streaming * interleave + j) // along_m].sum()
                    group_of[j] = 0
                    slot_of[j] = 0
                    usable_at[j] = cycle
                _longest_first(steps[:running], order)
        here = -cycle % size
        tokens[here, _HEIGHT] = 0
        tokens[here, _FROM] = zero
        tokens[here, _TO] = zero + 1
        if running > 0 and cycle >= usable_at[order[turn]]:
            j = order[turn]
            tile = streaming * interleave + j
            tokens[here, _HEIGHT] = used_rows[streaming]
            tokens[here, _WIDTH] = used_cols[streaming]
            tokens[here, _ROW] = tile % along_m * rows
            tokens[here, _COL] = tile // along_m * cols
            tokens[here, _GROUP] = group_of[j]
            tokens[here, _SLOT] = slot_of[j]
            tokens[here, _FOLD] = streaming
            tokens[here, _TO] = tile % (2 * interleave)
            if group_of[j] > 0 or slot_of[j] > 0:
                tokens[here, _FROM] = tokens[here, _TO]
            usable_at[j] = cycle + add_latency
            last_token = cycle
            slot_of[j] += 1
            if slot_of[j] == slots[tile // along_m, group_of[j]]:
                slot_of[j] = 0
                group_of[j] += 1
            tokens[here, _LAST] = group_of[j] == groups
            turn += 1
            if turn == running:
                turn = 0
                while running > 0 and group_of[order[running - 1]] == groups:
                    running -= 1
                if running == 0:
                    last_issue[streaming] = cycle
        tokens[here + size] = tokens[here]
        here = cycle % size
        drain_fold[here] = -1
        if drain and draining < folds and (step > 0 or last_issue[draining] >= 0):
            height = used_rows[draining]
            if step > 0 or cycle >= last_issue[draining] + height + add_latency - 1:
                drain_fold[here] = draining
                drain_step[here] = step
                step += 1
                if step == height * tiles_of[draining]:
                    step = 0
                    draining += 1

        entering = tokens[-cycle % size : -cycle % size + cols]
        for x in range(cols):
            col = entering[x, _COL] + x
            g = entering[x, _GROUP]
            q = entering[x, _SLOT]
            weights[here, _INDEX, x] = _IDLE
            if entering[x, _HEIGHT] > 0 and col < n and q < kept[col, g]:
                weights[here, _VALUE, x] = values[col, g, q]
                weights[here, _INDEX, x] = index[col, g, q]
        for r in range(rows):
            if cycle - r - last_token >= cols + add_latency:
                continue
            here = (r - cycle) % size
            row = tokens[here, _ROW] + r
            if tokens[here, _HEIGHT] > 0:
                first = tokens[here, _GROUP] * group_size
                for lane in range(min(group_size, k - first)):
                    operands[r, here, lane] = a[row, first + lane] if row < m else 0
                operands[r, here, group_size] = row < m
                operands[r, here + size] = operands[r, here]
            leaving = (r + add_latency - cycle) % size
            macs += _output_stationary_row(
                tokens[here : here + cols],
                tokens[leaving : leaving + cols],
                weights[(cycle - r) % size],
                operands[r, here : here + cols],
                accumulators[r],
                adder[cycle % add_latency, r],
            )
            if not drain:
                all_results_left -= _take_finished(
                    r,
                    tokens[here : here + cols],
                    adder[cycle % add_latency, r],
                    c,
                    results_left,
                    end,
                    cycle + add_latency,
                )
        if drain:
            for x in range(min(cols, cycle + 1)):
                fold = drain_fold[(cycle - x) % size]
                if fold < 0 or x >= used_cols[fold]:
                    continue
                height = used_rows[fold]
                tile = fold * interleave + drain_step[(cycle - x) % size] // height
                below = drain_step[(cycle - x) % size] % height
                row = tile % along_m * rows + height - 1 - below
                col = tile // along_m * cols + x
                bank = tile % (2 * interleave)
                if row < m and col < n:
                    c[row, col] = accumulators[height - 1, x, bank]
                for r in range(height - 1, 0, -1):
                    accumulators[r, x, bank] = accumulators[r - 1, x, bank]
                results_left[fold] -= 1
                all_results_left -= 1
                end[fold] = cycle + 1
        cycle += 1
    return c, stream_start, end, macs
