"""How a sparsity, a share or a factor moves during a run; everything from 0 at its beginning."""

from __future__ import annotations

import math


def progress(step: int, begin: int, end: int) -> float:
    """How far a step is from `begin` to `end`, held at 0 before and 1 after."""
    if step >= end:
        return 1.0
    return max(0, step - begin) / (end - begin)


def cubic(initial: float, final: float, done: float) -> float:
    """Zhu and Gupta 2017 (arXiv 1710.01878): fast at first, slow near the final sparsity.

    >>> cubic(0.0, 0.8, 0.5)
    0.7
    """
    return final + (initial - final) * (1 - done) ** 3


def cosine(initial: float, done: float) -> float:
    """Half a cosine from `initial` to 0, the decay of RigL (Evci et al., ICML 2020, section 3)."""
    return initial / 2 * (1 + math.cos(math.pi * done))
