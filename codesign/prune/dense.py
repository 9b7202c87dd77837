"""No sparsity: the baseline that every other method is compared with."""

from __future__ import annotations

from codesign.prune.base import Sparsifier
from codesign.sparsity.pattern import Dense as DensePattern


class Dense(Sparsifier):
    """Leaves every weight alone."""

    name = "dense"
    paper = "none"
    patterns = (DensePattern,)
