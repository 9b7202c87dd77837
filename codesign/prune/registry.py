"""Every sparsifier by its name."""

from __future__ import annotations

from typing import Any

from codesign.config import CodesignError, did_you_mean
from codesign.prune.base import Sparsifier
from codesign.prune.dense import Dense
from codesign.sparsity.pattern import Pattern

_ALL: tuple[type[Sparsifier], ...] = (Dense,)
SPARSIFIERS: dict[str, type[Sparsifier]] = {kind.name: kind for kind in _ALL}


def sparsifier(name: str, pattern: Pattern | str, **options: Any) -> Sparsifier:
    """The method of a name for a pattern, ready to attach; options are those of its class.

    Raises CodesignError for an unknown name, an option it does not have, or a pattern that it
    cannot reach.

    >>> sparsifier("dense", "dense").name
    'dense'
    """
    if name not in SPARSIFIERS:
        hint = did_you_mean(name, list(SPARSIFIERS))
        raise CodesignError(
            f"no sparsifier {name[:40]!r} (known: {', '.join(SPARSIFIERS)})"
            + (f"; did you mean {hint!r}?" if hint else "")
        )
    try:
        return SPARSIFIERS[name](pattern, **options)
    except TypeError as error:
        raise CodesignError(f"{name}: {error}") from None
