"""Training under N:M masks that are chosen again as the weights move."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.prune.base import Sparsifier
from codesign.prune.products import product
from codesign.prune.schedule import progress
from codesign.prune.select import largest_by_output, largest_of_groups
from codesign.prune.target import Target, as_numbers
from codesign.sparsity.pattern import NM, Pattern


class NMTraining(Sparsifier):
    """Dense weights, of which N of M are used; the mask follows them after every `every` steps."""

    patterns = (NM,)

    def __init__(self, pattern: Pattern | str, *, seed: int = 0, every: int = 1) -> None:
        super().__init__(pattern, seed=seed)
        assert isinstance(self.pattern, NM)
        if self.pattern.axis != "in":
            raise CodesignError(f"{self.name} groups along the reduction: {self.pattern} is not")
        self.n, self.m = self.pattern.n, self.pattern.m
        self.every = every

    def choose(self, target: Target) -> Tensor | None:
        return largest_of_groups(target.rows(), self.n, self.m)

    def choose_backward(self, target: Target) -> Tensor | None:
        """The mask of backward-data, in the layout of the forward one."""
        return None

    def start(self) -> None:
        for target in self.targets:
            target.mask = self.choose(target)
            target.backward_mask = self.choose_backward(target)

    def advance(self) -> None:
        if self.step % self.every == 0:
            self.start()


class Ste(NMTraining):
    """The plain straight-through estimator, the baseline of SR-STE."""

    name = "ste"
    paper = "Bengio et al. 2013 (arXiv 1308.3432)"


class SrSte(NMTraining):
    """Pruned weights are pulled to zero: gradient + decay * (1 - mask) * weight."""

    name = "sr_ste"
    paper = "Zhou et al., ICLR 2021 (arXiv 2102.04010)"

    def __init__(
        self, pattern: Pattern | str, *, seed: int = 0, every: int = 1, decay: float = 2e-4
    ) -> None:
        super().__init__(pattern, seed=seed, every=every)
        self.decay = decay

    def gradient(self, target: Target, gradient: Tensor) -> Tensor:
        return plus_pruned(gradient, target, self.decay) if self.decay else gradient


def plus_pruned(values: Tensor, target: Target, share: float) -> Tensor:
    """A tensor of the weight's shape plus a share of the weights that the forward mask leaves out.

    Without a mask those are all.
    """
    weight = target.weight.detach()
    if target.mask is None:
        return values.add(weight, alpha=share)
    return values.addcmul(weight, as_numbers(~target.shaped(target.mask)), value=share)


class Sdwp(NMTraining):
    """The forward pass is dense; backward-data reads weights pruned along the outputs."""

    name = "sdwp"
    paper = "Fang et al. 2023 (arXiv 2309.13015), a baseline of BDWP"

    def choose(self, target: Target) -> Tensor | None:
        return None

    def choose_backward(self, target: Target) -> Tensor | None:
        return largest_by_output(target, target.rows(), self.n, self.m)


class Bdwp(SrSte):
    """Weights are pruned twice, each time from the dense ones: along inputs and along outputs.

    Forward reads the first copy, backward-data the second, and the weight gradient is dense. With
    `decay` pruned weights are pulled to zero as in SR-STE; whether the authors do is not known.
    """

    name = "bdwp"
    paper = "Fang et al. 2023 (arXiv 2309.13015)"

    def __init__(
        self, pattern: Pattern | str, *, seed: int = 0, every: int = 1, decay: float = 0.0
    ) -> None:
        super().__init__(pattern, seed=seed, every=every, decay=decay)

    def choose_backward(self, target: Target) -> Tensor | None:
        return largest_by_output(target, target.rows(), self.n, self.m)


class BiMask(SrSte):
    """The backward mask is chosen among what the forward mask keeps, along the outputs.

    Without the paper's search for a permutation of the rows.
    """

    name = "bimask"
    paper = "Zhang et al., ICML 2023 (arXiv 2302.06058)"

    def choose_backward(self, target: Target) -> Tensor | None:
        return nested(target, self.n, self.m)


def nested(target: Target, n: int, m: int) -> Tensor:
    """The N:M mask along the outputs of what the forward mask keeps: a part of the forward mask."""
    assert target.mask is not None
    return target.mask & largest_by_output(target, target.rows() * as_numbers(target.mask), n, m)


class Sdgp(NMTraining):
    """Backward-data reads output gradients of which N of M neighbouring channels are kept.

    `variant` "max" keeps the largest, "rnd" random ones, "maxnorm" the largest, scaled so that the
    sum of magnitudes of each sample and channel stays (1e-4 keeps the quotient finite).
    """

    name = "sdgp"
    paper = "McDanel et al. 2022"

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        variant: Literal["max", "rnd", "maxnorm"] = "maxnorm",
    ) -> None:
        super().__init__(pattern, seed=seed)
        if variant not in ("max", "rnd", "maxnorm"):
            raise CodesignError(f"sdgp has the variants max, rnd and maxnorm, not {variant!r}")
        self.variant = variant
        self._random = torch.Generator().manual_seed(seed)

    def choose(self, target: Target) -> Tensor | None:
        return None

    def output(self, target: Target, x: Tensor) -> Tensor:
        return product(x, target.layer, target.weight.detach(), data_rule=self.pruned)

    def pruned(self, dy: Tensor) -> Tensor:
        """N of M neighbouring channels of an output gradient, [.., n] or [batch, n, h, w]."""
        channels_last = dy.permute(0, 2, 3, 1) if dy.ndim == 4 else dy
        rows = channels_last.reshape(-1, channels_last.shape[-1])
        scores = rows
        if self.variant == "rnd":
            scores = torch.rand(rows.shape, generator=self._random).to(rows.device)
        kept = largest_of_groups(scores, self.n, self.m).reshape(channels_last.shape)
        if dy.ndim == 4:
            kept = kept.permute(0, 3, 1, 2)
        out = dy * as_numbers(kept)
        if self.variant != "maxnorm":
            return out
        axes = (2, 3) if dy.ndim == 4 else tuple(range(1, dy.ndim - 1)) or (0,)
        total, left = (t.abs().sum(axes, keepdim=True) for t in (dy, out))
        return out * (total / (left + 1e-4))


class ProgressiveGradientFlow(NMTraining):
    """Pruned weights fade: weight * (mask + (1 - mask) * d), d from 1 to 0; then a binary mask.

    `decay` "linear" and "exp" let d fall between the shares `begin` and `end` of the run ("exp" to
    1e-2, then 0); "structure" keeps d = 0 and narrows the groups instead, (M-1):M, M/2:M .. N:M in
    equal slices up to `end`.
    """

    name = "pgf"
    paper = "Bambhaniya et al. 2024 (arXiv 2402.04744)"

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        decay: Literal["linear", "exp", "structure"] = "linear",
        begin: float = 0.1,
        end: float = 0.7,
    ) -> None:
        super().__init__(pattern, seed=seed)
        if decay not in ("linear", "exp", "structure"):
            raise CodesignError(f"pgf fades by linear, exp or structure, not {decay!r}")
        self.decay, self.begin, self.end = decay, begin, end

    @property
    def leak(self) -> float:
        """What pruned weights are multiplied by now."""
        if self.decay == "structure":
            return 0.0
        done = progress(self.step, int(self.begin * self.steps), int(self.end * self.steps))
        if done == 1.0:
            return 0.0
        return 1 - done if self.decay == "linear" else 10 ** (-2 * done)

    @property
    def kept_now(self) -> int:
        """N of the groups at this step."""
        if self.decay != "structure":
            return self.n
        stages = [self.m - 1]
        while stages[-1] > self.n:
            stages.append(max(self.n, self.m >> len(stages)))
        done = progress(self.step, 0, int(self.end * self.steps))
        return stages[min(len(stages) - 1, int(done * len(stages)))]

    def choose(self, target: Target) -> Tensor | None:
        return largest_of_groups(target.rows(), self.kept_now, self.m)

    def weight(self, target: Target) -> Tensor:
        masked, leak = super().weight(target), self.leak
        return plus_pruned(masked, target, leak) if leak else masked

    def finish(self) -> None:
        self.step = max(self.step, self.steps)
        with torch.no_grad():
            self.start()
        super().finish()


class Step(NMTraining):
    """Dense Adam until its second moment is steady, then masks under the frozen second moment.

    The switch comes when the mean of |v_t - v_(t-1)| over a window of 1 / (1 - beta2) steps falls
    below Adam's eps, not before `earliest` and at `latest` of the run. Then the update is
    m_hat / (sqrt(v) + eps^(3/4)) with v as it was, corrected for its start from 0 as Adam does: the
    paper's runs are too long for that to matter, short ones diverge without it.
    """

    name = "step"
    paper = "Lu et al., ICML 2023 (arXiv 2302.01172)"
    needs_optimizer = True

    def __init__(
        self,
        pattern: Pattern | str,
        *,
        seed: int = 0,
        earliest: float = 0.1,
        latest: float = 0.5,
    ) -> None:
        super().__init__(pattern, seed=seed)
        self.earliest, self.latest = earliest, latest
        self.switched_at: int | None = None
        self._changes: list[float] = []
        self._previous: dict[str, Tensor] = {}
        self._second: dict[str, Tensor] = {}

    def start(self) -> None:
        if not isinstance(self.optimizer, torch.optim.Adam):  # AdamW is one
            raise CodesignError("step is a rule for Adam or AdamW")
        if self.switched_at is not None:
            super().start()

    def after_backward(self) -> None:
        """Past the switch, update the layers' weights here and leave the optimizer the others."""
        if self.switched_at is None:
            return
        with torch.no_grad():
            for target in self.targets:
                if target.weight.grad is not None:
                    self._update(target)

    def _update(self, target: Target) -> None:
        group, moments = self._group(target.layer.weight), self._moments(target)
        lr, (beta1, _), decay = group["lr"], group["betas"], group["weight_decay"]
        weight, gradient = target.weight, target.weight.grad
        assert gradient is not None
        if isinstance(self.optimizer, torch.optim.AdamW):
            weight.mul_(1 - lr * decay)
        elif decay:
            gradient = gradient + decay * weight
        moments["exp_avg"].lerp_(gradient, 1 - beta1)
        moments["step"] += 1
        corrected = moments["exp_avg"] / (1 - beta1 ** float(moments["step"]))
        weight.sub_(lr * corrected / (self._second[target.key].sqrt() + group["eps"] ** 0.75))
        target.weight.grad = None

    def _group(self, weight: Tensor) -> dict[str, Any]:
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            if any(parameter is weight for parameter in group["params"]):
                return group
        raise CodesignError("the optimizer does not hold a weight that step prunes")

    def _moments(self, target: Target) -> dict[str, Tensor]:
        assert self.optimizer is not None
        found: dict[str, Tensor] = self.optimizer.state[target.layer.weight]
        return found

    def advance(self) -> None:
        if self.switched_at is None:
            self._watch()
        if self.switched_at is not None:
            self.start()

    def _watch(self) -> None:
        change, size = 0.0, 0
        for target in self.targets:
            if "exp_avg_sq" not in self._moments(target):
                continue
            v = self._moments(target)["exp_avg_sq"]
            before = self._previous.get(target.key)
            if before is not None:
                change += float((v - before).abs().sum())
                size += v.numel()
            self._previous[target.key] = v.clone()
        if size:
            self._changes.append(change / size)
        group = self._group(self.targets[0].layer.weight)
        window = round(1 / (1 - group["betas"][1]))
        steady = len(self._changes) >= window and (
            sum(self._changes[-window:]) / window < float(group["eps"])
        )
        late = self.step >= self.latest * self.steps
        if late or (steady and self.step >= self.earliest * self.steps):
            self.switched_at = self.step
            self._previous.clear()
            beta2 = group["betas"][1]
            for target in self.targets:
                moments = self._moments(target)
                correction = 1 - beta2 ** float(moments["step"])
                self._second[target.key] = moments["exp_avg_sq"] / correction
