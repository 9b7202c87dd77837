"""The laws that every machine keeps, as a suite that users run on their own machine files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import islice, pairwise

from codesign.arch.base import AnyMachine, Fidelity
from codesign.arch.parts import Anchor
from codesign.config import CodesignError, ConfigError, fingerprint, validate_spec
from codesign.evaluate import account, evaluate, run
from codesign.measure.case_laws import CASE_LAWS, Case, CheckRow, row
from codesign.measure.knobs import Changes, Knob, knobs, neighbours, turned
from codesign.measure.probes import (
    GROWTHS,
    NM_PATTERNS,
    convolutions,
    everywhere,
    gemm,
    nested,
    probes,
)
from codesign.trace.op import Trace
from codesign.trace.workload import load_workload

GROWTH_TOLERANCE = 0.02
"""Tiles are chosen by an estimate: the choice for a larger product may be luckier by so much."""
RESOURCE_TOLERANCE = 0.05
"""A step that is ready sooner may hold the link when a more urgent one comes (Graham 1969)."""
BUFFER_TOLERANCE = 0.1
"""Larger tiles that fit a larger scratchpad begin later, which the estimate misjudges by so much.

Measured on random products: at most 0.14 on those of some thousand cycles, 0.05 beyond 100 000.
"""
MASK_TOLERANCE = 0.02
"""Fewer kept weights may come in other tiles."""

_MORE_HELPS = ("clock_mhz", "bytes_per_cycle", "width_bytes", "lanes", "alu_per_lane")
_LESS_HELPS = ("latency_cycles", "special_cycles")
_BUFFERS = ("capacity_bytes", "buffer_bytes")
_KEPT_FRACTIONS = (0.75, 0.5, 0.25, 0.1)
_MOST_VALUES = 5
_MOST_ROWS = 1 << 22
_OTHER_HASH_SEED = "4242"
_IN_ANOTHER_PROCESS = (
    "import sys; from codesign.measure.conformance import answer; print(answer(sys.stdin.read()))"
)


def check(machine: AnyMachine, *, quick: bool = False) -> list[CheckRow]:
    """Try every law on a machine with small probe workloads.

    `quick` takes fewer probes and patterns. Raises CodesignError when the machine runs no probe.
    """
    cases = list(_cases(machine, quick=quick))
    if not cases:
        raise CodesignError(f"{machine.spec.name} supports none of the probe workloads")
    rows = [_loads(machine), _names_faults(machine)]
    for name, law in CASE_LAWS.items():
        faults = [f"{case.name}: {fault}" for case in cases if (fault := law(case)) is not None]
        rows.append(row(name, faults, f"{len(cases)} cases"))
    rows += [_growth(machine, what, grow) for what, grow in GROWTHS.items()]
    rows += [_native_patterns(machine), _nested_masks(machine)]
    rows += _resources(machine, quick=quick)
    rows += [_every_knob(machine), _other_process(machine)]
    return rows + [_anchor(machine, anchor) for anchor in machine.spec.anchors]


def _cases(machine: AnyMachine, *, quick: bool) -> Iterator[Case]:
    patterns = ("dense", "2:8") if quick else ("dense", *NM_PATTERNS, "unstructured(0.8)")
    for name, probe in probes().items():
        if (quick and not probe.quick) or not _runs(machine, probe.trace):
            continue
        for pattern in patterns:
            trace = probe.trace if pattern == "dense" else everywhere(probe.trace, pattern)
            for fidelity in (Fidelity.TILE, Fidelity.ROW):
                lowered, timeline, first = run(trace, machine, fidelity=fidelity)
                result = account(trace, machine, fidelity, 0, lowered, timeline.spans(first))
                label = f"{name}, {pattern}, {fidelity.value}"
                yield Case(label, trace, machine, tuple(lowered), timeline, result)


def _runs(machine: AnyMachine, trace: Trace) -> bool:
    return all(machine.supports(op) for op in trace)


def _cycles(machine: AnyMachine, trace: Trace) -> int:
    return evaluate(trace, machine).cycles


def _loads(machine: AnyMachine) -> CheckRow:
    again = validate_spec(type(machine.spec), machine.spec.model_dump(mode="json"))
    same = again.fingerprint == machine.spec.fingerprint
    faults = [] if same else ["its file, written out and read again, is another machine"]
    return row("loads", faults, f"{len(machine.spec.numbers())} numbers, each with a source")


def _names_faults(machine: AnyMachine) -> CheckRow:
    """Text in the place of each number must be refused under its path."""
    faults = []
    numbers = [path for path, _ in machine.spec.numbers()]
    for path in numbers:
        try:
            turned(machine, {path: "many"})
        except ConfigError as error:
            if not any(fault.path == path for fault in error.faults):
                faults.append(f"a fault at {path} is not named: {error}")
        else:
            faults.append(f"{path} may be text")
    return row("names the place of a fault", faults, f"{len(numbers)} planted faults")


def _growth(machine: AnyMachine, what: str, grow: Callable[[int], Trace]) -> CheckRow:
    name = f"more work is never faster: {what}"
    if not _runs(machine, grow(1)):
        return CheckRow(name, True, "not tried: the machine does not run it")
    cycles = [_cycles(machine, grow(factor)) for factor in (1, 2, 4)]
    return row(name, _falls(cycles, GROWTH_TOLERANCE), " <= ".join(map(str, cycles)))


def _falls(cycles: Iterable[float], tolerance: float) -> list[str]:
    """Neighbours of a list that should rise, and fall by more than a tolerance."""
    values = list(cycles)
    return [
        f"{later:g} after {earlier:g}"
        for earlier, later in pairwise(values)
        if later < earlier * (1 - tolerance)
    ]


def _native_patterns(machine: AnyMachine) -> CheckRow:
    name = "a native pattern is never slower than dense"
    if machine.sparse_can_lose:
        return CheckRow(name, True, "not tried: sparse operands have kernels of their own")
    faults, tried = [], []
    for pattern in NM_PATTERNS:
        for dense in (gemm(256, 256, 256), gemm(64, 512, 320), convolutions()):
            sparse = everywhere(dense, pattern)
            if not _runs(machine, dense) or not any(map(machine.exploits, sparse)):
                continue
            slow, fast = _cycles(machine, dense), _cycles(machine, sparse)
            tried.append(f"{pattern} {slow / fast:.2f}x")
            if fast > slow:
                faults.append(f"{pattern} takes {fast} cycles on {dense.name}, dense {slow}")
    return row(name, faults, ", ".join(tried) or "no N:M pattern saves work here")


def _nested_masks(machine: AnyMachine) -> CheckRow:
    faults, seen = [], []
    for shape in ((256, 256, 256), (64, 512, 320)):
        traces = [nested(*shape, fraction) for fraction in _KEPT_FRACTIONS]
        if not _runs(machine, traces[0]):
            continue
        cycles = [_cycles(machine, trace) for trace in traces]
        faults += _falls(reversed(cycles), MASK_TOLERANCE)
        seen.append(" >= ".join(map(str, cycles)))
    return row("fewer kept weights are never slower", faults, "; ".join(seen) or "not tried")


def _resources(machine: AnyMachine, *, quick: bool) -> list[CheckRow]:
    """More of a resource is never slower; each kind of resource is one row."""
    chosen = ["gemm", "one row"] if quick else ["gemm", "one row", "convolution training"]
    traces = [t for name in chosen if _runs(machine, t := probes()[name].trace)]
    kinds = [(suffix, True, RESOURCE_TOLERANCE) for suffix in _MORE_HELPS]
    kinds += [(suffix, True, BUFFER_TOLERANCE) for suffix in _BUFFERS]
    kinds += [(suffix, False, RESOURCE_TOLERANCE) for suffix in _LESS_HELPS]
    rows = []
    for suffix, more, tolerance in kinds:
        stated = [knob for knob in knobs(machine) if knob.value is not None]
        found = [knob for knob in stated if knob.path.split(".")[-1].endswith(suffix)]
        if not found:
            continue
        faults = [
            fault
            for knob in found
            for trace in traces
            for fault in _resource_faults(machine, trace, knob, more, tolerance)
        ]
        word = "more" if more else "less"
        where = ", ".join(knob.path for knob in found)
        rows.append(row(f"{word} {suffix} is never slower", faults, where))
    return rows


def _resource_faults(
    machine: AnyMachine, trace: Trace, knob: Knob, more: bool, tolerance: float
) -> list[str]:
    value = knob.value
    assert isinstance(value, int | float)
    scales = (0.0625, 0.5, 1, 2) if more else (4, 1, 0.25)
    scarce = [type(value)(value * scale) for scale in scales]
    seconds = []
    for amount in scarce:
        try:
            seconds.append(evaluate(trace, turned(machine, {knob.path: amount})).latency_s)
        except CodesignError:
            continue
    return [f"{knob.path}: {fault} s on {trace.name}" for fault in _rises(seconds, tolerance)]


def _rises(seconds: list[float], tolerance: float) -> list[str]:
    return [
        f"{later:.6g} after {earlier:.6g}"
        for earlier, later in pairwise(seconds)
        if later > earlier * (1 + tolerance)
    ]


def _every_knob(machine: AnyMachine, among: list[Knob] | None = None) -> CheckRow:
    """Each knob, beside the file's other values or beside another choice, must move a metric.

    Optional numbers that the file leaves out may be idle, and so may knobs below the paths of
    `acts_beyond_probes`, which the machine's own tests must move.
    """
    name = "every knob changes some metric"
    found = knobs(machine) if among is None else among
    traces = [trace for trace in _knob_probes(machine) if _runs(machine, trace)]
    known: Known = {}
    resting = [k for k in found if not _moves(machine, k, {}, traces, known)]
    contexts = _contexts(machine, found, traces, known) if resting else []
    idle, conditional = [], []
    for knob in resting:
        beside = next(
            (c for c in contexts if knob.path not in c and _moves(machine, knob, c, traces, known)),
            None,
        )
        if beside is not None:
            conditional += [f"{knob.path} only with {p}={v}" for p, v in beside.items()]
        elif any(f"{knob.path}.".startswith(f"{path}.") for path in machine.acts_beyond_probes):
            conditional.append(f"{knob.path} beyond the probes")
        elif knob.value is not None:
            idle.append(knob.path)
    faults = [f"{path} does nothing" for path in idle]
    return row(name, faults, "; ".join([f"{len(found)} knobs", *conditional]))


def _knob_probes(machine: AnyMachine) -> list[Trace]:
    """Small workloads, and a product that is as long as the machine is large."""
    dense = probes()
    rows = int(machine.peak_macs_per_cycle(dense["gemm"].trace.ops[0]))
    return [
        dense["gemm"].trace,
        *(everywhere(dense["gemm"].trace, p) for p in ("2:16", "4:8")),
        everywhere(dense["gemm training"].trace, "2:8"),
        dense["convolutions"].trace,
        everywhere(dense["transformer training"].trace, "2:8"),
        dense["decode"].trace,
        dense["image"].trace,
        everywhere(dense["one row"].trace, "unstructured(0.95)"),
        everywhere(load_workload("gemm:200,160,144,int8"), "2:8"),
        everywhere(dense["gemm"].trace, "block(32x32, 0.7)"),
        gemm(min(max(1, rows), _MOST_ROWS), 128, 192),
    ]


Known = dict[tuple[str, int], dict[str, object]]
"""Metrics by machine and probe."""


def _contexts(
    machine: AnyMachine, found: list[Knob], traces: list[Trace], known: Known
) -> list[Changes]:
    """Words and switches of the file, each set otherwise, that change how the machine behaves."""
    changes: list[Changes] = [
        {knob.path: value} for knob in found if knob.is_choice for value in knob.alternatives
    ]
    return [c for c in changes if _behaves_otherwise(machine, c, traces, known)]


def _behaves_otherwise(
    machine: AnyMachine, changes: Changes, traces: list[Trace], known: Known
) -> bool:
    try:
        other = turned(machine, changes)
        return any(
            _moved(_known(machine, i, t, known), _known(other, i, t, known)) - _SILICON_METRICS
            for i, t in enumerate(traces)
        )
    except CodesignError:
        return False


def _known(machine: AnyMachine, place: int, trace: Trace, known: Known) -> dict[str, object]:
    key = (machine.spec.fingerprint, place)
    if key not in known:
        result = evaluate(trace, machine)
        known[key] = {name: getattr(result, name) for name in _METRICS}
    return known[key]


def _moved(before: dict[str, object], after: dict[str, object]) -> set[str]:
    return {metric for metric, value in after.items() if value != before[metric]}


def _moves(
    machine: AnyMachine, knob: Knob, beside: Changes, traces: list[Trace], known: Known
) -> bool:
    base = turned(machine, beside)
    free = set() if knob.only_silicon else _SILICON_METRICS
    others = list(islice(neighbours(machine, knob, beside), _MOST_VALUES))
    for i, trace in enumerate(traces):
        before = _known(base, i, trace, known)
        for other in others:
            try:
                if _moved(before, _known(other, i, trace, known)) - free:
                    return True
            except CodesignError:
                continue
    return False


_SILICON_METRICS = frozenset({"energy_j_by_part", "area_mm2_by_part", "die_mm2"})
_METRICS = (
    "latency_s",
    "board_energy_j",
    "dram_bytes",
    "bytes_by_memory",
    "executed_macs",
    *_SILICON_METRICS,
)


def _other_process(machine: AnyMachine) -> CheckRow:
    """The same answer from a process of its own, with another seed of Python's hashes."""
    text = json.dumps(
        {
            "module": type(machine).__module__,
            "name": type(machine).__qualname__,
            "spec": machine.spec.model_dump(mode="json"),
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", _IN_ANOTHER_PROCESS], input=text, capture_output=True, text=True,
        env={**os.environ, "PYTHONHASHSEED": _OTHER_HASH_SEED}, check=False,
    )  # fmt: skip
    here, there = answer(text), done.stdout.strip()
    faults = []
    if here != there:
        faults.append(
            done.stderr.strip().splitlines()[-1] if done.stderr else f"{there}, not {here}"
        )
    return row("same result in another process", faults, here)


def answer(text: str) -> str:
    """Fingerprint of what a machine, given as JSON text, makes of some probes."""
    given = json.loads(text)
    kind = getattr(import_module(given["module"]), given["name"])
    machine = kind(validate_spec(kind.spec_type, given["spec"]))
    traces = [everywhere(gemm(200, 160, 144), "unstructured(0.8)"), convolutions()]
    return fingerprint([evaluate(t, machine).to_dict() for t in traces if _runs(machine, t)])


def _anchor(machine: AnyMachine, anchor: Anchor) -> CheckRow:
    """A published number of one run is compared here; a mean of several by a validation suite."""
    name = f"anchor: {anchor.quantity} of {anchor.workload}"
    options = dict(anchor.options)
    try:
        sparsity = options.pop("sparsity", None)
        options.pop("method", None)
        trace = load_workload(anchor.workload, **options)  # type: ignore[arg-type]
    except (CodesignError, TypeError):
        return CheckRow(name, True, f"checked by `codesign validate {machine.spec.machine}`")
    if sparsity is not None:
        trace = everywhere(trace, str(sparsity))
    found = evaluate(trace, machine).to_dict().get(anchor.quantity)
    if not isinstance(found, int | float):
        return CheckRow(name, True, f"checked by `codesign validate {machine.spec.machine}`")
    error = abs(found - anchor.value) / abs(anchor.value)
    detail = f"{found:g}, published {anchor.value:g} within {anchor.tolerance:.0%}"
    return CheckRow(name, error <= anchor.tolerance, detail)
