"""The figures of one design point, equal to those of evaluate(), without a row for each
operator.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from codesign.arch.base import AnyMachine, Fidelity, Mapping
from codesign.evaluate import Chooser, Lowered, lower
from codesign.mapper.bounds import roofline
from codesign.metrics.area import area_table, standing_power_w
from codesign.metrics.energy import energy_table
from codesign.metrics.tally import tally
from codesign.schedule.program import Int64, Program
from codesign.sim import Linked, Timeline, link, simulate
from codesign.sparsity.mask import Mask
from codesign.sweep.reads import ReadMemo, View
from codesign.trace.op import Op, Trace
from codesign.trace.sparsify import effective_macs
from codesign.units import FLOP_PER_MAC, HZ_PER_MHZ, PJ_PER_J, TERA

FIGURES = (
    "cycles", "latency_s", "energy_j", "area_mm2", "power_w", "edp_js", "macs", "effective_macs",
    "executed_macs", "utilisation", "dense_tops", "effective_tops", "peak_tops", "dram_bytes",
    "roofline_cycles", "parameters",
)  # fmt: skip
"""Fields of a Result that a sweep can use; all are numbers."""

_STEPS_KEPT = 3_000_000
_SKELETON_STEPS = 20_000
_SKELETONS = 64
_RUNS_KEPT = 4096

_numbers = count()


@dataclass(frozen=True)
class OpCost:
    """An operator on a machine, with all that does not depend on when it runs."""

    number: int
    """Its own; equal costs of equal numbers."""
    lowered: Lowered
    shape: int
    """Equal for programs whose steps have the same units, actions and dependencies."""
    engine: str
    counts: tuple[tuple[str, int], ...]
    executed_macs: int
    effective_macs: int
    peak_macs_per_cycle: float
    compute_bound_cycles: int
    memory_bound_cycles: int


@dataclass(frozen=True)
class Prices:
    """What a machine's actions, area and time cost."""

    number: int
    pj: MappingABC[str, tuple[str, float]]
    """Part and energy by action."""
    memories: MappingABC[str, bool]
    """Whether the memory of an action is off chip."""
    area_mm2: float
    power_w: MappingABC[str, float]
    """Drawn at all times, by part."""


@dataclass(frozen=True)
class _Work:
    """How operators are laid on a machine of a family."""

    family: type[AnyMachine]
    fidelity: Fidelity
    seed: int
    chooser: Chooser | None

    def mapping(self, op: Op, mask: Mask | None, spec: Any) -> Mapping:
        """How an operator is laid on the machine of a specification."""
        machine = self.family(spec)
        if self.chooser is None and machine.supports(op):
            return machine.mappings(op)[0]
        return lower(op, mask, machine, self.fidelity, self.seed, {}, self.chooser).mapping


@dataclass(frozen=True)
class _Run:
    """Operators that run one after the other: cycles in all, and each one's share."""

    cycles: int
    shares: Int64


class Evaluator:
    """Evaluates design points of one machine family; work that points share is done once.

    An operator's steps are kept by the machine's fields that writing them read, so a sweep over
    the clock
    or the process lowers nothing twice.
    """

    def __init__(self) -> None:
        paths: dict[Any, Any] = {}
        self._mappings: ReadMemo[Mapping] = ReadMemo(50 * _RUNS_KEPT, paths=paths)
        self._costs: ReadMemo[OpCost] = ReadMemo(
            _STEPS_KEPT, lambda c: len(c.lowered.program) + 20, paths
        )
        self._prices: ReadMemo[Prices] = ReadMemo(_RUNS_KEPT)
        self._runs: dict[tuple[object, ...], _Run] = {}
        self._shapes: dict[object, int] = {}
        self._skeletons: dict[tuple[object, ...], Linked] = {}
        self._parts: dict[tuple[int, int], dict[str, float]] = {}
        self._plans: dict[tuple[str, bool], _Plan] = {}
        self._masked: ReadMemo[bool] = ReadMemo(50 * _RUNS_KEPT)

    def figures(
        self,
        trace: Trace,
        machine: AnyMachine,
        *,
        fidelity: Fidelity,
        seed: int,
        chooser: Chooser | None = None,
        chooser_key: object = None,
    ) -> dict[str, Any]:
        """FIGURES of a trace on a machine, bit for bit those of evaluate()."""
        view = View(machine.spec)
        family = type(machine)
        plan = self._plan(trace, by_name=False)
        if any(
            mask is None
            and self._masked.get(
                (key, family, fidelity),
                view,
                partial(_samples_mask, family, op, fidelity),
            )
            for op, mask, key in plan.unique
            if not op.b_pattern.is_dense
        ):
            plan = self._plan(trace, by_name=True)
        setting = (family, fidelity, chooser_key)
        work = _Work(family, fidelity, seed, chooser)
        found = []
        for op, mask, op_key in plan.unique:
            key = (op_key, setting, seed)
            chosen = self._mappings.get(key, view, partial(work.mapping, op, mask))
            lowered = partial(self._cost, op, mask, work, chosen)
            found.append(self._costs.get((key, chosen), view, lowered))
        prices = self._prices.get(family, view, lambda spec: _prices(family(spec)))
        costs = [found[i] for i in plan.place]
        run = self._run(plan, found, costs)
        return self._add_up(trace, plan, machine.spec.clock_mhz, found, prices, run)

    def _plan(self, trace: Trace, *, by_name: bool) -> _Plan:
        key = (trace.fingerprint, by_name)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _SKELETONS:
                self._plans.clear()
            known = self._plans[key] = _plan(trace, by_name)
        return known

    def _cost(self, op: Op, mask: Mask | None, work: _Work, mapping: Mapping, spec: Any) -> OpCost:
        machine = work.family(spec)
        lowered = lower(op, mask, machine, work.fidelity, work.seed, {}, lambda *_: mapping)
        program = lowered.program
        # Counts of actions are those of any order of steps: no timeline is needed.
        nowhere = np.zeros(len(program), dtype=np.int64)
        counts = tally(
            Timeline(program, nowhere, nowhere, nowhere),
            np.array([0, len(program)]),
            [program],
            [1],
        )[0].actions
        times = op.repeats
        executed = counts.get("mac", 0) * times
        bound = roofline(op, machine, lowered.sparse, executed)
        return OpCost(
            number=next(_numbers),
            lowered=lowered,
            shape=self._shape(program),
            engine=machine.engine(op),
            counts=tuple((action, amount * times) for action, amount in counts.items()),
            executed_macs=executed,
            effective_macs=effective_macs(op, lowered.sparse.mask),
            peak_macs_per_cycle=float(machine.peak_macs_per_cycle(op)) if op.is_matmul else 0.0,
            compute_bound_cycles=bound.compute_cycles,
            memory_bound_cycles=bound.memory_cycles,
        )

    def _shape(self, program: Program) -> int:
        if len(program) > _SKELETON_STEPS:
            return -1
        key = (
            program.units, program.actions, program.unit.tobytes(), program.action.tobytes(),
            program.dep_ptr.tobytes(), program.dep_idx.tobytes(),
        )  # fmt: skip
        return self._shapes.setdefault(key, len(self._shapes))

    def _run(self, plan: _Plan, found: Sequence[OpCost], costs: Sequence[OpCost]) -> _Run:
        key = (plan.fingerprint, *(cost.number for cost in found))
        known = self._runs.get(key)
        if known is not None:
            return known
        linked = self._link(plan, found, costs)
        timeline = simulate(linked.program)
        ends = timeline.end[linked.first[1:] - 1]
        reached = np.maximum.accumulate(np.concatenate([[0], ends]))
        if len(self._runs) >= _RUNS_KEPT:
            self._runs.clear()
        run = self._runs[key] = _Run(timeline.cycles, np.diff(reached))
        return run

    def _link(self, plan: _Plan, found: Sequence[OpCost], costs: Sequence[OpCost]) -> Linked:
        """The programs as one; what depends on their shapes alone is kept."""
        programs = [cost.lowered.program for cost in costs]
        key = (plan.fingerprint, *((cost.shape, cost.engine) for cost in found))
        known = self._skeletons.get(key)
        if known is None:
            linked = link(programs, plan.deps, [cost.engine for cost in costs], plan.repeats)
            if len(linked.program) <= _SKELETON_STEPS:
                if len(self._skeletons) >= _SKELETONS:
                    self._skeletons.clear()
                self._skeletons[key] = linked
            return linked
        runs = [p for p, times in zip(programs, plan.repeats, strict=True) for _ in range(times)]
        program = known.program
        return Linked(
            Program(
                units=program.units,
                actions=program.actions,
                unit=program.unit,
                busy_cycles=np.concatenate([p.busy_cycles for p in runs]),
                latency_cycles=np.concatenate([p.latency_cycles for p in runs]),
                action=program.action,
                count=program.count,
                dep_ptr=program.dep_ptr,
                dep_idx=program.dep_idx,
            ),
            known.first,
        )

    def _add_up(
        self,
        trace: Trace,
        plan: _Plan,
        clock_mhz: float,
        found: Sequence[OpCost],
        prices: Prices,
        run: _Run,
    ) -> dict[str, Any]:
        """The sums of evaluate.account, term by term in its order, so that no bit differs."""
        parts = [self._parts_of(cost, prices) for cost in found]
        order = dict.fromkeys(
            part for i in plan.first_seen for part in (*parts[i], *prices.power_w)
        )
        hz = clock_mhz * HZ_PER_MHZ
        energy_j = 0.0
        for part in order:
            each = np.array([own.get(part, 0.0) for own in parts])[plan.place_array]
            if part in prices.power_w:
                each = each + prices.power_w[part] * run.shares / hz * PJ_PER_J
            energy_j += float(np.add.accumulate(each / PJ_PER_J)[-1])
        latency_s = run.cycles / hz
        times = plan.times
        executed = sum(cost.executed_macs * n for cost, n in zip(found, times, strict=True))
        effective = sum(cost.effective_macs * n for cost, n in zip(found, times, strict=True))
        dram_bytes = sum(
            amount * n
            for cost, n in zip(found, times, strict=True)
            for action, amount in cost.counts
            if prices.memories.get(action)
        )
        peak = max((cost.peak_macs_per_cycle for cost in found), default=0.0)
        rate = FLOP_PER_MAC / latency_s / TERA if latency_s else 0.0
        return {
            "cycles": run.cycles,
            "latency_s": latency_s,
            "energy_j": energy_j,
            "area_mm2": prices.area_mm2,
            "power_w": energy_j / latency_s if latency_s else 0.0,
            "edp_js": energy_j * latency_s,
            "macs": plan.macs,
            "effective_macs": effective,
            "executed_macs": executed,
            "utilisation": executed / (run.cycles * peak) if run.cycles and peak else 0.0,
            "dense_tops": plan.macs * rate,
            "effective_tops": effective * rate,
            "peak_tops": peak * clock_mhz * HZ_PER_MHZ * FLOP_PER_MAC / TERA,
            "dram_bytes": dram_bytes,
            "roofline_cycles": max(
                sum(c.compute_bound_cycles * n for c, n in zip(found, times, strict=True)),
                sum(c.memory_bound_cycles * n for c, n in zip(found, times, strict=True)),
            ),
            "parameters": plan.parameters,
        }

    def _parts_of(self, cost: OpCost, prices: Prices) -> dict[str, float]:
        key = (cost.number, prices.number)
        known = self._parts.get(key)
        if known is None:
            if len(self._parts) >= 50 * _RUNS_KEPT:
                self._parts.clear()
            known = {}
            for action, amount in cost.counts:
                if action in prices.pj:
                    part, pj = prices.pj[action]
                    known[part] = known.get(part, 0.0) + amount * pj
            self._parts[key] = known
        return known


@dataclass(frozen=True)
class _Plan:
    """What of a trace every point needs: its different operators, and where each of them stands."""

    fingerprint: str
    unique: tuple[tuple[Op, Mask | None, object], ...]
    place: tuple[int, ...]
    place_array: Int64
    first_seen: tuple[int, ...]
    times: tuple[int, ...]
    deps: tuple[tuple[int, ...], ...]
    repeats: tuple[int, ...]
    macs: int
    parameters: int


def _samples_mask(family: type[AnyMachine], op: Op, fidelity: Fidelity, spec: Any) -> bool:
    machine = family(spec)
    return machine.supports(op) and machine.needs_mask(op, fidelity)


def _plan(trace: Trace, by_name: bool) -> _Plan:
    """The plan of a trace; `by_name` where masks are sampled, each from its operator's name."""
    index: dict[object, int] = {}
    unique: list[tuple[Op, Mask | None, object]] = []
    place = []
    for op in trace:
        mask = trace.masks.get(op.name)
        sampled = op.name if by_name and not op.b_pattern.is_dense else None
        own = sampled if mask is None else mask.fingerprint
        key = (op.shape_key, own)
        if key not in index:
            index[key] = len(unique)
            unique.append((op, mask, key))
        place.append(index[key])
    at = {op.name: i for i, op in enumerate(trace)}
    return _Plan(
        fingerprint=trace.fingerprint,
        unique=tuple(unique),
        place=tuple(place),
        place_array=np.array(place, dtype=np.int64),
        first_seen=tuple(dict.fromkeys(place)),
        times=tuple(place.count(i) for i in range(len(unique))),
        deps=tuple(tuple(at[dep] for dep in op.deps) for op in trace),
        repeats=tuple(op.repeats for op in trace),
        macs=trace.macs,
        parameters=trace.parameter_count,
    )


def _prices(machine: AnyMachine) -> Prices:
    components, spec = machine.components(), machine.spec
    technology = spec.technology
    energies = energy_table(components, technology, spec.energy)
    areas = area_table(components, technology)
    return Prices(
        number=next(_numbers),
        pj={action: (energy.part, energy.pj) for action, energy in energies.items()},
        memories={
            action: component.kind == "dram"
            for component in components
            if component.kind in ("sram", "dram")
            for action in component.actions
        },
        area_mm2=sum(area.mm2 for area in areas.values()),
        power_w=standing_power_w(machine, areas),
    )
