"""The figures of one design point, equal to those of evaluate(), without rows of operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from codesign.arch.base import AnyMachine, Fidelity, Mapping
from codesign.evaluate import Chooser, Lowered, lower
from codesign.mapper.bounds import roofline
from codesign.metrics.tally import actions_of
from codesign.schedule.network import network
from codesign.schedule.program import Program
from codesign.sim import Linked
from codesign.sparsity.mask import Mask
from codesign.sweep.outlined import Outlined
from codesign.sweep.plan import Plan, make_plan
from codesign.sweep.reads import ReadMemo, View
from codesign.sweep.totals import (
    FIGURES,
    OpCosts,
    Prices,
    Run,
    add_up,
    ordered_parts,
    prices_of,
    run_of,
)
from codesign.trace.op import Op, Trace
from codesign.trace.sparsify import effective_macs
from codesign.windowed import simulate_spans

__all__ = ["FIGURES", "Evaluator"]

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
    engines: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    executed_macs: int
    effective_macs: int
    peak_macs_per_cycle: float
    compute_bound_cycles: int
    memory_bound_cycles: int


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


class Evaluator:
    """Evaluates design points of one machine family; work that points share is done once.

    At tile fidelity a machine with an outliner writes no step tables at all. Elsewhere an
    operator's steps are kept by the machine's fields that writing them read, so a sweep over the
    clock or the process lowers nothing twice.
    """

    def __init__(self) -> None:
        paths: dict[Any, Any] = {}
        self._mappings: ReadMemo[Mapping] = ReadMemo(50 * _RUNS_KEPT, paths=paths)
        self._costs: ReadMemo[OpCost] = ReadMemo(
            _STEPS_KEPT, lambda c: len(c.lowered.program) + 20, paths
        )
        self._prices: ReadMemo[Prices] = ReadMemo(_RUNS_KEPT)
        self._runs: dict[tuple[object, ...], Run] = {}
        self._shapes: dict[object, int] = {}
        self._skeletons: dict[tuple[object, ...], Linked] = {}
        self._parts: dict[tuple[int, int], dict[str, float]] = {}
        self._plans: dict[tuple[str, bool], Plan] = {}
        self._masked: ReadMemo[bool] = ReadMemo(50 * _RUNS_KEPT)
        self._outlined = Outlined()

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
        clock_mhz = machine.spec.clock_mhz
        prices = self._prices.get(family, view, lambda spec: prices_of(family(spec)))
        if fidelity is Fidelity.TILE and chooser is None:
            outlined = self._outlined.costs(plan, machine, view, prices)
            if outlined is not None:
                return add_up(plan, clock_mhz, outlined[0], prices, outlined[1])
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
        run = self._run(plan, found)
        return add_up(plan, clock_mhz, self._op_costs(found, prices), prices, run)

    def _plan(self, trace: Trace, *, by_name: bool) -> Plan:
        key = (trace.fingerprint, by_name)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _SKELETONS:
                self._plans.clear()
            known = self._plans[key] = make_plan(trace, by_name=by_name)
        return known

    def _cost(self, op: Op, mask: Mask | None, work: _Work, mapping: Mapping, spec: Any) -> OpCost:
        machine = work.family(spec)
        lowered = lower(op, mask, machine, work.fidelity, work.seed, {}, lambda *_: mapping)
        program = lowered.program
        counts = actions_of(program)
        times = op.repeats
        executed = counts.get("mac", 0) * times
        bound = roofline(op, machine, lowered.sparse, executed, mapping)
        return OpCost(
            number=next(_numbers),
            lowered=lowered,
            shape=self._shape(program),
            engines=machine.engines(op, lowered.mapping),
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

    def _run(self, plan: Plan, found: Sequence[OpCost]) -> Run:
        key = (plan.fingerprint, *(cost.number for cost in found))
        known = self._runs.get(key)
        if known is not None:
            return known
        if len(self._runs) >= _RUNS_KEPT:
            self._runs.clear()
        run = self._runs[key] = self._simulated(plan, found)
        return run

    def _simulated(self, plan: Plan, found: Sequence[OpCost]) -> Run:
        """Run all programs; of small networks, what depends on their shapes alone is kept."""
        costs = [found[i] for i in plan.place.tolist()]
        programs = [cost.lowered.program for cost in costs]
        key = (plan.fingerprint, *((cost.shape, cost.engines) for cost in found))
        known = self._skeletons.get(key)
        if known is None:
            net = network(programs, plan.deps, [cost.engines for cost in costs], plan.repeats)
            if net.starts[-1] > _SKELETON_STEPS:
                spans = simulate_spans(net)
                return Run.that_ends(spans.cycles, spans.end)
            if len(self._skeletons) >= _SKELETONS:
                self._skeletons.clear()
            linked = self._skeletons[key] = Linked(net.join(), net.first)
            return run_of(linked)
        runs = [p for p, times in zip(programs, plan.repeats, strict=True) for _ in range(times)]
        busy = np.concatenate([p.busy_cycles for p in runs])
        delay = np.concatenate([p.latency_cycles for p in runs])
        program = replace(known.program, busy_cycles=busy, latency_cycles=delay)
        return run_of(Linked(program, known.first))

    def _op_costs(self, found: Sequence[OpCost], prices: Prices) -> OpCosts:
        own = [self._parts_of(cost, prices) for cost in found]
        parts = ordered_parts([tuple(each) for each in own], prices)
        return OpCosts(
            executed_macs=[cost.executed_macs for cost in found],
            effective_macs=[cost.effective_macs for cost in found],
            dram_bytes=[
                sum(amount for action, amount in cost.counts if action in prices.off_chip)
                for cost in found
            ],
            compute_bound_cycles=[cost.compute_bound_cycles for cost in found],
            memory_bound_cycles=[cost.memory_bound_cycles for cost in found],
            peak_macs_per_cycle=max((cost.peak_macs_per_cycle for cost in found), default=0.0),
            parts=parts,
            pj=np.array([[each.get(part, 0.0) for each in own] for part in parts]),
        )

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


def _samples_mask(family: type[AnyMachine], op: Op, fidelity: Fidelity, spec: Any) -> bool:
    machine = family(spec)
    return machine.supports(op) and machine.needs_mask(op, fidelity)
