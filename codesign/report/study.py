"""Results put side by side: which belong together, what each is compared with, and who wins."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from codesign.config import CodesignError
from codesign.metrics.result import OpResult, Result
from codesign.report import quantities as q

MATMULS = frozenset({"conv", "gemm", "attention"})
BOUNDS = ("compute", "memory", "vector", "imbalance", "underfilled", "latency", "update")
FINE = 48
"""Groups of layers of which a figure shows the slowest."""
TRAINING_PARTS = ("forward", "backward-data", "backward-weight", "update", "vector")


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity in which runs are compared; less is better."""

    name: str
    value: Callable[[Result], float]
    text: Callable[[float], str]


METRICS = (
    Metric("latency", lambda r: r.latency_s, lambda v: q.with_unit(v, "s")),
    Metric("energy", lambda r: r.energy_j, lambda v: q.with_unit(v, "J")),
    Metric("energy × delay", lambda r: r.edp_js, lambda v: q.with_unit(v, "Js")),
    Metric("area", lambda r: r.area_mm2 or math.nan, q.area),
    Metric(
        "latency × area",
        lambda r: r.latency_s * (r.area_mm2 or math.nan),
        lambda v: q.with_unit(v, "s·mm²"),
    ),
)
LATENCY, ENERGY, EDP, AREA, ISO_AREA = METRICS
"""The last compares machines at equal area: as if each filled it with copies of itself."""


@dataclass(frozen=True, slots=True)
class Run:
    """A result with the name that it has on the page: machine and sparsity."""

    label: str
    result: Result

    @property
    def ops(self) -> tuple[OpResult, ...]:
        return self.result.ops


@dataclass(frozen=True, slots=True)
class Scenario:
    """The runs of one workload in one phase: the only ones that are compared with each other."""

    title: str
    workload: str
    phase: str
    runs: tuple[Run, ...]
    baseline: Run

    @property
    def fastest(self) -> Run:
        return min(self.runs, key=lambda run: run.result.latency_s)

    def ratio(self, run: Run, metric: Metric) -> float:
        """The run's value over that of the baseline."""
        return q.divide(metric.value(run.result), metric.value(self.baseline.result))

    def speedup_over_baseline(self, run: Run) -> float:
        return q.divide(self.baseline.result.latency_s, run.result.latency_s)

    def best(self, metric: Metric) -> frozenset[str]:
        """Labels of the runs with the least of a metric; none when all are equal."""
        values = {run.label: metric.value(run.result) for run in self.runs}
        finite = [value for value in values.values() if math.isfinite(value)]
        if not finite or min(finite) == max(finite):
            return frozenset()
        return frozenset(label for label, value in values.items() if value == min(finite))

    @property
    def shown(self) -> tuple[Run, ...]:
        """The baseline and the fastest run: the pair whose layers are shown."""
        return (self.baseline,) if self.fastest is self.baseline else (self.baseline, self.fastest)

    @property
    def machines(self) -> tuple[Run, ...]:
        """The fastest run of each machine."""
        fastest: dict[str, Run] = {}
        for run in sorted(self.runs, key=lambda run: run.result.latency_s):
            fastest.setdefault(run.result.arch, run)
        order = {run.result.arch: i for i, run in reversed(list(enumerate(self.runs)))}
        return tuple(sorted(fastest.values(), key=lambda run: order[run.result.arch]))


@dataclass(frozen=True, slots=True)
class Study:
    """All scenarios of a report."""

    scenarios: tuple[Scenario, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Machine and sparsity of every run, once each, in order of appearance."""
        return tuple(dict.fromkeys(run.label for s in self.scenarios for run in s.runs))

    @property
    def archs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.result.arch for s in self.scenarios for run in s.runs))

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(run.result for s in self.scenarios for run in s.runs)

    def of(self, label: str) -> list[tuple[Scenario, Run]]:
        """The runs of that name, with their scenarios."""
        return [(s, run) for s in self.scenarios for run in s.runs if run.label == label]

    @property
    def winner(self) -> str:
        """The name that has the highest mean speed-up among those present in most scenarios."""
        present = {label: len(self.of(label)) for label in self.labels}
        often = [label for label in self.labels if present[label] == max(present.values())]
        return max(often, key=self.mean_speedup)

    def mean_speedup(self, label: str) -> float:
        """Geometric mean over scenarios of the speed-up over the baseline."""
        return geometric_mean(s.speedup_over_baseline(run) for s, run in self.of(label))

    def mean_ratio(self, label: str, metric: Metric) -> float:
        """Geometric mean over scenarios of a metric over its baseline's."""
        return geometric_mean(s.ratio(run, metric) for s, run in self.of(label))


def study(
    results: Sequence[Result],
    baseline: int = 0,
    *,
    together: bool = False,
    names: Sequence[str] | None = None,
) -> Study:
    """Group results by workload, phase and dense work, and find the baseline of each group.

    With `together` work does not matter: changes of a trace leave less of it to compare. `names`
    are what the results are called, one for each, in place of machine and sparsity.

    `baseline` is the index of a result; in other groups its counterpart is the one with the same
    machine and sparsity, then the same machine, then the first. Raises CodesignError when there are
    no results or no such index.
    """
    if not results:
        raise CodesignError("a report needs at least one result")
    if not 0 <= baseline < len(results):
        raise CodesignError(
            f"baseline is {baseline}, and the results are numbered 0 to {len(results) - 1}"
        )
    groups: dict[tuple[str, str, int], list[Result]] = {}
    for result in results:
        work = 0 if together else result.macs
        groups.setdefault((result.workload, result.phase, work), []).append(result)
    given = dict(zip(map(id, results), names, strict=True)) if names is not None else {}
    seen = Counter((workload, phase) for workload, phase, _ in groups)
    chosen = results[baseline]
    scenarios = []
    for (workload, phase, macs), members in groups.items():
        title = f"{q.one_line(workload, 60)}, {q.one_line(phase, 30)}"
        if seen[workload, phase] > 1:
            title += f" ({q.with_unit(macs, 'MAC')})"
        labels = _numbered([given[id(r)] for r in members]) if given else _labels(members)
        runs = tuple(Run(label, result) for label, result in zip(labels, members, strict=True))
        scenarios.append(Scenario(title, workload, phase, runs, _counterpart(runs, chosen)))
    return Study(tuple(scenarios))


def _labels(members: Sequence[Result]) -> list[str]:
    labels = [f"{q.one_line(r.arch, 48)} · {q.one_line(r.sparsity, 48)}" for r in members]
    for attribute in ("fidelity", "kind", "seed"):
        counts = Counter(labels)
        varies = len({getattr(r, attribute) for r in members}) > 1
        labels = [
            f"{label} · {attribute} {q.one_line(str(getattr(r, attribute)), 30)}"
            if varies and counts[label] > 1
            else label
            for label, r in zip(labels, members, strict=True)
        ]
    return _numbered(labels)


def _numbered(labels: Sequence[str]) -> list[str]:
    """The labels, those that come more than once with a number."""
    counts, seen = Counter(labels), Counter[str]()
    numbered = []
    for label in labels:
        seen[label] += 1
        numbered.append(f"{label} #{seen[label]}" if counts[label] > 1 else label)
    return numbered


def _counterpart(runs: Sequence[Run], chosen: Result) -> Run:
    def distance(run: Run) -> tuple[bool, bool, bool]:
        result = run.result
        return (
            result is not chosen,
            (result.arch, result.sparsity) != (chosen.arch, chosen.sparsity),
            result.arch != chosen.arch,
        )

    return min(runs, key=distance)


def geometric_mean(values: Iterable[float]) -> float:
    """NaN when a value is missing or not positive.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    logs = [math.log(v) if math.isfinite(v) and v > 0 else math.nan for v in values]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan


def training_part(op: OpResult) -> str:
    """The part of a training step that an operator belongs to: one of TRAINING_PARTS."""
    if op.kind == "update":
        return "update"
    if op.kind not in MATMULS:
        return "vector"
    return {"backward_data": "backward-data", "backward_weight": "backward-weight"}.get(
        op.phase, "forward"
    )


def cycles_by(ops: Iterable[OpResult], key: Callable[[OpResult], str]) -> dict[str, int]:
    """Cycles of the operators, summed by key, the largest first."""
    sums = Counter[str]()
    for op in ops:
        sums[key(op)] += op.cycles
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def cycles_by_work(scenario: Scenario, run: Run) -> dict[str, int]:
    """Where a run's cycles went: by training part, or by kind of operator in inference."""
    if scenario.phase == "training":
        found = cycles_by(run.ops, training_part)
        return {part: found.get(part, 0) for part in TRAINING_PARTS}
    return cycles_by(run.ops, lambda op: op.kind)


def layer_groups(ops: Sequence[OpResult], limit: int = 24) -> dict[str, list[OpResult]]:
    """Operators by module path, cut at the depth that gives the most groups within `limit`.

    When even the first component of the paths gives more, those are the groups.
    """
    best: dict[str, list[OpResult]] = {}
    for depth in range(1, 8):
        groups: dict[str, list[OpResult]] = {}
        for op in ops:
            path = (op.layer or op.name).split(".")
            groups.setdefault(".".join(path[:depth]), []).append(op)
        if best and (len(groups) > limit or len(groups) == len(best)):
            break
        best = groups
    return best


def busy_shares(run: Run) -> Mapping[str, float]:
    """Share of the run during which each unit was held; units that never worked are left out."""
    cycles = run.result.cycles
    return {u: q.divide(busy, cycles) for u, busy in run.result.busy_cycles.items() if busy}
