"""Sparsity patterns: frozen values that say which elements of a weight matrix may be kept.

All matrices have the layout of a linear layer's weight: rows are outputs, columns the reduction.
Every pattern projects a weight to the mask with the largest sum of kept magnitudes, samples a
random mask by seed, and accepts a mask that lies inside one of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from codesign.config import CodesignError, suggestion
from codesign.sparsity.base import MAX_ELEMENTS, MAX_SIZE, Pattern
from codesign.sparsity.both_ways import DoublePruned, Transposable
from codesign.sparsity.butterfly import FlatButterfly
from codesign.sparsity.chunks import NMGrouped
from codesign.sparsity.fan_in import FanIn, FanOut
from codesign.sparsity.hybrid import Split, Tiles
from codesign.sparsity.nm import DENSE, NM, Dense
from codesign.sparsity.quantised import MixedBanks, ScaledGroups
from codesign.sparsity.removal import Block, Columns, Rows, Unstructured

__all__ = [
    "DENSE",
    "MAX_ELEMENTS",
    "MAX_SIZE",
    "NM",
    "Block",
    "Columns",
    "Dense",
    "DoublePruned",
    "FanIn",
    "FanOut",
    "FlatButterfly",
    "MixedBanks",
    "NMGrouped",
    "Pattern",
    "Rows",
    "ScaledGroups",
    "Split",
    "Tiles",
    "Transposable",
    "Unstructured",
    "parse_pattern",
]

_FORMS = (
    "dense, N:M, N:M@in, N:M@out, double(N:M), transposable(N:M), nmg(N:M:G), sq(N:M), "
    "unstructured(S), fan_in(S), row(S), column(S), block(RxC, S), gqsa(G, S), "
    "tiles(RxC, N:M, S), split(N:M, S), butterfly(G)"
)
_EXAMPLES = (
    "dense", "unstructured(0.9)", "block(32x32, 0.9)", "row(0.5)", "column(0.5)", "double(2:4)",
    "transposable(2:4)", "nmg(2:4:8)", "fan_in(0.9)", "gqsa(16, 0.5)", "tiles(64x64, 2:4, 0.25)",
    "split(2:4, 0.25)", "butterfly(64)", "sq(16:32)",
)  # fmt: skip
_MAX_TEXT = 80
_SIZE, _FRACTION = r"[0-9]{1,9}", r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"
_NM = rf"({_SIZE})\s*:\s*({_SIZE})"
_S = rf"\s*({_FRACTION})\s*"


_READERS: tuple[tuple[str, Callable[..., Pattern]], ...] = (
    ("dense", lambda: DENSE),
    (rf"{_NM}(?:@(in|out))?", lambda n, m, axis: NM(int(n), int(m), axis or "in")),
    (rf"double\({_NM}\)", lambda n, m: DoublePruned(int(n), int(m))),
    (rf"transposable\({_NM}\)", lambda n, m: Transposable(int(n), int(m))),
    (rf"sq\({_NM}\)", lambda n, m: MixedBanks(int(n), int(m))),
    (
        rf"nmg\({_NM}\s*:\s*({_SIZE})(?:@(in|out))?\)",
        lambda n, m, g, axis: NMGrouped(int(n), int(m), axis or "in", int(g)),
    ),
    (rf"unstructured\({_S}\)", lambda s: Unstructured(float(s))),
    (rf"row\({_S}\)", lambda s: Rows(float(s))),
    (rf"column\({_S}\)", lambda s: Columns(float(s))),
    (rf"fan_in\({_S}(?:,{_S})?\)", lambda s, a: FanIn(float(s), float(a or 0))),
    (rf"fan_out\({_S}(?:,{_S})?\)", lambda s, a: FanOut(float(s), float(a or 0))),
    (
        rf"block\(\s*({_SIZE})\s*x\s*({_SIZE})\s*,{_S}\)",
        lambda r, c, s: Block(int(r), int(c), float(s)),
    ),
    (rf"gqsa\(\s*({_SIZE})\s*,{_S}\)", lambda g, s: ScaledGroups(1, int(g), float(s))),
    (
        rf"tiles\(\s*({_SIZE})\s*x\s*({_SIZE})\s*,\s*{_NM}\s*,{_S}\)",
        lambda r, c, n, m, s: Tiles(int(r), int(c), int(n), int(m), float(s)),
    ),
    (rf"split\(\s*{_NM}\s*,{_S}\)", lambda n, m, s: Split(int(n), int(m), float(s))),
    (
        rf"butterfly\(\s*({_SIZE})\s*(?:,\s*({_SIZE})\s*)?\)",
        lambda g, stride: FlatButterfly(int(g), int(stride or 0)),
    ),
)


def parse_pattern(text: str) -> Pattern:
    """The pattern that a text such as `2:4` or `block(32x32, 0.8)` names.

    A number S in brackets is the fraction removed. Raises CodesignError that says what is allowed.

    >>> parse_pattern("2:8").density
    0.25
    """
    if not isinstance(text, str):
        raise CodesignError(f"a sparsity pattern is a text such as '2:4', got {text!r:.40}")
    short = text.strip()
    if found := _read(short):
        return found
    meant = _meant(short[:_MAX_TEXT].lower()) or f"; allowed: {_FORMS}, with S the fraction removed"
    raise CodesignError(f"{short[:40]!r} is no sparsity pattern{meant}")


def _read(text: str) -> Pattern | None:
    """The pattern of a text; None where it is of no form."""
    if len(text) <= _MAX_TEXT:
        for form, make in _READERS:
            if match := re.fullmatch(form, text, re.ASCII):
                return make(*match.groups())
    return None


def _meant(text: str) -> str:
    """What a wrong text was to say, where that is plain: percent, a name without brackets."""
    fractions = re.sub(
        r"([0-9]{1,3}(?:\.[0-9]{1,4})?)\s*%", lambda m: f"{float(m[1]) / 100:g}", text
    )
    called = re.sub(r"^([a-z_]+)[\s:=-]+([^()]+)$", r"\1(\2)", fractions)
    square = re.sub(r"\(([0-9]+),", r"(\1x\1,", called)
    for repaired in (fractions, called, square):
        try:
            if repaired != text and _read(repaired):
                return f"; did you mean {repaired!r}?"
        except CodesignError:
            continue
    return suggestion(text, _EXAMPLES)
