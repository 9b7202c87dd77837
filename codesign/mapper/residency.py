"""Which feature maps stay on the chip from their producer until their last consumer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from codesign.arch.base import NOTHING_KEPT, AnyMachine, Fidelity, Kept, Sparse
from codesign.arch.base import Mapping as Laid
from codesign.config import CodesignError
from codesign.mapper.fusion import NOTHING_FUSED, Fused
from codesign.trace.op import Kind, Op, Phase, Trace, ceil_bytes

GRANULES = 32
"""Scratchpads are given to maps in so many parts."""
_FORWARD = (Phase.FORWARD, Phase.PREFILL, Phase.DECODE)

OpCost = Callable[[int, Kept], float]
"""Cost of the operator at a place of the trace, infinite where it cannot run so."""


@dataclass(frozen=True)
class NetworkPlan:
    """How every operator of a trace is laid, by name: a chooser that looks at the whole network.

    Beside its own operands an operator waits for the results of those that `waits` names. `note`
    is a line for the report.
    """

    mappings: Mapping[str, Laid]
    waits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    note: str = ""

    @property
    def fuses(self) -> bool:
        return any(laid.fused_into for laid in self.mappings.values())

    @property
    def keeps(self) -> bool:
        return any(laid.kept != NOTHING_KEPT for laid in self.mappings.values())

    def __call__(self, op: Op, sparse: Sparse, machine: AnyMachine, fidelity: Fidelity) -> Laid:
        return self.mappings[op.name]


@dataclass(frozen=True, slots=True)
class Use:
    """What a consumer reads of a map: an operand of a product, or so many bytes of vector work.

    It is both where that work is fused into the product.
    """

    operand: str
    size_bytes: int


@dataclass(frozen=True)
class FeatureMap:
    """The result of an operator that could stay on the chip, while operators `first` to `last` run.

    A vector operator may run as soon as its inputs are there, beside earlier products; and after
    one that is the last to read a map, the next product's tiles may be on their way already.
    """

    producer: int
    size_bytes: int
    first: int
    last: int
    uses: Mapping[int, Use]


def feature_maps(trace: Trace, fused: Fused = NOTHING_FUSED) -> list[FeatureMap]:
    """Results that only operators of the trace read, each as one whole operand or input.

    What must reach memory is none: results of the trace, updated weights, keys and values that are
    kept for later steps. Nor is what an operator in repetition makes or reads, or what never leaves
    the tiles of a product. Operators that are fused run at the place of their product.
    """
    place = {op.name: i for i, op in enumerate(trace)}
    host, inner = fused.host, fused.inner
    uses: dict[int, dict[int, Use | None]] = {}
    for i, op in enumerate(trace):
        for dep in op.deps:
            of = uses.setdefault(place[dep], {})
            at = host.get(i, i)
            use = _use(op, trace[dep], trace)
            of[at] = _both(of[at], use) if at in of else use
    products = [i for i, op in enumerate(trace) if op.is_matmul]
    found = []
    for i, op in enumerate(trace):
        read = {at: use for at, use in uses.get(i, {}).items() if use is not None}
        leaves = op.kind is Kind.UPDATE or op.function == "kv_cache_write" or op.repeats > 1
        if i in inner or leaves or not read or len(read) < len(uses[i]):
            continue
        last, producer = max(read), host.get(i, i)
        if not trace.ops[last].is_matmul:
            last = next((at for at in products if at > last), len(trace) - 1)
        first = producer
        if not trace.ops[producer].is_matmul:
            first = max((place[dep] + 1 for dep in op.deps), default=0)
        found.append(FeatureMap(producer, _result_bytes(op), first, last, read))
    return found


def _both(one: Use | None, other: Use | None) -> Use | None:
    """What a product and the work that is fused into it read of the same map."""
    if one is None or other is None or (one.operand and other.operand):
        return None
    return Use(one.operand or other.operand, one.size_bytes + other.size_bytes)


def _result_bytes(op: Op) -> int:
    return op.c_bytes if op.is_matmul else ceil_bytes(op.writes, op.c_dtype)


def _result_elements(op: Op) -> int:
    return op.c_elements if op.is_matmul else op.writes


def _use(op: Op, producer: Op, trace: Trace) -> Use | None:
    """What an operator reads of a producer's result; None where the trace does not tell."""
    if op.repeats > 1:
        return None
    made = _result_elements(producer)
    if op.is_matmul:
        operand = _operand(op, producer.name)
        if operand is None:
            return None
        first = operand == "a"
        elements, dtype = (op.a_elements, op.a_dtype) if first else (op.b_elements, op.b_dtype)
        return Use(operand, 0) if elements <= made and dtype == producer.c_dtype else None
    whole = sum(_result_elements(trace[dep]) for dep in op.deps)
    attributed = op.phase in _FORWARD or len(op.deps) == 1
    if not attributed or op.reads != whole or op.a_dtype != producer.c_dtype:
        return None
    return Use("", ceil_bytes(made, op.a_dtype))


def _operand(op: Op, producer: str) -> str | None:
    if op.kind is Kind.ATTENTION:
        if op.phase not in _FORWARD or len(op.deps) != 2 or op.deps[0] == op.deps[1]:
            return None
        if producer == op.deps[0]:
            return "a"
        return None if op.reads_cache else "b"
    return "a" if len(op.deps) == 1 and op.phase is not Phase.BACKWARD_WEIGHT else None


def granule_of(room_bytes: int) -> int:
    """Bytes of a part of the scratchpads that maps may take."""
    return max(1, -(-room_bytes // GRANULES))


def kept_by(place: int, resident: Sequence[FeatureMap], granule_bytes: int) -> Kept:
    """What the operator at a place keeps when these maps are resident while it runs."""
    uses = [one.uses[place] for one in resident if place in one.uses]
    held = sum(one.size_bytes for one in resident)
    return Kept(
        a=any(use.operand == "a" for use in uses),
        b=any(use.operand == "b" for use in uses),
        c=any(one.producer == place for one in resident),
        read_bytes=sum(use.size_bytes for use in uses),
        taken_bytes=-(-held // granule_bytes) * granule_bytes,
    )


@dataclass(frozen=True)
class _State:
    """The least cost of the operators so far with these maps resident, and all maps chosen."""

    cost: float
    chosen: tuple[int, ...]


def choose_resident(
    operators: int,
    maps: Sequence[FeatureMap],
    room_bytes: int,
    cost: OpCost,
    *,
    most_states: int | None,
) -> tuple[list[int], float]:
    """The maps, by their places in `maps`, that make the sum of all operators' costs least.

    Dynamic programming over the trace; a state is the set of maps that are resident. The answer is
    the optimum where no more than `most_states` are alive at once (None: any number). With fewer
    the cheapest are followed, and the one that keeps nothing, so that the answer is never worse.
    """
    granule = granule_of(room_bytes)
    nothing: frozenset[int] = frozenset()
    states = {nothing: _State(0.0, ())}
    for place in range(operators):
        for number, one in enumerate(maps):
            if one.first == place and one.size_bytes <= room_bytes:
                states |= {
                    held | {number}: _State(state.cost, (*state.chosen, number))
                    for held, state in states.items()
                    if one.size_bytes + sum(maps[i].size_bytes for i in held) <= room_bytes
                }
        after: dict[frozenset[int], _State] = {}
        for held, state in states.items():
            paid = state.cost + cost(
                place, kept_by(place, [maps[i] for i in sorted(held)], granule)
            )
            left = frozenset(i for i in held if maps[i].last > place)
            if paid < after.get(left, _State(math.inf, ())).cost:
                after[left] = _State(paid, state.chosen)
        if nothing not in after:
            raise CodesignError("an operator cannot run though nothing else is on the chip")
        states = after if most_states is None else _cheapest(after, most_states)
    best = min(states.values(), key=lambda state: state.cost)
    return sorted(best.chosen), best.cost


def _cheapest(states: Mapping[frozenset[int], _State], most: int) -> dict[frozenset[int], _State]:
    nothing: frozenset[int] = frozenset()
    order = sorted(states, key=lambda held: (held != nothing, states[held].cost))
    return {held: states[held] for held in order[:most]}
