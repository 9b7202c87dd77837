"""Plans that spare trips to memory: work fused into products, feature maps kept on the chip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from codesign.arch.base import NOTHING_KEPT, AnyMachine, Fidelity, Kept, Mapping
from codesign.config import CodesignError
from codesign.evaluate import Chooser, Lowered, lower
from codesign.mapper.fusion import NOTHING_FUSED, Chain, Fused, chains, fuse
from codesign.mapper.residency import (
    FeatureMap,
    NetworkPlan,
    choose_resident,
    feature_maps,
    granule_of,
    kept_by,
)
from codesign.metrics.objective import Goal, objective
from codesign.schedule.epilogue import NO_EPILOGUE, Epilogue
from codesign.sim import simulate
from codesign.trace.op import Trace

Weights = tuple[float, float]
"""Of cycles and of joules in what a plan makes least."""


def plans_on_chip(
    trace: Trace,
    machine: AnyMachine,
    *,
    fidelity: Fidelity,
    seed: int,
    keeps: bool,
    fuses: bool,
    most_states: Sequence[int | None],
) -> list[NetworkPlan]:
    """Plans that fuse operators, keep maps, or both; the first one does neither.

    For cycles, joules and their product each, they are the best for operators that run alone on the
    machine's own tiles; maps are chosen by following each of `most_states`. No two fuse alike and
    keep alike.
    """
    costs = _Costs(trace, machine, fidelity, seed)
    found = chains(trace) if fuses else []
    chosen: dict[tuple[Fused, tuple[int, ...]], list[FeatureMap]] = {(NOTHING_FUSED, ()): []}
    for weights in costs.weights():
        for fused in dict.fromkeys((NOTHING_FUSED, costs.fused(weights, found))):
            chosen[fused, ()] = []
            maps = feature_maps(trace, fused) if keeps else []
            for most in most_states if maps else ():
                places, _ = choose_resident(
                    len(trace), maps, machine.room_bytes, partial(costs.of, weights, fused),
                    most_states=most,
                )  # fmt: skip
                chosen[fused, tuple(places)] = [maps[i] for i in places]
    return [_plan(trace, fused, resident, costs) for (fused, _), resident in chosen.items()]


def refined(
    plan: NetworkPlan,
    trace: Trace,
    machine: AnyMachine,
    *,
    fidelity: Fidelity,
    seed: int,
    decide: Chooser,
    goal: Goal,
) -> NetworkPlan:
    """What a plan fuses and keeps, on the tiles that `decide` finds where those are better."""

    def cost(row: Lowered, mapping: Mapping) -> float:
        program = machine.lower(row.op, mapping, row.sparse, fidelity)
        return of(program, simulate(program))

    of = objective(goal, machine).of
    memo: dict[object, Lowered] = {}
    found: dict[int, Mapping] = {}
    mappings = {}
    for op in trace:
        row = lower(op, trace.masks.get(op.name), machine, fidelity, seed, memo, plan)
        laid = row.mapping
        if op.is_matmul:
            key = id(row.program)
            if key not in found:
                view = _view(machine, laid.epilogue, laid.kept.taken_bytes)
                mapping = replace(decide(op, row.sparse, view, fidelity), kept=laid.kept)
                found[key] = min((laid, mapping), key=partial(cost, row))
            laid = found[key]
        mappings[op.name] = laid
    return replace(plan, mappings=mappings)


def _view(machine: AnyMachine, after: Epilogue, taken_bytes: int) -> AnyMachine:
    """The machine as it is to a product that so much follows, beside maps of so many bytes."""
    if taken_bytes:
        machine = machine.narrowed(taken_bytes)
    fusing = machine.fusing(after) if after.ops else machine
    assert fusing is not None
    return fusing


def _plan(trace: Trace, fused: Fused, resident: Sequence[FeatureMap], costs: _Costs) -> NetworkPlan:
    granule_bytes = granule_of(costs.room_bytes)
    host, epilogues = fused.host, fused.epilogues
    mappings = {}
    for i, op in enumerate(trace):
        if i in host:
            mappings[op.name] = Mapping("fused", 0, 0, 0, fused_into=trace.ops[host[i]].name)
            continue
        beside = [one for one in resident if one.first <= i <= one.last]
        after = epilogues.get(i, NO_EPILOGUE)
        mappings[op.name] = costs.mapping(i, after, kept_by(i, beside, granule_bytes))
    counts = (
        ("operators fused into products", len(host)),
        ("feature maps kept on the chip", len(resident)),
    )
    note = "; ".join(f"{what}: {count}" for what, count in counts if count)
    return NetworkPlan(mappings, fused.waits(trace), note)


class _Costs:
    """What operators cost alone, by what follows them and what they keep; equal ones run once."""

    def __init__(
        self,
        trace: Trace,
        machine: AnyMachine,
        fidelity: Fidelity,
        seed: int,
    ) -> None:
        self._machine, self._fidelity = machine, fidelity
        self._joules = objective("energy", machine).of
        memo: dict[object, Lowered] = {}
        self.rows = [
            lower(op, trace.masks.get(op.name), machine, fidelity, seed, memo) for op in trace
        ]
        self._keys = [id(row.program) for row in self.rows]
        self._laid: dict[tuple[int, Epilogue, int], Mapping | None] = {}
        self._spent: dict[tuple[int, Epilogue, Kept], tuple[float, float]] = {}

    @property
    def room_bytes(self) -> int:
        return self._machine.room_bytes

    def weights(self) -> list[Weights]:
        """For latency, for energy, and to first order for their product."""
        alone = [self._alone(i, NO_EPILOGUE, NOTHING_KEPT) for i in range(len(self.rows))]
        cycles, joules = (sum(column) for column in zip(*alone, strict=True))
        return [(1.0, 0.0), (0.0, 1.0), (joules, cycles)]

    def fused(self, weights: Weights, found: Sequence[Chain]) -> Fused:
        """How much of each chain is fused where it costs least when nothing is kept."""
        return fuse((chain, self._count(weights, chain)) for chain in found)

    def _count(self, weights: Weights, chain: Chain) -> int:
        def cost(count: int) -> float:
            alone = self._weighed(weights, chain.product, chain.epilogue(count), NOTHING_KEPT)
            rest = chain.ops[count:]
            return alone + sum(self._weighed(weights, i, NO_EPILOGUE, NOTHING_KEPT) for i in rest)

        return min(range(len(chain.ops) + 1), key=cost)

    def of(self, weights: Weights, fused: Fused, place: int, kept: Kept) -> float:
        """The cost of an operator, infinite where it finds no room for its tiles."""
        if place in fused.host:
            return 0.0
        after = fused.epilogues.get(place, NO_EPILOGUE)
        return self._weighed(weights, place, after, kept)

    def _weighed(self, weights: Weights, place: int, after: Epilogue, kept: Kept) -> float:
        cycles, joules = self._alone(place, after, kept)
        if math.isinf(cycles):
            return cycles
        return weights[0] * cycles + weights[1] * joules

    def mapping(self, place: int, after: Epilogue, kept: Kept) -> Mapping:
        """How an operator is laid beside what is kept."""
        laid = self._beside(place, after, kept.taken_bytes)
        assert laid is not None
        return replace(laid, kept=kept)

    def _alone(self, place: int, after: Epilogue, kept: Kept) -> tuple[float, float]:
        """Cycles and joules of an operator with all its repetitions."""
        row = self.rows[place]
        if not row.op.is_matmul:
            kept = replace(kept, taken_bytes=0)
        key = (self._keys[place], after, kept)
        known = self._spent.get(key)
        if known is None:
            known = self._spent[key] = self._run(place, after, kept)
        return known

    def _run(self, place: int, after: Epilogue, kept: Kept) -> tuple[float, float]:
        row = self.rows[place]
        laid = self._beside(place, after, kept.taken_bytes)
        if laid is None:
            return math.inf, math.inf
        program = self._machine.lower(row.op, replace(laid, kept=kept), row.sparse, self._fidelity)
        timeline = simulate(program)
        times = row.op.repeats
        return float(timeline.cycles * times), self._joules(program, timeline) * times

    def _beside(self, place: int, after: Epilogue, taken_bytes: int) -> Mapping | None:
        """The mapping in what maps leave of the scratchpads; None if no tile fits."""
        row = self.rows[place]
        if (taken_bytes == 0 and not after.ops) or not row.op.is_matmul:
            return row.mapping
        key = (self._keys[place], after, taken_bytes)
        if key not in self._laid:
            view = _view(self._machine, after, taken_bytes)
            try:
                self._laid[key] = view.mappings(row.op)[0]
            except CodesignError:
                self._laid[key] = None
        return self._laid[key]
