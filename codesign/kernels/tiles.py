"""Bit-packed masks: counting, transposing and choosing.

A packed mask is uint8 [rows, ceil(cols / 8)], column j in bit j % 8 of byte j // 8, padding bits 0.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _popcount(byte):
    x = np.int64(byte)
    x = x - ((x >> 1) & 0x55)
    x = (x & 0x33) + ((x >> 2) & 0x33)
    return (x + (x >> 4)) & 0x0F


@njit(cache=True, nogil=True)
def _count_bits(packed, row, start, stop):
    """Set bits of the columns start <= j < stop of one row; start < stop."""
    first, last = start >> 3, (stop - 1) >> 3
    head = np.int64(packed[row, first]) >> (start & 7)
    if first == last:
        return _popcount(head & ((1 << (stop - start)) - 1))
    count = _popcount(head) + _popcount(packed[row, last] & ((2 << ((stop - 1) & 7)) - 1))
    for i in range(first + 1, last):
        count += _popcount(packed[row, i])
    return count


@njit(cache=True, nogil=True)
def _count_group(packed, cols, row, group, m):
    """Set bits of one group; groups of 2, 4 and 8 never straddle two bytes."""
    if m == 4:
        return _popcount((packed[row, group >> 1] >> ((group & 1) << 2)) & 0x0F)
    if m == 8:
        return _popcount(packed[row, group])
    if m == 2:
        return _popcount((packed[row, group >> 2] >> ((group & 3) << 1)) & 0x03)
    return _count_bits(packed, row, group * m, min(group * m + m, cols))


@njit(cache=True, nogil=True)
def count_tiles(packed, cols, tile_rows, tile_cols):
    """Set bits of each tile, int64 [ceil(rows / tile_rows), ceil(cols / tile_cols)]."""
    rows = packed.shape[0]
    tiles = -(-cols // tile_cols)
    counts = np.zeros((-(-rows // tile_rows), tiles), np.int64)
    for row in range(rows):
        for tile in range(tiles):
            start = tile * tile_cols
            stop = min(start + tile_cols, cols)
            counts[row // tile_rows, tile] += _count_bits(packed, row, start, stop)
    return counts


@njit(cache=True, nogil=True)
def count_groups(packed, cols, m):
    """Set bits of each group of m neighbouring columns, int32 [rows, ceil(cols / m)]."""
    rows = packed.shape[0]
    groups = -(-cols // m)
    counts = np.empty((rows, groups), np.int32)
    for row in range(rows):
        for group in range(groups):
            counts[row, group] = _count_group(packed, cols, row, group, m)
    return counts


@njit(cache=True, nogil=True)
def max_groups(packed, cols, m, lanes):
    """Largest group count among each `lanes` rows, int64 [ceil(rows / lanes), ceil(cols / m)]."""
    rows = packed.shape[0]
    groups = -(-cols // m)
    counts = np.zeros((-(-rows // lanes), groups), np.int64)
    for row in range(rows):
        block = row // lanes
        for group in range(groups):
            count = _count_group(packed, cols, row, group, m)
            if count > counts[block, group]:
                counts[block, group] = count
    return counts


@njit(cache=True, nogil=True)
def transpose_bits(packed, cols):
    """The packed mask with rows and columns exchanged, uint8 [cols, ceil(rows / 8)].

    Eight by eight bits at a time, three rounds of swaps (Hacker's Delight, section 7-3).
    """
    rows, row_bytes = packed.shape
    out = np.zeros((cols, -(-rows // 8)), np.uint8)
    for byte in range(row_bytes):
        for block in range(out.shape[1]):
            x = np.uint64(0)
            for i in range(min(8, rows - block * 8)):
                x |= np.uint64(packed[block * 8 + i, byte]) << np.uint64(8 * i)
            t = (x ^ (x >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
            x ^= t ^ (t << np.uint64(7))
            t = (x ^ (x >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
            x ^= t ^ (t << np.uint64(14))
            t = (x ^ (x >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
            x ^= t ^ (t << np.uint64(28))
            for i in range(min(8, cols - byte * 8)):
                out[byte * 8 + i, block] = np.uint8((x >> np.uint64(8 * i)) & np.uint64(0xFF))
    return out


@njit(cache=True, nogil=True)
def choose_groups(magnitude, n, m):
    """A packed mask with the min(n, size) largest of every group of m columns set.

    `magnitude` is [rows, cols] without NaN; of equal values the lower column is kept. Where fewer
    are dropped than kept, the smallest are looked for instead, the higher column first.
    """
    rows, cols = magnitude.shape
    packed = np.zeros((rows, -(-cols // 8)), np.uint8)
    for row in range(rows):
        for start in range(0, cols, m):
            size = min(m, cols - start)
            kept = min(n, size)
            dropping = kept > size - kept
            if dropping:
                for j in range(start, start + size):
                    packed[row, j >> 3] |= 1 << (j & 7)
            for _ in range(min(kept, size - kept)):
                best = -1
                for j in range(start, start + size):
                    is_set = (packed[row, j >> 3] >> (j & 7)) & 1
                    if is_set != dropping:
                        continue
                    if best < 0 or (
                        magnitude[row, j] <= magnitude[row, best]
                        if dropping
                        else magnitude[row, j] > magnitude[row, best]
                    ):
                        best = j
                packed[row, best >> 3] ^= 1 << (best & 7)
    return packed
