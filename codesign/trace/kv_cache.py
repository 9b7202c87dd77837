"""Keys and values that are pruned in their cache, as Mustafar does (arXiv 2505.22913)."""

from __future__ import annotations

from dataclasses import replace

from codesign.config import CodesignError
from codesign.sparsity.pattern import Pattern, parse_pattern
from codesign.trace.op import Kind, Phase, Trace


def prune_kv_cache(trace: Trace, pattern: Pattern | str) -> Trace:
    """The trace whose attention products read keys and values of a sparsity pattern.

    Masks have a row for each output of the product: keys by position, values by dimension. Raises
    CodesignError for a trace without a cache.

    >>> from codesign.trace.workload import load_workload
    >>> trace = load_workload("gpt2", phase="decode", context=64)
    >>> str(prune_kv_cache(trace, "unstructured(0.7)")["layers.0.attention.scores"].b_pattern)
    'unstructured(0.7)'
    """
    wanted = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    ops = tuple(
        replace(op, b_pattern=wanted)
        if op.kind is Kind.ATTENTION and op.phase in (Phase.DECODE, Phase.PREFILL)
        else op
        for op in trace
    )
    if ops == trace.ops and not wanted.is_dense:
        raise CodesignError(
            f"{trace.name} has no cache of keys and values: phase decode or prefill"
        )
    return replace(trace, ops=ops, meta={**trace.meta, "kv_sparsity": str(wanted)})
