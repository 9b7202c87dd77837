"""Random bit-packed masks, decided by a key on every platform.

A packed mask is uint8 [rows, ceil(cols / 8)], column j in bit j % 8 of byte j // 8, padding bits 0.
"""

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MOST_IN_A_WORD = 56
"""Columns of a group that fit a word wherever in a byte the group begins."""


@njit(cache=True, nogil=True)
def _word(key, counter):
    """64 random bits: SplitMix64 (Steele, Lea, Flood 2014) at position `counter`."""
    z = key + (np.uint64(counter) + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _draw(key, counter, bound):
    """A number 0 <= x < bound, the upper half of a word times the bound; bound <= 2**32."""
    z, bound = _word(key, counter), np.uint64(bound)
    carried = ((z & _LOW) * bound) >> _HALF
    return np.int64(((z >> _HALF) * bound + carried) >> _HALF)


@njit(cache=True, nogil=True)
def _choose(kept, size, key, counter):
    """A word with `kept` of its `size` lowest bits set (Floyd's algorithm)."""
    chosen = np.uint64(0)
    for i in range(kept):
        last = size - kept + i
        bit = np.uint64(1) << np.uint64(_draw(key, counter + i, last + 1))
        chosen |= np.uint64(1) << np.uint64(last) if chosen & bit else bit
    return chosen


@njit(cache=True, nogil=True)
def sample_groups(rows, cols, n, m, key):
    """A packed mask with min(n, size) random columns of every group of m set.

    Each group is an independent uniform choice (Floyd's algorithm) that depends on its own index
    and the uint64 `key` alone. The last group of a row is smaller where m does not divide cols.
    """
    packed = np.zeros((rows, -(-cols // 8)), np.uint8)
    groups = -(-cols // m)
    for row in range(rows):
        for group in range(groups):
            start = group * m
            size = min(m, cols - start)
            kept = min(n, size)
            counter = (row * groups + group) * n
            if m <= _MOST_IN_A_WORD:
                chosen = _choose(kept, size, key, counter) << np.uint64(start & 7)
                byte = start >> 3
                while chosen:
                    packed[row, byte] |= np.uint8(chosen & np.uint64(0xFF))
                    chosen >>= np.uint64(8)
                    byte += 1
                continue
            for i in range(kept):
                last = size - kept + i
                j = start + _draw(key, counter + i, last + 1)
                if (packed[row, j >> 3] >> (j & 7)) & 1:
                    j = start + last
                packed[row, j >> 3] |= 1 << (j & 7)
    return packed


@njit(cache=True, nogil=True)
def thin_rows(packed, cols, n, m, key):
    """Clear random bits in place until no m neighbouring rows have more than n in a column."""
    counter = 0
    for start in range(0, packed.shape[0], m):
        stop = min(start + m, packed.shape[0])
        for col in range(cols):
            byte, place = col >> 3, col & 7
            count = 0
            for row in range(start, stop):
                count += (packed[row, byte] >> place) & 1
            while count > n:
                left = _draw(key, counter, count)
                counter += 1
                row = start
                while left or not (packed[row, byte] >> place) & 1:
                    left -= (packed[row, byte] >> place) & 1
                    row += 1
                packed[row, byte] ^= np.uint8(1 << place)
                count -= 1


@njit(cache=True, nogil=True)
def _count_ones(x):
    """Set bits of a word (Hacker's Delight, section 5-1)."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _scatter(packed, cols, numerator, bits, key):
    """Set each bit with the chance numerator / 2**bits, 64 at a time; returns words, set bits.

    From the lowest set digit of the numerator up, a random word is or-ed for a 1 and and-ed for
    a 0: every digit adds its half to the chance that the digits below have given.
    """
    rows, row_bytes = packed.shape
    lowest = 0
    while (numerator >> lowest) & 1 == 0:
        lowest += 1
    counter = count = 0
    for row in range(rows):
        for first in range(0, row_bytes, 8):
            word = np.uint64(0)
            for digit in range(lowest, bits):
                random = _word(key, counter)
                counter += 1
                word = word | random if (numerator >> digit) & 1 else word & random
            if cols - 8 * first < 64:
                word &= (np.uint64(1) << np.uint64(cols - 8 * first)) - np.uint64(1)
            count += _count_ones(word)
            for i in range(min(8, row_bytes - first)):
                packed[row, first + i] = np.uint8(word >> np.uint64(8 * i))
    return counter, count


@njit(cache=True, nogil=True)
def sample_count(rows, cols, kept, key):
    """A packed mask with exactly `kept` random elements set, each choice equally likely.

    Bits are first set independently with about the wanted chance, then random ones are set or
    cleared until the count is right: neither step prefers an element. The chance has half as many
    binary digits as the size, so that few are left to correct; where more than half are kept, the
    others are chosen. rows * cols <= 2**32.
    """
    size = rows * cols
    few = min(kept, size - kept)
    bits = 0
    while 1 << (2 * bits) < size:
        bits += 1
    packed = np.zeros((rows, -(-cols // 8)), np.uint8)
    numerator = (few << bits) // size
    counter = count = 0
    if numerator:
        counter, count = _scatter(packed, cols, numerator, bits, key)
    clearing = count > few
    while count != few:
        place = _draw(key, counter, size)
        counter += 1
        row, col = place // cols, place % cols
        if ((packed[row, col >> 3] >> (col & 7)) & 1) == clearing:
            packed[row, col >> 3] ^= np.uint8(1 << (col & 7))
            count += -1 if clearing else 1
    if few != kept:
        for row in range(rows):
            for i in range(packed.shape[1]):
                packed[row, i] ^= np.uint8(0xFF)
            packed[row, -1] &= np.uint8(0xFF >> (-cols & 7))
    return packed
