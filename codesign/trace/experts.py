"""Gated MLPs, and mixtures of experts of which each token uses a few."""

from __future__ import annotations

from math import prod

from pydantic import Field, model_validator

from codesign.config import Spec
from codesign.trace.network import Network, Value
from codesign.trace.op import Kind, Op
from codesign.trace.spec import Size


class Experts(Spec):
    """Gated MLPs of `width`, of which a router picks `per_token` for each token.

    Tokens are assumed to spread over experts as evenly as whole numbers allow: a step of few tokens
    uses as many experts as there are assignments. With `shared_width` one more gated MLP runs for
    every token, scaled by a gate of its own where `shared_gate` says so. Layers that are no
    multiple of `every`, counted from 1, and those in `dense_layers`, counted from 0, have one gated
    MLP of the model's width in place of experts.
    """

    count: Size
    per_token: Size
    width: Size
    shared_width: int = Field(default=0, ge=0, le=1 << 31)
    shared_gate: bool = False
    every: int = Field(default=1, ge=1, le=1024)
    dense_layers: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _enough(self) -> Experts:
        if self.per_token > self.count:
            raise ValueError(f"per_token {self.per_token} is more than the {self.count} experts")
        return self

    def in_layer(self, layer: int) -> bool:
        """Whether a layer, counted from 0, has experts.

        >>> [Experts(count=8, per_token=2, width=1, every=2).in_layer(i) for i in range(4)]
        [False, True, False, True]
        """
        return (layer + 1) % self.every == 0 and layer not in self.dense_layers

    def loads(self, tokens: int) -> tuple[tuple[int, int], ...]:
        """(experts, rows of each) for all groups of equally loaded experts that have rows.

        >>> Experts(count=8, per_token=2, width=1).loads(5)
        ((2, 2), (6, 1))
        """
        rows, more = divmod(tokens * self.per_token, self.count)
        groups = ((more, rows + 1), (self.count - more, rows))
        return tuple((experts, each) for experts, each in groups if experts and each)


def gated_product(
    net: Network, x: Value, at: str, width: int, activation: str, fused: bool, bias: bool
) -> Value:
    """The activated gate times up: two products of `width`, or one of twice the width."""
    if fused:
        both = net.linear(x, f"{at}.gate_up", 2 * width, bias=bias)
        gate = up = Value(both.op, (*both.shape[:-1], width))
    else:
        gate = net.linear(x, f"{at}.gate", width, bias=bias)
        up = net.linear(x, f"{at}.up", width, bias=bias)
    return net.vector(
        f"{at}.multiply", "multiply", net.vector(f"{at}.{activation}", activation, gate), up
    )


def mixture(net: Network, x: Value, at: str, experts: Experts, activation: str) -> Value:
    """Router, experts and their weighted sum; gate and up of an expert are one product.

    Equally loaded experts are groups of one product. Where loads differ, the weights of each group
    are a tensor of their own, named by the experts it holds.
    """
    tokens, width = prod(x.shape[:-1]), x.shape[-1]
    scores = net.linear(x, f"{at}.router", experts.count, bias=False)
    chosen = net.vector(f"{at}.router.softmax", "softmax", scores, layer=f"{at}.router")
    sums: list[Value] = []
    loads = experts.loads(tokens)
    first = 0
    for count, rows in loads:
        name = f"{at}.experts"
        if count < experts.count:
            name += f".{first}-{first + count - 1}"
        y = _grouped(net, (x, chosen), f"{name}.gate_up", count, rows, width, 2 * experts.width)
        gate = up = Value(y.op, (count * rows, experts.width))
        y = net.vector(
            f"{name}.multiply", "multiply", net.vector(f"{name}.act", activation, gate), up
        )
        sums.append(_grouped(net, (y,), f"{name}.down", count, rows, experts.width, width))
        first += count
    if first < experts.count:
        idle = f"{at}.experts.{first}-{experts.count - 1}"
        for part, size in (("gate_up", 2 * experts.width), ("down", experts.width)):
            net.parameters[f"{idle}.{part}.weight"] = (experts.count - first) * size * width
    terms = tokens * experts.per_token * width
    out = net.vector(
        f"{at}.combine", "weighted_sum", *sums, chosen, shape=x.shape, elements=terms, reads=terms
    )
    if experts.shared_width:
        out = _shared(net, x, out, f"{at}.shared", experts, activation)
    return out


def _grouped(
    net: Network, inputs: tuple[Value, ...], layer: str, count: int, rows: int, k: int, n: int
) -> Value:
    weight = f"{layer}.weight"
    net.parameters[weight] = count * n * k
    deps = tuple(dict.fromkeys(value.op for value in inputs if value.op is not None))
    op = Op(
        name=layer, kind=Kind.GEMM, phase=net.phase, layer=layer, weight=weight, m=rows, n=n, k=k,
        groups=count, a_dtype=net.dtype, b_dtype=net.dtype, c_dtype=net.dtype, deps=deps,
    )  # fmt: skip
    return net.add(op, (count * rows, n))


def _shared(
    net: Network, x: Value, routed: Value, at: str, experts: Experts, activation: str
) -> Value:
    y = gated_product(net, x, at, experts.shared_width, activation, False, False)
    y = net.linear(y, f"{at}.down", x.shape[-1], bias=False)
    if experts.shared_gate:
        gate = net.linear(x, f"{at}.weigh", 1, bias=False)
        gate = net.vector(f"{at}.sigmoid", "sigmoid", gate)
        y = net.vector(f"{at}.scale", "multiply", y, gate, shape=x.shape)
    return net.vector(f"{at}.add", "add", routed, y)
