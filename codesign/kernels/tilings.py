"""The cheapest tiling of a product that fits double-buffered scratchpads, in one compiled pass.

The definition is schedule/fitting.py with the costs of schedule/tilings.py; the tests hold this
kernel equal to it, tiling by tiling.
"""

import numpy as np
from numba import njit

(
    M, N, K, GROUPS, B_SHARED, ROW_GRANULE, A_NUMERATOR, A_DENOMINATOR, WINDOW, BATCH, IN_W,
    CHANNELS, OUT_W, DEPTH, HEIGHT, A_BYTES, C_BYTES, OF_PRODUCT,
) = (*range(14), 19, 25, 26, 27)  # fmt: skip
"""Places of the integers that describe a product alone; two axes of its window have several."""
SIZE, OUT, KERNEL, STRIDE, DILATION, SPREAD = range(6)
"""Places of an axis: its input, output, taps and their distances, and how its input is spread."""
(
    GROUP, HOLDS_SUMS, N_GRANULE, K_GRANULE, A_BUDGET, B_BUDGET, C_BUDGET, SUM_BYTES, ROWS, COLS,
    ACCUMULATE, INTERLEAVE, FEED, LOAD, DRAIN, LATENCY, INTEGERS,
) = range(OF_PRODUCT, OF_PRODUCT + 17)  # fmt: skip
"""Places of those that describe its lanes, its budget and its array."""

NO_WINDOW, ROWS_ARE_PIXELS, ROWS_ARE_DEPTHS = 0, 1, 2
"""What the rows of A stand for: themselves, output pixels, or positions of a window."""

_SHORTER = 2
_MOST = 1024


@njit(cache=True, nogil=True)
def _half(value, granule):
    return -(-value // (2 * granule)) * granule


@njit(cache=True, nogil=True)
def _blocks(count, size, aligned):
    return count // size if aligned and count % size == 0 else 1 + (count - 2) // size + 1


@njit(cache=True, nogil=True)
def _bound(p, axis, outputs, runs):
    kernel, stride, spread = p[axis + KERNEL], p[axis + STRIDE], p[axis + SPREAD]
    reach = (kernel - 1) * p[axis + DILATION] + 1
    positions = outputs * stride // spread + runs * (-(-reach // spread) + 1)
    if p[axis + DILATION] == 1 and kernel >= stride:
        return positions
    return min(positions, outputs * kernel)


@njit(cache=True, nogil=True)
def _window_bound(p, pixels, depth, tiled):
    out_d, out_h = p[DEPTH + OUT], p[HEIGHT + OUT]
    aligned = tiled and pixels % p[OUT_W] == 0
    rows = pixels // p[OUT_W] if aligned else (pixels - 2) // p[OUT_W] + 2
    planes = max(1, min(_blocks(rows, out_h, aligned), p[BATCH] * out_d))
    aligned = aligned and rows % out_h == 0
    images = max(1, min(_blocks(planes, out_d, aligned), p[BATCH]))
    in_rows = min(p[DEPTH + KERNEL], p[DEPTH + SIZE]) * _bound(p, HEIGHT, rows, planes)
    in_planes = min(_bound(p, DEPTH, planes, images), images * p[DEPTH + SIZE])
    return min(in_rows, in_planes * p[HEIGHT + SIZE]) * p[IN_W] * min(depth, p[CHANNELS])


@njit(cache=True, nogil=True)
def _a_bytes(p, m, k):
    elements = m * k
    if p[WINDOW] == ROWS_ARE_DEPTHS:
        elements = min(elements, _window_bound(p, k, m, True))
    elif p[WINDOW] == ROWS_ARE_PIXELS:
        pixels = p[BATCH] * p[DEPTH + OUT] * p[HEIGHT + OUT] * p[OUT_W]
        tiled = pixels == p[M]
        touched = -(-m * pixels // p[M]) + (0 if tiled else 1)
        elements = min(elements, _window_bound(p, touched, k, tiled))
    return -(-elements * p[A_NUMERATOR] // p[A_DENOMINATOR])


@njit(cache=True, nogil=True)
def _rows_fit(p, m, n, k):
    return m * n * p[SUM_BYTES] <= p[C_BUDGET] and _a_bytes(p, m, k) <= p[A_BUDGET]


@njit(cache=True, nogil=True)
def _largest_m(p, n, k):
    for stage in range(2):
        value = p[M] if stage == 0 else min(p[M], p[ROW_GRANULE])
        granule = p[ROW_GRANULE] if stage == 0 else 1
        while True:
            if _rows_fit(p, value, n, k):
                return value
            smaller = _half(value, granule)
            if smaller >= value:
                break
            value = smaller
    return 0


@njit(cache=True, nogil=True)
def _groups_that_fit(p, m, n, k, b_width):
    if p[B_SHARED] or m < p[M] or n < p[N] or k < p[K]:
        return 1
    a = p[A_BUDGET] // max(1, _a_bytes(p, m, k))
    b = int(p[B_BUDGET] // max(1e-9, n * k * b_width))
    c = p[C_BUDGET] // (m * n * p[SUM_BYTES])
    return max(1, min(p[GROUPS], a, b, c))


@njit(cache=True, nogil=True)
def _folds(size, tile, block):
    tiles = -(-size // tile)
    return (tiles - 1) * -(-tile // block) + -(-(size - (tiles - 1) * tile) // block)


@njit(cache=True, nogil=True)
def _held_cycles(p, m, n, k, slots):
    groups = -(-p[K] // p[GROUP])
    paced = max(slots, float(p[FEED]))
    tile_groups = -(-k // p[GROUP])
    tiles_m, tiles_n, tiles_k = -(-p[M] // m), -(-p[N] // n), -(-groups // tile_groups)
    last_m, last_n = p[M] - (tiles_m - 1) * m, p[N] - (tiles_n - 1) * n
    last_k = groups - (tiles_k - 1) * tile_groups
    if not p[HOLDS_SUMS]:
        folds = _folds(p[N], n, p[COLS]) * _folds(groups, tile_groups, p[ROWS])
        load = min(p[ROWS], groups) * slots * p[LOAD]
        streams = (tiles_m - 1) * max(m * paced, load) + 1 * max(last_m * paced, load)
        return p[GROUPS] * folds * streams
    total = 0.0
    for i in range(2):
        tile_m, many_m = (m, tiles_m - 1) if i == 0 else (last_m, 1)
        for j in range(2):
            tile_n, many_n = (n, tiles_n - 1) if j == 0 else (last_n, 1)
            folds = -(-tile_m // p[ROWS]) * -(-tile_n // p[COLS])
            full, rest = folds // p[INTERLEAVE], folds % p[INTERLEAVE]
            turns = full * max(p[INTERLEAVE], p[ACCUMULATE])
            if rest:
                turns += max(rest, p[ACCUMULATE])
            drain = folds * min(tile_m, p[ROWS]) * p[DRAIN]
            for h in range(2):
                part, many_k = (tile_groups, tiles_k - 1) if h == 0 else (last_k, 1)
                held = max(turns * part * paced, float(drain))
                total += many_m * many_n * many_k * held
    return p[GROUPS] * total


@njit(cache=True, nogil=True)
def _result_cycles(p, m, n, k):
    cols = min(p[N], p[COLS])
    if not p[HOLDS_SUMS]:
        return min(p[ROWS], -(-k // p[GROUP])) * p[ACCUMULATE] + cols - 2
    rows = min(m, p[ROWS])
    folds = -(-m // p[ROWS]) * -(-n // p[COLS])
    return rows + cols + p[ACCUMULATE] - 3 + min(folds, p[INTERLEAVE]) * rows * p[DRAIN]


@njit(cache=True, nogil=True)
def _estimate(p, m, n, k, g, mn, slots, b_bytes, bandwidth):
    compute = _held_cycles(p, m, n, k, slots)
    tiles_m, tiles_n = -(-p[M] // m), -(-p[N] // n)
    tiles_k, tiles_g = -(-p[K] // k), -(-p[GROUPS] // g)
    if mn:
        times_a = tiles_n if tiles_k > 1 else 1
        times_b = tiles_m if tiles_n * tiles_k > 1 else 1
    else:
        times_a = tiles_n if tiles_m * tiles_k > 1 else 1
        times_b = tiles_m if tiles_k > 1 else 1
    if p[B_SHARED] and tiles_n * tiles_k > 1:
        times_b *= p[GROUPS]
    a_loads = tiles_g * tiles_m * tiles_k * times_a
    b_loads = (1 if p[B_SHARED] else tiles_g) * tiles_n * tiles_k * times_b
    c_stores = tiles_g * tiles_m * tiles_n
    a_moved, b_moved, c_moved = p[A_BYTES] * times_a, b_bytes * times_b, p[C_BYTES]
    traffic = a_moved + b_moved + c_moved
    if bandwidth <= 0:
        return compute, traffic
    ends = a_moved / a_loads + b_moved / b_loads + c_moved / c_stores
    result = _result_cycles(p, m, n, k)
    count = max(a_loads, b_loads, c_stores)
    turns = 0.0
    if count > 2:
        waits = (count - 2) * (p[LATENCY] + result)
        turns = (traffic / bandwidth + waits + compute) / 2
    middle = max(compute, (traffic - ends) / bandwidth, turns)
    return middle + ends / bandwidth + 2 * p[LATENCY] + result, traffic


@njit(cache=True, nogil=True)
def cheapest_tiling(p, b_width, slots, b_bytes, bandwidth, slack):
    """Cycles and (m, n, k, groups, is "mn") of the tiling that `fitting.best_tiling` finds.

    `p` holds INTEGERS integers; a `bandwidth` of 0 moves everything in no time. The cycles are
    negative when not even the smallest tile fits.
    """
    cycles, moved = np.empty(_MOST), np.empty(_MOST)
    sizes = np.empty((_MOST, 5), dtype=np.int64)
    found = 0
    n = p[N]
    while True:
        tried, k = 0, p[K]
        while True:
            if n * k * b_width <= p[B_BUDGET]:
                most = _largest_m(p, n, k)
                if most > 0:
                    m, granule = most, min(most, p[ROW_GRANULE])
                    for _ in range(1 + _SHORTER):
                        g = _groups_that_fit(p, m, n, k, b_width)
                        for order in range(2 if m < p[M] and n < p[N] else 1):
                            cycles[found], moved[found] = _estimate(
                                p, m, n, k, g, order == 0, slots, b_bytes, bandwidth
                            )
                            sizes[found, 0], sizes[found, 1], sizes[found, 2] = m, n, k
                            sizes[found, 3], sizes[found, 4] = g, 1 - order
                            found += 1
                        smaller = _half(m, granule)
                        if smaller >= m:
                            break
                        m = smaller
                    tried += 1
                    if most == p[M] or tried > _SHORTER:
                        break
            smaller = _half(k, p[K_GRANULE])
            if smaller >= k:
                break
            k = smaller
        smaller = _half(n, p[N_GRANULE])
        if smaller >= n:
            break
        n = smaller
    if found == 0:
        return -1.0, sizes[0]
    limit = cycles[:found].min() * slack
    best = -1
    for i in range(found):
        if cycles[i] <= limit and (
            best < 0
            or moved[i] < moved[best]
            or (moved[i] == moved[best] and cycles[i] < cycles[best])
        ):
            best = i
    return cycles[best], sizes[best].copy()


@njit(cache=True, nogil=True)
def cheapest_tilings(products, floats, bandwidth, slack):
    """`cheapest_tiling` of every row of INTEGERS, with its row of (b_width, slots, b_bytes)."""
    cycles = np.empty(len(products))
    sizes = np.empty((len(products), 5), dtype=np.int64)
    for i in range(len(products)):
        b_width, slots, b_bytes = floats[i]
        cycles[i], sizes[i] = cheapest_tiling(
            products[i], b_width, slots, b_bytes, bandwidth, slack
        )
    return cycles, sizes
