"""Phases made of several passes: chunked prefill, decoding over a range, guesses to verify."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from codesign.config import CodesignError
from codesign.trace.model import Model, Size
from codesign.trace.op import Op, Phase, Trace
from codesign.trace.spec import Request

_MAX_STEPS = 1 << 20


def chunked_prefill(model: Model, chunk: int, size: Size) -> Trace:
    """Prefill of `seq` tokens in pieces of `chunk`, each on the keys and values before it.

    Only the last piece computes logits. Scores of a piece on later ones are never computed, so that
    attention takes (1 + chunk / seq) / 2 of the whole matrix; every other product has the MACs of
    prefill in one piece. A layer of a piece follows that layer of the piece before, whose keys and
    values it reads.
    """
    if chunk < 1:
        raise CodesignError(f"a chunk has at least one token, got {chunk}")
    whole = model.trace("prefill", size)
    seq, first = int(whole.meta["seq"]), int(whole.meta["context"])
    last = _logits(whole)
    pieces: list[Trace] = []
    for start in range(0, seq, chunk):
        tokens = min(chunk, seq - start)
        piece = model.trace("prefill", replace(size, seq=tokens, context=first + start))
        if start + tokens < seq:
            piece = _without(piece, last)
        pieces.append(piece)
    writes = "kv_cache_write"
    ops: list[Op] = []
    before: dict[str, str] = {}
    for number, piece in enumerate(pieces):
        own = f"chunk{number}." if len(pieces) > 1 else ""
        stored = {op.name: own + op.name for op in piece if op.function == writes}
        for op in piece:
            deps = tuple(own + dep for dep in op.deps)
            deps += tuple(before[dep] for dep in op.deps if dep in before)
            ops.append(replace(op, name=own + op.name, deps=deps))
        before = stored
    return replace(whole, ops=tuple(ops), meta={**whole.meta, "chunk": chunk})


def _logits(trace: Trace) -> frozenset[str]:
    """The operators behind the last layer's last addition: final norm and head."""
    repeated = [i for i, op in enumerate(trace.ops) if any(p.isdecimal() for p in _parts(op))]
    return frozenset(op.name for op in trace.ops[repeated[-1] + 1 :])


def _parts(op: Op) -> list[str]:
    return op.layer.split(".")


def _without(trace: Trace, left_out: Iterable[str]) -> Trace:
    names = frozenset(left_out)
    return replace(trace, ops=tuple(op for op in trace if op.name not in names))


@dataclass(frozen=True, slots=True)
class Sample:
    """A decode step that stands for `count` steps."""

    context: int
    count: int


def sample_contexts(contexts: Sequence[int], samples: int) -> tuple[Sample, ...]:
    """Contexts that stand for a rising range of them, so that sums of any affine cost are exact.

    The range is cut into `samples` pieces of neighbours; a piece is its middle context, or its two
    middle ones where their number is even. Equal contexts at the end (a full window) are one piece.

    >>> [(s.context, s.count) for s in sample_contexts(range(10, 17), 2)]
    [(11, 2), (12, 2), (15, 3)]
    """
    if samples < 1:
        raise CodesignError(f"at least one sample is taken, got {samples}")
    rising = [c for i, c in enumerate(contexts) if i == 0 or c > contexts[i - 1]]
    flat = len(contexts) - len(rising)
    out: list[Sample] = []
    pieces = min(samples, len(rising))
    cut = [len(rising) * i // pieces for i in range(pieces + 1)]
    for start, stop in pairwise(cut):
        length = stop - start
        middle = rising[start + (length - 1) // 2]
        if length % 2:
            out.append(Sample(middle, length))
        else:
            out += [Sample(middle, length // 2), Sample(middle + 1, length // 2)]
    if flat:
        out.append(Sample(rising[-1], flat))
    return tuple(out)


def decode_range(model: Model, steps: int, size: Size, *, samples: int = 8) -> Trace:
    """`steps` decode steps in a row, the first with `size.context` cached tokens.

    Sampled steps stand for their neighbours by `repeats`: MACs, elements and bytes of whole-byte
    types are affine in the context, so that their sums are those of all steps, exactly; cycles are
    those of the sampled steps.
    """
    if not 1 <= steps <= _MAX_STEPS:
        raise CodesignError(f"steps is a whole number from 1 to {_MAX_STEPS}, got {steps}")
    first = size.context or 0
    request = Request(batch=size.batch, phase=Phase.DECODE)
    contexts = [
        model.spec.resolve(replace(request, context=c))[1] for c in range(first, first + steps)
    ]
    ops: list[Op] = []
    whole: Trace | None = None
    before: tuple[str, ...] = ()
    for sample in sample_contexts(contexts, samples):
        step = model.trace("decode", replace(size, context=sample.context))
        whole = whole or step
        own = f"context{sample.context}."
        if any(op.name.startswith(own) for op in ops):
            own = f"context{sample.context}.full."
        for op in step:
            deps = tuple(own + dep for dep in op.deps) or before
            repeats = op.repeats * sample.count
            ops.append(replace(op, name=own + op.name, deps=deps, repeats=repeats))
        before = (ops[-1].name,)
    assert whole is not None
    meta = {**whole.meta, "context": first, "steps": steps, "samples": samples}
    return replace(whole, ops=tuple(ops), meta=meta)


def speculative(model: Model, draft: int, size: Size) -> Trace:
    """One step that verifies `draft` guessed tokens: all attend to the cache, all have logits."""
    if draft < 1:
        raise CodesignError(f"at least one guessed token is verified, got {draft}")
    trace = model.trace("decode", size, draft=draft)
    if int(trace.meta.get("seq", 1)) != draft + 1:
        raise CodesignError(f"{trace.name} verifies no guessed tokens")
    return replace(trace, meta={**trace.meta, "draft": draft})
