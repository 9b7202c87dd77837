"""Listens to what torch dispatches and turns it into operators with layers and dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from codesign.config import CodesignError
from codesign.trace.aten import (
    DTYPES,
    PRODUCTS,
    convolution_window,
    hides_products,
)
from codesign.trace.network import attention_ops, conv_op
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.torch_modes import Dispatches, Functions, flat, sequence_number
from codesign.trace.torch_vector import vector_fields, vector_function
from codesign.trace.torch_weights import Weights
from codesign.trace.training import (
    backward_data_op,
    backward_weight_op,
    product_gradients,
    vector_gradient,
)


class Recorder:
    """Collects operators while it is entered.

    A tensor is known by its storage, so that views cost nothing; every storage stays alive until
    the recorder goes. Operators on constants only (masks, positions) and on integers are left out.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        dtype: str | None,
        inputs: Iterable[Any],
        assume: float | None = None,
    ) -> None:
        self.ops: list[Op] = []
        self.assumed: dict[str, None] = {}
        """Where a value was assumed."""
        self.outside: dict[str, None] = {}
        """Products with a matrix that is neither made here nor a parameter of the module."""
        self.uncounted: dict[str, None] = {}
        """Functions of complex numbers, which no operator stands for."""
        self._assume = assume
        self.dtype = dtype
        self._module = module
        self._path = [""]
        self._names: dict[str, int] = {}
        self._alive: list[Any] = []
        self._producer: dict[int, tuple[str, ...]] = {}
        self._layer_of: dict[int, str] = {}
        self._product_of: dict[int, tuple[Op, tuple[object, object]]] = {}
        self._scopes: list[tuple[int, int, tuple[Op, Op, Op]]] = []
        self._unfolded: dict[int, tuple[str, ...]] = {}
        self._pause = 0
        self._stack = ExitStack()
        self.weights = Weights(module, self._key)
        for tensor in (*module.parameters(), *module.buffers(), *inputs):
            if isinstance(tensor, Tensor):
                self._producer[self._key(tensor)] = ()

    def __enter__(self) -> Recorder:
        for path, module in self._module.named_modules():
            before = module.register_forward_pre_hook(self._entering(path))
            after = module.register_forward_hook(self._leaving, always_call=True)
            self._stack.callback(before.remove)
            self._stack.callback(after.remove)
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        self._stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        functions = Functions(self)
        self._stack.enter_context(functions.patched())
        self._stack.enter_context(functions)
        self._stack.enter_context(Dispatches(self))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def is_paused(self) -> bool:
        return self._pause > 0

    def value(self, tensor: Tensor) -> bool | int | float:
        """What a tensor without data counts as, in its own type."""
        if self._assume is None:
            raise CodesignError(
                f"{self.where()}: the module asks for the value of a tensor (.item(), or an if on "
                "a tensor), which the meta device lacks; extract it with real inputs (--real), or "
                "assume a value (--assume 0)"
            )
        self.assumed[self.where()] = None
        if tensor.dtype == torch.bool:
            return bool(self._assume)
        return float(self._assume) if tensor.is_floating_point() else int(self._assume)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing; tensors that are made stay known."""
        self._pause += 1
        try:
            yield
        finally:
            self._pause -= 1

    @contextmanager
    def at(self, path: str) -> Iterator[None]:
        """Record under the layer `path`."""
        self._path.append(path)
        try:
            yield
        finally:
            self._path.pop()

    def seed(self, loss: Tensor) -> None:
        """Let the backward pass depend on the last forward operator."""
        self._producer[self._key(loss)] = tuple(op.name for op in self.ops[-1:])

    def producers_of(self, tensor: Tensor) -> tuple[str, ...]:
        """The operators that wrote a tensor last."""
        return self._producer.get(self._key(tensor), ())

    def dtype_name(self, tensor: Tensor) -> str:
        """What a tensor's type counts as."""
        if self.dtype is not None and tensor.is_floating_point():
            return self.dtype
        return DTYPES.get(tensor.dtype, "fp32")

    # --- what the modes report ---

    def dispatched(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
        """Take note of one dispatched operator and its result."""
        name = func._schema.name.partition("::")[2]
        if kwargs.get("approximate") == "tanh":
            name += "_tanh"
        inputs = [t for t in flat((args, kwargs)) if self._key(t) in self._producer]
        outputs = flat(out)
        read = {self._key(t) for t in inputs}
        made = [t for t in outputs if func._schema.is_mutable or self._key(t) not in read]
        node = torch._C._current_autograd_node()
        recomputed = node is not None and len(self._path) > 1
        number = sequence_number(None if recomputed else node)
        if (node is None or recomputed) and torch.is_grad_enabled():
            self._layer_of.setdefault(number, self._path[-1])
        if not inputs or not made:
            return
        folded = node is not None and not recomputed and self._folded(number, inputs)
        if self._pause or folded:
            self._note(made, self._unfolded[number] if folded else ())
            return
        if hides_products(name, func.overloadpacket in flop_registry):
            raise CodesignError(f"{self.where()}: the fused operator {name} is not known here")
        record = self._forward if node is None or recomputed else self._backward
        for tensor, producer in record(name, args, inputs, made, number):
            self._note([tensor], producer)

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, first: int, last: int, out: Tensor
    ) -> None:
        """Take note of one call of scaled_dot_product_attention."""
        groups = prod(k.shape[:-2])
        rows = q.shape[-2] * (prod(q.shape[:-2]) // groups)
        layer = self._unique(f"{self._path[-1] or 'attention'}", ".scores")
        softmax = (f"{layer}.softmax",)
        scores, weights, context = attention_ops(
            layer, groups, rows, q.shape[-1], k.shape[-2], self._deps([q, k]),
            (*softmax, *self._deps([v])), phase=Phase.FORWARD, dtype=self.dtype_name(q),
        )  # fmt: skip
        context = replace(context, n=v.shape[-1])
        self.ops += [scores, weights, context]
        self._scopes.append((first, last, (scores, weights, context)))
        self._note([out], (context.name,))

    # --- forward ---

    def _forward(
        self, name: str, args: Sequence[Any], inputs: list[Tensor], made: list[Tensor], number: int
    ) -> list[tuple[Tensor, tuple[str, ...]]]:
        if name.endswith("_like") or name.startswith("new_"):
            return [(t, self._deps(inputs)) for t in made]
        if name in PRODUCTS:
            op = self._product(args[PRODUCTS[name]], args[PRODUCTS[name] + 1], inputs, number)
        elif name == "convolution":
            op = self._convolution(args, inputs, number)
        else:
            return self._vector(name, args, inputs, made, Phase.FORWARD, self._path[-1])
        self.ops.append(op)
        return [(made[0], (op.name,))]

    def _product(self, a: Tensor, b: Tensor, inputs: list[Tensor], number: int) -> Op:
        weight = self.weights.weight(b)
        if weight is None and (weight := self.weights.weight(a)) is not None:
            a, b = b.mT, a.mT
        layer = self._path[-1]
        outside = weight is None and any(self._key(t) not in self._producer for t in (a, b))
        groups = a.shape[0] if a.dim() == 3 else 1
        if weight is not None and b.is_contiguous() and b.dim() == 2:
            self.weights.inputs_first.add(weight)
        op = Op(
            name=self._unique(layer or "product"),
            kind=Kind.ATTENTION if weight is None else Kind.GEMM, phase=Phase.FORWARD,
            layer=layer, m=a.shape[-2], k=a.shape[-1], n=b.shape[-1],
            groups=groups, weight=weight, b_shared=groups > 1 and b.stride(0) == 0,
            a_dtype=self.dtype_name(a), b_dtype=self.dtype_name(b), c_dtype=self.dtype_name(a),
            deps=self._deps(inputs),
        )  # fmt: skip
        self._product_of[number] = (op, (self._place(a), self._place(b)))
        if outside:
            self.outside[op.name] = None
        return op

    def _convolution(self, args: Sequence[Any], inputs: list[Tensor], number: int) -> Op:
        x, w = args[:2]
        window = convolution_window(args)
        layer = self._path[-1]
        weight = self.weights.weight(w)
        if weight is not None:
            self.weights.windows[weight] = window
        op = conv_op(
            layer, window, weight=weight, phase=Phase.FORWARD,
            deps=self._deps(inputs), dtype=self.dtype_name(x), name=self._unique(layer or "conv"),
        )  # fmt: skip
        self._product_of[number] = (op, (self._place(x), self._place(w)))
        return op

    # --- backward ---

    def _backward(
        self, name: str, args: Sequence[Any], inputs: list[Tensor], made: list[Tensor], number: int
    ) -> list[tuple[Tensor, tuple[str, ...]]]:
        layer = self._layer_of.get(number, "")
        found = self._product_of.get(number)
        deps = self._deps(inputs)
        if name.endswith("_like") or name.startswith("new_"):
            return [(t, deps) for t in made]
        if name in PRODUCTS:
            if found is None:
                raise CodesignError(
                    f"{layer or 'the module'}: a product in the backward pass has no forward one "
                    "(custom gradients are not known here)"
                )
            op = self._product_gradient(found, inputs, deps)
            self.ops.append(op)
            return [(made[0], (op.name,))]
        if name == "convolution_backward" and found is not None:
            forward, wanted = found[0], args[10]
            written: list[tuple[Tensor, tuple[str, ...]]] = []
            for tensor, gradient in zip(
                made,
                [
                    make
                    for make, want in zip(("data", "weight", "bias"), wanted, strict=True)
                    if want
                ],
                strict=True,
            ):
                if gradient == "bias":
                    written += self._vector(
                        "sum", args, inputs[:1], [tensor], Phase.BACKWARD_WEIGHT, layer
                    )
                    continue
                make_op = backward_data_op if gradient == "data" else backward_weight_op
                op = self._renamed(make_op(forward, deps))
                self.ops.append(op)
                written.append((tensor, (op.name,)))
            return written
        weight_sum = name == "sum" and found is not None
        phase = Phase.BACKWARD_WEIGHT if weight_sum else Phase.BACKWARD_DATA
        return self._vector(name, args, inputs, made, phase, layer)

    def _product_gradient(
        self, found: tuple[Op, tuple[object, object]], inputs: list[Tensor], deps: tuple[str, ...]
    ) -> Op:
        forward, (_, b) = found
        places = {self._place(t) for t in inputs}
        reads_b = b in places
        if forward.weight is not None:
            op = backward_data_op(forward, deps) if reads_b else backward_weight_op(forward, deps)
        else:
            op = product_gradients(forward, deps)[0 if reads_b else 1]
        return self._renamed(op)

    def _folded(self, number: int, inputs: list[Tensor]) -> bool:
        """Whether a backward operator belongs to an attention call, all of which comes at once."""
        scope = next((s for s in self._scopes if s[0] <= number < s[1]), None)
        if scope is None:
            return False
        scores, weights, context = scope[2]
        ends = (
            f"{scores.name}.backward_a",
            f"{scores.name}.backward_b",
            f"{context.name}.backward_b",
        )
        if ends[0] not in self._names:
            self._names[ends[0]] = 1
            self.ops += product_gradients(
                context, tuple(dict.fromkeys((*self._deps(inputs), context.name)))
            )
            softmax = vector_gradient(weights, (f"{context.name}.backward_a",))
            assert softmax is not None
            self.ops += [softmax, *product_gradients(scores, (softmax.name,))]
        self._unfolded[number] = ends
        return True

    # --- vector work ---

    def _vector(
        self,
        name: str,
        args: Sequence[Any],
        inputs: list[Tensor],
        made: list[Tensor],
        phase: Phase,
        layer: str,
    ) -> list[tuple[Tensor, tuple[str, ...]]]:
        floats = [t for t in made if t.is_floating_point()]
        if not floats:
            if any(t.is_complex() for t in made):
                self.uncounted[name] = None
            return [(t, ()) for t in made]
        what = vector_function(name, args, inputs)
        read = list({self._place(t): t for t in inputs if t.is_floating_point()}.values())
        fresh = sum(t.numel() for t in read if self._producer.get(self._key(t)))
        if what == "embedding.gradient":
            phase = Phase.BACKWARD_WEIGHT
        weight = next((n for t in inputs if (n := self.weights.parameter(t))), None)
        op = Op(
            name=self._unique(f"{layer}.{name}" if layer else name), phase=phase, weight=weight,
            layer=layer, a_dtype=self.dtype_name(floats[0]), b_dtype="int32",
            c_dtype=self.dtype_name(floats[0]), deps=self._deps(inputs),
            b_reads=sum(t.numel() for t in inputs if not t.is_floating_point()),
            **vector_fields(what, name, read, fresh, floats),
        )  # fmt: skip
        self.ops.append(op)
        self.weights.note(name, inputs, made)
        return [(t, (op.name,)) for t in made]

    # --- names, places, dependencies ---

    def _key(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key: int = storage._cdata
        if key not in self._producer:
            self._alive.append(storage)
        return key

    def _place(self, tensor: Tensor) -> object:
        return self._key(tensor), tensor.storage_offset(), tensor.numel()

    def _note(self, tensors: Iterable[Tensor], producer: tuple[str, ...]) -> None:
        for tensor in tensors:
            self._producer[self._key(tensor)] = producer

    def _deps(self, tensors: Iterable[Tensor]) -> tuple[str, ...]:
        names = (name for t in tensors for name in self._producer.get(self._key(t), ()))
        return tuple(dict.fromkeys(names))

    def _unique(self, name: str, suffix: str = "") -> str:
        """`name`, numbered from the second time on that `name` and `suffix` are asked for."""
        count = self._names[name + suffix] = self._names.get(name + suffix, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _renamed(self, op: Op) -> Op:
        return replace(op, name=self._unique(op.name))

    def where(self) -> str:
        return self._path[-1] or type(self._module).__name__

    def _entering(self, path: str) -> Any:
        def enter(*_: object) -> None:
            self._path.append(path)

        return enter

    def _leaving(self, *_: object) -> None:
        self._path.pop()
