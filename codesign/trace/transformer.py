"""Transformer families: vision transformers, encoders (BERT), decoders (GPT-2, OPT, Llama).

Dropout is left out, and attention computes the whole score matrix, causal or not. All families name
their layers alike: `layers.3.attention.qkv` (or `.q`, `.k`, `.v`), `.attention.out`,
`layers.3.mlp.up`, `.mlp.gate`, `.mlp.down`.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from codesign.config import CodesignError
from codesign.trace.experts import Experts, gated_product, mixture
from codesign.trace.network import Network, Value
from codesign.trace.op import GENERATING, Phase
from codesign.trace.spec import Depth, Request, Size, WorkloadSpec


class TransformerSpec(WorkloadSpec):
    """What all transformers state; every layer is attention and an MLP with residual additions."""

    width: Size
    depth: Depth
    heads: Size
    kv_heads: Size | None = None
    """Key-value heads that groups of heads share (grouped-query attention)."""
    head_dim: Size | None = None
    mlp_width: Size
    activation: Literal["gelu", "gelu_tanh", "relu", "silu", "swiglu"] = "gelu"
    """`swiglu` is silu, gated."""
    gated: bool = False
    """The MLP multiplies the activated `gate` by `up`."""
    fused_gate: bool = False
    """`gate` and `up` are one product, `gate_up`."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_first: bool = True
    norm_last: bool = False
    """Sublayers are normalised on their way out, before the residual addition (OLMo 2)."""
    bias: bool = True
    """Biases of all linear layers; the three keys below overrule it for some."""
    qkv_bias: bool | None = None
    out_bias: bool | None = None
    mlp_bias: bool | None = None
    fused_qkv: bool = True
    qk_norm: Literal["head", "row"] | None = None
    """RMS normalisation of queries and keys: each head by itself, or all heads of a token."""
    parallel: bool = False
    """Attention and MLP read the same input and are added together (GPT-NeoX)."""
    shared_norm: bool = False
    """Parallel attention and MLP read the same normalised input (GPT-J)."""
    experts: Experts | None = None
    rotary: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerSpec:
        if self.head_dim is None and self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is no multiple of kv_heads {self.kv_heads}")
        return self

    def layer(self, net: Network, x: Value, name: str, cached: int) -> Value:
        """One layer on x of shape (batch, tokens, width), with `cached` earlier tokens."""
        if self.parallel:
            first = self._norm(net, x, f"{name}.norm1")
            second = first if self.shared_norm else self._norm(net, x, f"{name}.norm2")
            y = self._attention(net, first, name, cached)
            y = self._add(net, y, self._mlp(net, second, name), f"{name}.add1")
            return self._add(net, y, x, f"{name}.add2")
        if self.norm_last:
            y = self._norm(net, self._attention(net, x, name, cached), f"{name}.norm1")
            x = self._add(net, x, y, f"{name}.add1")
            y = self._norm(net, self._mlp(net, x, name), f"{name}.norm2")
            return self._add(net, x, y, f"{name}.add2")
        if self.norm_first:
            x = self._add(
                net,
                x,
                self._attention(net, self._norm(net, x, f"{name}.norm1"), name, cached),
                f"{name}.add1",
            )
            return self._add(
                net, x, self._mlp(net, self._norm(net, x, f"{name}.norm2"), name), f"{name}.add2"
            )
        x = self._norm(
            net,
            self._add(net, x, self._attention(net, x, name, cached), f"{name}.add1"),
            f"{name}.norm1",
        )
        return self._norm(
            net, self._add(net, x, self._mlp(net, x, name), f"{name}.add2"), f"{name}.norm2"
        )

    def _norm(self, net: Network, x: Value, name: str) -> Value:
        return net.norm(x, name, self.norm, bias=self.norm == "layernorm")

    def _add(self, net: Network, x: Value, y: Value, name: str) -> Value:
        return net.vector(name, "add", x, y)

    def _attention(self, net: Network, x: Value, name: str, cached: int) -> Value:
        batch, tokens, _ = x.shape
        at = f"{name}.attention"
        head_dim = self.head_dim or self.width // self.heads
        kv_heads = self.kv_heads or self.heads
        q_width, kv_width = self.heads * head_dim, kv_heads * head_dim
        bias = self.bias if self.qkv_bias is None else self.qkv_bias
        if self.fused_qkv:
            q = k = v = net.linear(x, f"{at}.qkv", q_width + 2 * kv_width, bias=bias)
        else:
            q = net.linear(x, f"{at}.q", q_width, bias=bias)
            k = net.linear(x, f"{at}.k", kv_width, bias=bias)
            v = net.linear(x, f"{at}.v", kv_width, bias=bias)
        if self.qk_norm is not None:
            rows = (head_dim, head_dim) if self.qk_norm == "head" else (q_width, kv_width)
            q = net.norm_rows(q, f"{at}.q_norm", "rmsnorm", rows[0], (batch, tokens, q_width))
            k = net.norm_rows(k, f"{at}.k_norm", "rmsnorm", rows[1], (batch, tokens, kv_width))
        if self.rotary:
            q = k = net.vector(
                f"{at}.rotary", "rotary", q, k, shape=(batch, tokens, q_width + kv_width)
            )
        if net.phase in GENERATING:
            k = v = net.vector(
                f"{at}.kv_write", "kv_cache_write", k, v, shape=(batch, tokens, 2 * kv_width)
            )
        y = net.attention(
            q, k, v, at, heads=self.heads, kv_heads=kv_heads, head_dim=head_dim, queries=tokens,
            context=cached + tokens,
        )  # fmt: skip
        bias = self.bias if self.out_bias is None else self.out_bias
        return net.linear(y, f"{at}.out", self.width, bias=bias)

    def _mlp(self, net: Network, x: Value, name: str) -> Value:
        at = f"{name}.mlp"
        bias = self.bias if self.mlp_bias is None else self.mlp_bias
        activation = "silu" if self.activation == "swiglu" else self.activation
        layer = int(name.rpartition(".")[2])
        if self.experts is not None and self.experts.in_layer(layer):
            return mixture(net, x, at, self.experts, activation)
        if self.gated or self.activation == "swiglu":
            y = gated_product(net, x, at, self.mlp_width, activation, self.fused_gate, bias)
        else:
            up = net.linear(x, f"{at}.up", self.mlp_width, bias=bias)
            y = net.vector(f"{at}.{activation}", activation, up)
        return net.linear(y, f"{at}.down", self.width, bias=bias)


class ViT(TransformerSpec):
    """Vision transformer of Dosovitskiy et al. 2021 (arXiv 2010.11929)."""

    family: Literal["vit"]
    image: Size = 224
    patch: Size
    channels: Size = 3
    classes: Size = 1000
    pool: Literal["token", "mean"] = "token"
    """Classify a class token that is put before the patches, or the mean of all patches."""

    @model_validator(mode="after")
    def _patches_fit(self) -> ViT:
        if self.image % self.patch:
            raise ValueError(f"image {self.image} is no multiple of patch {self.patch}")
        return self

    def build(self, request: Request) -> Network:
        self.resolve(request)
        net = request.network()
        batch, side = request.batch, self.image // self.patch
        image = Value(None, (batch, self.image, self.image, self.channels))
        x = net.conv(
            image, "patches", self.width, self.patch, stride=self.patch, padding=0, bias=True
        )
        token = self.pool == "token"
        tokens = side * side + token
        if token:
            net.parameters["positions.token"] = self.width
        x = _learned_positions(net, x, tokens, (batch, tokens, self.width))
        for i in range(self.depth):
            x = self.layer(net, x, f"layers.{i}", 0)
        x = self._norm(net, x, "norm")
        x = Value(x.op, (batch, self.width)) if token else net.mean(x, "mean")
        net.loss(net.linear(x, "head", self.classes))
        return net


class Encoder(TransformerSpec):
    """BERT (Devlin et al. 2019, arXiv 1810.04805) up to its pooler, or to `classes` where given."""

    takes_sequence: ClassVar[bool] = True

    family: Literal["encoder"]
    seq: Size
    """Tokens where the caller names no number."""
    vocabulary: Size
    positions: Size
    token_types: int = Field(default=2, ge=0, le=1024)
    pooler: bool = True
    classes: Size | None = None

    def build(self, request: Request) -> Network:
        seq, _ = self.resolve(request)
        net = request.network()
        x = net.embedding("embeddings.tokens", self.vocabulary, self.width, (request.batch, seq))
        if self.token_types:
            net.parameters["positions.types"] = self.token_types * self.width
        x = self._norm(net, _learned_positions(net, x, self.positions, x.shape), "embeddings.norm")
        for i in range(self.depth):
            x = self.layer(net, x, f"layers.{i}", 0)
        if self.pooler:
            x = Value(x.op, (request.batch, self.width))
            x = net.vector("pooler.tanh", "tanh", net.linear(x, "pooler", self.width))
        if self.classes is not None:
            net.loss(net.linear(x, "classifier", self.classes))
        return net

    def resolve(self, request: Request) -> tuple[int, int]:
        super().resolve(request)
        seq = request.seq or self.seq
        _check_positions(self.name, seq, self.positions)
        return seq, 0


class Decoder(TransformerSpec):
    """Causal language model; prefill computes the logits of the last token, inference those of all.

    A decode step processes one new token for each sequence, which attends to `context` cached
    tokens and itself; where these fill all positions, the oldest one leaves the window. With
    `draft` tokens to verify it processes these too and computes all their logits. The logits of a
    tied head read the embedding table, whose parameters count once.
    """

    takes_sequence: ClassVar[bool] = True
    generates: ClassVar[bool] = True

    family: Literal["decoder"]
    seq: Size
    """Tokens where the caller names no number; a decode step then has seq - 1 cached tokens."""
    vocabulary: Size
    positions: Size | None = None
    """Learned positions, None for rotary ones."""
    position_offset: int = Field(default=0, ge=0, le=1024)
    """Rows of the position table that no token uses (OPT has 2)."""
    tied: bool = True
    final_norm: bool = True
    head_bias: bool = False
    embedding_norm: bool = False
    window: Size | None = None
    """Positions that a token attends to (sliding window): the cache holds no more. A pass over
    several tokens computes the whole matrix, window or not."""
    embedding_width: Size | None = None
    """Width of the token embeddings where it differs from `width` and is projected (OPT-350M)."""

    def build(self, request: Request) -> Network:
        seq, cached = self.resolve(request)
        net = request.network()
        width = self.embedding_width or self.width
        x = net.embedding("embeddings.tokens", self.vocabulary, width, (request.batch, seq))
        if width != self.width:
            x = net.linear(x, "project_in", self.width, bias=False)
        if self.positions is not None:
            x = _learned_positions(net, x, self.positions + self.position_offset, x.shape)
        if self.embedding_norm:
            x = self._norm(net, x, "embeddings.norm")
        for i in range(self.depth):
            x = self.layer(net, x, f"layers.{i}", cached)
        if self.final_norm:
            x = self._norm(net, x, "norm")
        if net.phase is Phase.PREFILL:
            x = Value(x.op, (request.batch, 1, self.width))
        if width != self.width:
            x = net.linear(x, "project_out", width, bias=False)
        tied = "embeddings.tokens.weight" if self.tied else None
        net.loss(net.linear(x, "lm_head", self.vocabulary, bias=self.head_bias, tied=tied))
        return net

    def resolve(self, request: Request) -> tuple[int, int]:
        super().resolve(request)
        if request.phase is Phase.DECODE:
            seq = 1 + request.draft
            cached = self.seq - seq if request.context is None else request.context
            if cached == self.positions:
                cached -= seq
            if self.window is not None:
                cached = min(cached, self.window - 1)
        else:
            seq, cached = request.seq or self.seq, request.context or 0
        _check_positions(self.name, seq + cached, self.positions)
        return seq, cached


def _learned_positions(net: Network, x: Value, rows: int, shape: tuple[int, ...]) -> Value:
    """x plus a table of `rows` learned positions, and the other parameters named `positions.*`."""
    net.parameters["positions.weight"] = rows * shape[-1]
    return net.vector(
        "positions", "add_parameter", x, layer="positions", weight="positions.weight", shape=shape,
        b_reads=prod(shape[1:]), b_dtype=net.dtype,
    )  # fmt: skip


def _check_positions(name: str, tokens: int, positions: int | None) -> None:
    if positions is not None and tokens > positions:
        raise CodesignError(f"{name} has {positions} positions, got {tokens} tokens")
