"""How a sparsity of a whole network is shared out to its layers: uniform, ERK, LAMP, OWL."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.base import Weights, largest, magnitudes
from codesign.sparsity.removal import require_fraction

_DIGITS = 9


def uniform(sparsity: float, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """The same fraction removed from every layer."""
    return dict.fromkeys(shapes, require_fraction(sparsity))


def erdos_renyi_kernel(sparsity: float, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """Densities in proportion to the sum of a weight's dimensions over their product.

    Shapes are (out, in) or (out, in, height, width). Layers whose density would exceed 1 are dense,
    and the others share the rest. RigL (Evci et al., ICML 2020), section 3.

    >>> erdos_renyi_kernel(0.5, {"a": (100, 100), "b": (200, 200)})
    {'a': 0.166666667, 'b': 0.583333333}
    """
    budget = (1 - require_fraction(sparsity)) * sum(prod(shape) for shape in shapes.values())
    dense: set[str] = set()
    while True:
        spread = {name: sum(shape) for name, shape in shapes.items() if name not in dense}
        left = budget - sum(prod(shapes[name]) for name in dense)
        scale = left / sum(spread.values()) if spread else 0.0
        over = {name for name, total in spread.items() if scale * total > prod(shapes[name])}
        if not over:
            break
        dense |= over
    return {
        name: 0.0 if name in dense else round(1 - scale * spread[name] / prod(shape), _DIGITS)
        for name, shape in shapes.items()
    }


def lamp(sparsity: float, weights: Mapping[str, Weights]) -> dict[str, float]:
    """Fractions that one threshold on LAMP scores removes.

    The score of a weight is its square over the sum of the squares that are at least as large in
    its layer. Lee et al., ICLR 2021 (arXiv 2010.07611).
    """
    require_fraction(sparsity)
    scores = []
    for matrix in weights.values():
        square = np.sort(magnitudes(matrix).astype(np.float64).reshape(-1)) ** 2
        scores.append(square / np.maximum(np.cumsum(square[::-1])[::-1], np.finfo(float).tiny))
    every = np.concatenate(scores)
    kept = largest(every, int((1 - sparsity) * every.size + 0.5))
    parts = np.split(kept, np.cumsum([len(part) for part in scores])[:-1])
    return {
        name: _below_one(1 - np.count_nonzero(part) / len(part), name)
        for name, part in zip(weights, parts, strict=True)
    }


def owl(
    sparsity: float, outliers: Mapping[str, float], *, spread: float = 0.08
) -> dict[str, float]:
    """Less is removed from layers with more outliers, at most `spread` from the mean.

    `outliers` is the share of |W| * ||X|| above five times the layer's mean. Shares are scaled to
    0 .. 2 * spread and centred. Yin et al., ICML 2024 (arXiv 2310.05175) and its repository.
    """
    require_fraction(sparsity)
    shares = np.array(list(outliers.values()), np.float64)
    width = np.ptp(shares)
    scaled = (shares - shares.min()) / width * 2 * spread if width else np.zeros_like(shares)
    moved: NDArray[np.float64] = scaled - scaled.mean()
    return {
        name: round(float(np.clip(sparsity - less, 0, 1 - 10**-_DIGITS)), _DIGITS)
        for name, less in zip(outliers, moved.tolist(), strict=True)
    }


def _below_one(value: float, name: str) -> float:
    if value >= 1:
        raise CodesignError(f"nothing of {name!r} would be left: ask for less sparsity")
    return round(value, _DIGITS)
