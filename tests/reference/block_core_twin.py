"""A block of columns of the block core, value by value: what each column multiplies in each cycle.

A column is asked in every cycle for its next products; nothing is computed ahead.
"""

from __future__ import annotations

from collections import deque


def run_group(a, w, keep, unkept, narrow_per_cycle):
    """One group of the reduction on some columns: (sums, cycles until the last column is done).

    `a` is [m, k], `w` and `keep` are [columns, k]. Skipping: nothing happens if no column keeps
    anything, else every position streams past all columns, and dropped weights are zeros on the
    way. Narrow: every column has a wide path of one product a cycle and a narrow one of more.
    """
    m, k, columns = len(a), len(a[0]) if a else 0, len(w)
    sums = [[0] * columns for _ in range(m)]

    def multiply(column, place, weight):
        for item in range(m):
            sums[item][column] += a[item][place] * weight

    if unkept == "skipped":
        if not any(any(row) for row in keep):
            return sums, 0
        for place in range(k):
            for column in range(columns):
                multiply(column, place, w[column][place] if keep[column][place] else 0)
        return sums, k
    wide = [deque(p for p in range(k) if row[p]) for row in keep]
    narrow = [deque(p for p in range(k) if not row[p]) for row in keep]
    cycles = 0
    while any(wide) or any(narrow):
        cycles += 1
        for column in range(columns):
            if wide[column]:
                place = wide[column].popleft()
                multiply(column, place, w[column][place])
            for _ in range(narrow_per_cycle):
                if narrow[column]:
                    place = narrow[column].popleft()
                    multiply(column, place, w[column][place])
    return sums, cycles


def run(a, w, keep, columns, group, unkept, narrow_per_cycle=1):
    """The whole product: (C as lists [m][n], cycles of every group by block of columns)."""
    n, k = len(w), len(w[0])
    c = [[0] * n for _ in a]
    cycles = []
    for first in range(0, n, columns):
        block = range(first, min(n, first + columns))
        taken = []
        for start in range(0, k, group):
            part = slice(start, min(k, start + group))
            sums, spent = run_group(
                [row[part] for row in a],
                [w[j][part] for j in block],
                [keep[j][part] for j in block],
                unkept,
                narrow_per_cycle,
            )
            taken.append(spent)
            for item, row in enumerate(sums):
                for column, j in enumerate(block):
                    c[item][j] += row[column]
        cycles.append(taken)
    return c, cycles
