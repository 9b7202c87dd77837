"""The names that Hugging Face models give to the layers that are built here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from codesign.trace.op import Trace

_LAYER = re.compile(r"((?:\w+\.)?layers)\.(\d+)\.(.*)")


@dataclass(frozen=True, slots=True)
class Names:
    """`stacks` maps our prefix of a stack of layers to theirs; `layer` what is in a layer, `top`
    the rest. The longest dotted beginning of a name that is a key is replaced."""

    stacks: Mapping[str, str] = field(default_factory=dict)
    layer: Mapping[str, str] = field(default_factory=dict)
    top: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, name: str) -> str:
        match = _LAYER.fullmatch(name)
        if match is not None and match[1] in self.stacks:
            return f"{self.stacks[match[1]]}.{match[2]}.{_longest(match[3], self.layer)}"
        return _longest(name, self.top)


def _longest(name: str, table: Mapping[str, str]) -> str:
    head, rest = name, ""
    while head:
        if head in table:
            return table[head] + rest
        head, dot, last = head.rpartition(".")
        rest = f"{dot}{last}{rest}"
    return name


def renamed(trace: Trace, names: Callable[[str], str]) -> Trace:
    """The trace with every operator, layer and parameter called by `names`."""
    memo: dict[str, str] = {}

    def new(name: str) -> str:
        if name not in memo:
            memo[name] = names(name)
        return memo[name]

    return replace(
        trace,
        ops=tuple(
            replace(
                op, name=new(op.name), layer=new(op.layer),
                weight=None if op.weight is None else new(op.weight),
                deps=tuple(map(new, op.deps)),
            )
            for op in trace
        ),
        parameters={new(name): count for name, count in trace.parameters.items()},
        masks={new(name): mask for name, mask in trace.masks.items()},
    )  # fmt: skip


def _parts(module: str, names: str) -> dict[str, str]:
    """`ours=theirs` pairs, with theirs below a module."""
    pairs = (text.partition("=") for text in names.split())
    return {ours: f"{module}{theirs}" for ours, _, theirs in pairs}


_LLAMA_LAYER = {
    "attention": "self_attn",
    **_parts(
        "self_attn.",
        "attention.q=q_proj attention.k=k_proj attention.v=v_proj attention.out=o_proj "
        "attention.qkv=qkv_proj attention.q_norm=q_norm attention.k_norm=k_norm",
    ),
    **_parts(
        "mlp.",
        "mlp.gate=gate_proj mlp.up=up_proj mlp.down=down_proj mlp.gate_up=gate_up_proj "
        "mlp.router=gate mlp.experts.gate_up.weight=experts.gate_up_proj "
        "mlp.experts.down.weight=experts.down_proj mlp.shared=shared_expert "
        "mlp.shared.gate=shared_expert.gate_proj mlp.shared.up=shared_expert.up_proj "
        "mlp.shared.down=shared_expert.down_proj mlp.shared.weigh=shared_expert_gate",
    ),
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
}
_LLAMA = Names(
    {"layers": "model.layers"},
    _LLAMA_LAYER,
    {"embeddings.tokens": "model.embed_tokens", "norm": "model.norm"},
)
_FC = _parts("mlp.", "mlp.up=fc1 mlp.down=fc2")
_BERT_LAYER = {
    "attention": "attention.self",
    **_parts("attention.self.", "attention.q=query attention.k=key attention.v=value"),
    "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "norm2": "output.LayerNorm",
}
_BERT = Names(
    {"layers": "encoder.layer"},
    _BERT_LAYER,
    {
        "embeddings.tokens": "embeddings.word_embeddings",
        "positions": "embeddings.position_embeddings",
        "positions.types": "embeddings.token_type_embeddings.weight",
        "embeddings.norm": "embeddings.LayerNorm",
        "pooler": "pooler.dense",
    },
)
_VIT_LAYER = {
    "attention": "attention",
    **_parts("attention.", "attention.q=q_proj attention.k=k_proj attention.v=v_proj"),
    "attention.out": "attention.o_proj",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    **_FC,
}
_VIT = Names(
    {"layers": "vit.layers"},
    _VIT_LAYER,
    {
        "patches": "vit.embeddings.patch_embeddings.projection",
        "positions.token": "vit.embeddings.cls_token",
        "positions.weight": "vit.embeddings.position_embeddings",
        "positions": "vit.embeddings",
        "norm": "vit.layernorm",
        "head": "classifier",
    },
)
_FOUR_H = _parts("mlp.", "mlp.up=dense_h_to_4h mlp.down=dense_4h_to_h")


def _t5_layer(part: int, gated_up: str) -> dict[str, str]:
    mlp = f"layer.{part}.DenseReluDense."
    own = "layer.0.SelfAttention."
    return {
        **_parts(own, "attention.q=q attention.k=k attention.v=v attention.out=o"),
        "attention": own.rstrip("."),
        "cross": "layer.1.EncDecAttention",
        "cross.out": "layer.1.EncDecAttention.o",
        **_parts(mlp, f"mlp.gate=wi_0 mlp.up={gated_up} mlp.down=wo"),
        "norm1": "layer.0.layer_norm",
        "norm_cross": "layer.1.layer_norm",
        "norm2": f"layer.{part}.layer_norm",
    }


@dataclass(frozen=True, slots=True)
class _T5Names:
    encoder: Names
    decoder: Names

    def __call__(self, name: str) -> str:
        return self.decoder(name) if name.startswith("decoder.") else self.encoder(name)


def _t5(gated: bool) -> _T5Names:
    up = "wi_1" if gated else "wi"
    top = {"embeddings.tokens": "shared", "encoder.embed": "encoder.embed_tokens"}
    for stack in ("encoder", "decoder"):
        top[f"{stack}.norm"] = f"{stack}.final_layer_norm"
        top[f"{stack}.positions"] = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias"
    return _T5Names(
        Names({"encoder.layers": "encoder.block"}, _t5_layer(1, up), top),
        Names({"decoder.layers": "decoder.block"}, _t5_layer(2, up), top),
    )


_RESNET_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn|relu|downsample\.)?(\d+)?(.*)")


def _resnet(name: str) -> str:
    match = _RESNET_BLOCK.fullmatch(name)
    if match is None:
        top = {
            "conv1": "resnet.embedder.embedder.convolution",
            "bn1": "resnet.embedder.embedder.normalization",
            "fc": "classifier.1",
        }
        return _longest(name, top)
    stage, block, kind, number, rest = match.groups()
    at = f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}"
    if kind is None or number is None:
        return f"{at}.{kind or ''}{rest}"
    if kind == "downsample.":
        return f"{at}.shortcut.{('convolution', 'normalization')[int(number)]}{rest}"
    leaf = {"conv": "convolution", "bn": "normalization", "relu": "activation"}[kind]
    return f"{at}.layer.{int(number) - 1}.{leaf}{rest}"


def names_of(model_type: str, *, gated: bool = False) -> Callable[[str], str]:
    """The renaming of a `model_type`; layers of types without one keep the names they have."""
    if model_type == "t5":
        return _t5(gated)
    if model_type == "resnet":
        return _resnet
    return _NAMES.get(model_type, _LLAMA)


_NAMES: Mapping[str, Names] = {
    "gpt2": Names(
        {"layers": "transformer.h"},
        {
            "attention": "attn",
            **_parts("attn.", "attention.qkv=c_attn attention.out=c_proj"),
            **_parts("mlp.", "mlp.up=c_fc mlp.down=c_proj"),
            "norm1": "ln_1",
            "norm2": "ln_2",
        },
        {
            "embeddings.tokens": "transformer.wte",
            "positions": "transformer.wpe",
            "norm": "transformer.ln_f",
        },
    ),
    "gptj": Names(
        {"layers": "transformer.h"},
        {
            "attention": "attn",
            **_parts("attn.", "attention.q=q_proj attention.k=k_proj attention.v=v_proj"),
            "attention.out": "attn.out_proj",
            **_parts("mlp.", "mlp.up=fc_in mlp.down=fc_out"),
            "norm1": "ln_1",
        },
        {"embeddings.tokens": "transformer.wte", "norm": "transformer.ln_f"},
    ),
    "opt": Names(
        {"layers": "model.decoder.layers"},
        {
            **_LLAMA_LAYER,
            "attention.out": "self_attn.out_proj",
            "mlp.up": "fc1",
            "mlp.down": "fc2",
            "norm1": "self_attn_layer_norm",
            "norm2": "final_layer_norm",
        },
        {
            "embeddings.tokens": "model.decoder.embed_tokens",
            "positions": "model.decoder.embed_positions",
            "norm": "model.decoder.final_layer_norm",
            "project_in": "model.decoder.project_in",
            "project_out": "model.decoder.project_out",
        },
    ),
    "gpt_neox": Names(
        {"layers": "gpt_neox.layers"},
        {
            **_LLAMA_LAYER,
            "attention": "attention",
            **_parts("attention.", "attention.qkv=query_key_value attention.out=dense"),
            **_FOUR_H,
        },
        {
            "embeddings.tokens": "gpt_neox.embed_in",
            "norm": "gpt_neox.final_layer_norm",
        },
    ),
    "bloom": Names(
        {"layers": "transformer.h"},
        {
            **_LLAMA_LAYER,
            "attention": "self_attention",
            **_parts("self_attention.", "attention.qkv=query_key_value attention.out=dense"),
            **_FOUR_H,
        },
        {
            "embeddings.tokens": "transformer.word_embeddings",
            "embeddings.norm": "transformer.word_embeddings_layernorm",
            "norm": "transformer.ln_f",
        },
    ),
    "phi": Names(
        _LLAMA.stacks,
        {**_LLAMA_LAYER, **_FC, "attention.out": "self_attn.dense"},
        {**_LLAMA.top, "norm": "model.final_layernorm"},
    ),
    "starcoder2": Names(
        _LLAMA.stacks,
        {**_LLAMA_LAYER, **_parts("mlp.", "mlp.up=c_fc mlp.down=c_proj")},
        _LLAMA.top,
    ),
    "olmo2": Names(
        _LLAMA.stacks,
        {
            **_LLAMA_LAYER,
            "norm1": "post_attention_layernorm",
            "norm2": "post_feedforward_layernorm",
        },
        _LLAMA.top,
    ),
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": Names(
        {"layers": "transformer.layer"},
        {
            "attention": "attention",
            **_parts("attention.", "attention.q=q_lin attention.k=k_lin attention.v=v_lin"),
            "attention.out": "attention.out_lin",
            **_parts("ffn.", "mlp.up=lin1 mlp.down=lin2"),
            "norm1": "sa_layer_norm",
            "norm2": "output_layer_norm",
        },
        _BERT.top,
    ),
    "vit": _VIT,
    "deit": _VIT,
}
