"""How far a simulated speed-up of 2:4 over dense can be trusted: `gpu_trust.yaml`.

`python -m codesign.measure.gpu_trust DIR` writes the file anew from the measured products of DIR.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codesign.arch.gpu_kernels import Float64
from codesign.measure.gpu_decisions import both_ways, speedups
from codesign.measure.gpu_scores import Scored, scored_groups, transferred
from codesign.measure.gpu_standings import BUCKETS, FILE, Standing, Standings
from codesign.measure.suite import Group

_DIGITS = 3
_TAIL = 0.1
_Kind = tuple[str, str, str]
"""Machine, data type and pattern."""
_HEAD = """\
# How far simulated speed-ups of a pattern over dense are from measured ones (mean error; least and
# most: eight in ten of measured / simulated lie between) and how often the faster of the two is
# named. Written by `python -m codesign.measure.gpu_trust DIR`, over products that no constant of
# the board was fitted on; without machine: boards treated as unknown.
standings:
"""


def standings_of(scored: Sequence[Scored]) -> Standings:
    """What groups of measured rows say of their boards, and of these as if they were unknown."""
    known = _speedups([one for one in scored if one.calibrated])
    lent = _speedups(list(transferred(scored)))
    pooled = {("", *kind[1:]): _alike(lent, kind) for kind in lent}
    return Standings(
        standings=tuple(
            _standing(kind, found)
            for kind, all_rows in [*sorted(known.items()), *sorted(pooled.items())]
            for found in _by_rows(all_rows)
        )
    )


def _speedups(scored: Sequence[Scored]) -> dict[_Kind, Float64]:
    """Columns m, n, k, simulated and measured speed-up of every product, by what was measured."""
    found: dict[_Kind, list[Float64]] = {}
    for dense, sparse, at_dense, at_sparse in both_ways(scored):
        key = (dense.machine.spec.name, dense.rows.dtype, sparse.rows.pattern)
        both = np.stack(speedups(dense, sparse, at_dense, at_sparse), 1)
        found.setdefault(key, []).append(np.hstack([dense.rows.sizes[at_dense, 1:], both]))
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _alike(found: Mapping[_Kind, Float64], kind: _Kind, but: str = "") -> Float64:
    """Products of all boards but one, of one type and pattern."""
    parts = [rows for key, rows in found.items() if key[1:] == kind[1:] and key[0] != but]
    return np.concatenate(parts) if parts else np.empty((0, 5))


def _by_rows(found: Float64) -> Iterator[Float64]:
    """The products of each bucket of batch sizes that has some."""
    for low, high in BUCKETS:
        here = found[(low <= found[:, 0]) & (found[:, 0] <= high)]
        if len(here):
            yield here


def _standing(kind: _Kind, found: Float64) -> Standing:
    machine, dtype, pattern = kind
    rows, simulated, measured = found[:, 0], found[:, 3], found[:, 4]
    least, most = _spread(found)
    return Standing(
        machine=machine, dtype=dtype, pattern=pattern, least_rows=int(rows.min()),
        most_rows=int(rows.max()), products=len(rows),
        right=int(((simulated > 1) == (measured > 1)).sum()),
        error=_short(np.abs(simulated / measured - 1).mean()),
        least=_short(least), most=_short(most),
    )  # fmt: skip


def _spread(found: Float64) -> tuple[float, float]:
    factors = found[:, 4] / found[:, 3]
    return float(np.quantile(factors, _TAIL)), float(np.quantile(factors, 1 - _TAIL))


def called(scored: Sequence[Scored], transfer: Sequence[Scored]) -> list[Group]:
    """How often the faster way is named right where the spread of errors lets it be named.

    The spread that a product is judged by is of other weights (n, k) of its board or, for boards
    treated as unknown, of the other boards.
    """
    own = _speedups([one for one in scored if one.calibrated])
    lent = _speedups(transfer)
    of_other_weights = [
        (here[same], here[~same])
        for all_rows in own.values()
        for here in _by_rows(all_rows)
        for weight in np.unique(here[:, 1:3], axis=0)
        for same in [(here[:, 1:3] == weight).all(1)]
    ]
    of_other_boards = [
        (here, _same_rows(_alike(lent, kind, but=kind[0]), here))
        for kind, all_rows in lent.items()
        for here in _by_rows(all_rows)
    ]
    groups = [
        _called("decision called, by the error of other (n, k)", of_other_weights),
        _called("decision called, boards as unknown, by the error of the others",
                of_other_boards),
    ]  # fmt: skip
    return [group for group in groups if group is not None]


def _same_rows(found: Float64, like: Float64) -> Float64:
    """The products in the bucket of batch sizes that `like` is of."""
    low, high = next(b for b in BUCKETS if b[0] <= like[0, 0] <= b[1])
    return found[(low <= found[:, 0]) & (found[:, 0] <= high)]


def _called(name: str, cases: Iterable[tuple[Float64, Float64]]) -> Group | None:
    """Products, each time with others whose spread says how sure they are."""
    sure, right = [], []
    for judged, others in cases:
        if not len(others):
            continue
        simulated, measured = judged[:, 3], judged[:, 4]
        least, most = _spread(others)
        sure.append(
            (simulated > 1) & (simulated * least > 1) | (simulated < 1) & (simulated * most < 1)
        )
        right.append((simulated > 1) == (measured > 1))
    if not sure:
        return None
    certain, good = np.concatenate(sure), np.concatenate(right)
    made, hits, all_hits = int(certain.sum()), int((certain & good).sum()), int(good.sum())
    left = len(good) - made
    note = (
        f"{hits} of {made} right ({hits / max(1, made):.1%}); {left} of {len(good)} left open, "
        f"of which {all_hits - hits} are right ({(all_hits - hits) / max(1, left):.1%})"
    )
    return Group(name, made, hits, 0, None, None, True, note)


def crossings(scored: Sequence[Scored], transfer: Sequence[Scored]) -> list[Group]:
    """Whether the size from which on 2:4 pays, or does not, is the measured one, layer by layer."""
    own = _crossed("crossover", _speedups([one for one in scored if one.calibrated]))
    lent = _crossed("crossover, boards as unknown", _speedups(transfer))
    return [group for group in (own, lent) if group is not None]


def _crossed(name: str, found: Mapping[_Kind, Float64]) -> Group | None:
    apart = []
    for all_rows in found.values():
        for weight in np.unique(all_rows[:, 1:3], axis=0):
            layer = all_rows[(all_rows[:, 1:3] == weight).all(1)]
            layer = layer[np.argsort(layer[:, 0])]
            if len(layer) > 1:
                apart.append(_steps_apart(layer[:, 3] > 1, layer[:, 4] > 1))
    if not apart:
        return None
    exact, near = apart.count(0), sum(steps <= 1 for steps in apart)
    note = (
        f"the size from which on the faster kernel is that of the largest one: same as measured in "
        f"{exact} of {len(apart)} layers ({exact / len(apart):.1%}), at most one measured size off "
        f"in {near} ({near / len(apart):.1%})"
    )
    return Group(name, len(apart), exact, max(apart), None, None, True, note)


def _steps_apart(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> int:
    """By how many sizes two crossovers differ; by all of them where they end differently."""
    if ours[-1] != theirs[-1]:
        return len(ours)
    return abs(_crossover(ours) - _crossover(theirs))


def _crossover(pays: NDArray[np.bool_]) -> int:
    """The first index from which on the answer is the last one.

    >>> _crossover(np.array([True, False, True, True])), _crossover(np.array([False, False]))
    (2, 0)
    """
    others = np.flatnonzero(pays != pays[-1])
    return int(others[-1]) + 1 if len(others) else 0


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def as_yaml(found: Standings) -> str:
    """The text of the file, one line for each standing."""
    lines = []
    for one in found.standings:
        cells = ", ".join(f"{key}: {_scalar(value)}" for key, value in one.model_dump().items())
        lines.append(f"  - {{{cells}}}\n")
    return _HEAD + "".join(lines)


def _scalar(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else str(value)


def main(data: Path) -> None:
    """Compare with the measured products of a folder, and write the file beside this module."""
    FILE.write_text(as_yaml(standings_of(scored_groups(data)[0])), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
