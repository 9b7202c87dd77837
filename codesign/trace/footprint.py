"""What a run keeps in memory: weights, cache, activations and, in training, what updates need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass

from codesign.trace.op import FORWARD_PHASES, Kind, Op, Phase, Trace, ceil_bytes

_CACHE_WRITE = "kv_cache_write"


@dataclass(frozen=True, slots=True)
class Footprint:
    """The least bytes that a run keeps in memory at the same time, by what they are."""

    weights: int
    cache: int
    """Keys and values of earlier steps, or those that a prefill leaves."""
    activations: int
    """The most at one time of inputs of products with weights, while they or their weights'
    gradients are still to read them, and of one result. Everything else is left out."""
    gradients: int
    optimizer: int
    """Master weights and moments."""

    @property
    def total(self) -> int:
        return sum(astuple(self))


def footprint(trace: Trace, stored_bytes: Callable[[Op], int]) -> Footprint:
    """What a trace keeps in memory; `stored_bytes` is an operator's B as a machine stores it.

    A parameter that no forward product reads, such as an embedding or an expert without tokens,
    takes the least bytes for each element of those that are read and of the trace's type.
    """
    updates = [op for op in trace if op.kind is Kind.UPDATE]
    masters = sum(ceil_bytes(op.elements, op.b_dtype) for op in updates if not op.writes)
    return Footprint(
        weights=_weights(trace, stored_bytes),
        cache=_cache(trace, stored_bytes),
        activations=_activations(trace),
        gradients=sum(ceil_bytes(op.reads, op.a_dtype) for op in updates),
        optimizer=sum(ceil_bytes(op.b_reads, op.b_dtype) for op in updates) - masters,
    )


def _weights(trace: Trace, stored_bytes: Callable[[Op], int]) -> int:
    read: dict[str, tuple[int, int]] = {}
    for op in trace:
        if op.phase in FORWARD_PHASES and _weighted(op):
            stored, elements = read.get(str(op.weight), (0, 0))
            read[str(op.weight)] = (stored + stored_bytes(op), elements + op.b_elements)
    per_element = [stored / elements for stored, elements in read.values()]
    least = min([ceil_bytes(1024, trace.ops[0].c_dtype) / 1024, *per_element])
    total = 0.0
    for name in {**trace.parameters, **read}:
        if name in read:
            stored, elements = read[name]
            total += trace.parameters.get(name, elements) * stored / elements
        else:
            total += trace.parameters[name] * least
    return int(total)


def _cache(trace: Trace, stored_bytes: Callable[[Op], int]) -> int:
    kept = sum(stored_bytes(op) for op in trace if op.reads_cache)
    return kept or sum(op.write_bytes for op in trace if op.function == _CACHE_WRITE)


def _activations(trace: Trace) -> int:
    """The largest sum, over places of the trace, of inputs that are live and one result."""
    place = {op.name: i for i, op in enumerate(trace)}
    live: dict[tuple[str, ...], tuple[int, int, int]] = {}
    alone: dict[int, int] = {}
    for i, op in enumerate(trace):
        if not _weighted(op) or op.phase is Phase.BACKWARD_DATA:
            continue
        made = tuple(dep for dep in op.deps if _feeds(trace[dep], op, trace))
        result = 0 if op.phase is Phase.BACKWARD_WEIGHT else op.c_bytes
        alone[i] = result if made else _input_bytes(op) + result
        if made:
            size, first, _ = live.get(made, (0, max(place[dep] for dep in made), i))
            live[made] = (max(size, _input_bytes(op)), first, i)
    changes: dict[int, int] = {}
    for size, first, last in live.values():
        changes[first] = changes.get(first, 0) + size
        changes[last + 1] = changes.get(last + 1, 0) - size
    return max(_sums(changes, alone), default=0)


def _sums(changes: Mapping[int, int], alone: Mapping[int, int]) -> Iterator[int]:
    held = 0
    for at in sorted({*changes, *alone}):
        held += changes.get(at, 0)
        yield held + alone.get(at, 0)


def _feeds(producer: Op, op: Op, trace: Trace) -> bool:
    """Whether a dependency made operand A, rather than the gradient of the result."""
    if op.phase is not Phase.BACKWARD_WEIGHT:
        return True
    forward = op.name.removesuffix(".backward_weight")
    return producer.phase in FORWARD_PHASES and producer.name != forward


def _input_bytes(op: Op) -> int:
    """Of the layer's input: operand A, but for the weight's gradient of transposed ones."""
    return op.b_bytes if op.gathers_gradient else op.a_bytes


def _weighted(op: Op) -> bool:
    return op.is_matmul and op.weight is not None
