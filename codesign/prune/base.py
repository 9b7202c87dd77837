"""The one interface of all sparsifiers. Read this file first, then registry.py for the names.

A training loop has two more lines than a dense one, and one after it:

    method = sparsifier("bdwp", "2:8").attach(model, steps=1000)
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        method.after_backward()      # what the method does to gradients
        optimizer.step()
        method.after_step()          # masks and schedules move on
    method.finish()                  # the weights become what they were in the forward pass
    sparse = method.sparsify(trace)  # its masks and which products they help, for a machine

One-shot methods choose their masks in `attach`, or in `calibrate` when they need data; after that
the same loop fine-tunes under the fixed masks. Until `finish`, `model.state_dict()` holds the dense
weights under their own names; the layers' `forward` is replaced, no module is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from codesign.config import CodesignError, did_you_mean, fingerprint
from codesign.prune.export import with_masks
from codesign.prune.products import product
from codesign.prune.target import Target, as_mask, is_layer
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import Pattern, parse_pattern
from codesign.trace.op import Phase, Trace
from codesign.trace.sparsify import METHODS, Method, sparsify

Timing = Literal["one_shot", "training", "activation"]


class Sparsifier:
    """Chooses, changes and exports the masks of a model's layers.

    A family overrides `choose` (the first mask of a layer) and, where it differs from masking a
    dense weight and passing the gradient straight through, the other hooks below it. Raises
    CodesignError for a pattern of a kind that the method has no rule for.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    """Where its equations are from."""
    timing: ClassVar[Timing] = "training"
    patterns: ClassVar[tuple[type[Pattern], ...]]
    """Kinds of patterns that it can reach."""
    needs_data: ClassVar[bool] = False
    """`calibrate` has to be called before its masks exist."""
    needs_optimizer: ClassVar[bool] = False
    """`attach` has to be given the optimizer."""

    def __init__(self, pattern: Pattern | str, *, seed: int = 0) -> None:
        self.pattern = parse_pattern(pattern) if isinstance(pattern, str) else pattern
        if not isinstance(self.pattern, self.patterns):
            kinds = ", ".join(kind.__name__ for kind in self.patterns)
            raise CodesignError(f"{self.name} reaches patterns of kind {kinds}, not {self.pattern}")
        self.seed = seed
        self.step = 0
        self.steps = 0
        self.targets: list[Target] = []
        self.optimizer: torch.optim.Optimizer | None = None
        self._taken: list[nn.Module] = []

    @property
    def method(self) -> Method:
        """Which products of a training step the method makes sparse."""
        return METHODS[self.name]

    def layer_seed(self, target: Target) -> int:
        """A seed of the layer's own, from the method's and the layer's name."""
        return int(fingerprint([self.seed, target.key]), 16) >> 1

    # What a family decides

    def choose(self, target: Target) -> Tensor | None:
        """The first mask of a layer, boolean [n, k]; None leaves it dense."""
        return None

    def start(self) -> None:
        """Choose the first masks of all layers; a method that ranks them together overrides it."""
        for target in self.targets:
            target.mask = self.choose(target)

    def weight(self, target: Target) -> Tensor:
        """The weight of the forward product, in the layer's own shape, without a gradient."""
        weight = target.weight.detach()
        return weight if target.mask is None else target.masked(weight, target.mask)

    def backward_weight(self, target: Target) -> Tensor | None:
        """The weight that backward-data reads; None when it is the forward one."""
        if target.backward_mask is None:
            return None
        return target.masked(target.weight.detach(), target.backward_mask)

    def output(self, target: Target, x: Tensor) -> Tensor:
        """A layer's output: straight-through products with the weights above."""
        return product(x, target.layer, self.weight(target), self.backward_weight(target))

    def gradient(self, target: Target, gradient: Tensor) -> Tensor:
        """What the optimizer sees instead of the weight's gradient, in the weight's shape."""
        return gradient

    def advance(self) -> None:
        """Move masks and schedules after a step of the optimizer; `step` counts finished steps."""

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the method's own, which `attach` adds to the optimizer."""
        return []

    def layer_pattern(self, target: Target) -> Pattern:
        """The pattern of one layer's mask, for the trace."""
        return self.pattern

    def observe(self, target: Target, x: Tensor) -> None:
        """See the input of a layer during calibration."""

    def fit(self) -> None:
        """Choose masks from what was observed."""

    # What everybody calls

    def attach(
        self,
        model: nn.Module,
        *,
        where: str | Sequence[str] = "*",
        skip: str | Sequence[str] = (),
        steps: int = 0,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> Self:
        """Take over the linear layers and convolutions whose names match a glob of `where`.

        Layers that match `skip` are left alone. `steps` is the length of the training run, which
        schedules need. `optimizer` gets the method's own parameters, if any. Raises CodesignError
        if nothing matches or the method is attached already.
        """
        if self.targets:
            raise CodesignError(f"{self.name} is attached already; finish or detach it first")
        if self.needs_optimizer and optimizer is None:
            raise CodesignError(f"{self.name} changes the update: give attach the optimizer")
        layers = {name: module for name, module in model.named_modules() if is_layer(module)}
        wanted, left = _globs(where), _globs(skip)
        self.targets = [
            Target(name, layer)
            for name, layer in layers.items()
            if any(fnmatchcase(name, glob) for glob in wanted)
            and not any(fnmatchcase(name, glob) for glob in left)
        ]
        if not self.targets:
            hint = did_you_mean(str(wanted[0]) if wanted else "", list(layers))
            raise CodesignError(
                f"no linear layer or convolution matches {', '.join(wanted)[:80]!r}"
                + (f"; did you mean {hint!r}?" if hint else "")
            )
        self.step, self.steps, self.optimizer = 0, steps, optimizer
        with torch.no_grad():
            if not self.needs_data:
                self.start()
        if optimizer is not None and (own := self.parameters()):
            optimizer.add_param_group({"params": own, "weight_decay": 0.0})
        for target in self.targets:
            self._taken.append(target.layer)
            target.layer.forward = partial(self.output, target)  # type: ignore[method-assign]
        return self

    def calibrate(self, model: nn.Module, batches: Iterable[Any]) -> Self:
        """Run the model on data, then choose the masks of a method that needs to see inputs.

        A batch is what the model takes, or a tuple or dict of its arguments. The model runs as it
        is before the masks exist, in evaluation mode, without gradients.
        """
        training = model.training
        model.eval()
        try:
            with torch.no_grad(), self._watching():
                for batch in batches:
                    _call(model, batch)
        finally:
            model.train(training)
        with torch.no_grad():
            self.fit()
        return self

    def after_backward(self) -> None:
        """Apply the method's rule to the gradients; call it between backward and the optimizer."""
        with torch.no_grad():
            for target in self.targets:
                if target.weight.grad is not None:
                    target.weight.grad = self.gradient(target, target.weight.grad)

    def after_step(self) -> None:
        """Count a step of the optimizer and let masks and schedules follow."""
        self.step += 1
        with torch.no_grad():
            self.advance()

    def masks(self) -> dict[str, Mask]:
        """The mask of each layer's forward weight, by parameter name."""
        return {t.key: as_mask(t.mask) for t in self.targets if t.mask is not None}

    def backward_masks(self) -> dict[str, Mask]:
        """The masks of backward-data that differ from the forward ones, same layout and names."""
        return {
            t.key: as_mask(t.backward_mask) for t in self.targets if t.backward_mask is not None
        }

    def density(self) -> float:
        """Kept fraction of the weights of all layers taken over."""
        kept = sum(t.weight.numel() if t.mask is None else int(t.mask.sum()) for t in self.targets)
        return kept / sum(t.weight.numel() for t in self.targets)

    def sparsify(self, trace: Trace) -> Trace:
        """The trace with this method's pattern on the products it helps, and its real masks.

        The operators' `weight` must be parameter names of the attached model. In inference a layer
        that has no mask is dense.
        """
        names = {op.weight: op.layer for op in trace if op.weight is not None}
        found = [t for t in self.targets if t.key in names]
        if not found:
            raise CodesignError(f"no operator of {trace.name} reads a weight of the attached model")
        training = any(op.phase is Phase.BACKWARD_WEIGHT for op in trace)
        always = training or self.method.inputs
        layers = [names[t.key] for t in found if always or t.mask is not None]
        if not layers:
            return trace
        sparse = sparsify(trace, self.pattern, where=layers, method=self.name)
        patterns = {t.key: self.layer_pattern(t) for t in self.targets}
        return with_masks(sparse, self.masks(), self.backward_masks(), patterns, self.method)

    def detach(self) -> None:
        """Give the layers their own forward back and forget them; weights stay as they are."""
        for layer in self._taken:
            if "forward" in vars(layer):
                del layer.forward
        self._taken.clear()

    def finish(self) -> None:
        """Write the forward weights into the layers and detach; masks can still be exported."""
        with torch.no_grad():
            for target in self.targets:
                target.weight.copy_(self.weight(target))
        self.detach()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on later with an equal model: step, masks, remembered tensors."""
        return {
            "name": self.name, "pattern": str(self.pattern), "step": self.step,
            "layers": {
                t.key: {"mask": t.mask, "backward_mask": t.backward_mask, "state": dict(t.state)}
                for t in self.targets
            },
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` after `attach` to an equal model."""
        keys = {t.key for t in self.targets}
        if (state["name"], state["pattern"]) != (self.name, str(self.pattern)) or (
            keys != set(state["layers"])
        ):
            raise CodesignError("the state is of another method, pattern or model")
        self.step = state["step"]
        for target in self.targets:
            row = state["layers"][target.key]
            target.mask, target.backward_mask = row["mask"], row["backward_mask"]
            target.state = dict(row["state"])

    @contextmanager
    def _watching(self) -> Iterator[None]:
        handles = [
            t.layer.register_forward_pre_hook(
                lambda _layer, args, target=t: self.observe(target, args[0])
            )
            for t in self.targets
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _globs(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _call(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)
