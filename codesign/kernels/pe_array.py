"""A systolic array of N:M processing elements, stepped cycle by cycle with the real numbers.

Both functions multiply A (int64[m, k]) by a B (k x n) that is compressed in groups of `group_size` rows of k:
values and index (int64[n, g, lanes], index counts within the group) hold kept[n, g] non-zeros first. A PE
is value-serial: one multiply-accumulate per cycle, its mux picks one of the group's activations. Columns run
in lock step, so a group takes as many cycles as its slowest column, at least one; dense B is group_size 1.

Cycles (u = used rows, v = used columns of a fold, R and C when `full_size_edges`; L = add_latency):

Weight-stationary. A fold is up to R groups x C columns, folds run along k first; s = slots of the fold.
    load       u s cycles, one value per column and cycle
    start      overlap: start[f+1] = start[f] + max(m s[f], u[f+1] s[f+1]);  else start[f+1] = end[f] + u s
    end        start + m s + L u + v - 2
Output-stationary. A tile is up to R rows x C columns, tiles run along m first; a fold is `interleave` tiles
(a of them, K' = sum of slots each, u and v their largest) that take turns on the adder, longest first.
    issue      T = sum over the K' rounds of max(L, tiles still running), less max(0, L - tiles) of the last round
               (equal K': T = (K' - 1) max(L, a) + a)
    end        without drain: start + T + u + v + L - 3
               with drain: d + a u + v - 1, where column 0 drains from d = max(start + T + u + L - 2, d[f-1] + a u [f-1])
    start      overlap: start[f+1] = max(start[f] + T[f], free[f-1]), free = d + a u, or start + T + L - 1
               without drain;  else start[f+1] = end[f]
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _ring_mask(longest_age):
    """One less than a power of two that exceeds `longest_age`."""
    size = 1
    while size <= longest_age:
        size *= 2
    return size - 1


@njit(cache=True, nogil=True)
def _slots(kept, first_col, last_col, first_group, last_group):
    """Cycles of the slowest column in any of these groups, at least one."""
    most = 1
    for col in range(first_col, last_col):
        for g in range(first_group, last_group):
            most = max(most, kept[col, g])
    return most


@njit(cache=True, nogil=True)
def run_weight_stationary(
    a, values, index, kept, group_size, rows, cols, add_latency, overlap, full_size_edges
):
    """Product and cycles of a weight-stationary array.

    Activations move right, one PE per cycle, held for s cycles; the partial sum of each slot moves down, one PE
    per `add_latency` cycles, and the foot of the column adds it to the result. Weights follow the same skew down
    into shadow registers that the first activation of a fold makes active. An edge fold leaves its columns
    after the last used row. Returns c int64[m, n], per fold the cycles at which the stream starts and the last
    result is out, both int64[folds], and the number of multiply-accumulates.
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
        slots[f] = _slots(kept, col0, col1, g0, g1)
        used_rows[f] = rows if full_size_edges else g1 - g0
        used_cols[f] = cols if full_size_edges else col1 - col0
    c = np.zeros((m, n), dtype=np.int64)
    stream_start = np.full(folds, -1, dtype=np.int64)
    end = np.full(folds, -1, dtype=np.int64)
    macs = 0

    # What entered the array at a cycle lies in rings by that cycle: PE (r, x) meets it r L + x cycles later.
    mask = _ring_mask(rows * add_latency + cols)
    token_fold = np.full(mask + 1, -1, dtype=np.int64)
    token_row = np.zeros(mask + 1, dtype=np.int64)
    token_slot = np.zeros(mask + 1, dtype=np.int64)
    load_fold = np.full(mask + 1, -1, dtype=np.int64)
    load_row = np.zeros(mask + 1, dtype=np.int64)
    load_slot = np.zeros(mask + 1, dtype=np.int64)
    activation = np.zeros((rows, mask + 1, group_size), dtype=np.int64)
    shadow_value = np.zeros((rows, cols, lanes), dtype=np.int64)
    shadow_index = np.full((rows, cols, lanes), -1, dtype=np.int64)
    active_value = np.zeros((rows, cols, lanes), dtype=np.int64)
    active_index = np.full((rows, cols, lanes), -1, dtype=np.int64)
    partial = np.zeros((add_latency, rows, cols), dtype=np.int64)

    loading = 0
    loaded = 0
    streaming = -1
    row = m
    slot = 0
    last_token = -1
    last_load = -1
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
        here = cycle & mask
        load_fold[here] = -1
        if loaded < used_rows[loading] * slots[loading]:
            load_fold[here] = loading
            load_row[here] = loaded // slots[loading]
            load_slot[here] = loaded % slots[loading]
            loaded += 1
            last_load = cycle
        token_fold[here] = -1
        if row < m:
            token_fold[here] = streaming
            token_row[here] = row
            token_slot[here] = slot
            last_token = cycle
            slot += 1
            if slot == slots[streaming]:
                slot = 0
                row += 1

        stage = cycle % add_latency
        for r in range(rows - 1, -1, -1):
            entering = cycle - r * add_latency
            if entering < 0 or last_token < 0 or entering - last_token >= cols:
                continue
            fold = token_fold[entering & mask]
            if fold >= 0 and r < used_rows[fold]:
                first = (fold % along_k * rows + r) * group_size
                for x in range(min(group_size, k - first)):
                    activation[r, entering & mask, x] = a[token_row[entering & mask], first + x]
            for x in range(min(cols, entering + 1)):
                age = (entering - x) & mask
                fold = token_fold[age]
                if fold < 0 or r >= used_rows[fold] or x >= used_cols[fold]:
                    continue
                q = token_slot[age]
                if q == 0 and token_row[age] == 0:
                    for lane in range(slots[fold]):
                        active_value[r, x, lane] = shadow_value[r, x, lane]
                        active_index[r, x, lane] = shadow_index[r, x, lane]
                total = partial[stage, r - 1, x] if r > 0 else 0
                pick = active_index[r, x, q]
                if pick >= 0:
                    total += active_value[r, x, q] * activation[r, age, pick]
                    macs += 1
                partial[stage, r, x] = total
                if r == used_rows[fold] - 1:
                    col = fold // along_k * cols + x
                    if col < n:
                        c[token_row[age], col] += total
                    results_left -= 1
                    end[fold] = cycle + add_latency
        if last_load >= 0 and cycle - last_load < rows * add_latency + cols:
            for delay in range(min(rows * add_latency + cols, cycle + 1)):
                age = (cycle - delay) & mask
                if load_fold[age] < 0:
                    continue
                r = load_row[age]
                x = delay - r * add_latency
                if 0 <= x < cols:
                    g = load_fold[age] % along_k * rows + r
                    col = load_fold[age] // along_k * cols + x
                    q = load_slot[age]
                    shadow_index[r, x, q] = -1
                    if g < groups and col < n and q < kept[col, g]:
                        shadow_index[r, x, q] = index[col, g, q]
                        shadow_value[r, x, q] = values[col, g, q]
        cycle += 1
    return c, stream_start, end, macs


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

    Groups of A move right and compressed B moves down, one PE per cycle. A PE adds into one of 2 x `interleave`
    accumulators; a sum can be used `add_latency` cycles after its issue. Finished accumulators shift down their
    column, column x following x cycles behind column 0; with `overlap` the next fold computes meanwhile in the
    other bank. Without `drain` results leave as they are finished. Returns c int64[m, n], per fold the cycles
    at which the stream starts and the last result is out, both int64[folds], and the number of
    multiply-accumulates.
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
            slots[tile_col, g] = _slots(kept, tile_col * cols, last_col, g, g + 1)
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

    # What entered the array at a cycle lies in rings by that cycle: PE (r, x) meets it r + x cycles later.
    mask = _ring_mask(rows + cols + add_latency)
    token_bank = np.full(mask + 1, -1, dtype=np.int64)
    token_row = np.zeros(mask + 1, dtype=np.int64)
    token_col = np.zeros(mask + 1, dtype=np.int64)
    token_group = np.zeros(mask + 1, dtype=np.int64)
    token_slot = np.zeros(mask + 1, dtype=np.int64)
    token_first = np.zeros(mask + 1, dtype=np.bool_)
    token_finishes = np.full(mask + 1, -1, dtype=np.int64)
    drain_fold = np.full(mask + 1, -1, dtype=np.int64)
    drain_step = np.zeros(mask + 1, dtype=np.int64)
    activation = np.zeros((rows, mask + 1, group_size), dtype=np.int64)
    weight = np.zeros((mask + 1, cols), dtype=np.int64)
    pick = np.full((mask + 1, cols), -1, dtype=np.int64)
    accumulator = np.zeros((rows, cols, 2 * interleave), dtype=np.int64)
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
    last_token = -1
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
        here = cycle & mask
        token_bank[here] = -1
        if running > 0 and cycle >= usable_at[order[turn]]:
            j = order[turn]
            tile = streaming * interleave + j
            token_bank[here] = tile % (2 * interleave)
            token_row[here] = tile % along_m * rows
            token_col[here] = tile // along_m * cols
            token_group[here] = group_of[j]
            token_slot[here] = slot_of[j]
            token_first[here] = group_of[j] == 0 and slot_of[j] == 0
            usable_at[j] = cycle + add_latency
            last_token = cycle
            slot_of[j] += 1
            if slot_of[j] == slots[tile // along_m, group_of[j]]:
                slot_of[j] = 0
                group_of[j] += 1
            token_finishes[here] = streaming if group_of[j] == groups else -1
            turn += 1
            if turn == running:
                turn = 0
                while running > 0 and group_of[order[running - 1]] == groups:
                    running -= 1
                if running == 0:
                    last_issue[streaming] = cycle
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

        for x in range(cols):
            age = (cycle - x) & mask
            pick[here, x] = -1
            if cycle < x or token_bank[age] < 0:
                continue
            col = token_col[age] + x
            g = token_group[age]
            q = token_slot[age]
            if col < n and q < kept[col, g]:
                weight[here, x] = values[col, g, q]
                pick[here, x] = index[col, g, q]
        stage = cycle % add_latency
        for r in range(rows):
            entering = cycle - r
            if entering < 0 or last_token < 0 or entering - last_token >= cols + add_latency:
                continue
            fed = entering & mask
            if token_bank[fed] >= 0 and token_row[fed] + r < m:
                first = token_group[fed] * group_size
                for lane in range(min(group_size, k - first)):
                    activation[r, here, lane] = a[token_row[fed] + r, first + lane]
            for x in range(min(cols, entering + 1)):
                if add_latency > 1 and entering - x >= add_latency:
                    bank = token_bank[(entering - x - add_latency) & mask]
                    if bank >= 0:
                        accumulator[r, x, bank] = adder[stage, r, x]
                age = (entering - x) & mask
                bank = token_bank[age]
                if bank < 0:
                    continue
                total = 0 if token_first[age] else accumulator[r, x, bank]
                lane = pick[fed, x]
                if lane >= 0 and token_row[age] + r < m:
                    total += weight[fed, x] * activation[r, (cycle - x) & mask, lane]
                    macs += 1
                if add_latency > 1:
                    adder[stage, r, x] = total
                else:
                    accumulator[r, x, bank] = total
                if drain or token_finishes[age] < 0:
                    continue
                fold = token_finishes[age]
                if r < used_rows[fold] and x < used_cols[fold]:
                    if token_row[age] + r < m and token_col[age] + x < n:
                        c[token_row[age] + r, token_col[age] + x] = total
                    results_left[fold] -= 1
                    all_results_left -= 1
                    end[fold] = cycle + add_latency
        if drain:
            for x in range(min(cols, cycle + 1)):
                fold = drain_fold[(cycle - x) & mask]
                if fold < 0 or x >= used_cols[fold]:
                    continue
                height = used_rows[fold]
                tile = fold * interleave + drain_step[(cycle - x) & mask] // height
                below = drain_step[(cycle - x) & mask] % height
                row = tile % along_m * rows + height - 1 - below
                col = tile // along_m * cols + x
                bank = tile % (2 * interleave)
                if row < m and col < n:
                    c[row, col] = accumulator[height - 1, x, bank]
                for r in range(height - 1, 0, -1):
                    accumulator[r, x, bank] = accumulator[r - 1, x, bank]
                results_left[fold] -= 1
                all_results_left -= 1
                end[fold] = cycle + 1
        cycle += 1
    return c, stream_start, end, macs
