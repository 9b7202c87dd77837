"""Masks from real weights: a pattern projected along the reduction of each product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import NM, Pattern
from codesign.trace.op import Op, Phase

Weights = Mapping[str, NDArray[Any]]
"""Real weights by parameter name, linear [out, in] or convolution [out, in / groups, (d,) h, w]."""


def project(op: Op, pattern: Pattern, weights: Weights, *, nested: bool) -> Mask:
    """The mask of B for a product, which is not a gradient of weights, from its layer's weight.

    `nested` takes an N:M mask of backward-data out of the forward one. Raises CodesignError for
    weights that are missing or of another shape.
    """
    assert op.weight is not None
    if op.weight not in weights:
        raise CodesignError(f"no weights are given for {op.weight!r} of operator {op.name!r}")
    forward = _matrices(op, weights[op.weight])
    if op.phase is not Phase.BACKWARD_DATA:
        return _stacked([pattern.project(forward[g]) for g in range(len(forward))])
    taps = 1 if op.conv is None else op.conv.taps
    out: list[Mask] = []
    for matrix in forward:
        inherits = nested or not isinstance(pattern, NM)
        allowed = turned(pattern.project(matrix).to_dense(), taps) if inherits else None
        by_input = turned(matrix, taps)
        if isinstance(pattern, NM):
            kept = pattern.project(by_input if allowed is None else by_input * allowed).to_dense()
            allowed = kept if allowed is None else kept & allowed
        assert allowed is not None
        out.append(Mask.from_dense(allowed))
    return _stacked(out)


def turned(matrix: NDArray[Any], taps: int) -> NDArray[Any]:
    """[out, taps * in] to [in, taps * out], channels innermost as in backward-data."""
    by_input = matrix.reshape(matrix.shape[0], taps, -1).transpose(2, 1, 0)
    return np.ascontiguousarray(by_input).reshape(by_input.shape[0], -1)


def _matrices(op: Op, weight: NDArray[Any]) -> NDArray[Any]:
    """A weight as [groups, n, k] of the forward product, channels innermost in k."""
    backward = op.phase is Phase.BACKWARD_DATA
    if op.conv is None:
        shape = (op.k, op.n) if backward else (op.n, op.k)
        expected: tuple[int, ...] = shape if op.groups == 1 else (op.groups, *shape)
        if weight.shape != expected:
            raise CodesignError(f"{op.weight}: weights of shape {expected}, got {weight.shape}")
        return weight.reshape(-1, *shape)
    conv = op.conv
    out_channels, in_channels = conv.out_channels, conv.in_channels
    if backward:
        out_channels, in_channels = in_channels, out_channels
    depth = () if weight.ndim == 4 and conv.kernel_d == 1 else (conv.kernel_d,)
    kernel = (*depth, conv.kernel_h, conv.kernel_w)
    expected = (out_channels, in_channels // conv.groups, *kernel)
    if weight.shape != expected:
        raise CodesignError(f"{op.weight}: weights of shape {expected}, got {weight.shape}")
    rows = np.ascontiguousarray(np.moveaxis(weight, 1, -1))
    return rows.reshape(conv.groups, out_channels // conv.groups, -1)


def _stacked(masks: Sequence[Mask]) -> Mask:
    if len(masks) == 1:
        return masks[0]
    return Mask.from_dense(np.concatenate([mask.to_dense() for mask in masks]))
