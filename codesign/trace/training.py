"""A forward trace becomes a training step: gradients in reverse order, and updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.vector_work import RESIZING, Optimizer, function, optimizer

_MASTER_DTYPE = "fp32"


def train(
    forward: Trace,
    *,
    optimizer_name: str = "sgd_momentum",
    input_gradient: bool = False,
    trainable: Callable[[str], bool] | None = None,
) -> Trace:
    """The whole training step of a forward trace.

    Walks the forward operators backwards. A product with weights gets `.backward_data` (unless
    nothing before it is trainable; `input_gradient` forces it), then `.backward_weight`, then
    `.update` of all parameters of its layer; a tied weight is updated after its last gradient. A
    product of activations gets two products. MACs of each gradient product equal those of the
    forward one. An operator with several consumers gets a `.gradient_sum` for the gradient elements
    that coincide. A parameter of which `trainable` is false is frozen: gradients pass through its
    layer, and it gets none. Raises CodesignError for an unknown optimiser.
    """
    walk = _Backward(forward, optimizer(optimizer_name), input_gradient, trainable)
    return walk.run(optimizer_name)


def backward_data_op(op: Op, deps: tuple[str, ...]) -> Op:
    """The gradient of a weighted product's input, dX = dY . W^T.

    n = input features or channels and k = (kernel_h, kernel_w, out channels), channels innermost:
    an N:M group lies along output channels. m stays that of the forward product, also with a
    stride: it counts the useful rows, since a strided gradient map is mostly inserted zeros; bytes
    come from `conv`. Of a transposed convolution this is a plain strided one.
    """
    conv = op.conv
    n = op.k if conv is None else conv.in_channels // conv.groups
    return replace(
        op, name=f"{op.name}.backward_data", phase=Phase.BACKWARD_DATA, n=n,
        k=op.n if conv is None else conv.taps * op.n,
        conv=None if conv is None else conv.adjoint, deps=deps,
    )  # fmt: skip


def backward_weight_op(op: Op, deps: tuple[str, ...]) -> Op:
    """The gradient of a weight, dW = X^T . dY: m = forward k, k = forward m, n = forward n.

    Of a transposed convolution dW^T = dY^T . X, where A are the windows of dY that each element of
    X was spread over: m = (kernel, out channels), k = input positions, n = in channels.
    """
    shared, conv = op.b_shared, op.conv
    m, n = op.k, op.n
    if conv is not None and conv.transposed:
        m, n, conv = conv.taps * op.n, op.k // conv.taps, conv.adjoint
    return replace(
        op, name=f"{op.name}.backward_weight", phase=Phase.BACKWARD_WEIGHT, m=m, n=n,
        k=op.m * op.groups if shared else op.m, groups=1 if shared else op.groups, conv=conv,
        b_shared=False, deps=deps,
    )  # fmt: skip


def product_gradients(op: Op, deps: tuple[str, ...]) -> tuple[Op, Op]:
    """The gradients dA = dC . B^T and dB = A^T . dC of a product of two activations."""
    return (
        replace(
            op, name=f"{op.name}.backward_a", phase=Phase.BACKWARD_DATA, n=op.k, k=op.n, deps=deps
        ),
        replace(
            op, name=f"{op.name}.backward_b", phase=Phase.BACKWARD_DATA, m=op.k, k=op.m, deps=deps
        ),
    )


def vector_gradient(op: Op, deps: tuple[str, ...]) -> Op | None:
    """The gradient of a vector operator, or None where it passes through."""
    work = function(op.function or "elementwise").backward
    if work is None:
        return None
    reduced = op.kind is Kind.REDUCTION and op.function != "cross_entropy"
    resized = reduced or op.function in RESIZING
    scatter = op.kind is Kind.EMBEDDING
    return replace(
        op, name=f"{op.name}.{'backward_weight' if scatter else 'backward_data'}",
        phase=Phase.BACKWARD_WEIGHT if scatter else Phase.BACKWARD_DATA,
        kind=Kind.ELEMENTWISE if op.kind is Kind.REDUCTION else op.kind,
        function=f"{op.function}.gradient", passes=work.passes, alu_per_element=work.alu,
        special_per_element=work.special, deps=deps,
        reads=op.writes if resized else op.elements * work.reads,
        writes=op.reads if resized else op.elements * work.writes,
    )  # fmt: skip


def update_op(
    layer: str, weight: str, elements: int, dtype: str, rule: Optimizer, deps: tuple[str, ...]
) -> Op:
    """The optimiser's step over the parameters of a layer; `weight` names the first of them."""
    copies = 0 if dtype == _MASTER_DTYPE else elements
    return Op(
        name=f"{layer}.update", kind=Kind.UPDATE, phase=Phase.UPDATE, layer=layer, weight=weight,
        function="update", elements=elements, passes=1, alu_per_element=rule.alu,
        special_per_element=rule.special, reads=elements, writes=copies,
        b_reads=rule.state * elements, b_writes=rule.state * elements, a_dtype=dtype,
        b_dtype=_MASTER_DTYPE, c_dtype=dtype, deps=deps,
    )  # fmt: skip


class _Backward:
    """The walk from the last operator to the first, and the gradients that wait on the way."""

    def __init__(
        self,
        forward: Trace,
        rule: Optimizer,
        input_gradient: bool,
        trainable: Callable[[str], bool] | None,
    ) -> None:
        self.forward = forward
        self.rule = rule
        self.frozen = {
            name for name in forward.parameters if trainable is not None and not trainable(name)
        }
        self.input_gradient = input_gradient
        self.ops = list(forward.ops)
        self.owned: dict[str, list[str]] = {}
        for parameter in forward.parameters:
            if parameter in self.frozen:
                continue
            self.owned.setdefault(parameter.rpartition(".")[0], []).append(parameter)
        self.consumed = {dep for op in forward for dep in op.deps}
        self.trainable: set[str] = set()
        self.users: dict[str, int] = {}
        self.layers: dict[str, list[str]] = {}
        for op in forward:
            own = op.weight is not None and self.learns(op)
            if op.weight is not None:
                self.users[op.weight] = self.users.get(op.weight, 0) + 1
                self.layers.setdefault(op.weight, []).append(op.layer)
            if own or any(dep in self.trainable for dep in op.deps):
                self.trainable.add(op.name)
        self.gradients: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self.weight_gradients: dict[str, list[str]] = {}

    def learns(self, op: Op) -> bool:
        """Whether the weight or the bias of an operator gets a gradient."""
        return op.weight not in self.frozen or bool(self.owned.get(op.layer))

    def run(self, optimizer_name: str) -> Trace:
        for op in reversed(self.forward.ops):
            arrived = op.name in self.gradients or op.name not in self.consumed
            if op.name in self.trainable and arrived:
                self.differentiate(op)
            elif op.weight is not None:
                self.users[op.weight] -= 1
        return replace(
            self.forward, ops=tuple(self.ops),
            meta={**self.forward.meta, "phase": "training", "optimizer": optimizer_name},
        )  # fmt: skip

    def differentiate(self, op: Op) -> None:
        dy = self.output_gradient(op)
        if op.kind is Kind.ATTENTION:
            for gradient, dep, elements in zip(
                product_gradients(op, (*dy, *op.deps)),
                (op.deps[:1], op.deps[-1:]),
                (op.a_elements, op.b_elements),
                strict=True,
            ):
                if any(name in self.trainable for name in dep):
                    self.ops.append(gradient)
                    self.send(dep[0], (gradient.name,), elements)
        elif op.is_matmul:
            self.weighted(op, dy)
        else:
            self.vector(op, dy)

    def weighted(self, op: Op, dy: tuple[str, ...]) -> None:
        before = [dep for dep in op.deps if dep in self.trainable]
        if before or (self.input_gradient and not op.deps):
            data = backward_data_op(op, dy)
            self.ops.append(data)
            for dep in before:
                self.send(dep, (data.name,), op.a_elements)
        if not self.learns(op):
            return
        made = []
        if op.weight not in self.frozen:
            weight = backward_weight_op(op, (*dy, *op.deps))
            self.ops.append(weight)
            made.append(weight.name)
        bias = f"{op.layer}.bias"
        own = bias in self.forward.parameters and bias not in self.frozen
        if own and bias not in self.users:
            made.append(self.parameter_sum(op, bias, op.c_elements, dy))
        self.update(op, made)

    def vector(self, op: Op, dy: tuple[str, ...]) -> None:
        gradient = vector_gradient(op, (*dy, op.name) if dy != (op.name,) else dy)
        if gradient is None:
            sent = dy
            if op.weight is not None and self.learns(op):
                self.update(op, [self.parameter_sum(op, op.weight, op.elements, dy)])
        else:
            self.ops.append(gradient)
            sent = (gradient.name,)
            if op.weight is not None and self.learns(op):
                self.update(op, [gradient.name])
        for dep in op.deps:
            if dep in self.trainable:
                whole = _out_elements(self.forward[dep])
                self.send(dep, sent, whole if len(op.deps) > 1 else min(whole, op.reads))

    def send(self, producer: str, gradient: tuple[str, ...], elements: int) -> None:
        self.gradients.setdefault(producer, []).append((gradient, elements))

    def output_gradient(self, op: Op) -> tuple[str, ...]:
        """The operators after which the gradient of op's output is complete."""
        arrived = self.gradients.get(op.name)
        if arrived is None:
            return (op.name,)
        names = tuple(dict.fromkeys(name for gradient, _ in arrived for name in gradient))
        excess = sum(elements for _, elements in arrived) - _out_elements(op)
        if len(arrived) < 2 or excess <= 0:
            return names
        return (self.addition(f"{op.name}.gradient_sum", op, excess, names),)

    def addition(self, name: str, op: Op, elements: int, deps: tuple[str, ...]) -> str:
        work = function("add").forward
        self.ops.append(
            Op(
                name=name, kind=Kind.ELEMENTWISE, phase=Phase.BACKWARD_DATA, layer=op.layer,
                function="add", elements=elements, passes=work.passes, alu_per_element=work.alu,
                reads=work.reads * elements, writes=work.writes * elements, a_dtype=op.c_dtype,
                c_dtype=op.c_dtype, repeats=op.repeats, deps=deps,
            )
        )  # fmt: skip
        return name

    def parameter_sum(self, op: Op, parameter: str, elements: int, deps: tuple[str, ...]) -> str:
        """The gradient of a broadcast parameter: a sum over everything that it was added to."""
        work = function("sum").forward
        name = f"{op.name}.{parameter.rpartition('.')[2]}_gradient"
        self.ops.append(
            Op(
                name=name, kind=Kind.REDUCTION, phase=Phase.BACKWARD_WEIGHT, layer=op.layer,
                weight=parameter, function="sum", elements=elements, passes=work.passes,
                alu_per_element=work.alu, reads=elements, writes=self.forward.parameters[parameter],
                a_dtype=op.c_dtype, c_dtype=op.c_dtype, repeats=op.repeats, deps=deps,
            )
        )  # fmt: skip
        return name

    def update(self, op: Op, made: list[str]) -> None:
        """Collect the gradients of op's weight; after the last one of its layer, append the update.

        A bias that an operator of its own adds is updated with the weight.
        """
        assert op.weight is not None
        weight = op.weight
        waiting = self.weight_gradients.setdefault(weight, [])
        if waiting:
            count = self.forward.parameters[weight]
            made = [self.addition(f"{op.name}.weight_sum", op, count, (*waiting, *made))]
            waiting.clear()
        waiting.extend(made)
        self.users[weight] -= 1
        layer = weight.rpartition(".")[0] or weight
        together = {weight, *self.owned.get(layer, ())} & set(self.users)
        if any(self.users[name] > 0 for name in together):
            return
        arrived = (
            self.weight_gradients.get(name, ()) for name in (weight, *self.owned.get(layer, ()))
        )
        waiting = list(dict.fromkeys(name for names in arrived for name in names))
        owned = (name for owner in self.layers[weight] for name in self.owned.get(owner, ()))
        own = () if weight in self.frozen else (weight,)
        names = dict.fromkeys((*own, *self.owned.get(layer, ()), *owned))
        elements = sum(self.forward.parameters[name] for name in names)
        step = update_op(layer, weight, elements, op.c_dtype, self.rule, tuple(waiting))
        self.ops.append(replace(step, repeats=op.repeats))


def _out_elements(op: Op) -> int:
    return op.c_elements if op.is_matmul else op.writes
