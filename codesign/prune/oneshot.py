"""Masks that need one look at the weights: magnitude shared out in four ways, N:M, random."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.prune.base import Sparsifier, Timing
from codesign.prune.select import count_kept, largest, largest_of_groups
from codesign.prune.target import Target
from codesign.sparsity import allocation
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import NM, Pattern, Unstructured


class FixedMask(Sparsifier):
    """Masks that do not change once chosen: pruned weights get no gradient."""

    timing: ClassVar[Timing] = "one_shot"

    def gradient(self, target: Target, gradient: Tensor) -> Tensor:
        return gradient if target.mask is None else target.masked(gradient, target.mask)


def as_tensor(mask: Mask, like: Tensor) -> Tensor:
    """A packed mask as a boolean tensor on the device of `like`."""
    return torch.from_numpy(mask.to_dense()).to(like.device)


def projected(pattern: Pattern, rows: Tensor) -> Tensor:
    """The pattern's mask with the largest sum of magnitudes, boolean [n, k]."""
    if isinstance(pattern, NM) and pattern.axis == "in":
        return largest_of_groups(rows, pattern.n, pattern.m)
    if isinstance(pattern, Unstructured):
        return largest(rows.abs(), count_kept(pattern.sparsity, rows.numel()))
    return as_tensor(pattern.project(rows.detach().float().cpu().numpy()), rows)


def random_mask(method: Sparsifier, target: Target) -> Tensor:
    """A random mask of the method's pattern, the same for one seed and one name of a layer."""
    found = method.pattern.sample(*target.shape, method.layer_seed(target))
    return as_tensor(found, target.weight)


class Random(FixedMask):
    """A random mask of the pattern for each layer, decided by the seed: the floor."""

    name = "random"
    paper = "none"
    patterns = (Pattern,)

    def choose(self, target: Target) -> Tensor:
        return random_mask(self, target)


class MagnitudeUniform(FixedMask):
    """Every layer keeps the largest magnitudes that the pattern allows."""

    name = "magnitude_uniform"
    paper = "Han et al., NeurIPS 2015 (arXiv 1506.02626)"
    patterns = (Pattern,)

    def choose(self, target: Target) -> Tensor:
        return projected(self.pattern, target.rows())


class NMMagnitude(FixedMask):
    """Of every M neighbours along the reduction the N largest magnitudes stay."""

    name = "nm_magnitude"
    paper = "Mishra et al. 2021 (arXiv 2104.08378)"
    patterns = (NM,)

    def choose(self, target: Target) -> Tensor:
        return projected(self.pattern, target.rows())


class _Shared(FixedMask):
    """An unstructured sparsity of the whole model, shared out to its layers."""

    patterns = (Unstructured,)

    def sparsities(self) -> dict[str, float]:
        raise NotImplementedError

    def start(self) -> None:
        removed = self.sparsities()
        for target in self.targets:
            rows = target.rows().abs()
            target.mask = largest(rows, count_kept(removed[target.key], rows.numel()))

    def layer_pattern(self, target: Target) -> Pattern:
        if target.mask is None:
            return self.pattern
        return Unstructured(1 - int(target.mask.sum()) / target.mask.numel())


class MagnitudeErk(_Shared):
    """Densities follow Erdos-Renyi-Kernel: wide layers lose more."""

    name = "magnitude_erk"
    paper = "Evci et al., ICML 2020 (arXiv 1911.11134)"

    def sparsities(self) -> dict[str, float]:
        return erk(self.pattern, self.targets)


class MagnitudeLamp(_Shared):
    """One threshold on squares over the sum of the squares at least as large in the layer."""

    name = "magnitude_lamp"
    paper = "Lee et al., ICLR 2021 (arXiv 2010.07611)"

    def sparsities(self) -> dict[str, float]:
        weights = {t.key: t.rows().float().cpu().numpy() for t in self.targets}
        return allocation.lamp(removed_share(self.pattern), weights)


class MagnitudeGlobal(_Shared):
    """One threshold on magnitudes over all layers."""

    name = "magnitude_global"
    paper = "Han et al., NeurIPS 2015 (arXiv 1506.02626)"

    def start(self) -> None:
        for target, mask in zip(
            self.targets, globally_largest(self.targets, removed_share(self.pattern)), strict=True
        ):
            target.mask = mask


def globally_largest(targets: list[Target], sparsity: float) -> list[Tensor]:
    """The mask of each layer under one threshold on magnitudes."""
    every = torch.cat([t.rows().abs().reshape(-1) for t in targets])
    kept = largest(every, count_kept(sparsity, every.numel()))
    parts = torch.split(kept, [t.weight.numel() for t in targets])
    return [part.reshape(t.shape) for part, t in zip(parts, targets, strict=True)]


def removed_share(pattern: Pattern) -> float:
    """The fraction that an unstructured pattern removes."""
    if not isinstance(pattern, Unstructured):
        raise CodesignError(f"a sparsity of the whole model is unstructured, not {pattern}")
    return pattern.sparsity


def erk(pattern: Pattern, targets: list[Target]) -> dict[str, float]:
    """The fraction that Erdos-Renyi-Kernel removes from each layer."""
    shapes = {t.key: tuple(t.weight.shape) for t in targets}
    return allocation.erdos_renyi_kernel(removed_share(pattern), shapes)
