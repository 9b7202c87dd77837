"""Every sparsifier by its name."""

from __future__ import annotations

from typing import Any

from codesign.config import CodesignError, did_you_mean
from codesign.prune.activation import Kwta, Mustafar, RSparse, Teal, Wina
from codesign.prune.base import Sparsifier
from codesign.prune.calibrated import Chita, Obs, SparseGPT, Spense, Wanda
from codesign.prune.dense import Dense
from codesign.prune.dynamic import Blast, Gradual, GraNet, RigL, SRigL
from codesign.prune.factored import Monarch, PixelatedButterfly, SliceGPT
from codesign.prune.nm_training import (
    Bdwp,
    BiMask,
    ProgressiveGradientFlow,
    Sdgp,
    Sdwp,
    SrSte,
    Ste,
    Step,
)
from codesign.prune.oneshot import (
    MagnitudeErk,
    MagnitudeGlobal,
    MagnitudeLamp,
    MagnitudeUniform,
    NMMagnitude,
    Random,
)
from codesign.prune.s_ste import SSte
from codesign.prune.slope import Slope
from codesign.prune.soft import AutoSparse, Pdp, St3
from codesign.prune.tiles import Patch
from codesign.prune.transposable import Fst, TMask
from codesign.sparsity.pattern import Pattern

_ALL: tuple[type[Sparsifier], ...] = (
    Dense, Random, MagnitudeUniform, MagnitudeGlobal, MagnitudeErk, MagnitudeLamp, NMMagnitude,
    Ste, SrSte, Sdgp, Sdwp, Bdwp, BiMask, Slope, TMask, Fst, SSte, Step, ProgressiveGradientFlow,
    Gradual, RigL, SRigL, GraNet, AutoSparse, St3, Pdp, Blast, PixelatedButterfly, Monarch, Patch,
    Spense, Wanda, SparseGPT, Obs, Chita, SliceGPT, Wina, Teal, RSparse, Mustafar, Kwta,
)  # fmt: skip
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
