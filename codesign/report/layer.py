"""One layer from close by: when its steps ran on each unit, and how evenly its mask loads lanes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.arch.base import Fidelity
from codesign.evaluate import lower, sampled_mask
from codesign.metrics.result import OpResult
from codesign.report.cases import Case
from codesign.report.study import MATMULS
from codesign.sim import simulate
from codesign.sparsity.mask import Mask
from codesign.trace.op import Op

LANES = (16, 64)
"""Rows of weights that start and end together, where lanes wait for the slowest of them."""
_MOST_SPANS = 400
"""Intervals kept of each unit; those closest to each other are joined first."""
_MOST_WEIGHTS = 1 << 24
"""Larger operators are judged by their first rows, so that a report stays quick."""
_MOST_LAYERS = 10


@dataclass(frozen=True, slots=True)
class Span:
    """Cycles of a unit from first to last, and how many steps it had in them."""

    start_cycle: int
    end_cycle: int
    action: str
    steps: int


@dataclass(frozen=True)
class LayerTimeline:
    """The steps of one operator alone on its machine, unit by unit."""

    op: str
    shape: str
    mapping: str
    cycles: int
    clock_mhz: float
    units: tuple[tuple[str, tuple[Span, ...]], ...]
    steps: int


def layer_timeline(case: Case, name: str) -> LayerTimeline:
    """The steps of the operator of that name when it runs alone, its inputs ready at cycle 0."""
    op = next(op for op in case.trace if op.name == name)
    row = lower(
        op,
        case.trace.masks.get(op.name),
        case.machine,
        Fidelity(case.result.fidelity),
        case.result.seed,
        {},
        case.chooser,
    )
    timeline = simulate(row.program)
    program = row.program
    units = []
    for index, unit in enumerate(program.units):
        mine = np.flatnonzero((program.unit == index) & (program.busy_cycles > 0))
        if len(mine) and unit.servers:
            starts = timeline.start[mine]
            spans = _joined(starts, starts + program.busy_cycles[mine], program.action[mine])
            units.append(
                (
                    unit.name,
                    tuple(
                        Span(start, end, program.actions[action] if action >= 0 else "", steps)
                        for start, end, action, steps in spans
                    ),
                )
            )
    shown = next(row for row in case.result.ops if row.name == name)
    return LayerTimeline(
        name,
        shown.shape,
        shown.mapping,
        timeline.cycles,
        case.machine.spec.clock_mhz,
        tuple(units),
        len(program),
    )


def _joined(
    starts: np.ndarray, ends: np.ndarray, actions: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """Spans in order of time; the smallest gaps are closed until few enough are left."""
    order = np.argsort(starts, kind="stable")
    starts, ends, actions = starts[order], np.maximum.accumulate(ends[order]), actions[order]
    gaps = starts[1:] - ends[:-1]
    closed = -1
    if len(gaps) >= _MOST_SPANS:
        closed = int(np.partition(gaps, -_MOST_SPANS + 1)[-_MOST_SPANS + 1])
    first = np.concatenate([[0], np.flatnonzero(gaps > closed) + 1])
    last = np.concatenate([first[1:], [len(starts)]]) - 1
    return [
        (int(starts[a]), int(ends[b]), int(actions[a]), int(b - a + 1))
        for a, b in zip(first, last, strict=True)
    ]


def telling_product(case: Case) -> OpResult | None:
    """The slowest matrix product, of the sparse ones where there are any; None where none is."""
    sparse = {op.name for op in case.trace if not op.b_pattern.is_dense}
    products = [op for op in case.result.ops if op.kind in MATMULS]
    chosen = [op for op in products if op.name in sparse] or products
    return max(chosen, key=lambda op: (op.cycles, -op.start_cycle), default=None)


@dataclass(frozen=True, slots=True)
class MaskLoad:
    """How evenly the kept weights of an operator lie over its rows."""

    op: str
    pattern: str
    density: float
    least: int
    mean: float
    most: int
    """Kept weights of the emptiest row, of the mean one, and of the fullest."""
    waits: tuple[float, ...]
    """For each of LANES: the work of the slowest lane over that of the mean one."""
    real: bool
    """Whether the trace holds the mask; if not, it was sampled from the pattern and the seed."""
    cut: bool
    """Whether only the first rows were counted."""


def mask_loads(case: Case) -> tuple[MaskLoad, ...]:
    """The slowest operators with sparse weights that the machine makes use of, mask by mask."""
    ops = {op.name: op for op in case.trace}
    slow = sorted(case.result.ops, key=lambda op: (-op.cycles, op.start_cycle))
    loads: list[MaskLoad] = []
    seen: set[object] = set()
    for row in slow:
        op = ops[row.name]
        if not op.is_matmul or op.b_pattern.is_dense or not case.machine.exploits(op):
            continue
        held = case.trace.masks.get(op.name)
        key = (op.shape_key, None if held is None else held.fingerprint)
        if key in seen:
            continue
        seen.add(key)
        loads.append(_load(op, held, case.result.seed))
        if len(loads) == _MOST_LAYERS:
            break
    return tuple(loads)


def _load(op: Op, held: Mask | None, seed: int) -> MaskLoad:
    rows = op.n if op.b_shared else op.groups * op.n
    kept = max(min(rows, _MOST_WEIGHTS // op.k), 1)
    if held is not None:
        mask = held[:kept, :]
    elif kept < rows:
        mask = op.b_pattern.sample(kept, op.k, seed)
    else:
        mask = sampled_mask(op, seed)
    counts = mask.lane_counts(1)[:, 0]
    return MaskLoad(
        op.name,
        str(op.b_pattern),
        mask.density,
        int(counts.min()),
        float(counts.mean()),
        int(counts.max()),
        tuple(_wait(mask, lanes) for lanes in LANES),
        held is not None,
        kept < rows,
    )


def _wait(mask: Mask, lanes: int) -> float:
    """Sum over blocks of lanes of the fullest row, over the same sum of mean rows."""
    blocks = mask.lane_counts(lanes)
    total = float(blocks.sum()) / min(lanes, mask.rows)
    return float(blocks.max(axis=1).sum()) / total if total else 1.0
