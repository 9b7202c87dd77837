"""Records the operators of a real `nn.Module` while it runs, forward and backward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from codesign.config import CodesignError
from codesign.trace.factory import arguments
from codesign.trace.op import Op, Trace
from codesign.trace.torch_record import Recorder
from codesign.trace.training import update_op
from codesign.trace.vector_work import optimizer
from codesign.units import DTYPE_BYTES

Inputs = tuple[tuple[Any, ...], Mapping[str, Any]]


def build_module(
    factory: Callable[..., Any], wanted: Mapping[str, Any], *, real: bool
) -> tuple[nn.Module, Inputs]:
    """The module of a factory and its inputs, on the meta device unless `real`.

    The factory gets those of `wanted` (batch, seq, phase, context) that it takes. Raises
    CodesignError when it fails, returns something else, or nobody states the inputs.
    """
    if isinstance(factory, nn.Module):
        raise CodesignError(
            f"this is a {type(factory).__name__} that is already made; name a function that makes "
            "it and returns (module, inputs)"
        )
    device = torch.device("cpu" if real else "meta")
    names = arguments(factory)
    with device, _told("the factory fails"):
        built = factory(**{name: value for name, value in wanted.items() if name in names})
    given: Any = None
    if isinstance(built, tuple) and len(built) == 2:
        built, given = built
    if not isinstance(built, nn.Module):
        raise CodesignError(
            f"the factory returns a {type(built).__name__}; "
            "it has to return an nn.Module or (module, inputs)"
        )
    if isinstance(built, torch.jit.ScriptModule):
        raise CodesignError(
            "the factory returns a ScriptModule, whose operators cannot be followed; let it return "
            "the nn.Module before torch.jit"
        )
    if any(is_lazy(parameter) for parameter in built.parameters()):
        raise CodesignError(
            "the module has lazy layers, whose sizes are not known yet; let the factory run it once"
        )
    if given is None:
        example = getattr(built, "example_inputs", None)
        if example is None and not inspect.signature(built.forward).parameters:
            given = ()
        elif example is None:
            raise CodesignError(
                "no inputs: let the factory return (module, inputs), or give "
                f"{type(built).__name__} a method example_inputs(batch, seq)"
            )
        else:
            with device, _told("example_inputs fails"):
                given = example(wanted["batch"], wanted["seq"])
    if not real:
        built = built.to("meta")
    return built, _moved(given, device)


def extract_module(
    module: nn.Module,
    inputs: Inputs,
    *,
    name: str,
    phase: str = "inference",
    optimizer_name: str = "sgd_momentum",
    dtype: str | None = "fp16",
    assume: float | None = None,
) -> tuple[Trace, dict[str, NDArray[Any]]]:
    """The trace of one forward pass, or of a training step, and the weights if they are real.

    `dtype` is what every floating-point tensor counts as; None keeps the types of the module.
    Products with a parameter become gemm and conv operators, other products attention ones; a call
    of `scaled_dot_product_attention` becomes scores, softmax and context product of the whole
    matrix. Backward operators are named after their forward operator, found by autograd's sequence
    numbers. Weights are linear [out, in] or convolution [out, in / groups, h, w], whatever the
    module stores. Raises CodesignError when the module fails, for products that are not known here,
    and for values that a tensor on the meta device does not have (`.item()`), unless `assume` says
    what they count as.
    """
    if dtype is not None and dtype not in DTYPE_BYTES:
        raise CodesignError(f"no data type {dtype[:40]!r} (known: {', '.join(DTYPE_BYTES)})")
    training = phase == "training"
    rule = optimizer(optimizer_name)
    args, kwargs = inputs
    recorder = Recorder(module, dtype=dtype, inputs=[*args, *kwargs.values()], assume=assume)
    was_training = module.training
    module.train(training)
    for parameter in module.parameters():
        parameter.grad = None
    try:
        with recorder, torch.set_grad_enabled(training), _told("running the module fails"):
            output = module(*args, **kwargs)
            if training:
                own: Any = getattr(module, "loss", None)
                with recorder.at("loss") if callable(own) else recorder.paused():
                    loss = own(output) if callable(own) else _sum(output)
                recorder.seed(loss)
                loss.backward()
    finally:
        module.train(was_training)
    ops = list(recorder.ops)
    if training:
        ops = _with_updates(module, recorder, ops, rule, dtype)
    meta: dict[str, str | int | float] = {
        "phase": phase,
        "batch": 1,
        "torch": torch.__version__.partition("+")[0],
        "dtype": dtype or "as in the module",
    }
    if training:
        meta["optimizer"] = optimizer_name
    if recorder.assumed:
        meta["assumed_values"] = f"{assume} in " + ", ".join(recorder.assumed)
    if recorder.outside:
        meta["weights_outside_of_the_module"] = ", ".join(recorder.outside)
    if recorder.uncounted:
        meta["not_counted"] = ", ".join(recorder.uncounted)
    counts = {key: parameter.numel() for key, parameter in module.named_parameters()}
    trace = Trace(name, tuple(ops), counts, meta=meta)
    for parameter in module.parameters():
        parameter.grad = None
    return trace, recorder.weights.values()


def _with_updates(
    module: nn.Module, recorder: Recorder, ops: list[Op], rule: Any, dtype: str | None
) -> list[Op]:
    """The operators with an update for each layer, right after its parameters' last gradient."""
    position = {op.name: i for i, op in enumerate(ops)}
    layers: dict[str, list[tuple[str, int, tuple[str, ...], Tensor]]] = {}
    for key, parameter in module.named_parameters():
        if parameter.grad is not None:
            made = recorder.producers_of(parameter.grad)
            layers.setdefault(key.rpartition(".")[0], []).append(
                (key, parameter.numel(), made, parameter)
            )
    after: dict[int, list[Op]] = {}
    for layer, tensors in layers.items():
        deps = tuple(dict.fromkeys(name for _, _, made, _ in tensors for name in made))
        weight = tensors[0][0]
        step = update_op(
            layer or weight,
            weight,
            sum(count for _, count, _, _ in tensors),
            dtype or recorder.dtype_name(tensors[0][3]),
            rule,
            deps,
        )
        after.setdefault(max((position[dep] for dep in deps), default=len(ops) - 1), []).append(
            step
        )
    out: list[Op] = []
    for i, op in enumerate(ops):
        out.append(op)
        out.extend(after.get(i, ()))
    return out


def _sum(output: Any) -> Tensor:
    loss = getattr(output, "loss", None)
    if isinstance(loss, Tensor):
        return loss
    floats = [t for t in _tensors(output) if t.is_floating_point() and t.requires_grad]
    if not floats:
        raise CodesignError("the module returns no tensor with a gradient to train on")
    return torch.stack([t.sum() for t in floats]).sum()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _tensors(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)


def _moved(given: Any, device: torch.device) -> Inputs:
    def move(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    if isinstance(given, Mapping):
        return (), {key: move(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return tuple(move(value) for value in given), {}
    if isinstance(given, Tensor):
        return (move(given),), {}
    raise CodesignError(
        "inputs are a tensor, a tuple or a mapping of keyword arguments, "
        f"got {type(given).__name__}"
    )


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except CodesignError:
        raise
    except Exception as error:
        raise CodesignError(f"{what}: {type(error).__name__}: {str(error)[:300]}") from error
