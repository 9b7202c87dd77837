"""Masks of a trained model become the masks of a trace, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import NM, Pattern, Split, Tiles, Unstructured
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.projection import turned
from codesign.trace.real_masks import mask_shape, pattern_of
from codesign.trace.sparsify import Method


def with_masks(
    trace: Trace,
    masks: Mapping[str, Mask],
    backward_masks: Mapping[str, Mask],
    patterns: Mapping[str, Pattern],
    method: Method,
) -> Trace:
    """The trace with masks by parameter name on the weighted products that `method` makes sparse.

    Masks are [n, k] of the forward product, those of backward-data too (default: the forward ones);
    they are turned for the operator that reads them. An operator keeps the parameter's pattern of
    `patterns` where its mask fits, else it gets the one that its mask fills. Raises CodesignError
    for a mask of another shape.
    """
    ops: list[Op] = []
    kept = dict(trace.masks)
    for op in trace:
        backward = op.phase is Phase.BACKWARD_DATA
        reads = method.backward_data if backward else method.forward
        key = str(op.weight)
        mask = backward_masks.get(key, masks.get(key)) if backward else masks.get(key)
        if mask is None or not reads or not _reads_weight(op):
            ops.append(op)
            continue
        pattern = patterns[key]
        if backward:
            mask = _turned(mask, op)
            groups = isinstance(pattern, NM | Tiles | Split)
            pattern = pattern if groups else pattern.transpose()
        if mask.shape != mask_shape(op):
            raise CodesignError(f"{op.name}: a mask of shape {mask_shape(op)}, got {mask.shape}")
        kept.pop(op.name, None)
        fitting = _fitting(pattern, mask)
        if not fitting.is_dense:
            kept[op.name] = mask
        ops.append(replace(op, b_pattern=fitting))
    return replace(trace, ops=tuple(ops), masks=kept)


def _reads_weight(op: Op) -> bool:
    return op.kind in (Kind.GEMM, Kind.CONV) and op.phase is not Phase.BACKWARD_WEIGHT


def _fitting(pattern: Pattern, mask: Mask) -> Pattern:
    found = pattern_of(mask)
    if found.is_dense or pattern.is_dense:
        return found
    if isinstance(pattern, Unstructured):
        return Unstructured(1 - mask.density) if mask.nnz else found
    return pattern if pattern.accepts(mask) else found


def _turned(mask: Mask, op: Op) -> Mask:
    """[groups * out, taps * in] as backward-data reads it: [groups * in, taps * out]."""
    taps = 1 if op.conv is None else op.conv.taps
    groups = np.split(mask.to_dense(), op.groups)
    return Mask.from_dense(np.concatenate([turned(part, taps) for part in groups]))
