"""Outlines of many tiled products, and of many streams of vector work, in one compiled pass.

The definitions are SystolicMachine.emit_matmul at tile fidelity (schedule/folds.py, tiling.py,
streaming.py) and vector_stream.Stream.outline; tests hold these kernels equal to them, number by
number, with the exact floats that decide between chunks.
"""

import numpy as np
from numba import njit

(
    M, N, K, GROUPS, B_SHARED, WINDOW, BATCH, CHANNELS, OUT_W, IN_COLUMNS, DEPTH, HEIGHT, A_BITS,
    B_BITS, C_BITS, STORED_BITS, GROUP, COUNT, REST, B_PLAIN, SELECTS, MACS, ROWS, COLS, ACCUMULATE,
    INTERLEAVE, FEED, LOAD, DRAIN, LATENCY, SUM_BYTES, SELECT_LANES, TILE_M, TILE_N, TILE_K,
    TILE_GROUPS, MN, DATAFLOW, INTEGERS,
) = (*range(11), 17, *range(24, 51))  # fmt: skip
"""Places of the integers that describe a product, its lanes, its array and its tiles.

Every full group of the reduction takes COUNT cycles, a last one that is not full takes REST. DEPTH
and HEIGHT are two axes of its window.
"""
SIZE, OUT, KERNEL, STRIDE, PADDING, DILATION, SPREAD = range(7)
"""Places of an axis, as `trace.window` defines it."""
NO_WINDOW, ROWS_ARE_PIXELS, ROWS_ARE_DEPTHS = 0, 1, 2
NOTHING, OPERAND_A, OPERAND_B = 0, 1, 2
"""Which operand passes a unit that selects."""
WS, OS, IS = 0, 1, 2

(
    COMPUTE, AFTER, HEAD, READ, WRITE, TAIL, SELECT, INPUT_WRITE, INPUT_READ, WEIGHT_WRITE,
    WEIGHT_READ, OUTPUT_WRITE, OUTPUT_READ, REGISTER, SELECTED, FIGURES,
) = range(16)  # fmt: skip
"""Columns of an outline: cycles of compute, after it, and of the selection; bytes; accesses."""

(
    ELEMENTS, READ_BYTES, WRITE_BYTES, CHUNK_BYTES, CYCLES_PER_ELEMENT, LANES, PIPELINE,
    LINK_LATENCY, STREAM_INTEGERS,
) = range(9)  # fmt: skip
CHUNK_DOUBLINGS = 6


@njit(cache=True, nogil=True)
def _turns(size_bytes, count, busy_cycles, result_cycles, bandwidth, latency):
    if bandwidth <= 0 or count <= 2:
        return 0.0
    waits = (count - 2) * (latency + result_cycles)
    return (size_bytes / bandwidth + waits + busy_cycles) / 2


@njit(cache=True, nogil=True)
def _bytes(elements, bits):
    return -(-elements * bits // 8)


@njit(cache=True, nogil=True)
def _readers(p, axis, tap, start, stop):
    stride, spread = p[axis + STRIDE], p[axis + SPREAD]
    at, last = tap * p[axis + DILATION] - p[axis + PADDING], (p[axis + SIZE] - 1) * spread
    first = 0
    while first < spread and (first * stride + at) % spread != 0:
        first += 1
    if first == spread:
        return 0
    period = 1
    while period * stride % spread != 0:
        period += 1
    low, high = max(start, -(at // stride)), min(stop - 1, (last - at) // stride)
    return max(0, (high - first) // period - (low - 1 - first) // period)


@njit(cache=True, nogil=True)
def _distinct(p, axis, start, stop):
    taps, outputs = p[axis + STRIDE], p[axis + DILATION]
    for common in range(min(taps, outputs), 1, -1):
        if taps % common == 0 and outputs % common == 0:
            taps, outputs = taps // common, outputs // common
    total = 0
    for tap in range(p[axis + KERNEL]):
        total += _readers(p, axis, tap, start, stop)
        if tap >= taps:
            total -= _readers(p, axis, tap, start, stop - outputs)
    return total


@njit(cache=True, nogil=True)
def _covered(p, axis, start, stop):
    """Positions of an axis that outputs start to stop - 1 read, each once."""
    kernel, stride, padding = p[axis + KERNEL], p[axis + STRIDE], p[axis + PADDING]
    if p[axis + DILATION] != 1 or kernel < stride:
        return _distinct(p, axis, start, stop)
    spread = p[axis + SPREAD]
    first = max(0, -((padding - start * stride) // spread))
    last = min(p[axis + SIZE] - 1, ((stop - 1) * stride - padding + kernel - 1) // spread)
    return max(0, last - first + 1)


@njit(cache=True, nogil=True)
def _planes(p, start, stop):
    """Planes of the input maps that output planes start to stop - 1 read, those of each image."""
    if stop <= start:
        return 0
    out, last = p[DEPTH + OUT], stop - 1
    images = last // out - start // out
    own, end = start % out, last % out + 1
    if images == 0:
        return _covered(p, DEPTH, own, end)
    planes = _covered(p, DEPTH, own, out) + _covered(p, DEPTH, 0, end)
    return planes + (images - 1) * _covered(p, DEPTH, 0, out)


@njit(cache=True, nogil=True)
def _window_elements(p, pixel, pixels, depths):
    out_h = p[HEIGHT + OUT]
    first_row, last_row = pixel // p[OUT_W], (pixel + pixels - 1) // p[OUT_W]
    first, last = first_row // out_h, last_row // out_h
    start, stop = first_row % out_h, last_row % out_h + 1
    if first == last:
        rows = _covered(p, HEIGHT, start, stop) * _planes(p, first, first + 1)
    else:
        whole = _covered(p, HEIGHT, 0, out_h)
        rows = _covered(p, HEIGHT, start, out_h) * _planes(p, first, first + 1)
        rows += _covered(p, HEIGHT, 0, stop) * _planes(p, last, last + 1)
        rows += _planes(p, first + 1, last) * whole
        rows = min(rows, _planes(p, first, last + 1) * whole)
    return rows * p[IN_COLUMNS] * min(depths, p[CHANNELS])


@njit(cache=True, nogil=True)
def _first_pixel(p, row):
    return row * (p[BATCH] * p[DEPTH + OUT] * p[HEIGHT + OUT] * p[OUT_W]) // p[M]


@njit(cache=True, nogil=True)
def _a_elements(p, at_m, m, at_k, k):
    if p[WINDOW] == ROWS_ARE_DEPTHS:
        window = _window_elements(p, at_k, k, m)
    else:
        pixel = _first_pixel(p, at_m)
        window = _window_elements(p, pixel, _first_pixel(p, at_m + m) - pixel, k)
    return min(window, m * k)


@njit(cache=True, nogil=True)
def _weight_stationary(p, m, n, groups, last_k):
    """Fill, held cycles and tail of one product of a tile, its latency, and its stored values."""
    across, down = -(-n // p[COLS]), -(-groups // p[ROWS])
    last_rows = groups - (down - 1) * p[ROWS]
    slots = p[COUNT]
    last_slots = p[REST] if last_k and last_rows == 1 else slots
    paced, last_paced = max(slots, p[FEED]), max(last_slots, p[FEED])
    load, last_load = p[ROWS] * slots * p[LOAD], last_rows * last_slots * p[LOAD]
    held = m * across * ((down - 1) * paced + last_paced)
    if down > 1:
        held += across * (down - 2) * max(0, load - m * paced)
        held += across * max(0, last_load - m * paced)
        held += (across - 1) * max(0, load - m * last_paced)
    else:
        held += (across - 1) * max(0, last_load - m * last_paced)
    fill = load if down > 1 else last_load
    latency = last_rows * p[ACCUMULATE] - 1 + n - (across - 1) * p[COLS] - 1
    stored = n * ((down - 1) * slots * p[ROWS] + last_slots * last_rows)
    return fill, held, m * last_paced, latency, stored


@njit(cache=True, nogil=True)
def _output_stationary(p, m, n, groups, last_k):
    """Fill, held cycles and tail of one product of a tile, its latency, and its stored values."""
    slots, last_slots = p[COUNT], p[REST] if last_k else p[COUNT]
    steps = (groups - 1) * max(slots, p[FEED]) + max(last_slots, p[FEED])
    stored = n * ((groups - 1) * slots + last_slots)
    down, across = -(-m // p[ROWS]), -(-n // p[COLS])
    last_rows, last_cols = m - (down - 1) * p[ROWS], n - (across - 1) * p[COLS]
    start, last_start, hold, end, drained = 0, 0, 0, 0, 0
    for fold in range(0, down * across, p[INTERLEAVE]):
        turns = min(p[INTERLEAVE], down * across - fold)
        rows = p[ROWS]
        if down == 1 or (turns == 1 and fold % down == down - 1):
            rows = last_rows
        cols = last_cols if fold // down == across - 1 else p[COLS]
        issue = steps * max(p[ACCUMULATE], turns) - max(0, p[ACCUMULATE] - turns)
        drain = turns * rows * p[DRAIN]
        done = start + issue
        drains_from = max(done + rows + p[ACCUMULATE] - 2, drained)
        last_start, hold = start, max(done, drained)
        end = drains_from + drain + cols - 1
        start, drained = hold, drains_from + drain
    return 0, hold, hold - last_start, end - hold, stored


@njit(cache=True, nogil=True)
def _tile_cycles(p, groups, m, n, k, last_k):
    """Fill, body, tail, latency and stored values of a tile of `groups` products."""
    blocks = -(-k // p[GROUP])
    if p[DATAFLOW] == OS:
        fill, held, tail, latency, stored = _output_stationary(p, m, n, blocks, last_k)
        return fill, held * groups - tail, tail, latency, stored * groups
    if p[DATAFLOW] == IS:
        fill, held, tail, latency, _ = _weight_stationary(p, n, m, blocks, last_k)
        stored = n * k
    else:
        fill, held, tail, latency, stored = _weight_stationary(p, m, n, blocks, last_k)
    again = max(0, fill - tail)
    return fill, groups * held + (groups - 1) * again - tail, tail, latency, stored * groups


@njit(cache=True, nogil=True)
def _wait(known, before, after):
    """Cycles for which the array waits for stationary values between two kinds of tiles."""
    return max(0, known[after, 0] - known[before, 2])


@njit(cache=True, nogil=True)
def _waits(known, g, m, n, k, mn):
    """All waits between neighbours of g x m x n x k tiles; kinds are numbered as in `_product`."""
    tiles = (k, n, m, g) if mn else (k, m, n, g)
    bits = (8, 4, 2, 1) if mn else (8, 2, 4, 1)
    total = 0
    # A step of a loop ends the loops within it and begins them anew.
    ended, begun = 0, 0
    for loop in range(4):
        size, bit = tiles[loop], bits[loop]
        for outer in range(1 << (3 - loop)):
            fixed, many = 0, 1
            for other in range(loop + 1, 4):
                if outer >> (other - loop - 1) & 1:
                    fixed += bits[other]
                else:
                    many *= tiles[other] - 1
            if many == 0:
                continue
            if size > 2:
                step = _wait(known, fixed + ended, fixed + begun)
                total += many * (size - 2) * step
            if size > 1:
                total += many * _wait(known, fixed + ended, fixed + bit + begun)
        ended += bit
        begun += bit if size == 1 else 0
    return total


@njit(cache=True, nogil=True)
def _a_passes(p, tiles_m, tiles_k, groups, bits):
    """Bytes of A in all tiles of `groups` products, and in the first of them."""
    total, first = 0, 0
    if p[WINDOW] == NO_WINDOW:
        for i in range(2):
            m = p[TILE_M] if i == 0 else p[M] - (tiles_m - 1) * p[TILE_M]
            for j in range(2):
                k = p[TILE_K] if j == 0 else p[K] - (tiles_k - 1) * p[TILE_K]
                many = (tiles_m - 1 if i == 0 else 1) * (tiles_k - 1 if j == 0 else 1)
                total += many * _bytes(groups * m * k, bits)
        m, k = min(p[TILE_M], p[M]), min(p[TILE_K], p[K])
        return total, _bytes(groups * m * k, bits)
    for at_m in range(tiles_m):
        m = min(p[TILE_M], p[M] - at_m * p[TILE_M])
        for at_k in range(tiles_k):
            k = min(p[TILE_K], p[K] - at_k * p[TILE_K])
            size = _bytes(groups * _a_elements(p, at_m * p[TILE_M], m, at_k * p[TILE_K], k), bits)
            total += size
            if at_m == 0 and at_k == 0:
                first = size
    return total, first


@njit(cache=True, nogil=True)
def _c_bytes(p, tiles_m, groups, n):
    """Bytes of C in all tiles of `groups` products that are `n` columns wide, and in the last."""
    if p[WINDOW] != ROWS_ARE_PIXELS:
        last = p[M] - (tiles_m - 1) * p[TILE_M]
        size = _bytes(groups * last * n, p[C_BITS])
        return (tiles_m - 1) * _bytes(groups * p[TILE_M] * n, p[C_BITS]) + size, size
    total, size = 0, 0
    for at_m in range(tiles_m):
        start = at_m * p[TILE_M]
        pixels = _first_pixel(p, min(p[M], start + p[TILE_M])) - _first_pixel(p, start)
        size = _bytes(groups * pixels * n, p[C_BITS])
        total += size
    return total, size


@njit(cache=True, nogil=True)
def _product(p, bandwidth, out):
    tiles_g, tiles_m = -(-p[GROUPS] // p[TILE_GROUPS]), -(-p[M] // p[TILE_M])
    tiles_n, tiles_k = -(-p[N] // p[TILE_N]), -(-p[K] // p[TILE_K])
    selects_a, selects_b = p[SELECTS] == OPERAND_A, p[SELECTS] == OPERAND_B
    a_bits, b_bits = p[A_BITS], p[STORED_BITS]
    if selects_a:
        a_bits, b_bits = a_bits + b_bits - p[B_BITS], p[B_BITS]
    # Whether A comes again with every tile of n, B with every tile of m, and B with every group.
    a_again = tiles_k > 1 or (not p[MN] and tiles_m > 1)
    b_again = tiles_k > 1 or (p[MN] and tiles_n > 1)
    b_by_group = not p[B_SHARED] or tiles_n * tiles_k > 1
    # A tile's cycles depend on which of its sizes are the last ones: of g, m, n, k as 1, 2, 4, 8.
    known = np.zeros((16, 5), dtype=np.int64)
    tiles = tiles_g * tiles_m * tiles_n * tiles_k
    held, latencies, read, written, tail_bytes, head = 0, 0, 0, 0, 0, 0
    select, selected = 0, 0
    a_held, b_held, a_visits, b_visits, sums = 0, 0, 0, 0, 0
    first_kind = (
        (tiles_g == 1) + 2 * (tiles_m == 1) + 4 * (tiles_n == 1) + 8 * (tiles_k == 1)
    )  # fmt: skip
    for kind in range(16):
        last_g, last_m, last_n, last_k = kind & 1, kind >> 1 & 1, kind >> 2 & 1, kind >> 3 & 1
        many_g, many_m = 1 if last_g else tiles_g - 1, 1 if last_m else tiles_m - 1
        many_n, many_k = 1 if last_n else tiles_n - 1, 1 if last_k else tiles_k - 1
        many = many_g * many_m * many_n * many_k
        if many == 0:
            continue
        groups = p[GROUPS] - (tiles_g - 1) * p[TILE_GROUPS] if last_g else p[TILE_GROUPS]
        m = p[M] - (tiles_m - 1) * p[TILE_M] if last_m else p[TILE_M]
        n = p[N] - (tiles_n - 1) * p[TILE_N] if last_n else p[TILE_N]
        k = p[K] - (tiles_k - 1) * p[TILE_K] if last_k else p[TILE_K]
        fill, body, tail, latency, stored = _tile_cycles(p, groups, m, n, k, last_k == 1)
        one = known[kind]
        one[0], one[1], one[2], one[3], one[4] = fill, body, tail, latency, stored
        held += many * (body + tail)
        latencies += many * latency
        a_values, b_values = groups * m * k, stored
        if selects_a:
            a_values, b_values = stored * m // n, groups * n * k
        by_a, by_b, by_c = 1, 1, 1
        if p[DATAFLOW] == OS:
            by_a, by_b = -(-n // p[COLS]), -(-m // p[ROWS])
        elif p[DATAFLOW] == WS:
            by_a, by_c = -(-n // p[COLS]), -(-k // (p[ROWS] * p[GROUP]))
        else:
            by_b, by_c = -(-m // p[COLS]), -(-k // (p[ROWS] * p[GROUP]))
        a_visits += many * a_values * by_a
        b_visits += many * b_values * by_b
        sums += many * groups * m * n * by_c
        group_runs = -(-k // p[GROUP])
        if selects_a and (a_again or last_n == (tiles_n == 1)):
            loads = many_g * many_m * many_k * (many_n if a_again else 1)
            select += loads * -(-(groups * m * group_runs) // p[SELECT_LANES]) * p[GROUP]
            selected += loads * groups * m * k
            a_held += loads * _bytes(a_values, a_bits)
        if last_m == (tiles_m == 1) and (b_by_group or last_g == (tiles_g == 1)):
            loads = (many_g if b_by_group else 1) * many_n * many_k
            loads *= tiles_m if b_again else 1
            size = _bytes(stored, p[STORED_BITS])
            if p[B_PLAIN]:
                size = _bytes(groups * n * k, p[B_BITS])
            read += loads * size
            head += size if kind == first_kind else 0
            if selects_b:
                select += loads * -(-(groups * n * group_runs) // p[SELECT_LANES]) * p[GROUP]
                selected += loads * groups * n * k
                size = _bytes(b_values, b_bits)
            b_held += loads * size
        if last_k and last_m:
            whole, tail_bytes = _c_bytes(p, tiles_m, groups, n)
            written += many_g * many_n * whole
    for last_g in range(2):
        groups = p[GROUPS] - (tiles_g - 1) * p[TILE_GROUPS] if last_g else p[TILE_GROUPS]
        many_g = 1 if last_g else tiles_g - 1
        if many_g == 0:
            continue
        whole, first = _a_passes(p, tiles_m, tiles_k, groups, p[A_BITS])
        whole *= many_g * (tiles_n if a_again else 1)
        read += whole
        head += first if last_g == (tiles_g == 1) else 0
        if not selects_a:
            a_held += whole
    held += known[first_kind, 0] + _waits(known, tiles_g, tiles_m, tiles_n, tiles_k, p[MN])
    a_loads = tiles_g * tiles_m * tiles_k * (tiles_n if a_again else 1)
    b_loads = (tiles_g if b_by_group else 1) * tiles_n * tiles_k * (tiles_m if b_again else 1)
    transfers = max(tiles_g * tiles_m * tiles_n, a_loads, b_loads)
    turns = _turns(read + written, transfers, held, latencies / tiles, bandwidth, p[LATENCY])
    out[COMPUTE] = held
    out[AFTER] = known[15, 3] + max(0, np.int64(np.rint(turns)) - held)
    out[HEAD], out[READ], out[WRITE], out[TAIL] = head, read, written, tail_bytes
    out[SELECT], out[SELECTED] = select, selected
    a_read, b_read = np.int64(a_visits * (a_bits / 8)), np.int64(b_visits * (b_bits / 8))
    if selects_a:
        a_held, a_read, b_held, b_read = b_held, b_read, a_held, a_read
    out[INPUT_WRITE], out[INPUT_READ] = a_held, a_read
    out[WEIGHT_WRITE], out[WEIGHT_READ] = b_held, b_read
    # A sum is read as often as it is written: not at first, but once more as it is stored.
    out[OUTPUT_WRITE], out[OUTPUT_READ] = sums * p[SUM_BYTES], sums * p[SUM_BYTES]
    out[REGISTER] = np.int64(p[MACS] * ((a_bits + b_bits) / 8 + 2 * p[SUM_BYTES]))


@njit(cache=True, nogil=True)
def product_outlines(products, bandwidth):
    """FIGURES of every row of INTEGERS; a `bandwidth` of 0 moves everything in no time."""
    out = np.zeros((len(products), FIGURES), dtype=np.int64)
    for i in range(len(products)):
        _product(products[i], bandwidth, out[i])
    return out


@njit(cache=True, nogil=True)
def stream_outlines(streams, bandwidth):
    """COMPUTE to TAIL of every row of STREAM_INTEGERS."""
    out = np.zeros((len(streams), TAIL + 1), dtype=np.int64)
    for i in range(len(streams)):
        s = streams[i]
        read, write = s[READ_BYTES], s[WRITE_BYTES]
        compute = -(-s[ELEMENTS] // s[LANES]) * s[CYCLES_PER_ELEMENT]
        most = max(read, write)
        fewest = max(1, min(s[ELEMENTS], -(-most // s[CHUNK_BYTES])))
        best, least = fewest, np.inf
        for doubling in range(CHUNK_DOUBLINGS):
            chunks = fewest << doubling
            if chunks > max(fewest, s[ELEMENTS] // s[LANES]):
                break
            cycles = float(compute)
            if bandwidth > 0:
                moved = read / bandwidth + write / bandwidth
                ends = moved / chunks
                turns = _turns(most, chunks, compute, s[PIPELINE], bandwidth, s[LINK_LATENCY])
                cycles = max(cycles, moved - ends, turns) + ends
            if cycles < least:
                best, least = chunks, cycles
        out[i, COMPUTE], out[i, AFTER] = compute, s[PIPELINE]
        out[i, HEAD], out[i, READ] = read // best, read
        out[i, WRITE], out[i, TAIL] = write, write // best
    return out
