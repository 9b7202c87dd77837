"""Tile fidelity of machines that outline all operators at once: no step table for any point."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from codesign.arch import outlining
from codesign.arch.base import AnyMachine, Fidelity, Sparse
from codesign.arch.outlining import Outlines, Rows, outliner_of
from codesign.metrics.tally import actions_of
from codesign.schedule.program import Int64
from codesign.sim import Linked, link
from codesign.sweep.plan import Plan
from codesign.sweep.reads import ReadMemo, View
from codesign.sweep.totals import OpCosts, Prices, Run, ordered_parts, run_of
from codesign.trace.op import Op
from codesign.trace.sparsify import effective_macs

_KEPT = 256


@dataclass(frozen=True)
class _Split:
    """A plan's operators as products and streams; `row` is the place of each in that order."""

    products: tuple[Op, ...]
    streams: tuple[Op, ...]
    row: Int64
    repeats: Int64
    effective_macs: tuple[int, ...]


def _split(plan: Plan) -> _Split | None:
    """None where an operator has a real mask."""
    if any(mask is not None for _, mask, _ in plan.unique):
        return None
    ops = [op for op, _, _ in plan.unique]
    order = sorted(range(len(ops)), key=lambda i: not ops[i].is_matmul)
    row = np.empty(len(ops), dtype=np.int64)
    row[order] = np.arange(len(ops))
    return _Split(
        products=tuple(op for op in ops if op.is_matmul),
        streams=tuple(op for op in ops if not op.is_matmul),
        row=row,
        repeats=np.array([op.repeats for op in ops], dtype=np.int64),
        effective_macs=tuple(effective_macs(op) for op in ops),
    )


@dataclass(frozen=True)
class _Skeleton:
    """The linked program of a plan, of which a design changes cycles only."""

    linked: Linked
    step: Int64
    """Where in the outlines' columns, all rows one after the other, each step finds its cycles."""
    actions: tuple[tuple[str, ...], ...]
    """What each operator counts, in its order."""
    counted: Int64
    """The same as a table of booleans, operators by the machine's actions."""

    @cached_property
    def parts(self) -> dict[Hashable, tuple[tuple[str, ...], Int64]]:
        """Kept by the parts of actions: parts in order, and for each the places of its actions."""
        return {}


class Outlined:
    """Design points of machines with an outliner, at tile fidelity and with default mappings."""

    def __init__(self) -> None:
        self._rows: ReadMemo[tuple[Rows | None]] = ReadMemo(_KEPT)
        self._splits: dict[str, _Split | None] = {}
        self._skeletons: dict[Hashable, _Skeleton] = {}

    def costs(
        self, plan: Plan, machine: AnyMachine, view: View, prices: Prices
    ) -> tuple[OpCosts, Run] | None:
        """What the operators of a plan cost and how they run, or None where this is not the way."""
        family = type(machine)
        outliner = outliner_of(family)
        split = self._split(plan)
        if outliner is None or split is None:
            return None
        key = (plan.fingerprint, family)
        (products,) = self._rows.get(
            (*key, "products"), view, lambda s: (outliner.product_rows(family(s), split.products),)
        )
        if products is None:
            return None
        (streams,) = self._rows.get(
            (*key, "streams"), view, lambda s: (outliner.stream_rows(family(s), split.streams),)
        )
        assert streams is not None
        found = outliner.outlines(machine, products, streams)
        if found is None:
            return None
        skeleton = self._skeleton((*key, products.structure, streams.structure), plan, machine)
        counts = found.counts[split.row] * split.repeats[:, None]
        if not np.array_equal(counts > 0, skeleton.counted):
            return None
        program = skeleton.linked.program
        busy, delay = (
            table[split.row].ravel()[skeleton.step]
            for table in (found.busy_cycles, found.latency_cycles)
        )
        run = run_of(
            Linked(replace(program, busy_cycles=busy, latency_cycles=delay), skeleton.linked.first)
        )
        costs = _costs(machine, split, skeleton, found, counts, prices)
        return None if costs is None else (costs, run)

    def _split(self, plan: Plan) -> _Split | None:
        if plan.fingerprint not in self._splits:
            if len(self._splits) >= _KEPT:
                self._splits.clear()
            self._splits[plan.fingerprint] = _split(plan)
        return self._splits[plan.fingerprint]

    def _skeleton(self, key: Hashable, plan: Plan, machine: AnyMachine) -> _Skeleton:
        known = self._skeletons.get(key)
        if known is None:
            if len(self._skeletons) >= _KEPT:
                self._skeletons.clear()
            known = self._skeletons[key] = _skeleton(plan, machine)
        return known


def _skeleton(plan: Plan, machine: AnyMachine) -> _Skeleton:
    """Lower every operator once, for the structure of its steps."""
    ops = [op for op, _, _ in plan.unique]
    mappings = [machine.mappings(op)[0] for op in ops]
    programs = [
        machine.lower(op, mapping, Sparse(), Fidelity.TILE)
        for op, mapping in zip(ops, mappings, strict=True)
    ]
    runs = [programs[i] for i in plan.place]
    engines = [machine.engines(ops[i], mappings[i]) for i in plan.place.tolist()]
    linked = link(runs, plan.deps, engines, plan.repeats)
    steps = []
    for i, times in zip(plan.place.tolist(), plan.repeats, strict=True):
        own = np.arange(outlining.STEPS)
        if len(programs[i]) < outlining.STEPS:
            own = np.delete(own, outlining.SELECT)
        steps += [i * outlining.STEPS + own] * times
    actions = [tuple(actions_of(program)) for program in programs]
    names = programs[0].actions[1:]
    counted = np.array([[name in own for name in names] for own in actions])
    return _Skeleton(linked, np.concatenate(steps), tuple(actions), counted)


def _costs(
    machine: AnyMachine,
    split: _Split,
    skeleton: _Skeleton,
    found: Outlines,
    counts: Int64,
    prices: Prices,
) -> OpCosts | None:
    """None where the order of a part's sum could matter: it has more than two actions."""
    names = skeleton.linked.program.actions[1:]
    parts, places = _parts(skeleton, names, prices)
    if places.shape[1] > 2:
        return None
    pj = np.zeros((len(counts), len(names) + 1))
    rates = [prices.pj[name][1] if name in prices.pj else 0.0 for name in names]
    pj[:, :-1] = counts * np.array(rates)
    energy = np.zeros((len(parts), len(counts)))
    for column in places.T:
        energy += pj[:, column].T
    executed = counts[:, names.index("mac")]
    peak, bandwidth = found.peak_macs_per_cycle, machine.dram_bytes_per_cycle
    moved = found.compulsory_bytes[split.row] * split.repeats
    off_chip = [i for i, name in enumerate(names) if name in prices.off_chip]
    return OpCosts(
        executed_macs=executed.tolist(),
        effective_macs=split.effective_macs,
        dram_bytes=counts[:, off_chip].sum(axis=1).tolist(),
        compute_bound_cycles=(-(-executed // peak)).tolist(),
        memory_bound_cycles=[int(cycles) for cycles in np.ceil(moved / bandwidth).tolist()],
        peak_macs_per_cycle=float(peak) if split.products else 0.0,
        parts=parts,
        pj=energy,
    )


def _parts(
    skeleton: _Skeleton, names: Sequence[str], prices: Prices
) -> tuple[tuple[str, ...], Int64]:
    """Parts that pay in the order of evaluate.account, and the places of the actions of each."""
    key = (tuple(prices.pj.get(name, ("",))[0] for name in names), tuple(prices.power_w))
    known = skeleton.parts.get(key)
    if known is None:
        named = [
            [prices.pj[action][0] for action in own if action in prices.pj]
            for own in skeleton.actions
        ]
        parts = ordered_parts(named, prices)
        own = [
            [i for i, name in enumerate(names) if name in prices.pj and prices.pj[name][0] == part]
            for part in parts
        ]
        width = max(map(len, own), default=0)
        padded = [places + [len(names)] * (width - len(places)) for places in own]
        known = tuple(parts), np.array(padded, dtype=np.int64).reshape(len(parts), -1)
        skeleton.parts[key] = known
    return known
