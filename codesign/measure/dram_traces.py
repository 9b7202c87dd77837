"""The request patterns that the DRAM oracles were run with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.memory.addresses import Location

Int64 = NDArray[np.int64]

PATTERNS = (
    "stream",
    "stream_w",
    "stream_rw",
    "stream_1bank",
    "stream_1bg",
    "conflict_1bank",
    "conflict_allbanks",
    "pingpong_2rows",
    "random",
    "random_w25",
)

_SEED, _FACTOR, _INCREMENT = 12345, 1664525, 1013904223
"""The 32-bit linear congruential generator of the random patterns."""


@dataclass(frozen=True)
class Requests:
    """Where requests go on channel 0, rank 0, and which of them write."""

    where: Location
    write: NDArray[np.bool_]


def requests(pattern: str, n: int, groups: int, banks: int, columns: int) -> Requests:
    """The n requests of a pattern on `groups` groups of `banks` banks, rows of `columns` bursts.

    >>> requests("stream", 5, 4, 4, 32).where.bank.tolist()
    [0, 4, 8, 12, 1]
    """
    if pattern not in PATTERNS:
        raise CodesignError(f"no request pattern is called '{pattern}'")
    i = np.arange(n, dtype=np.int64)
    zero = np.zeros(n, dtype=np.int64)
    write = np.zeros(n, dtype=np.bool_)
    group, bank, row, column = zero, zero, zero, zero
    if pattern in ("stream", "stream_w", "stream_rw"):
        group, bank = i % groups, i // groups % banks
        row, column = i // (groups * banks * columns), i // (groups * banks) % columns
        if pattern == "stream_w":
            write = ~write
        elif pattern == "stream_rw":
            write = i // 64 % 2 == 1
    elif pattern == "stream_1bank":
        row, column = i // columns, i % columns
    elif pattern == "stream_1bg":
        bank, row, column = i % banks, i // (banks * columns), i // banks % columns
    elif pattern == "conflict_1bank":
        row = i
    elif pattern == "conflict_allbanks":
        group, bank, row = i % groups, i // groups % banks, i // (groups * banks)
    elif pattern == "pingpong_2rows":
        row, column = i % 2, i // 2 % columns
    else:
        x = _random(n)
        if groups == 1:
            bank = (x >> 28) % banks
        else:
            group, bank = (x >> 30) % groups, (x >> 28) % banks
        row, column = (x >> 18) & 1023, (x >> 10) % columns
        if pattern == "random_w25":
            write = i % 4 == 3
    return Requests(Location(zero, group * banks + bank, row, column), write)


def _random(n: int) -> Int64:
    values = np.empty(n, dtype=np.int64)
    x = _SEED
    for i in range(n):
        x = (_FACTOR * x + _INCREMENT) % 2**32
        values[i] = x
    return values
