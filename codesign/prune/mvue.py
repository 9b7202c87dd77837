"""Minimum-variance unbiased estimates of a matrix that keep N of M neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.kernels.nm_select import draw_along_columns


def mvue(x: Tensor, n: int, m: int, random: torch.Generator) -> Tensor:
    """An N:M matrix whose expectation is x, groups along the last axis of [rows, cols].

    With n = 1 element i is drawn with probability |x_i| / sum and becomes sign(x_i) * sum, which
    has the least variance. With n = 2 the draw is that of FST (Hu et al., ICML 2024): i with
    t_i = |x_i| / S, then j in proportion to |x_j| of the rest, each divided by the probability
    p_i = t_i + |x_i| * (sum_k t_k / (S - |x_k|) - t_i / (S - |x_i|)) of being drawn.
    Raises CodesignError for larger n.
    """
    _check(n, m)
    rows, cols = x.shape
    groups = torch.nn.functional.pad(x, (0, -cols % m)).reshape(-1, m)
    size = groups.abs()
    total = size.sum(1, keepdim=True)
    first = _draw(size, random)
    if n == 1:
        estimate = torch.zeros_like(groups).scatter_(
            1, first, groups.gather(1, first).sign() * total
        )
    else:
        second = _draw(size.scatter(1, first, 0.0), random)
        chance = inclusion(size)
        estimate = torch.zeros_like(groups)
        for place in (first, second):
            estimate.scatter_(1, place, groups.gather(1, place) / chance.gather(1, place))
    estimate = torch.where(total > 0, estimate, torch.zeros_like(estimate))
    return estimate.reshape(rows, -1)[:, :cols]


def inclusion(size: Tensor) -> Tensor:
    """Probability of each magnitude of a group [groups, m] to be one of the two drawn."""
    tiny = torch.finfo(size.dtype).tiny
    t = size / size.sum(1, keepdim=True).clamp_min(tiny)
    odds = t / _others(size).clamp_min(tiny)
    return (t + size * _others(odds)).clamp_min(tiny)


def _others(size: Tensor) -> Tensor:
    """The sum of all but one, for each of a group; their sum minus the largest would lose digits.

    The draw and its chance have to agree however small what is beside the largest is.
    """
    top, place = size.max(1, keepdim=True)
    return size.scatter(1, place, 0.0).sum(1, keepdim=True) + (top - size)


def along_batch(dy: Tensor, n: int, m: int, random: torch.Generator) -> Tensor:
    """The estimate of an output gradient for the weight gradient, which sums over the batch.

    `dy` is [.., channels] or [batch, channels, h, w]; groups are m neighbours of the batch and all
    places, for each channel on its own.
    """
    channels_last = dy.permute(0, 2, 3, 1) if dy.ndim == 4 else dy
    tokens = channels_last.reshape(-1, channels_last.shape[-1])
    if tokens.device.type == "cpu" and tokens.dtype == torch.float32:
        drawn = _drawn_by_kernel(tokens, n, m, random).reshape(channels_last.shape)
    else:
        drawn = mvue(tokens.t(), n, m, random).t().reshape(channels_last.shape)
    return drawn.permute(0, 3, 1, 2) if dy.ndim == 4 else drawn


def _drawn_by_kernel(tokens: Tensor, n: int, m: int, random: torch.Generator) -> Tensor:
    _check(n, m)
    values = tokens.detach().contiguous()
    uniforms = torch.rand(n * -(-len(values) // m), values.shape[1], generator=random)
    out = torch.empty_like(values)
    draw_along_columns(values.numpy(), uniforms.numpy(), n, m, out.numpy())
    return out


def _check(n: int, m: int) -> None:
    if n > 2 or n > m:
        raise CodesignError(f"an unbiased estimate keeps 1 or 2 of m elements, not {n}:{m}")


def _draw(size: Tensor, random: torch.Generator) -> Tensor:
    """One index per group, [groups, 1], in proportion to the magnitudes; any index where all are 0.

    The exponential race: argmin of Exp(1) / size.
    """
    clocks = torch.empty(size.shape).exponential_(generator=random).to(size)
    return (size / clocks).argmax(1, keepdim=True)
