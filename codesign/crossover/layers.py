"""Which layers of a model gain from sparsity, and what it gains where the others stay dense."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from codesign.arch.base import AnyMachine
from codesign.crossover.curve import Curve, Point, Verdict, verdict_of
from codesign.evaluate import evaluate
from codesign.metrics.result import OpResult
from codesign.trace.op import Kind, Trace

_WEIGHTED = (Kind.GEMM, Kind.CONV)


_LEAST_GAIN = 0.005
"""What two decimals do not show is not told."""
_Layers = Mapping[str, Sequence[OpResult]]


@dataclass(frozen=True)
class Gain:
    """The layers that a glob names: speed-up, what it says, and part of the dense time, by size."""

    where: str
    speedups: tuple[float, ...]
    verdicts: tuple[Verdict, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Keeping:
    """A size at which some layers lose: what to keep dense, and the speed-up that it gives."""

    size: int
    dense: tuple[str, ...]
    """Globs of the layers that lose."""
    sparse: tuple[str, ...]
    """Globs of the others, as --where takes them; empty where every layer loses."""
    speedup: float
    """Of the model with only the others sparse, simulated."""
    certain: bool
    """Whether one of these layers loses by more than the error of speed-ups."""


def gains(curve: Curve) -> tuple[Gain, ...]:
    """A row for each kind of layer whose products sparsity changes, in the order of the model.

    Layers whose paths differ in numbers alone are one kind; operators that a change of the trace
    has put below a layer belong to it. A layer's time is the cycles by which its operators moved
    the end of the run.
    """
    at = [(*_by_kind(point), point) for point in curve.points]
    kinds = dict.fromkeys(
        kind
        for old, new, _ in at
        for kind, ops in old.items()
        if any(op.macs for op in ops) and _works(ops) != _works(new[kind])
    )
    found = []
    for kind in kinds:
        speedups, verdicts, shares = [], [], []
        for old, new, point in at:
            speedup = _cycles(old[kind]) / max(1, _cycles(new[kind]))
            least, most = curve.trust.spread(point.rows)
            speedups.append(speedup)
            verdicts.append(verdict_of(speedup, (least * speedup, most * speedup)))
            shares.append(_cycles(old[kind]) / max(1, point.dense.cycles))
        found.append(Gain(kind, tuple(speedups), tuple(verdicts), tuple(shares)))
    return tuple(found)


def keepings(
    curve: Curve,
    machine: AnyMachine,
    sparsen: Callable[[int, Sequence[str]], Trace],
    *,
    fidelity: str = "row",
    seed: int = 0,
) -> tuple[Keeping, ...]:
    """What to keep dense at each size where some layers of several lose and the model gains by it.

    `sparsen` gives the trace of a size in which only the layers of some globs are sparse.
    """
    rows, found = gains(curve), []
    if len(rows) < 2:
        return ()
    weighted = {kind_of(op.layer) for op in curve.points[0].dense.ops if op.kind in _WEIGHTED}
    for i, point in enumerate(curve.points):
        losers = [row for row in rows if row.speedups[i] < 1]
        others = tuple(row.where for row in rows if row.speedups[i] >= 1)
        if not losers:
            continue
        speedup = 1.0
        if others:
            mixed = evaluate(sparsen(point.size, others), machine, fidelity=fidelity, seed=seed)
            speedup = point.dense.latency_s / mixed.latency_s
        if speedup > point.speedup + _LEAST_GAIN:
            certain = any(row.verdicts[i] is Verdict.LOSES for row in losers)
            dense = joined([row.where for row in losers], weighted)
            found.append(Keeping(point.size, dense, joined(others, weighted), speedup, certain))
    return tuple(found)


def joined(globs: Sequence[str], weighted: Collection[str]) -> tuple[str, ...]:
    """The globs, siblings as one where they are all the layers with weights below their parent.

    >>> joined(["l.*.a.q", "l.*.a.k", "l.*.mlp.up"], {"l.*.a.q", "l.*.a.k", "l.*.mlp.up", "l.*.z"})
    ('l.*.a.*', 'l.*.mlp.up')
    """
    found = []
    for glob in globs:
        parent = glob.rpartition(".")[0]
        below = {kind for kind in weighted if parent and kind.startswith(f"{parent}.")}
        found.append(f"{parent}.*" if len(below) > 1 and below <= {*globs} else glob)
    return tuple(dict.fromkeys(found))


def kind_of(layer: str) -> str:
    """The glob of a layer and of those that differ from it in numbers alone.

    >>> kind_of("layers.11.mlp.up")
    'layers.*.mlp.up'
    """
    return ".".join("*" if part.isdecimal() else part for part in layer.split("."))


def _by_kind(point: Point) -> tuple[_Layers, _Layers]:
    """The operators of the dense and of the sparse run by kinds of layers of the dense one."""
    dense: dict[str, list[OpResult]] = {}
    for op in point.dense.ops:
        dense.setdefault(kind_of(op.layer or op.name), []).append(op)
    sparse: dict[str, list[OpResult]] = {kind: [] for kind in dense}
    for op in point.sparse.ops:
        kind = kind_of(op.layer or op.name)
        while kind and kind not in dense:
            kind = kind.rpartition(".")[0]
        sparse.setdefault(kind, []).append(op)
    return dense, sparse


def _works(ops: Iterable[OpResult]) -> list[tuple[str, str, int]]:
    return sorted((op.shape, op.pattern, op.effective_macs) for op in ops)


def _cycles(ops: Iterable[OpResult]) -> int:
    return sum(op.cycles for op in ops)
