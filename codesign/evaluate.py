"""The whole chain, from a trace and a machine to a result. Read this file first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codesign import __version__
from codesign.arch.base import AnyMachine, Fidelity, Machine, Mapping, Sparse
from codesign.config import CodesignError, fingerprint, suggestion
from codesign.mapper.bounds import Bound, roofline
from codesign.mapper.residency import NetworkPlan
from codesign.metrics.notes import run_notes
from codesign.metrics.prices import Prices, prices_of, spent
from codesign.metrics.rates import rates_of
from codesign.metrics.result import OpResult, Result
from codesign.metrics.tally import Tally, shares_of_time, summed, tally
from codesign.schedule.network import Network, network
from codesign.schedule.program import Program
from codesign.sim import Spans, Timeline, simulate
from codesign.sparsity.mask import Mask
from codesign.trace.op import Op, Trace
from codesign.trace.sparsify import effective_macs
from codesign.units import HZ_PER_MHZ, PJ_PER_J
from codesign.windowed import simulate_spans

Progress = Callable[[str, int, int], None]
"""Called with an operator's name, how many operators are lowered, and of how many."""
Chooser = Callable[[Op, Sparse, AnyMachine, Fidelity], Mapping]
"""Decides how an operator is laid on a machine; without one it is the machine's first mapping."""


@dataclass(frozen=True)
class Lowered:
    """An operator on a machine: how it is laid, its zeros, and its steps."""

    op: Op
    mapping: Mapping
    sparse: Sparse
    program: Program


def evaluate(
    trace: Trace,
    machine: AnyMachine,
    *,
    fidelity: Fidelity | str = Fidelity.ROW,
    seed: int = 0,
    chooser: Chooser | None = None,
    progress: Progress | None = None,
    memo: dict[object, Lowered] | None = None,
) -> Result:
    """Simulate every operator of a trace on a machine and add up what it costs.

    Masks that the trace does not hold are sampled from the operators' patterns with `seed`. Runs of
    several NetworkPlans that differ in nothing else may share a `memo`. Raises CodesignError for an
    operator that the machine cannot run.

    >>> import codesign
    >>> result = codesign.evaluate(
    ...     codesign.load_workload("gemm:256,256,256"), codesign.load_arch("dense_systolic")
    ... )
    >>> result.macs == 256**3 == result.executed_macs
    True
    """
    fidelity = _checked(trace, machine, fidelity)
    lowered, joined = lower_all(trace, machine, fidelity, seed, chooser, progress, memo)
    return account(trace, machine, fidelity, seed, lowered, simulate_spans(joined), chooser)


def _checked(trace: Trace, machine: AnyMachine, fidelity: Fidelity | str) -> Fidelity:
    """The fidelity that a text names; CodesignError where one of the three is something else."""
    if not isinstance(trace, Trace):
        raise CodesignError(f"a trace is needed, got {trace!r:.60}; see codesign.load_workload")
    if not isinstance(machine, Machine):
        raise CodesignError(f"a machine is needed, got {machine!r:.60}; see codesign.load_arch")
    if fidelity not in list(Fidelity):
        known = [str(level) for level in Fidelity]
        raise CodesignError(
            f"no fidelity {str(fidelity)[:40]!r} (there are {', '.join(known)})"
            + suggestion(str(fidelity), known)
        )
    return Fidelity(fidelity)


def simulated_s(
    trace: Trace, machine: AnyMachine, *, fidelity: Fidelity | str = Fidelity.ROW, seed: int = 0
) -> float:
    """Seconds of a trace on a machine: `evaluate(...).latency_s` without the account of the rest.

    >>> import codesign
    >>> simulated_s(codesign.load_workload("gemm:64,64,64"), codesign.load_arch("sat")) > 0
    True
    """
    spans = simulate_spans(lower_all(trace, machine, Fidelity(fidelity), seed)[1])
    return float(spans.cycles / (machine.spec.clock_mhz * HZ_PER_MHZ))


def run(
    trace: Trace,
    machine: AnyMachine,
    *,
    fidelity: Fidelity | str = Fidelity.ROW,
    seed: int = 0,
    chooser: Chooser | None = None,
    progress: Progress | None = None,
) -> tuple[list[Lowered], Timeline, np.ndarray]:
    """Lower and simulate a trace; operator i owns steps first[i]:first[i + 1] of the timeline."""
    lowered, joined = lower_all(trace, machine, Fidelity(fidelity), seed, chooser, progress)
    return lowered, simulate(joined.join()), joined.first


def lower_all(
    trace: Trace,
    machine: AnyMachine,
    fidelity: Fidelity,
    seed: int,
    chooser: Chooser | None = None,
    progress: Progress | None = None,
    memo: dict[object, Lowered] | None = None,
) -> tuple[list[Lowered], Network]:
    """Lower every operator of a trace, and say how their programs wait for each other."""
    if not trace.ops:
        raise CodesignError(f"trace {trace.name} has no operators")
    memo = {} if memo is None else memo
    lowered = []
    for done, op in enumerate(trace):
        lowered.append(lower(op, trace.masks.get(op.name), machine, fidelity, seed, memo, chooser))
        if progress is not None:
            progress(op.name, done + 1, len(trace))
    place = {op.name: i for i, op in enumerate(trace)}
    waits = chooser.waits if isinstance(chooser, NetworkPlan) else {}
    joined = network(
        [row.program for row in lowered],
        [[place[dep] for dep in (*op.deps, *waits.get(op.name, ()))] for op in trace],
        [machine.engines(row.op, row.mapping) for row in lowered],
        [op.repeats for op in trace],
    )
    return lowered, joined


def lower(
    op: Op,
    mask: Mask | None,
    machine: AnyMachine,
    fidelity: Fidelity,
    seed: int,
    memo: dict[object, Lowered],
    chooser: Chooser | None = None,
) -> Lowered:
    """Choose a mapping and write an operator's steps; equal operators are lowered once."""
    if not machine.supports(op):
        raise CodesignError(f"{machine.spec.name} cannot run {op.name} ({machine.refusal(op)})")
    needed = machine.needs_mask(op, fidelity)
    sparse = Sparse(mask if needed or machine.exploits(op) else None)
    if sparse.mask is None and needed:
        sparse = Sparse(sampled_mask(op, seed))
    planned = chooser.mappings[op.name] if isinstance(chooser, NetworkPlan) else None
    key = (op.shape_key, sparse.mask.fingerprint if sparse.mask is not None else None, planned)
    known = memo.get(key)
    if known is None:
        mapping = planned
        if mapping is None:
            decide = default_mapping if chooser is None else chooser
            mapping = decide(op, sparse, machine, fidelity)
        program = machine.lower(op, mapping, sparse, fidelity)
        known = memo[key] = Lowered(op, mapping, sparse, program)
    return Lowered(op, known.mapping, known.sparse, known.program)


def default_mapping(op: Op, sparse: Sparse, machine: AnyMachine, fidelity: Fidelity) -> Mapping:
    """The chooser that leaves the decision to the machine."""
    return machine.mappings(op)[0]


def sampled_mask(op: Op, seed: int) -> Mask:
    """The mask of an operator's B that its pattern, its name and a seed give."""
    rows = op.n if op.b_shared else op.groups * op.n
    return op.b_pattern.sample(rows, op.k, int(fingerprint([seed, op.name]), 16) >> 1)


def account(
    trace: Trace,
    machine: AnyMachine,
    fidelity: Fidelity,
    seed: int,
    lowered: list[Lowered],
    spans: Spans,
    chooser: Chooser | None = None,
) -> Result:
    """Turn the spans of simulated operators into energy, area, bytes and the rows of a report."""
    spec, prices = machine.spec, prices_of(machine)
    tallies = tally(spans, [row.program for row in lowered], [r.op.repeats for r in lowered])
    ops, bounds, board_pj = [], [], []
    for row, counts, share in zip(lowered, tallies, shares_of_time(tallies), strict=True):
        bound = roofline(row.op, machine, row.sparse, counts.of("mac"), row.mapping)
        bounds.append(bound)
        board_pj.append(machine.board_energy_pj(row.op, counts.actions, share))
        ops.append(_op_result(row, machine, counts, share, bound, prices))
    energy_j_by_part = summed(
        {part: pj / PJ_PER_J for part, pj in op.energy_pj_by_part.items()} for op in ops
    )
    bound_cycles = summed({op.bound_by: op.cycles} for op in ops)
    zeros = {row.op.name: row.sparse for row in lowered}
    plan = chooser.note if isinstance(chooser, NetworkPlan) else ""
    rates = rates_of(
        cycles=spans.cycles,
        clock_mhz=spec.clock_mhz,
        energy_j=sum(energy_j_by_part.values()),
        macs=trace.macs,
        effective_macs=sum(op.effective_macs for op in ops),
        executed_macs=sum(op.executed_macs for op in ops),
        peak_macs_per_cycle=max(
            (float(machine.peak_macs_per_cycle(op)) for op in trace if op.is_matmul), default=0.0
        ),
    )
    return Result(
        workload=trace.name,
        arch=spec.name,
        machine=spec.machine,
        phase=str(trace.meta.get("phase", "inference")),
        sparsity=str(trace.meta.get("sparsity", "dense")),
        fidelity=fidelity.value,
        kind="simulated",
        clock_mhz=spec.clock_mhz,
        **rates,
        energy_j_by_part=energy_j_by_part,
        board_energy_j=_board_energy_j(board_pj),
        area_mm2=sum(area.mm2 for area in prices.areas.values()),
        area_mm2_by_part={part: area.mm2 for part, area in prices.areas.items()},
        die_mm2=spec.technology.die_mm2,
        dram_bytes=sum(op.dram_bytes for op in ops),
        bytes_by_memory=summed(op.bytes_by_memory for op in ops),
        counters=summed(counts.actions for counts in tallies),
        busy_cycles={k: v for k, v in spans.busy_cycles.items() if k != "marker"},
        stall_cycles={k: v for k, v in spans.stall_cycles.items() if k != "marker"},
        roofline_cycles=max(
            sum(bound.compute_cycles for bound in bounds),
            sum(bound.memory_cycles for bound in bounds),
        ),
        bound_by=max(bound_cycles, key=lambda name: bound_cycles[name]),
        accuracy=None,
        parameters=trace.parameter_count,
        ops=tuple(ops),
        assumptions=machine.assumptions(),
        notes=run_notes(trace, machine, zeros, plan),
        seed=seed,
        trace_fingerprint=trace.fingerprint,
        arch_fingerprint=spec.fingerprint,
        version=__version__,
    )


def _board_energy_j(board_pj: list[float | None]) -> float | None:
    known = [pj for pj in board_pj if pj is not None]
    return sum(known) / PJ_PER_J if len(known) == len(board_pj) else None


def _op_result(
    row: Lowered,
    machine: AnyMachine,
    counts: Tally,
    share: int,
    bound: Bound,
    prices: Prices,
) -> OpResult:
    op = row.op
    executed = counts.of("mac")
    span = counts.end_cycle - counts.start_cycle
    in_reach = machine.peak_macs_per_cycle(op) * machine.share_of_peak(row.mapping)
    peak = float(in_reach) if op.is_matmul else 0.0
    cost = spent(counts, share, prices)
    return OpResult(
        name=op.name,
        layer=op.layer,
        kind=op.kind.value,
        phase=op.phase.value,
        shape=_shape(op),
        pattern=str(op.b_pattern if op.a_pattern.is_dense else op.a_pattern),
        mapping=str(row.mapping),
        note=machine.note(op),
        bound_by="fused"
        if row.mapping.fused_into
        else machine.bound_by(op, counts.busy_cycles, span, executed),
        cycles=share,
        start_cycle=counts.start_cycle,
        end_cycle=counts.end_cycle,
        busy_cycles=counts.busy_cycles,
        macs=op.macs,
        effective_macs=effective_macs(op, row.sparse.mask),
        executed_macs=executed,
        utilisation=executed / (span * peak) if span and peak else 0.0,
        dram_bytes=cost.dram_bytes,
        bytes_by_memory=cost.bytes_by_memory,
        energy_pj_by_part=cost.energy_pj,
        roofline_cycles=bound.alone_cycles,
    )


def _shape(op: Op) -> str:
    if not op.is_matmul:
        return f"{op.elements:,} elements"
    groups = f"{op.groups} x " if op.groups > 1 else ""
    return f"{groups}{op.m}x{op.n}x{op.k}"
