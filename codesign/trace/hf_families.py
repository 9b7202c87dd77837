"""What the configurations of Hugging Face models say, as workload specifications.

Defaults are those of the configuration classes of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from codesign.trace.cnn import ResNet
from codesign.trace.experts import Experts
from codesign.trace.hf_config import HFConfig
from codesign.trace.seq2seq import EncoderDecoder
from codesign.trace.spec import WorkloadSpec
from codesign.trace.transformer import Decoder, Encoder, ViT

_LONGEST = 2048
"""Tokens where the caller names no number and the model allows more."""


def _llama(c: HFConfig, **changed: Any) -> Decoder:
    """Llama and its relatives: rotary positions, RMS norms, gated MLP."""
    width, heads = c.size("hidden_size", default=4096), c.size("num_attention_heads", default=32)
    bias = c.flag("attention_bias", False)
    stated = {
        "width": width, "depth": c.size("num_hidden_layers", default=32), "heads": heads,
        "kv_heads": c.size("num_key_value_heads", default=heads), "head_dim": c.maybe("head_dim"),
        "mlp_width": c.size("intermediate_size", default=11008),
        "activation": c.activation("hidden_act", "silu"), "gated": True, "norm": "rmsnorm",
        "bias": False, "qkv_bias": bias, "out_bias": bias, "mlp_bias": c.flag("mlp_bias", False),
        "fused_qkv": False, "rotary": True, "vocabulary": c.size("vocab_size", default=32000),
        "tied": c.flag("tie_word_embeddings", False),
        "seq": min(_LONGEST, c.size("max_position_embeddings", default=_LONGEST)),
    }  # fmt: skip
    return Decoder(name=c.name, family="decoder", **{**stated, **changed})


def _mistral(c: HFConfig, **changed: Any) -> Decoder:
    stated: dict[str, Any] = {
        "kv_heads": c.size("num_key_value_heads", default=8),
        "mlp_width": c.size("intermediate_size", default=14336),
        "window": _window(c, 4096),
        "qkv_bias": False,
        "out_bias": False,
    }
    return _llama(c, **{**stated, **changed})


def _window(c: HFConfig, default: int | None) -> int | None:
    """`"sliding_window": null` switches off what a missing key leaves on."""
    return c.maybe("sliding_window") if "sliding_window" in c.data else default


def _mixtral(c: HFConfig) -> Decoder:
    experts = Experts(
        count=c.size("num_local_experts", default=8),
        per_token=c.size("num_experts_per_tok", default=2),
        width=c.size("intermediate_size", default=14336),
    )
    return _mistral(c, experts=experts, window=_window(c, None))


def _qwen2(c: HFConfig, **changed: Any) -> Decoder:
    stated: dict[str, Any] = {
        "mlp_width": c.size("intermediate_size", default=22016),
        "vocabulary": c.size("vocab_size", default=151936),
        "kv_heads": c.size("num_key_value_heads", default=32),
        "qkv_bias": True,
        "out_bias": False,
    }
    if c.flag("use_sliding_window", False) and c.size("max_window_layers", default=28) == 0:
        stated["window"] = _window(c, 4096)
    return _llama(c, **{**stated, **changed})


def _qwen3(c: HFConfig, **changed: Any) -> Decoder:
    bias = c.flag("attention_bias", False)
    stated: dict[str, Any] = {
        "head_dim": c.size("head_dim", default=128),
        "qk_norm": "head",
        "qkv_bias": bias,
        "out_bias": bias,
    }
    return _qwen2(c, **{**stated, **changed})


def _dense_layers(c: HFConfig) -> dict[str, Any]:
    """Which layers of a Qwen mixture have one MLP."""
    layers = c.data.get("mlp_only_layers") or []
    if not isinstance(layers, list) or not all(type(i) is int and i >= 0 for i in layers):
        raise c.error(f"mlp_only_layers is a list of whole numbers from 0, got {layers!r:.60}")
    return {"every": c.size("decoder_sparse_step", default=1), "dense_layers": tuple(layers)}


def _qwen2_moe(c: HFConfig) -> Decoder:
    experts = Experts(
        count=c.size("num_experts", default=60),
        per_token=c.size("num_experts_per_tok", default=4),
        width=c.size("moe_intermediate_size", default=1408),
        shared_width=c.size("shared_expert_intermediate_size", default=5632),
        shared_gate=True,
        **_dense_layers(c),
    )
    sizes = {
        "width": c.size("hidden_size", default=2048),
        "depth": c.size("num_hidden_layers", default=24),
        "heads": c.size("num_attention_heads", default=16),
        "kv_heads": c.size("num_key_value_heads", default=16),
        "mlp_width": c.size("intermediate_size", default=5632),
        "qkv_bias": c.flag("qkv_bias", True),
    }
    return _qwen2(c, experts=experts, **sizes)


def _qwen3_moe(c: HFConfig) -> Decoder:
    experts = Experts(
        count=c.size("num_experts", default=128),
        per_token=c.size("num_experts_per_tok", default=8),
        width=c.size("moe_intermediate_size", default=768),
        **_dense_layers(c),
    )
    sizes = {
        "width": c.size("hidden_size", default=2048),
        "depth": c.size("num_hidden_layers", default=24),
        "kv_heads": c.size("num_key_value_heads", default=4),
        "head_dim": c.maybe("head_dim"),
        "mlp_width": c.size("intermediate_size", default=6144),
    }
    return _qwen3(c, experts=experts, **sizes)


def _gemma(c: HFConfig) -> Decoder:
    return _llama(
        c, width=c.size("hidden_size", default=3072),
        depth=c.size("num_hidden_layers", default=28),
        heads=c.size("num_attention_heads", default=16),
        kv_heads=c.size("num_key_value_heads", default=16),
        head_dim=c.size("head_dim", default=256),
        mlp_width=c.size("intermediate_size", default=24576), mlp_bias=False,
        vocabulary=c.size("vocab_size", default=256000),
        activation=c.activation("hidden_act", "gelu_pytorch_tanh"),
        tied=c.flag("tie_word_embeddings", True),
    )  # fmt: skip


def _phi3(c: HFConfig) -> Decoder:
    return _llama(
        c, width=c.size("hidden_size", default=3072),
        mlp_width=c.size("intermediate_size", default=8192), fused_qkv=True, fused_gate=True,
        vocabulary=c.size("vocab_size", default=32064), window=c.maybe("sliding_window"),
        qkv_bias=False, out_bias=False, mlp_bias=False,
    )  # fmt: skip


def _olmo2(c: HFConfig) -> Decoder:
    return _llama(
        c, norm_first=False, norm_last=True, qk_norm="row", mlp_bias=False,
        vocabulary=c.size("vocab_size", default=50304),
    )  # fmt: skip


def _stablelm(c: HFConfig) -> Decoder:
    if c.flag("qk_layernorm", False):
        raise c.error("qk_layernorm is not known here")
    parallel = c.flag("use_parallel_residual", False)
    return _llama(
        c, width=c.size("hidden_size", default=2560),
        mlp_width=c.size("intermediate_size", default=6912), norm="layernorm",
        kv_heads=c.size("num_key_value_heads", default=32), parallel=parallel,
        shared_norm=parallel, qkv_bias=c.flag("use_qkv_bias", False), out_bias=False,
        mlp_bias=False, vocabulary=c.size("vocab_size", default=50304),
    )  # fmt: skip


def _starcoder2(c: HFConfig) -> Decoder:
    bias = c.flag("use_bias", True)
    return _llama(
        c, width=c.size("hidden_size", default=3072),
        depth=c.size("num_hidden_layers", default=30),
        heads=c.size("num_attention_heads", default=24),
        kv_heads=c.size("num_key_value_heads", default=2),
        mlp_width=c.size("intermediate_size", default=12288), gated=False, norm="layernorm",
        activation=c.activation("hidden_act", "gelu_pytorch_tanh"), bias=bias, qkv_bias=bias,
        out_bias=bias, mlp_bias=bias, vocabulary=c.size("vocab_size", default=49152),
        window=c.maybe("sliding_window"), tied=c.flag("tie_word_embeddings", True),
    )  # fmt: skip


def _phi(c: HFConfig) -> Decoder:
    if c.flag("qk_layernorm", False):
        raise c.error("qk_layernorm is not known here")
    return _llama(
        c, width=c.size("hidden_size", default=2048),
        depth=c.size("num_hidden_layers", default=24), norm="layernorm",
        mlp_width=c.size("intermediate_size", default=8192), gated=False,
        activation=c.activation("hidden_act", "gelu_new"), bias=True, qkv_bias=True,
        out_bias=True, mlp_bias=True, parallel=True, shared_norm=True, head_bias=True,
        vocabulary=c.size("vocab_size", default=51200),
    )  # fmt: skip


def _gpt_neox(c: HFConfig) -> Decoder:
    bias = c.flag("attention_bias", True)
    return _llama(
        c, width=c.size("hidden_size", default=6144),
        depth=c.size("num_hidden_layers", default=44),
        heads=c.size("num_attention_heads", default=64), kv_heads=None,
        mlp_width=c.size("intermediate_size", default=24576), gated=False, norm="layernorm",
        activation=c.activation("hidden_act", "gelu"), bias=True, qkv_bias=bias, out_bias=bias,
        mlp_bias=True, fused_qkv=True, parallel=c.flag("use_parallel_residual", True),
        vocabulary=c.size("vocab_size", default=50432),
    )  # fmt: skip


def _gptj(c: HFConfig) -> Decoder:
    width = c.size("n_embd", "hidden_size", default=4096)
    return Decoder(
        name=c.name, family="decoder", width=width, depth=c.size("n_layer", default=28),
        heads=c.size("n_head", default=16), mlp_width=c.size("n_inner", default=4 * width),
        activation=c.activation("activation_function", "gelu_new"), bias=True,  # type: ignore[arg-type]
        qkv_bias=False, out_bias=False, fused_qkv=False, parallel=True, shared_norm=True,
        rotary=True, vocabulary=c.size("vocab_size", default=50400), head_bias=True,
        tied=c.flag("tie_word_embeddings", False),
        seq=min(_LONGEST, c.size("n_positions", default=_LONGEST)),
    )  # fmt: skip


def _gpt2(c: HFConfig) -> Decoder:
    width, positions = c.size("n_embd", default=768), c.size("n_positions", "n_ctx", default=1024)
    return Decoder(
        name=c.name, family="decoder", width=width, depth=c.size("n_layer", default=12),
        heads=c.size("n_head", default=12), mlp_width=c.size("n_inner", default=4 * width),
        activation=c.activation("activation_function", "gelu_new"),  # type: ignore[arg-type]
        vocabulary=c.size("vocab_size", default=50257), positions=positions,
        tied=c.flag("tie_word_embeddings", True), seq=min(_LONGEST, positions),
    )  # fmt: skip


def _opt(c: HFConfig) -> Decoder:
    width = c.size("hidden_size", default=768)
    positions = c.size("max_position_embeddings", default=2048)
    embedding = c.size("word_embed_proj_dim", default=width)
    first = c.flag("do_layer_norm_before", True)
    if not c.flag("layer_norm_elementwise_affine", True):
        raise c.error("norms without weights are not known here")
    return Decoder(
        name=c.name, family="decoder", width=width, depth=c.size("num_hidden_layers", default=12),
        heads=c.size("num_attention_heads", default=12), mlp_width=c.size("ffn_dim", default=3072),
        activation=c.activation("activation_function", "relu"),  # type: ignore[arg-type]
        norm_first=first, final_norm=first and not c.flag("_remove_final_layer_norm", False),
        bias=c.flag("enable_bias", True), fused_qkv=False, positions=positions, position_offset=2,
        embedding_width=None if embedding == width else embedding,
        vocabulary=c.size("vocab_size", default=50272), tied=c.flag("tie_word_embeddings", True),
        seq=min(_LONGEST, positions),
    )  # fmt: skip


def _bloom(c: HFConfig) -> Decoder:
    width = c.size("hidden_size", "n_embed", default=64)
    return Decoder(
        name=c.name, family="decoder", width=width,
        depth=c.size("n_layer", "num_hidden_layers", default=2),
        heads=c.size("n_head", "num_attention_heads", default=8), mlp_width=4 * width,
        activation="gelu_tanh", embedding_norm=True, seq=_LONGEST,
        vocabulary=c.size("vocab_size", default=250880), tied=c.flag("tie_word_embeddings", True),
    )  # fmt: skip


def _bert(c: HFConfig, **changed: Any) -> Encoder:
    positions = c.size("max_position_embeddings", default=512)
    stated = {
        "width": c.size("hidden_size", default=768),
        "depth": c.size("num_hidden_layers", default=12),
        "heads": c.size("num_attention_heads", default=12),
        "mlp_width": c.size("intermediate_size", default=3072),
        "activation": c.activation("hidden_act", "gelu"), "norm_first": False, "fused_qkv": False,
        "vocabulary": c.size("vocab_size", default=30522), "positions": positions,
        "token_types": c.size("type_vocab_size", default=2), "seq": min(512, positions),
    }  # fmt: skip
    return Encoder(name=c.name, family="encoder", **{**stated, **changed})


def _roberta(c: HFConfig) -> Encoder:
    positions = c.size("max_position_embeddings", default=512)
    return _bert(
        c, seq=min(512, positions - 2), vocabulary=c.size("vocab_size", default=50265)
    )  # fmt: skip


def _distilbert(c: HFConfig) -> Encoder:
    return _bert(
        c, width=c.size("dim", "hidden_size", default=768),
        depth=c.size("n_layers", "num_hidden_layers", default=6),
        heads=c.size("n_heads", "num_attention_heads", default=12),
        mlp_width=c.size("hidden_dim", default=3072), activation=c.activation("activation", "gelu"),
        token_types=0, pooler=False,
    )  # fmt: skip


def _vit(c: HFConfig) -> ViT:
    labels = c.data.get("id2label")
    classes = len(labels) if isinstance(labels, dict) and labels else c.size(
        "num_labels", default=2
    )  # fmt: skip
    return ViT(
        name=c.name, family="vit", image=c.size("image_size", default=224),
        patch=c.size("patch_size", default=16), channels=c.size("num_channels", default=3),
        width=c.size("hidden_size", default=768), depth=c.size("num_hidden_layers", default=12),
        heads=c.size("num_attention_heads", default=12),
        mlp_width=c.size("intermediate_size", default=3072), classes=classes, fused_qkv=False,
        activation=c.activation("hidden_act", "gelu"),  # type: ignore[arg-type]
        qkv_bias=c.flag("qkv_bias", True),
    )  # fmt: skip


def _resnet(c: HFConfig) -> ResNet:
    labels = c.data.get("id2label")
    classes = len(labels) if isinstance(labels, dict) and labels else c.size(
        "num_labels", default=2
    )  # fmt: skip
    kind = c.data.get("layer_type", "bottleneck")
    depths = c.sizes("depths", (3, 4, 6, 3))
    widths = c.sizes("hidden_sizes", (256, 512, 1024, 2048))
    base = widths[0] // (4 if kind == "bottleneck" else 1)
    regular = all(w == widths[0] << i for i, w in enumerate(widths)) and len(depths) == len(widths)
    if kind not in ("basic", "bottleneck") or not regular or c.size(
        "embedding_size", default=64
    ) != base:  # fmt: skip
        raise c.error("only the regular ResNets are known: basic or bottleneck, widths doubling")
    if c.flag("downsample_in_first_stage", False) or c.flag("downsample_in_bottleneck", False):
        raise c.error("downsample_in_first_stage and downsample_in_bottleneck are not known here")
    return ResNet(
        name=c.name, family="resnet", block=kind, stages=depths, width=base,
        channels=c.size("num_channels", default=3), classes=classes,
    )  # fmt: skip


def _t5(c: HFConfig) -> EncoderDecoder:
    depth = c.size("num_layers", default=6)
    act, gated = c.data.get("feed_forward_proj", "relu"), False
    if not isinstance(act, str):
        raise c.error("feed_forward_proj is a text")
    if act.startswith("gated-"):
        act, gated = act.removeprefix("gated-"), True
    act = "gelu_new" if gated and act == "gelu" else act
    if act not in ("relu", "gelu", "gelu_new", "silu"):
        raise c.error(f"feed_forward_proj {act!r:.40} is not known here")
    activation = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "silu": "silu"}[act]
    return EncoderDecoder(
        name=c.name, family="encoder_decoder", width=c.size("d_model", default=512), depth=depth,
        decoder_depth=c.size("num_decoder_layers", default=depth),
        heads=c.size("num_heads", default=8), head_dim=c.size("d_kv", default=64),
        mlp_width=c.size("d_ff", default=2048), gated=gated,
        activation=activation,  # type: ignore[arg-type]
        norm="rmsnorm", bias=False, fused_qkv=False,
        vocabulary=c.size("vocab_size", default=32128),
        buckets=c.size("relative_attention_num_buckets", default=32),
        tied=c.flag("tie_word_embeddings", True), seq=c.size("n_positions", default=512),
    )  # fmt: skip


HF_FAMILIES: Mapping[str, Callable[[HFConfig], WorkloadSpec]] = {
    "llama": _llama, "mistral": _mistral, "mixtral": _mixtral, "qwen2": _qwen2, "qwen3": _qwen3,
    "qwen2_moe": _qwen2_moe, "qwen3_moe": _qwen3_moe, "gemma": _gemma, "phi": _phi, "phi3": _phi3,
    "olmo2": _olmo2, "stablelm": _stablelm, "starcoder2": _starcoder2, "gpt_neox": _gpt_neox,
    "gptj": _gptj, "gpt2": _gpt2, "opt": _opt, "bloom": _bloom, "bert": _bert,
    "roberta": _roberta, "distilbert": _distilbert, "vit": _vit, "deit": _vit, "resnet": _resnet,
    "t5": _t5,
}  # fmt: skip
"""What makes a specification of each `model_type` that needs neither torch nor transformers."""
