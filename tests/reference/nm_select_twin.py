"""The choice of N of M neighbours once more, group by group in plain Python."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def keep_along_rows(values: NDArray[np.float32], n: int, m: int) -> NDArray[np.bool_]:
    """The n largest magnitudes of each m columns, the lower column first among equals."""
    kept = np.zeros(values.shape, np.bool_)
    for i, row in enumerate(np.abs(values).tolist()):
        for start in range(0, len(row), m):
            group = range(start, min(start + m, len(row)))
            largest_first = sorted((-row[j], j) for j in group)
            kept[i, [j for _, j in largest_first[:n]]] = True
    return kept


def draw_along_columns(
    values: NDArray[np.float32], uniforms: NDArray[np.float32], n: int, m: int
) -> NDArray[np.float64]:
    """An unbiased estimate with n = 1 or 2 of every m rows of a column, in doubles.

    The first row is drawn in proportion to magnitudes, a second one of what is left; each is
    divided by the probability of being drawn, from all pairs.
    """
    out = np.zeros(values.shape)
    for column in range(values.shape[1]):
        for group, start in enumerate(range(0, len(values), m)):
            sizes = np.abs(values[start : start + m, column]).astype(np.float64)
            drawn: list[int] = []
            for u in uniforms[n * group : n * group + n, column].tolist():
                left = [0.0 if j in drawn else size for j, size in enumerate(sizes.tolist())]
                inside = [
                    j for j, size in enumerate(left) if size and sum(left[:j]) <= u * sum(left)
                ]
                drawn += inside[-1:]
            for j in drawn:
                chance = sizes[j] / sizes.sum()
                for k in range(len(sizes)):
                    others = sizes[np.arange(len(sizes)) != k].sum()
                    if n == 2 and k != j and sizes[k]:
                        chance += sizes[k] / sizes.sum() * sizes[j] / others
                out[start + j, column] = values[start + j, column] / chance
    return out
