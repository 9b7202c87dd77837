"""Masks of real weights become part of a trace, each with the pattern that it fits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import DENSE, NM, Pattern, Unstructured
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.sparsify import STORED

GROUPS = (4, 8, 16, 32)
"""Group sizes at which N:M conformance is looked for."""
DENSE_FROM = 0.99
"""Weights with no fewer non-zeros than this are dense: a few zeros come from rounding."""
_FIT = 0.95


def conformance(mask: Mask) -> dict[int, int]:
    """The largest number of kept elements in any group of m neighbours, for each m of GROUPS."""
    return {m: int(mask.slowest_lane(m, mask.rows).max()) for m in GROUPS if m <= mask.cols}


def pattern_of(mask: Mask) -> Pattern:
    """The tightest N:M pattern that the mask fills to 95 %, else unstructured at its density."""
    density = mask.density
    if density >= DENSE_FROM:
        return DENSE
    fits = [(n / m, m, n) for m, n in conformance(mask).items() if 0 < n < m]
    if fits:
        share, m, n = min(fits)
        if density >= _FIT * share:
            return NM(n, m)
    return Unstructured(min(1 - density, 1 - 1 / mask.size)) if mask.nnz else Unstructured(0.999999)


def with_masks(trace: Trace, masks: Iterable[tuple[str, Mask]]) -> Trace:
    """The trace with masks (of n rows and k columns) on its forward products, by operator name.

    Raises CodesignError for a name that is no weighted forward product, for a mask of another
    shape, and for training: a mask of the weights says nothing of gradients.
    """
    ops = {op.name: op for op in trace}
    kept = dict(trace.masks)
    for name, mask in masks:
        op = ops.get(name)
        if op is None or op.kind not in (Kind.GEMM, Kind.CONV) or op.weight is None:
            raise CodesignError(f"{trace.name}: {name!r} is no product with weights")
        if op.phase in (Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT):
            raise CodesignError(f"{trace.name}: masks of weights are for forward products")
        shape = mask_shape(op)
        if mask.shape != shape:
            raise CodesignError(f"{name}: a mask of shape {shape}, got {mask.shape}")
        pattern = pattern_of(mask)
        if not pattern.is_dense:
            ops[name] = replace(op, b_pattern=pattern)
            kept[name] = mask
    meta = {**trace.meta, "masks": len(kept)}
    if kept:
        meta["sparsity"] = STORED
    return replace(trace, ops=tuple(ops.values()), masks=kept, meta=meta)


def mask_shape(op: Op) -> tuple[int, int]:
    """Rows and columns of the mask of a product's weights."""
    return (1 if op.b_shared else op.groups) * op.n, op.k
