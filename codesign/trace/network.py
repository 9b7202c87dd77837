"""Builds the forward operators of a network, one call for each layer, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from codesign.trace.op import Kind, Op, Phase
from codesign.trace.vector_work import function
from codesign.trace.window import Conv, window


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor between operators: the operator that produces it (None for an input) and its shape.

    Feature maps are (batch, height, width, channels), token tensors (batch, tokens, features).
    """

    op: str | None
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)


class Network:
    """Collects forward operators and parameters in the order of execution.

    Layers are named by their module path. A bias is added in the epilogue of its product and costs
    no operator of its own forward. `training` selects batch statistics; `phase` marks every
    operator.
    """

    def __init__(
        self, *, dtype: str = "fp16", phase: Phase = Phase.FORWARD, training: bool = False
    ) -> None:
        self.dtype = dtype
        self.phase = phase
        self.training = training
        self.ops: list[Op] = []
        self.parameters: dict[str, int] = {}

    def add(self, op: Op, shape: tuple[int, ...]) -> Value:
        """Append an operator and return its output."""
        self.ops.append(op)
        return Value(op.name, shape)

    def linear(
        self, x: Value, layer: str, features: int, *, bias: bool = True, tied: str | None = None
    ) -> Value:
        """A product with a weight of `features` rows; `tied` names another layer's weight."""
        weight = tied or f"{layer}.weight"
        if tied is None:
            self.parameters[weight] = features * x.shape[-1]
        if bias:
            self.parameters[f"{layer}.bias"] = features
        op = Op(
            name=layer, kind=Kind.GEMM, phase=self.phase, layer=layer, weight=weight,
            m=prod(x.shape[:-1]), n=features, k=x.shape[-1], a_dtype=self.dtype,
            b_dtype=self.dtype, c_dtype=self.dtype, deps=_deps(x),
        )  # fmt: skip
        return self.add(op, (*x.shape[:-1], features))

    def conv(
        self,
        x: Value,
        layer: str,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        transposed: bool = False,
        output_padding: int = 0,
    ) -> Value:
        """A convolution of a map or a volume, whose kernel has the same size along each axis.

        The default padding keeps the size of the map at stride 1.
        """
        batch, *size, in_channels = x.shape
        pad = dilation * (kernel // 2) if padding is None else padding
        made = window(
            batch, size, (in_channels, channels), (kernel,) * len(size), stride=(stride,),
            padding=(pad,), dilation=(dilation,), groups=groups, transposed=transposed,
            output_padding=(output_padding,),
        )  # fmt: skip
        weight = f"{layer}.weight"
        self.parameters[weight] = channels * in_channels // groups * made.taps
        if bias:
            self.parameters[f"{layer}.bias"] = channels
        op = conv_op(layer, made, weight=weight, phase=self.phase, deps=_deps(x), dtype=self.dtype)
        out = (made.out_d, made.out_h, made.out_w)[3 - len(size) :]
        return self.add(op, (batch, *out, channels))

    def norm(self, x: Value, layer: str, kind: str, *, bias: bool = True) -> Value:
        """`batchnorm`, `layernorm` or `rmsnorm` over the last dimension of x."""
        self.parameters[f"{layer}.weight"] = x.shape[-1]
        if bias:
            self.parameters[f"{layer}.bias"] = x.shape[-1]
        name = "batchnorm_inference" if kind == "batchnorm" and not self.training else kind
        return self.vector(layer, name, x, layer=layer, weight=f"{layer}.weight")

    def norm_rows(
        self, x: Value, layer: str, kind: str, width: int, shape: tuple[int, ...]
    ) -> Value:
        """`kind` over rows of `width` elements, which share one weight; x is cut to `shape`."""
        self.parameters[f"{layer}.weight"] = width
        return self.vector(layer, kind, Value(x.op, shape), layer=layer, weight=f"{layer}.weight")

    def vector(
        self,
        name: str,
        what: str,
        *inputs: Value,
        layer: str = "",
        weight: str | None = None,
        shape: tuple[int, ...] | None = None,
        elements: int | None = None,
        reads: int | None = None,
        b_reads: int = 0,
        b_dtype: str = "int32",
    ) -> Value:
        """A row of `trace.vector_work` applied to `inputs`; the output has the first one's shape.

        For a REDUCTION `reads` are the elements of the input and `elements` the terms that are
        reduced.
        """
        row = function(what)
        out = inputs[0].shape if shape is None else shape
        count = prod(out) if elements is None else elements
        op = Op(
            name=name, kind=row.kind, phase=self.phase, layer=layer or name, function=what,
            weight=weight, elements=count, passes=row.forward.passes,
            alu_per_element=row.forward.alu, special_per_element=row.forward.special,
            reads=count * row.forward.reads if reads is None else reads,
            writes=prod(out) if row.kind is Kind.REDUCTION else count * row.forward.writes,
            b_reads=b_reads, a_dtype=self.dtype, b_dtype=b_dtype, c_dtype=self.dtype,
            deps=_deps(*inputs),
        )  # fmt: skip
        return self.add(op, out)

    def pool(
        self, x: Value, name: str, kernel: int, *, stride: int | None = None, padding: int = 0
    ) -> Value:
        """Maximum over square windows."""
        batch, height, width, channels = x.shape
        step = stride or kernel
        shape = (
            batch,
            (height + 2 * padding - kernel) // step + 1,
            (width + 2 * padding - kernel) // step + 1,
            channels,
        )
        return self.vector(
            name,
            "max_pool",
            x,
            shape=shape,
            elements=prod(shape) * kernel * kernel,
            reads=x.elements,
        )

    def mean(self, x: Value, name: str) -> Value:
        """The mean of each channel over its map: (batch, h, w, c) to (batch, c)."""
        shape = (x.shape[0], x.shape[-1])
        return self.vector(name, "mean", x, shape=shape, elements=x.elements, reads=x.elements)

    def max(self, x: Value, name: str) -> Value:
        """The maximum of each channel over its map: (batch, h, w, c) to (batch, c)."""
        shape = (x.shape[0], x.shape[-1])
        return self.vector(name, "max_pool", x, shape=shape, elements=x.elements, reads=x.elements)

    def embedding(self, layer: str, rows: int, width: int, tokens: tuple[int, int]) -> Value:
        """Rows of a table for (batch, tokens) indices."""
        weight = f"{layer}.weight"
        self.parameters[weight] = rows * width
        shape = (*tokens, width)
        return self.vector(
            layer, "embedding", Value(None, shape), layer=layer, weight=weight, b_reads=prod(tokens)
        )

    def attention(
        self,
        q: Value,
        k: Value,
        v: Value,
        layer: str,
        *,
        heads: int,
        kv_heads: int,
        head_dim: int,
        queries: int,
        context: int,
    ) -> Value:
        """Scores, softmax and context product of `queries` on `context` positions of a sequence.

        Heads that share keys and values (grouped-query attention) are rows of one product, so that
        the bytes of K and V are counted once for each key-value head: groups = batch * kv_heads and
        m = queries * heads / kv_heads. All positions are computed: the causal half is not left out.
        """
        batch = q.shape[0]
        groups, rows = batch * kv_heads, queries * (heads // kv_heads)
        score_deps, context_deps = _deps(q, k), _deps(Value(f"{layer}.softmax", ()), v)
        ops = attention_ops(
            layer, groups, rows, head_dim, context, score_deps, context_deps,
            phase=self.phase, dtype=self.dtype,
        )  # fmt: skip
        self.ops.extend(ops)
        return Value(ops[-1].name, (batch, queries, heads * head_dim))

    def loss(self, logits: Value) -> None:
        """Cross entropy of the last dimension; only training computes it."""
        if self.training:
            rows = prod(logits.shape[:-1])
            self.vector(
                "loss", "cross_entropy", logits, shape=(rows,), elements=logits.elements,
                reads=logits.elements, b_reads=rows,
            )  # fmt: skip


def conv_op(
    layer: str,
    window: Conv,
    *,
    weight: str | None,
    phase: Phase,
    deps: tuple[str, ...],
    dtype: str,
    name: str = "",
) -> Op:
    """A forward convolution: n = out channels, k = (kernel_d, kernel_h, kernel_w, in channels).

    m counts positions of the output, or of a transposed one's input: each is multiplied by all taps
    and no inserted zero is.
    """
    return Op(
        name=name or layer, kind=Kind.CONV, phase=phase, layer=layer, weight=weight, conv=window,
        m=window.in_pixels if window.transposed else window.out_pixels,
        n=window.out_channels // window.groups, k=window.taps * window.in_channels // window.groups,
        groups=window.groups, a_dtype=dtype, b_dtype=dtype, c_dtype=dtype, deps=deps,
    )  # fmt: skip


def attention_ops(
    layer: str,
    groups: int,
    rows: int,
    head_dim: int,
    context: int,
    score_deps: tuple[str, ...],
    context_deps: tuple[str, ...],
    *,
    phase: Phase,
    dtype: str,
) -> tuple[Op, Op, Op]:
    """Scores (rows x context), their softmax, and the context product (rows x head_dim)."""
    work = function("softmax").forward
    elements = groups * rows * context
    return (
        Op(
            name=f"{layer}.scores", kind=Kind.ATTENTION, phase=phase, layer=layer, m=rows,
            n=context, k=head_dim, groups=groups, a_dtype=dtype, b_dtype=dtype, c_dtype=dtype,
            deps=score_deps,
        ),
        Op(
            name=f"{layer}.softmax", kind=Kind.SOFTMAX, phase=phase, layer=layer,
            function="softmax", elements=elements, passes=work.passes, alu_per_element=work.alu,
            special_per_element=work.special, reads=elements, writes=elements, a_dtype=dtype,
            c_dtype=dtype, deps=(f"{layer}.scores",),
        ),
        Op(
            name=f"{layer}.context", kind=Kind.ATTENTION, phase=phase, layer=layer, m=rows,
            n=head_dim, k=context, groups=groups, a_dtype=dtype, b_dtype=dtype, c_dtype=dtype,
            deps=context_deps,
        ),
    )  # fmt: skip


def _deps(*values: Value) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.op for value in values if value.op is not None))
