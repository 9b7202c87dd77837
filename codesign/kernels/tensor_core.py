"""Time of matrix products on a GPU: of all tile shapes and splits of the reduction the best.

All times are cycles of the nominal clock, all rates are per cycle. A board is float64[10]:
multiprocessors, L2 bytes of one partition, L2 bytes per cycle, DRAM bytes per cycle, DRAM
latency, bytes of shared memory per multiprocessor, and 1 where warp groups multiply from shared
memory (wgmma), else 0; then of tensor memory, 0 where there is none: its rows, its columns, and
1 where two multiprocessors share an operand. Constants are float64[12] and laws float64[11], the
columns named below. A form is float64[7]: bytes of an element of A, of an element of C, bytes of
B over its dense bytes in the type of A, multiply-accumulates per cycle of one multiprocessor,
executed share of the reduction, bytes that unpacking writes to shared memory per element of B,
most splits of the reduction.
"""

import numpy as np
from numba import njit

READ, WRITE, SHARING, PROLOGUE, STORE, STEP, SPLIT, CAP, WARM, BURST, WINDOW, BY_ROWS = range(12)
"""Columns of the constants: efficiency of DRAM reads and writes, uses of a byte that L2 delivers,
cycles before the first product, bytes per cycle of the epilogue, cycles of a pipeline step,
cycles of a split, sustained multiply-accumulates per cycle of the chip, bytes that L2 kept from
the last run, factor and cycles by which short runs exceed the sustained rate, and 1 where blocks
are taken one row of tiles after the other instead of in squares."""

OVERLAP, WARP_SHARE, FILL_SHARE, DECLINE, SHARED_RATE, PORT_RATE, STAGES, STAGES_ALONE = range(8)
STEP_BYTES, VECTOR_STEP_BYTES, TENSOR_FILL_SHARE = 8, 9, 10
"""Columns of the laws, in the order of `gpu_kernels.Laws`."""

CYCLES, BLOCK, SERVERS, TILE_M, TILE_N, SPLITS, BLOCKS, DRAM_READ, L2_BYTES, STEPS = range(10)
"""Columns of a choice."""


@njit(cache=True, nogil=True)
def _join(x, y, exponent):
    """Time of two activities that overlap, but hinder each other when both are long."""
    most = max(x, y)
    if most <= 0.0:
        return 0.0
    return most * (1.0 + (min(x, y) / most) ** exponent) ** (1.0 / exponent)


@njit(cache=True, nogil=True)
def _retained(kept_bytes, moved, decline):
    """Share of the bytes that a cache still holds when they are read again in the same order."""
    share = min(1.0, kept_bytes / moved)
    return share if share == 1.0 else share**decline


@njit(cache=True, nogil=True)
def resident_blocks(tile_m, tile_n):
    """Thread blocks that share a multiprocessor: as many as have registers for their sums."""
    size = tile_m * tile_n
    if size <= 1024:
        return 4
    if size <= 4096:
        return 3
    if size <= 8192:
        return 2
    return 1


@njit(cache=True, nogil=True)
def _pass(rows, columns, row_bytes, column_bytes, used_rows, used_columns, lanes):
    """One way round of a tile whose sums are in tensor memory, for an element of the reduction.

    Share of the full rate, bytes read from shared memory and filled into it, columns of sums: each
    pass of `lanes` rows reads all columns.
    """
    passes = np.ceil(rows / lanes)
    read = rows * row_bytes + passes * columns * column_bytes
    filled = used_rows * row_bytes + used_columns * column_bytes
    return rows / (passes * lanes), read, filled, passes * columns


@njit(cache=True, nogil=True)
def _try(
    groups,
    m,
    n,
    k,
    tile_m,
    tile_n,
    resident,
    alone,
    splits,
    board,
    constants,
    laws,
    form,
    limit,
    out,
):
    """Fill `out` (float64[10], the columns of a choice) for one tile shape and split.

    The cycles are infinite where they are seen early to reach `limit`.
    """
    count, l2_bytes, l2_rate, dram_rate, dram_latency, shared, warp_groups = board[:7]
    lanes, columns, pairs = board[7:]
    a_size, c_size, b_share, macs, kept, unpack, _ = form
    exponent = laws[OVERLAP]
    b_size = a_size * b_share
    down, across = -(-m // tile_m), -(-n // tile_n)
    blocks = groups * down * across * splits
    depth = np.floor(laws[STEP_BYTES] / a_size)
    steps = np.ceil(k * kept / splits / depth)
    reduction = steps * depth
    stage_bytes = (tile_m * a_size + tile_n * b_size) * depth
    most = laws[STAGES_ALONE] if alone else laws[STAGES]
    stages = min(most, max(2.0, np.floor(shared / stage_bytes / resident)))

    rate = macs
    filled = min(tile_m, m) * a_size + min(tile_n, n) * b_size
    entering, fill_share, sums = filled, laws[FILL_SHARE], columns
    if lanes > 0:
        used_m, used_n = min(tile_m, m), min(tile_n, n)
        a_beside = a_size / 2 if pairs > 0 and across > 1 else a_size
        b_beside = b_size / 2 if pairs > 0 and down > 1 else b_size
        way = _pass(tile_n, tile_m, b_size, a_beside, used_n, used_m, lanes)
        if b_share == 1.0:
            other = _pass(tile_m, tile_n, a_size, b_beside, used_m, used_n, lanes)
            full = tile_m * tile_n / macs
            feeding = max(full / way[0], way[1] / laws[SHARED_RATE])
            if max(full / other[0], other[1] / laws[SHARED_RATE]) < feeding:
                way = other
        share, read, entering, sums = way
        rate = macs * share
        fill_share = laws[TENSOR_FILL_SHARE]
    elif warp_groups > 0 and max(tile_m, tile_n) >= 64:
        if tile_m >= 64 and b_share == 1.0:
            read = tile_m * a_size + -(-tile_m // 64) * tile_n * b_size
        else:
            read = tile_n * b_size + -(-tile_n // 64) * tile_m * a_size
    else:
        warp_m = min(64, tile_m // 2 if tile_m > 16 else tile_m)
        warp_n = min(64, max(1, tile_n // 2))
        warps = -(-tile_m // warp_m) * -(-tile_n // warp_n)
        read = warps * (warp_m * a_size + warp_n * b_size)
        if warp_groups > 0:
            rate = macs * laws[WARP_SHARE]

    servers = count * resident
    waves = -(-blocks // np.int64(servers))
    beside = min(float(resident), blocks / count) if blocks > count else 1.0
    multiply = beside * tile_m * tile_n * reduction / rate
    feed = max(
        beside * reduction * (read + fill_share * entering + tile_n * unpack) / laws[SHARED_RATE],
        beside * reduction * entering / laws[PORT_RATE],
        steps * constants[STEP] / (stages - 1.0),
    )
    store = beside * tile_m * tile_n * c_size / constants[STORE]
    around = constants[PROLOGUE] + store
    overlaps = 2 * resident * sums <= columns and lanes > 0
    least = max(multiply, feed)
    if waves * (least if overlaps else least + around) >= limit:
        out[CYCLES] = np.inf
        return
    products = _join(multiply, feed, exponent)
    inside = waves * (products + around)
    if overlaps:
        inside = products + around + (waves - 1) * max(products, store)

    a_bytes = groups * m * k * a_size
    b_bytes = groups * n * k * kept * b_size
    c_bytes = groups * m * n * c_size
    moved = a_bytes + b_bytes + c_bytes
    warm = _retained(constants[WARM], moved, laws[DECLINE])
    active = min(float(blocks), servers)
    together = max(1.0, active / splits)
    tall = min(float(down), max(1.0, np.sqrt(together * tile_n / tile_m)))
    wide = min(float(across), max(1.0, together / tall))
    tall = min(float(down), max(1.0, together / wide))
    again_a = np.ceil(across / wide)
    again_b = np.ceil(down / tall)
    if constants[BY_ROWS] > 0.0:
        wide = min(float(across), together)
        again_a = 1.0
        again_b = max(1.0, down * wide / together)
    again_a = 1.0 + (again_a - 1.0) * (1.0 - _retained(l2_bytes, a_bytes, laws[DECLINE]))
    again_b = 1.0 + (again_b - 1.0) * (1.0 - _retained(l2_bytes, b_bytes, laws[DECLINE]))
    reads = min(a_bytes + b_bytes * again_b, a_bytes * again_a + b_bytes)
    if constants[BY_ROWS] > 0.0:
        reads = a_bytes + b_bytes * again_b
    in_flight = active * (stages - 1.0) * stage_bytes
    read_rate = min(dram_rate * constants[READ], in_flight / dram_latency)
    from_dram = max(0.0, reads - warm * moved)
    dram = from_dram / read_rate + c_bytes * (1.0 - warm) / (dram_rate * constants[WRITE])
    delivered = blocks * reduction * filled
    l2 = delivered / (l2_rate * constants[SHARING])
    cycles = _join(inside, max(l2, dram), exponent)

    work = float(groups) * m * n * k * kept
    excess = constants[BURST] - 1.0
    cap = constants[CAP] * (1.0 + excess * constants[WINDOW] / (constants[WINDOW] + cycles))
    cycles = max(cycles, work / cap)
    if splits > 1:
        cycles += constants[SPLIT] + groups * m * n * 4.0 * splits / l2_rate
    out[CYCLES] = cycles
    out[BLOCK] = cycles / waves
    out[SERVERS] = servers
    out[TILE_M], out[TILE_N], out[SPLITS], out[BLOCKS] = tile_m, tile_n, splits, blocks
    out[DRAM_READ] = max(reads, a_bytes + b_bytes)
    out[L2_BYTES] = delivered + c_bytes
    out[STEPS] = steps


@njit(cache=True, nogil=True)
def _try_vector(groups, n, k, board, constants, laws, form, out):
    """Fill `out` for one row times a matrix: blocks stream rows of B without tensor cores."""
    l2_rate, dram_rate = board[2:4]
    a_size, c_size, b_share, _, kept, _, _ = form
    moved = groups * (k * a_size + n * k * kept * a_size * b_share + n * c_size)
    warm = _retained(constants[WARM], moved, laws[DECLINE])
    memory = max(
        moved * (1.0 - warm) / (dram_rate * constants[READ]),
        moved / (l2_rate * constants[SHARING]),
    )
    steps = np.ceil(k * kept * a_size / laws[VECTOR_STEP_BYTES])
    out[CYCLES] = constants[STEP] + max(memory, steps * constants[STEP])
    out[BLOCK] = out[CYCLES]
    out[SERVERS] = 1.0
    out[TILE_M], out[TILE_N], out[SPLITS], out[BLOCKS] = 1.0, 1.0, 1.0, 1.0
    out[DRAM_READ] = moved - groups * n * c_size
    out[L2_BYTES] = moved
    out[STEPS] = steps


@njit(cache=True, nogil=True)
def choose_tiles(sizes, tiles, splits, board, constants, laws, form):
    """The quickest tile shape and split for each product, float64[rows, 10].

    `sizes` is int64[rows, 4]: groups, m, n, k of C (m x n) = A (m x k) . B (k x n); `tiles`
    int64[t, 3] (with the blocks that share a multiprocessor, 0: as registers allow) and `splits`
    int64[s] in rising order are what a library has. A tile of one row and one column stands for a
    product with a vector.
    """
    best = np.empty((len(sizes), 10))
    trial = np.empty(10)
    for i in range(len(sizes)):
        groups, m, n, k = sizes[i]
        best[i, CYCLES] = np.inf
        for t in range(len(tiles)):
            tile_m, tile_n = tiles[t, 0], tiles[t, 1]
            if tile_m == 1:
                if m == 1:
                    _try_vector(groups, n, k, board, constants, laws, form, trial)
                    if trial[CYCLES] < best[i, CYCLES]:
                        best[i] = trial
                continue
            if len(tiles) > 3 and (
                (tile_m >= 2 * m and tile_m > 64) or (tile_n >= 2 * n and tile_n > 64)
            ):
                continue
            alone = tiles[t, 2] == 1
            resident = tiles[t, 2] if tiles[t, 2] > 0 else resident_blocks(tile_m, tile_n)
            for s in range(len(splits)):
                parts = splits[s]
                if parts > 1 and (
                    parts > form[6]
                    or k * form[0] < 256 * parts
                    or groups * -(-m // tile_m) * -(-n // tile_n) * parts > 2 * board[0] * resident
                ):
                    break
                _try(
                    groups,
                    m,
                    n,
                    k,
                    tile_m,
                    tile_n,
                    resident,
                    alone,
                    parts,
                    board,
                    constants,
                    laws,
                    form,
                    best[i, CYCLES],
                    trial,
                )
                if trial[CYCLES] < best[i, CYCLES]:
                    best[i] = trial
    return best
