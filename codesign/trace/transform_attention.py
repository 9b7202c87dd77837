"""Attention that leaves out keys: windows, blocks, learned maps, evicted or compressed caches.

Scores and context products shrink to the keys that a query reads on average; that each key is read
once for all queries that share it is an assumption, as in the dense products. Choosing the keys is
charged where a method does it at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity.removal import kept_of, require_fraction
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.transform_slices import scaled
from codesign.trace.transform_weights import grown, require_inference, vector_op


def window_attention(trace: Trace, window: int) -> Trace:
    """Every query reads at most `window` keys (sliding window)."""
    return _fewer_keys(trace, lambda keys: min(keys, window), f"window({window})")


def evict_keys(trace: Trace, removed: float) -> Trace:
    """A fraction of the cached positions is gone (EMS and other evictions)."""
    removed = require_fraction(removed)
    return _fewer_keys(trace, lambda keys: max(1, kept_of(removed, keys)), "evicted keys")


def block_attention(trace: Trace, block: int, removed: float) -> Trace:
    """Blocks of keys that a gate on pooled queries and keys chooses (SeerAttention, SparseD, S2O).

    The gate is a product of one query and one key for each block, and a softmax of its scores.
    """
    removed = require_fraction(removed)

    def keys(count: int) -> int:
        return min(count, max(1, kept_of(removed, -(-count // block))) * block)

    def gate(op: Op) -> list[Op]:
        m, n = -(-op.m // block), -(-op.n // block)
        name = f"{op.name}.gate"
        pooled = vector_op(op, f"{name}.pool", "copy", op.groups * (op.m + op.n) * op.k, op.deps)
        scores = replace(op, name=name, m=m, n=n, deps=(pooled.name,))
        choice = vector_op(op, f"{name}.softmax", "softmax", op.groups * m * n, (name,))
        return [pooled, scores, choice]

    return _fewer_keys(trace, keys, f"blocks({block}, {removed})", gate)


def double_sparsity(trace: Trace, tokens_removed: float, channels_removed: float) -> Trace:
    """Keys chosen by a product of a few channels of all keys, then exact attention on those.

    Double Sparsity (Yang et al. 2024): a label cache holds the few channels of every key.
    """
    tokens, channels = require_fraction(tokens_removed), require_fraction(channels_removed)

    def label(op: Op) -> list[Op]:
        scores = replace(op, name=f"{op.name}.labels", k=max(1, kept_of(channels, op.k)))
        top = vector_op(
            op, f"{op.name}.top", "relu", op.groups * op.m * op.n, (f"{op.name}.labels",)
        )
        return [scores, top]

    what = f"double_sparsity({tokens}, {channels})"
    return _fewer_keys(trace, lambda keys: max(1, kept_of(tokens, keys)), what, label)


def attention_map(trace: Trace, path: str | Path) -> Trace:
    """Blocks that a file of learned or measured masks keeps: a boolean .npy [..., queries, keys].

    Raises CodesignError for a file that is no boolean array of at least two dimensions.
    """
    try:
        kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CodesignError(f"{path}: no array of blocks ({str(error)[:80]})") from None
    if not isinstance(kept, np.ndarray) or kept.dtype != np.bool_ or kept.ndim < 2 or not kept.size:
        raise CodesignError(f"{path}: a map of blocks is a boolean array [..., queries, keys]")
    total = int(np.count_nonzero(kept))

    def keys(count: int) -> int:
        return max(1, -(-count * total // kept.size))

    return _fewer_keys(trace, keys, str(path))


def compress_cache(trace: Trace, rank: int) -> Trace:
    """Keys and values cached at a joint width of `rank` numbers a token (CSKV).

    Queries are turned into the space of the cache and results back, one product for each key-value
    head, instead of restoring keys and values. Raises CodesignError outside decode steps.
    """
    require_inference(trace, "a compressed cache")
    batch = int(trace.meta.get("batch", 1))
    if not any(op.kind is Kind.ATTENTION and op.phase is Phase.DECODE for op in trace):
        raise CodesignError(f"{trace.name}: a compressed cache is for phase decode")
    ops: list[Op] = []
    parameters = dict(trace.parameters)
    for op in trace:
        heads = op.groups // batch
        if op.function == "kv_cache_write":
            width = op.elements // batch
            ops.append(scaled(op, min(2 * rank, width), width))
        elif op.kind is not Kind.ATTENTION or op.phase is not Phase.DECODE:
            ops.append(op)
        elif op.name.endswith(".scores"):
            name = f"{op.name}.turn"
            turn = replace(
                op, name=name, layer=name, kind=Kind.GEMM, weight=f"{name}.weight", groups=heads,
                m=batch * op.m, n=rank, k=op.k, deps=op.deps[:1],
            )  # fmt: skip
            parameters[str(turn.weight)] = heads * rank * op.k
            ops.append(turn)
            ops.append(replace(op, groups=batch, m=heads * op.m, k=rank, deps=(name, *op.deps[1:])))
        else:
            name = f"{op.name}.cached"
            ops.append(replace(op, name=name, groups=batch, m=heads * op.m, n=rank))
            parameters[f"{op.name}.weight"] = heads * op.n * rank
            ops.append(
                replace(
                    op, kind=Kind.GEMM, layer=op.name, weight=f"{op.name}.weight", groups=heads,
                    m=batch * op.m, n=op.n, k=rank, deps=(name,),
                )
            )  # fmt: skip
    return replace(grown(trace, ops), parameters=parameters)


def _fewer_keys(
    trace: Trace,
    keys: Callable[[int], int],
    what: str,
    before: Callable[[Op], list[Op]] | None = None,
) -> Trace:
    require_inference(trace, what)
    ops: list[Op] = []
    kept: dict[str, tuple[int, int]] = {}
    for op in trace:
        if op.kind is Kind.ATTENTION and op.name.endswith(".scores"):
            made = before(op) if before is not None else []
            deps = (*op.deps, made[-1].name) if made else op.deps
            kept[op.name] = keys(op.n), op.n
            ops += [*made, replace(op, n=keys(op.n), deps=deps)]
        elif op.kind is Kind.ATTENTION and op.name.endswith(".context"):
            ops.append(replace(op, k=keys(op.k)))
        elif op.kind is Kind.SOFTMAX and op.deps[:1] and op.deps[0] in kept:
            ops.append(scaled(op, *kept[op.deps[0]]))
        else:
            ops.append(op)
    if not kept:
        raise CodesignError(f"{what}: {trace.name} has no attention")
    return grown(trace, ops)
