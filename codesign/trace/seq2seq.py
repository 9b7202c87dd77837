"""Encoder-decoder transformers (T5)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from codesign.config import CodesignError
from codesign.trace.network import Network, Value
from codesign.trace.op import Phase
from codesign.trace.spec import Depth, Request, Size
from codesign.trace.transformer import TransformerSpec


class EncoderDecoder(TransformerSpec):
    """T5 (Raffel et al. 2020, arXiv 1910.10683): relative positions, cross-attention.

    `seq` counts tokens of the encoder and, in inference and training, as many of the decoder.
    Prefill encodes, stores the keys and values of cross-attention and decodes one token; a decode
    step runs the decoder on one token, which attends to `context` cached tokens and itself, and to
    `seq` encoded tokens of the specification. The first layer of a stack looks up a bias for each
    head, query and key, which all of its layers add to the scores of self-attention.
    """

    takes_sequence: ClassVar[bool] = True
    generates: ClassVar[bool] = True

    family: Literal["encoder_decoder"]
    decoder_depth: Depth
    seq: Size
    vocabulary: Size
    buckets: Size = 32
    tied: bool = True

    def build(self, request: Request) -> Network:
        seq, cached = self.resolve(request)
        net = request.network()
        batch = request.batch
        encoded = Value(None, (batch, self.seq, self.width))
        net.parameters["embeddings.tokens.weight"] = self.vocabulary * self.width
        if request.phase is Phase.DECODE:
            self._declare_encoder(net)
        else:
            encoded = self._encode(net, batch, seq)
        targets = seq if request.phase is Phase.FORWARD else 1
        x = self._embed(net, "decoder.embed", batch, targets)
        net.parameters["decoder.positions.weight"] = self.buckets * self.heads
        for i in range(self.decoder_depth):
            x = self._decoder_layer(net, x, encoded, f"decoder.layers.{i}", cached)
        x = self._norm(net, x, "decoder.norm")
        tied = "embeddings.tokens.weight" if self.tied else None
        net.loss(net.linear(x, "lm_head", self.vocabulary, bias=False, tied=tied))
        return net

    def resolve(self, request: Request) -> tuple[int, int]:
        super().resolve(request)
        if request.phase is Phase.DECODE:
            return 1, self.seq - 1 if request.context is None else request.context
        if request.context:
            raise CodesignError(f"{self.name}: prefill encodes all tokens at once, no context")
        return request.seq or self.seq, 0

    def _encode(self, net: Network, batch: int, seq: int) -> Value:
        phase, net.phase = net.phase, Phase.FORWARD
        x = self._embed(net, "encoder.embed", batch, seq)
        net.parameters["encoder.positions.weight"] = self.buckets * self.heads
        for i in range(self.depth):
            x = self.layer(net, x, f"encoder.layers.{i}", 0)
        x = self._norm(net, x, "encoder.norm")
        net.phase = phase
        return x

    def _declare_encoder(self, net: Network) -> None:
        """Parameters of the encoder where it does not run."""
        aside = Network(dtype=net.dtype)
        self._encode(aside, 1, 1)
        net.parameters.update(aside.parameters)

    def _attention(self, net: Network, x: Value, name: str, cached: int) -> Value:
        """Self-attention whose scores get the position biases of the stack."""
        y = super()._attention(net, x, name, cached)
        scores, softmax, *after = net.ops[-4:]
        del net.ops[-3:]
        at, layer = f"{name}.attention", f"{name.partition('.')[0]}.positions"
        batch, queries, keys = x.shape[0], x.shape[1], cached + x.shape[1]
        bias = Value(layer, (self.heads, queries, keys))
        if name.endswith(".0"):
            net.vector(
                layer, "embedding", Value(None, bias.shape), layer=layer,
                weight=f"{layer}.weight", b_reads=queries * keys,
            )  # fmt: skip
        shape = (batch, *bias.shape)
        net.vector(f"{at}.bias", "add", Value(scores.name, shape), bias, layer=at)
        net.ops += [replace(softmax, deps=(f"{at}.bias",)), *after]
        return y

    def _embed(self, net: Network, layer: str, batch: int, tokens: int) -> Value:
        shape = (batch, tokens, self.width)
        return net.vector(
            layer, "embedding", Value(None, shape), layer=layer,
            weight="embeddings.tokens.weight", b_reads=batch * tokens,
        )  # fmt: skip

    def _decoder_layer(
        self, net: Network, x: Value, encoded: Value, name: str, cached: int
    ) -> Value:
        y = self._attention(net, self._norm(net, x, f"{name}.norm1"), name, cached)
        x = self._add(net, x, y, f"{name}.add1")
        y = self._cross(net, self._norm(net, x, f"{name}.norm_cross"), encoded, name)
        x = self._add(net, x, y, f"{name}.add_cross")
        y = self._mlp(net, self._norm(net, x, f"{name}.norm2"), name)
        return self._add(net, x, y, f"{name}.add2")

    def _cross(self, net: Network, x: Value, encoded: Value, name: str) -> Value:
        """Attention to the encoded tokens; a decode step finds their keys and values cached."""
        at = f"{name}.cross"
        head_dim = self.head_dim or self.width // self.heads
        inner = self.heads * head_dim
        q = net.linear(x, f"{at}.q", inner, bias=False)
        if net.phase is Phase.DECODE:
            for part in ("k", "v"):
                net.parameters[f"{at}.{part}.weight"] = inner * self.width
            k = v = Value(None, (*encoded.shape[:-1], inner))
        else:
            k = net.linear(encoded, f"{at}.k", inner, bias=False)
            v = net.linear(encoded, f"{at}.v", inner, bias=False)
        y = net.attention(
            q, k, v, at, heads=self.heads, kv_heads=self.heads, head_dim=head_dim,
            queries=x.shape[1], context=encoded.shape[1],
        )  # fmt: skip
        return net.linear(y, f"{at}.out", self.width, bias=False)
