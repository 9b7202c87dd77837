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
