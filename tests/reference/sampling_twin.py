"""What random masks mean, one bit at a time on lists of booleans."""

from __future__ import annotations

from fractions import Fraction

WORD = (1 << 64) - 1


def word(key, counter):
    """SplitMix64 seeded with `key` and stepped counter + 1 times."""
    state = key
    for _ in range(counter + 1):
        state = (state + 0x9E3779B97F4A7C15) & WORD
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def draw(key, counter, bound):
    """A number below the bound."""
    return word(key, counter) * bound >> 64


def sampled_groups(rows, cols, n, m, key):
    """Floyd's choice: each candidate from the last `kept` on brings one new member into the set."""
    groups = (cols + m - 1) // m
    bits = [[False] * cols for _ in range(rows)]
    for i in range(rows):
        for g in range(groups):
            members = list(range(g * m, min(g * m + m, cols)))
            kept = min(n, len(members))
            chosen = set()
            for step, last in enumerate(range(len(members) - kept, len(members))):
                pick = draw(key, (i * groups + g) * n + step, last + 1)
                chosen.add(last if pick in chosen else pick)
            for pick in chosen:
                bits[i][members[pick]] = True
    return bits


def thinned(bits, n, m, key):
    """Of every m rows, columns that keep more than n lose random ones, one after the other."""
    bits = [row[:] for row in bits]
    counter = 0
    for start in range(0, len(bits), m):
        for j in range(len(bits[0])):
            while len(kept := [i for i in range(start, len(bits))[:m] if bits[i][j]]) > n:
                bits[kept[draw(key, counter, len(kept))]][j] = False
                counter += 1
    return bits


def sampled_count(rows, cols, kept, key):
    """Independent elements first, then one after the other until the count is right.

    An element is set where a random fraction is less than the chance. The digits of the fraction
    are the complements of one bit each of as many words as the chance has significant digits, the
    word of the last digit first.
    """
    size = rows * cols
    wanted = min(kept, size - kept)
    digits = next(d for d in range(64) if 4**d >= size)
    chance = Fraction(wanted * 2**digits // size, 2**digits)
    drawn = chance.denominator.bit_length() - 1 if chance else 0
    bits = [[False] * cols for _ in range(rows)]
    counter = 0
    for row in bits:
        for first in range(0, cols, 64):
            words = [word(key, counter + i) for i in range(drawn)]
            counter += drawn
            for j in range(first, min(first + 64, cols)):
                digit = [1 - (w >> (j - first) & 1) for w in words]
                row[j] = sum(Fraction(d, 2 ** (drawn - i)) for i, d in enumerate(digit)) < chance
    surplus = sum(map(sum, bits)) > wanted
    while sum(map(sum, bits)) != wanted:
        place = draw(key, counter, size)
        counter += 1
        if bits[place // cols][place % cols] == surplus:
            bits[place // cols][place % cols] = not surplus
    return bits if wanted == kept else [[not bit for bit in row] for row in bits]
