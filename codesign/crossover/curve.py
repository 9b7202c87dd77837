"""Speed-up of a sparse workload over the dense one by size, and where it pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from codesign.arch.base import AnyMachine
from codesign.crossover.trust import Trust, trust_of
from codesign.evaluate import Progress, evaluate
from codesign.metrics.result import Result
from codesign.sparsity.pattern import DENSE
from codesign.trace.op import Trace


class Verdict(StrEnum):
    """What a speed-up says of one size."""

    PAYS = "pays"
    LOSES = "loses"
    CLOSE = "close"
    """Eight in ten measured speed-ups would lie on both sides of 1."""
    SAME = "same"


@dataclass(frozen=True)
class Point:
    """Both runs of one size; `rows` are those of A in the largest product that is sparse."""

    size: int
    rows: int
    dense: Result
    sparse: Result

    @property
    def speedup(self) -> float:
        return self.dense.latency_s / self.sparse.latency_s

    @property
    def energy_ratio(self) -> float:
        """Energy of the sparse run over that of the dense one."""
        return self.sparse.energy_j / self.dense.energy_j

    @property
    def board_energy_ratio(self) -> float | None:
        """The same at the supply of the board, None without coefficients of boards."""
        old, new = self.dense.board_energy_j, self.sparse.board_energy_j
        return None if old is None or new is None else new / old

    @property
    def sparse_share(self) -> float:
        """Part of the sparse run's time that products with sparse weights take."""
        cycles = sum(op.cycles for op in self.sparse.ops if op.pattern != str(DENSE))
        return cycles / self.sparse.cycles if self.sparse.cycles else 0.0

    def if_off(self, factor: float) -> float:
        """The speed-up if measured ones of all sparse products are so many times the simulated."""
        return self.speedup / (1 - self.sparse_share + self.sparse_share / factor)


@dataclass(frozen=True)
class Stretch:
    """Neighbouring sizes with one verdict."""

    verdict: Verdict
    points: tuple[Point, ...]

    @property
    def telling(self) -> Point:
        """The point of the largest gain, or of the largest loss."""
        most = min if self.verdict is Verdict.LOSES else max
        return most(self.points, key=lambda point: point.speedup)


@dataclass(frozen=True)
class Curve:
    """One machine with one sparsity over rising sizes."""

    arch: str
    sparsity: str
    points: tuple[Point, ...]
    trust: Trust

    @property
    def label(self) -> str:
        return f"{self.arch} · {self.sparsity}"

    def likely(self, point: Point) -> tuple[float, float]:
        """Between which speed-ups eight in ten measured ones would lie, by our validation.

        Where no error is known, both are the simulated speed-up.
        """
        least, most = self.trust.spread(point.rows)
        return point.if_off(least), point.if_off(most)

    def verdict(self, point: Point) -> Verdict:
        """Whether sparsity pays there, as far as the error of speed-ups allows to say."""
        return verdict_of(point.speedup, self.likely(point))

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The sizes, cut where the verdict changes."""
        return tuple(
            Stretch(verdict, tuple(points))
            for verdict, points in groupby(self.points, self.verdict)
        )


def verdict_of(speedup: float, likely: tuple[float, float]) -> Verdict:
    """What a speed-up says that is simulated, and measured between two others.

    >>> str(verdict_of(1.1, (0.9, 1.2))), str(verdict_of(1.1, (1.05, 1.2)))
    ('close', 'pays')
    """
    if speedup == 1:
        return Verdict.SAME
    if min(speedup, *likely) > 1:
        return Verdict.PAYS
    return Verdict.LOSES if max(speedup, *likely) < 1 else Verdict.CLOSE


def curves(
    dense: Mapping[int, Trace],
    sparse: Mapping[str, Mapping[int, Trace]],
    machines: Mapping[str, AnyMachine],
    *,
    fidelity: str = "row",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Curve]:
    """A curve for each pattern of `sparse` on each machine, those of one pattern together.

    Traces are given by size, sparse ones first by the pattern's text; dense runs are shared. Raises
    CodesignError for an operator that a machine cannot run.

    >>> from codesign import load_arch, load_workload
    >>> from codesign.trace.sparsify import sparsify
    >>> dense = {m: load_workload(f"gemm:{m},4096,14336,bf16") for m in (1, 8192)}
    >>> sparse = {"2:4": {m: sparsify(trace, "2:4") for m, trace in dense.items()}}
    >>> (curve,) = curves(dense, sparse, {"gb10": load_arch("gb10")})
    >>> [str(stretch.verdict) for stretch in curve.stretches]
    ['pays', 'loses']
    """
    total = len(dense) * len(machines) * (1 + len(sparse))
    done = 0

    def run(trace: Trace, machine: AnyMachine) -> Result:
        nonlocal done
        result = evaluate(trace, machine, fidelity=fidelity, seed=seed)
        done += 1
        if progress is not None:
            progress(f"{machine.spec.name} {trace.name}", done, total)
        return result

    alone = {
        arch: {size: run(trace, machine) for size, trace in dense.items()}
        for arch, machine in machines.items()
    }
    return [
        Curve(
            arch,
            pattern,
            tuple(
                Point(size, rows_of(trace), alone[arch][size], run(trace, machine))
                for size, trace in sorted(traces.items())
            ),
            trust_of(machine, traces[max(traces)]),
        )
        for pattern, traces in sparse.items()
        for arch, machine in machines.items()
    ]


def rows_of(trace: Trace) -> int:
    """Rows of A in the largest product with sparse weights, or in the largest if none has."""
    products = [op for op in trace if op.is_matmul]
    sparse = [op for op in products if not op.b_pattern.is_dense] or products
    return max(sparse, key=lambda op: op.macs).m if sparse else 1
