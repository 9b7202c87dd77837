"""Training on SAT with BDWP: speed-up over dense, its ablations, and exact counts of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from statistics import fmean

from codesign.arch import load_arch
from codesign.arch.base import AnyMachine
from codesign.arch.parts import Anchor
from codesign.config import CodesignError
from codesign.evaluate import run as run_trace
from codesign.measure.suite import Group, TableRow, ValidationReport, compare, report
from codesign.sparsity.pattern import NM, parse_pattern
from codesign.trace.op import Trace
from codesign.trace.sparsify import METHODS, sparsify
from codesign.trace.workload import load_workload

Settings = tuple[tuple[str, bool | tuple[str, ...]], ...]
"""Fields of the machine's file by dotted path, and the values that they get."""

IMAGES = {"resnet9": 32, "resnet18": 224, "resnet50": 224, "vgg19": 32, "vit_cifar": 32}
"""The models, and the edge of their images in pixels."""
BATCHES = (8, 16, 32, 64)
PATTERNS = ("2:4", "2:8", "2:16")
ONE_SIDED = ("sr_ste", "sdgp", "sdwp")
ABLATIONS: Mapping[str, Settings] = {
    "interleave off": (("array.interleave_mapping", False),),
    "pre-generation off": (("array.pregenerate_weights", False),),
    "WS only": (("array.dataflows", ("ws",)),),
    "OS only": (("array.dataflows", ("os",)),),
    "OS, no interleave": (
        ("array.dataflows", ("os",)),
        ("array.interleave_mapping", False),
    ),
}
"""The paper's optimisations, each taken away; without interleaving the schedule can turn to WS."""


@dataclass(frozen=True, slots=True)
class Case:
    """One training step of a shipped workload on SAT."""

    model: str
    method: str = "bdwp"
    pattern: str = "2:8"
    batch: int = 32
    settings: Settings = ()

    @property
    def dense(self) -> Case:
        """The same step without any zeros."""
        return replace(self, method="dense", pattern="dense")


@dataclass(frozen=True, slots=True)
class Training:
    """What a training step took; `layer_macs` has executed and dense MACs of each sparse weight."""

    cycles: int
    executed_macs: int
    dense_macs: int
    layer_macs: Mapping[str, tuple[int, int]]

    @property
    def work_ratio(self) -> float:
        """Executed over dense MACs of the whole step."""
        return self.executed_macs / self.dense_macs


@cache
def training(case: Case) -> Training:
    """Simulate a training step at row fidelity."""
    trace = load_workload(
        case.model, phase="training", batch=case.batch, image=IMAGES.get(case.model)
    )
    if case.pattern != "dense":
        trace = sparsify(trace, case.pattern, method=case.method)
    lowered, timeline, _ = run_trace(trace, _machine(case.settings))
    executed = {
        row.op.name: row.program.totals()["mac"] * row.op.repeats
        for row in lowered
        if row.op.is_matmul
    }
    layers: dict[str, tuple[int, int]] = {}
    for weight in _sparse_weights(trace):
        products = [op for op in trace if op.is_matmul and op.weight == weight]
        layers[weight] = (
            sum(executed[op.name] for op in products),
            sum(op.macs for op in products),
        )
    return Training(timeline.cycles, sum(executed.values()), trace.macs, layers)


@cache
def _machine(settings: Settings) -> AnyMachine:
    return load_arch("sat", {path: list(v) if isinstance(v, tuple) else v for path, v in settings})


def _sparse_weights(trace: Trace) -> list[str]:
    sparse = (
        op.weight
        for op in trace
        if op.is_matmul and not (op.a_pattern.is_dense and op.b_pattern.is_dense)
    )
    return [weight for weight in dict.fromkeys(sparse) if weight is not None]


def speedup_over_dense(case: Case) -> float:
    """Cycles of the dense step over those of the sparse one, on the same machine."""
    return training(case.dense).cycles / training(case).cycles


def independent_share(speedup: float, work_ratio: float) -> float:
    """The x of (1 + x) / (work_ratio + x) = speedup: time that zeros do not shorten.

    It is a fraction of the time that the dense products take.

    >>> round(independent_share(1.75, 0.5), 4)
    0.1667
    """
    return (1 - speedup * work_ratio) / (speedup - 1)


def work_ratio(method: str, pattern: str) -> Fraction:
    """Executed over dense MACs of a layer's three products; (1 + 2f) / 3 where two are sparse.

    f is N/M of the pattern. Raises CodesignError for a pattern that is not N:M.

    >>> work_ratio("bdwp", "2:8"), work_ratio("sr_ste", "2:8")
    (Fraction(1, 2), Fraction(3, 4))
    """
    rule, kind = METHODS[method], parse_pattern(pattern)
    if not isinstance(kind, NM):
        raise CodesignError(f"work ratios are stated for N:M patterns, not for {pattern}")
    backward = rule.backward_data or rule.output_gradient
    sparse = rule.forward + backward + rule.backward_weight
    return (3 - sparse + sparse * Fraction(kind.n, kind.m)) / 3


_SHARE = (
    "the time that zeros do not shorten over that of the dense products, from "
    "(1 + x) / (MAC ratio + x) = speed-up"
)


def published() -> Anchor:
    """The published mean speed-up, and how near it we must be, from the machine's file."""
    anchors: Sequence[Anchor] = _machine(()).spec.anchors
    return next(anchor for anchor in anchors if anchor.quantity == "speedup_over_dense")


def run(path: Path | None = None) -> ValidationReport:
    """Train the five models dense and sparse, and hold the mean speed-up to the published one."""
    anchor = published()
    mean = fmean(speedup_over_dense(Case(model)) for model in IMAGES)
    reached = compare(
        "mean speed-up over dense",
        [(mean, anchor.value)],
        within=anchor.tolerance,
        note=f"ours {mean:.3f}, published {anchor.value} ({anchor.source}); x is {_SHARE}",
    )
    return report("sat", [reached, *_work_groups()], table=_table())


def _work_groups() -> list[Group]:
    """Executed MACs of every sparse layer against the exact ratio of its method and pattern."""
    cases = [("bdwp", pattern) for pattern in PATTERNS] + [(name, "2:8") for name in ONE_SIDED]
    groups = []
    for method, pattern in cases:
        ratio = work_ratio(method, pattern)
        layers = [
            layer
            for model in IMAGES
            for layer in training(Case(model, method, pattern)).layer_macs.values()
        ]
        pairs = [(executed, _exact(ratio * dense)) for executed, dense in layers]
        groups.append(compare(f"MACs, {method} {pattern}: {ratio}", pairs, within=0))
    return groups


def _exact(number: Fraction) -> float:
    """A whole number as it is; another one as the nearest float, which equals no count."""
    return number.numerator if number.denominator == 1 else float(number)


def _table() -> list[TableRow]:
    speedup = speedup_over_dense
    title = "BDWP 2:8 over dense training, batch 32"
    rows = [_model_row(title, model) for model in IMAGES]
    mean = fmean(speedup(Case(model)) for model in IMAGES)
    rows.append({**dict.fromkeys(rows[0]), "section": title, "model": "mean", "speed-up": mean})
    rows += [
        _row("BDWP 2:8 over dense by batch", f"batch {batch}", speedup, batch=batch)
        for batch in BATCHES
    ]
    title = "BDWP 2:8 over dense, both on the machine without"
    rows.append(_row(title, "nothing (full)", speedup))
    rows += [_row(title, name, speedup, settings=of) for name, of in ABLATIONS.items()]
    title = "BDWP 2:8 cycles over those of the full machine"
    rows += [_row(title, name, _slowdown, settings=of) for name, of in ABLATIONS.items()]
    title = "methods at 2:8 over dense"
    rows += [_row(title, method, speedup, method=method) for method in (*ONE_SIDED, "bdwp")]
    title = "BDWP patterns over dense"
    rows += [_row(title, pattern, speedup, pattern=pattern) for pattern in PATTERNS]
    return rows


def _slowdown(case: Case) -> float:
    return training(case).cycles / training(replace(case, settings=())).cycles


def _row(
    section: str,
    name: str,
    value: Callable[[Case], float],
    *,
    method: str = "bdwp",
    pattern: str = "2:8",
    batch: int = 32,
    settings: Settings = (),
) -> TableRow:
    values = {m: value(Case(m, method, pattern, batch, settings)) for m in IMAGES}
    return {"section": section, "case": name, **values, "mean": fmean(values.values())}


def _model_row(section: str, model: str) -> TableRow:
    case = Case(model)
    dense, sparse = training(case.dense), training(case)
    speedup = speedup_over_dense(case)
    return {
        "section": section,
        "model": model,
        "image": IMAGES[model],
        "dense cycles": dense.cycles,
        "2:8 cycles": sparse.cycles,
        "speed-up": speedup,
        "MAC ratio": sparse.work_ratio,
        "x": independent_share(speedup, sparse.work_ratio),
    }
