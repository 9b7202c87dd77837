"""What the operations on packed masks mean, one bit at a time on lists of booleans."""

from __future__ import annotations


def to_bits(packed, cols):
    """Rows of booleans from packed bytes; bits beyond the last column must be 0."""
    for row in packed:
        assert int(row[-1]) >> ((cols - 1) % 8 + 1) == 0
    return [[bool(int(row[j // 8]) >> (j % 8) & 1) for j in range(cols)] for row in packed]


def tile_counts(bits, tile_rows, tile_cols):
    rows, cols = len(bits), len(bits[0])
    counts = [
        [0] * ((cols + tile_cols - 1) // tile_cols)
        for _ in range((rows + tile_rows - 1) // tile_rows)
    ]
    for i in range(rows):
        for j in range(cols):
            if bits[i][j]:
                counts[i // tile_rows][j // tile_cols] += 1
    return counts


def group_counts(bits, m):
    return tile_counts(bits, 1, m)


def slowest_lane(bits, m, lanes):
    """Cycles of each lock-step group: a kept element per lane and cycle until all are done."""
    slowest = []
    for block in range(0, len(bits), lanes):
        cycles = []
        for start in range(0, len(bits[0]), m):
            work = [[b for b in row[start : start + m] if b] for row in bits[block : block + lanes]]
            clock = 0
            while any(work):
                work = [lane[1:] for lane in work]
                clock += 1
            cycles.append(clock)
        slowest.append(cycles)
    return slowest


def transposed(bits):
    return [[bits[i][j] for i in range(len(bits))] for j in range(len(bits[0]))]


def chosen_groups(magnitude, n, m):
    """Keep the head of each group once it is ordered by falling magnitude, then by column."""
    bits = []
    for row in magnitude:
        kept = set()
        for start in range(0, len(row), m):
            group = range(start, min(start + m, len(row)))
            kept.update(sorted(group, key=lambda j: (-row[j], j))[:n])
        bits.append([j in kept for j in range(len(row))])
    return bits
