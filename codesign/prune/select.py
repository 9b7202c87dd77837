"""Which elements of a matrix stay: N of M neighbours, the largest of all, the largest blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from codesign.kernels.nm_select import keep_along_columns, keep_along_rows
from codesign.prune.target import Target


def largest_of_groups(scores: Tensor, n: int, m: int, axis: int = 1) -> Tensor:
    """True at the n largest magnitudes of each m neighbours along an axis of a matrix.

    The lower index wins among equals; a smaller last group of r keeps min(n, r).

    >>> largest_of_groups(torch.tensor([[3.0, -4.0, 1.0, 0.0]]), 2, 4).tolist()
    [[True, True, False, False]]
    """
    if scores.device.type == "cpu" and scores.dtype == torch.float32:
        values = scores.detach().contiguous()
        kept = torch.empty(values.shape, dtype=torch.bool)
        choose = keep_along_rows if axis == 1 else keep_along_columns
        choose(values.numpy(), n, m, kept.numpy())
        return kept
    return _largest_of_groups(scores, n, m) if axis == 1 else (
        _largest_of_groups(scores.t(), n, m).t()
    )  # fmt: skip


def _largest_of_groups(scores: Tensor, n: int, m: int) -> Tensor:
    """The same on any device and type, by sorting the groups."""
    rows, cols = scores.shape
    missing = -cols % m
    groups = torch.nn.functional.pad(scores.abs(), (0, missing), value=-1.0).reshape(-1, m)
    order = torch.sort(groups, dim=1, descending=True, stable=True).indices[:, :n]
    kept = torch.zeros(groups.shape, dtype=torch.bool, device=scores.device)
    return kept.scatter_(1, order, True).reshape(rows, cols + missing)[:, :cols]


def largest_by_output(target: Target, rows: Tensor, n: int, m: int) -> Tensor:
    """N:M along the reduction of backward-data: m output channels at one place of the kernel."""
    if target.taps == 1 or target.shape[0] % m == 0:
        return largest_of_groups(rows, n, m, axis=0)
    return target.by_output(largest_of_groups(target.by_input(rows).contiguous(), n, m))


def largest(scores: Tensor, kept: int) -> Tensor:
    """True at the `kept` largest scores of a tensor of any shape; the lower index among equals."""
    flags = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    if kept > 0:
        flat = scores.reshape(-1)
        threshold = torch.kthvalue(flat, flat.numel() - kept + 1).values
        flags = flat > threshold
        ties = torch.nonzero(flat == threshold).reshape(-1)
        flags[ties[: kept - int(flags.sum())]] = True
    return flags.reshape(scores.shape)


def count_kept(sparsity: float, size: int) -> int:
    """Kept elements of `size` at a fraction removed, rounded half up, at least one."""
    return max(1, int((1 - sparsity) * size + 0.5))


def block_norms(rows: Tensor, height: int, width: int) -> Tensor:
    """L2 norm of each block, [ceil(n / height), ceil(k / width)]."""
    n, k = rows.shape
    padded = torch.nn.functional.pad(rows, (0, -k % width, 0, -n % height))
    tall, wide = padded.shape[0] // height, padded.shape[1] // width
    return padded.reshape(tall, height, wide, width).square().sum((1, 3)).sqrt()


def spread_blocks(kept: Tensor, height: int, width: int, shape: tuple[int, int]) -> Tensor:
    """A mask of elements from a mask of blocks."""
    wide = kept.repeat_interleave(height, 0).repeat_interleave(width, 1)
    return wide[: shape[0], : shape[1]].contiguous()
