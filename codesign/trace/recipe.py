"""How a model is run beyond its phase and size: a value that says it, a function that obeys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from codesign.config import CodesignError
from codesign.trace.model import Size, open_model
from codesign.trace.op import Trace
from codesign.trace.parallel import sharded
from codesign.trace.phases import chunked_prefill, decode_range, speculative
from codesign.trace.training_steps import accumulated, adapted, recomputed, with_dtypes

_PHASE_OF = {"chunk": "prefill", "steps": "decode", "draft": "decode", "lora_rank": "training"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """None and empty where nothing is asked.

    One of `chunk` (tokens of a piece of prefill), `steps` (decode steps, of which `samples` are
    built), `draft` (guessed tokens to verify), `lora_rank` (adapters on layers matching `lora`) and
    `tensor_parallel` (devices) makes the trace; on a training step `accumulate` and `recompute`
    then work, and data types on any.
    """

    chunk: int | None = None
    steps: int | None = None
    samples: int = 8
    draft: int | None = None
    lora_rank: int | None = None
    lora: tuple[str, ...] = ("*.attention.*",)
    tensor_parallel: int | None = None
    accumulate: int | None = None
    recompute: tuple[str, ...] = ()
    weights_dtype: str | None = None
    activations_dtype: str | None = None
    cache_dtype: str | None = None
    gradients_dtype: str | None = None

    @property
    def made_by(self) -> list[str]:
        """The fields given that say how the trace is made."""
        names = (*_PHASE_OF, "tensor_parallel")
        return [name for name in names if getattr(self, name) is not None]


def follow(
    recipe: Recipe, source: str, phase: str | None, size: Size, plain: Callable[[], Trace]
) -> Trace:
    """The trace of a source run as the recipe says; `plain` makes it where no shapes are needed.

    Raises CodesignError for requests that contradict each other, and for sources that are one trace
    already where the recipe needs the model.
    """
    trace = _made(recipe, source, phase, size) if recipe.made_by else plain()
    if recipe.recompute:
        trace = recomputed(trace, recipe.recompute)
    if recipe.accumulate is not None:
        trace = accumulated(trace, recipe.accumulate)
    types = {
        field.name.removesuffix("_dtype"): getattr(recipe, field.name)
        for field in fields(recipe)
        if field.name.endswith("_dtype")
    }
    return with_dtypes(trace, **types) if any(types.values()) else trace


def _made(recipe: Recipe, source: str, phase: str | None, size: Size) -> Trace:
    first, *others = recipe.made_by
    if others:
        raise CodesignError(f"{first} and {others[0]} are not combined; make one trace at a time")
    wanted = _PHASE_OF.get(first, phase or "inference")
    if phase is not None and phase != wanted:
        raise CodesignError(f"{first} belongs to the phase {wanted}, got {phase}")
    model = open_model(source)
    if recipe.tensor_parallel is not None:
        return sharded(model, recipe.tensor_parallel, wanted, size)
    if recipe.chunk is not None:
        return chunked_prefill(model, recipe.chunk, size)
    if recipe.steps is not None:
        return decode_range(model, recipe.steps, replace(size, seq=None), samples=recipe.samples)
    if recipe.draft is not None:
        return speculative(model, recipe.draft, size)
    assert recipe.lora_rank is not None
    return adapted(model, recipe.lora_rank, size, where=recipe.lora)
