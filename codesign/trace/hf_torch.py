"""Traces of Hugging Face models by running their own module on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codesign.config import CodesignError, suggestion
from codesign.trace.experts import Experts
from codesign.trace.hf_config import HFConfig, read_config
from codesign.trace.op import GENERATING, Trace, forward_phase
from codesign.trace.torch_extract import extract_module

_OURS = "codesign"
_DEFAULT_SEQ = 2048
_MAIN_INPUTS = ("input_ids", "pixel_values", "input_features", "input_values", "decoder_input_ids")
"""What models of text, pictures and sound are given."""


def extract_hf(
    path: Path | str,
    *,
    phase: str | None = None,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = "fp16",
    assume: float | None = None,
    config: HFConfig | None = None,
) -> Trace:
    """The trace of the module that transformers builds from a config.json; nothing is downloaded.

    Attention is recorded as scores, softmax and context product of all positions, whatever mask the
    model would use; experts are loaded evenly, as in `trace.experts`; dropout is left out. A decode
    step has a cache of `context` tokens. `config` is used in place of the file's content where
    given. Raises CodesignError without transformers, for models it does not know, and for models
    that ask for values of tensors.
    """
    wanted = phase or "inference"
    runs = forward_phase(wanted)
    stated = config or read_config(Path(path))
    module = build_hf(stated)
    try:
        inputs, tokens, cached = _inputs(module, stated, wanted, batch, seq, context)
    except AttributeError as error:
        raise stated.error(
            f"a model of type {stated.model_type!r} has no {error.name!r}, from which its inputs "
            f"in phase {wanted} would be made; let a factory of torch: make the module and inputs"
        ) from None
    try:
        trace, _ = extract_module(
            module, ((), inputs), name=stated.name, phase="training" if wanted == "training" else
            "inference", optimizer_name=optimizer, dtype=dtype, assume=assume,
        )  # fmt: skip
    except CodesignError as error:
        takes = signature(module.forward).parameters
        more = [name for name in _MAIN_INPUTS if name in takes and name not in inputs]
        if not more or not isinstance(error.__cause__, TypeError | AttributeError | ValueError):
            raise
        raise stated.error(
            f"a model of type {stated.model_type!r} fails without {' and '.join(more)}, and only "
            f"{' and '.join(inputs)} is made here; let a factory of torch: make the module and "
            "inputs"
        ) from error
    meta: dict[str, str | int | float] = {
        **trace.meta, "source": f"hf:{path}", "phase": wanted, "batch": batch,
    }  # fmt: skip
    if tokens:
        meta |= {"seq": tokens, "context": cached}
    ops = trace.ops
    if runs in GENERATING:
        ops = tuple(replace(op, phase=runs) for op in ops)
    return replace(trace, ops=ops, meta=meta)


def build_hf(config: HFConfig) -> nn.Module:
    """The module of a configuration, on the meta device, with attention and experts of ours."""
    transformers = _transformers()
    names = config.data.get("architectures") or [None]
    known = list(transformers.CONFIG_MAPPING)
    if config.model_type not in known:
        raise config.error(
            f"transformers {transformers.__version__} has no model_type "
            f"{config.model_type[:40]!r} among its {len(known)}"
            + suggestion(config.model_type, known)
        )
    try:
        stated = transformers.AutoConfig.for_model(**config.data)
    except (ValueError, TypeError, KeyError) as error:
        raise config.error(f"transformers does not read it: {str(error)[:200]}") from None
    made = getattr(transformers, str(names[0]), None)
    if made is None or not hasattr(made, "_from_config"):
        two_sided = ("AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq")
        autos = two_sided if stated.is_encoder_decoder else ("AutoModelForCausalLM",)
        heads = (getattr(transformers, auto) for auto in autos)
        fitting = (auto for auto in heads if type(stated) in auto._model_mapping)
        made = next(fitting, transformers.AutoModel)
    build: Callable[..., nn.Module] = getattr(made, "_from_config", None) or made.from_config
    try:
        with torch.device("meta"):
            try:
                module = build(stated, attn_implementation=_OURS)
            except (ValueError, KeyError):  # attention of its own
                module = build(stated, attn_implementation="eager")
    except Exception as error:
        raise config.error(f"transformers cannot build it: {str(error)[:300]}") from error
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    inner: Any = module
    if hasattr(inner.config, "_experts_implementation"):
        inner.config._experts_implementation = _OURS
    return module


def _transformers() -> Any:
    try:
        import transformers
        from transformers.masking_utils import AttentionMaskInterface
        from transformers.modeling_utils import AttentionInterface
    except ImportError:
        raise CodesignError(
            "running a Hugging Face module needs transformers: pip install 'codesign[hf]'"
        ) from None
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    AttentionInterface.register(_OURS, _attention)
    AttentionMaskInterface.register(_OURS, _no_mask)
    try:
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    except ImportError:
        return transformers
    ALL_EXPERTS_FUNCTIONS.register(_OURS, _experts)
    return transformers


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    out = nn.functional.scaled_dot_product_attention(
        query, key, value, enable_gqa=query.shape[1] != key.shape[1]
    )
    return out.transpose(1, 2).contiguous(), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def _experts(module: Any, hidden: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    """Experts of which all have the same number of tokens, up to one."""
    tokens, per_token = chosen.shape
    width = hidden.shape[-1]
    rows = hidden[:, None].expand(tokens, per_token, width).reshape(-1, width)
    loads = Experts(count=module.num_experts, per_token=per_token, width=1).loads(tokens)
    done: list[Tensor] = []
    row = first = 0
    for count, each in loads:
        part = slice(first, first + count)
        x = rows[row : row + count * each].view(count, each, width)
        y = module._apply_gate(torch.bmm(x, module.gate_up_proj[part].mT))
        done.append(torch.bmm(y, module.down_proj[part].mT).reshape(-1, width))
        row, first = row + count * each, first + count
    out = torch.cat(done) if len(done) > 1 else done[0]
    return (out.view(tokens, per_token, width) * shares[..., None]).sum(1)


def _inputs(
    module: Any, config: HFConfig, phase: str, batch: int, seq: int | None, context: int | None
) -> tuple[dict[str, Any], int, int]:
    """Keyword arguments of the module, new tokens and cached tokens."""
    own = module.config
    generates = module.can_generate()
    if phase in GENERATING and not generates:
        raise config.error("the model generates no tokens: it has inference and training")
    if context is not None and phase not in GENERATING:
        raise config.error("a context of cached tokens belongs to the phases prefill and decode")
    if module.main_input_name == "pixel_values":
        size = getattr(own, "image_size", 224)
        edge = size if isinstance(size, int) else size[0]
        image = torch.empty(batch, own.num_channels, edge, edge, device="meta")
        return {"pixel_values": image}, 0, 0
    if module.main_input_name == "input_features" and own.is_encoder_decoder:
        return _spoken(module, config, phase, batch, seq or 1)
    if module.main_input_name != "input_ids":
        raise config.error(f"inputs named {module.main_input_name!r} are not known here")
    longest = getattr(own, "max_position_embeddings", None) or getattr(own, "n_positions", None)
    usual = min(longest or _DEFAULT_SEQ, _DEFAULT_SEQ if generates else 512)
    if own.is_encoder_decoder:
        return _two_sided(module, config, phase, batch, seq or 512)
    inputs: dict[str, Any] = {}
    if phase == "decode":
        if seq not in (None, 1):
            raise config.error("decode processes one token at a time")
        tokens, cached = 1, usual - 1 if context is None else context
    else:
        tokens, cached = seq or usual, context or 0
    inputs["input_ids"] = torch.zeros(batch, tokens, dtype=torch.int64, device="meta")
    if phase in GENERATING:
        inputs |= {"past_key_values": _cache(module, batch, cached), "use_cache": True}
    elif generates:
        inputs["use_cache"] = False
        # without a mask transformers looks at the values of positions for packed sequences
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if phase == "prefill":
        inputs["logits_to_keep"] = 1
    return inputs, tokens, cached


def _spoken(
    module: Any, config: HFConfig, phase: str, batch: int, seq: int
) -> tuple[dict[str, Any], int, int]:
    """A whole window of sound, and `seq` tokens of text."""
    if phase in GENERATING:
        raise config.error("prefill and decode of encoder-decoder modules are not run here")
    own = module.config
    frames = 2 * own.max_source_positions  # two convolutions, the second of stride 2
    sound = torch.empty(batch, own.num_mel_bins, frames, device="meta")
    ids = torch.zeros(batch, seq, dtype=torch.int64, device="meta")
    inputs = {"input_features": sound, "decoder_input_ids": ids, "use_cache": False}
    return {**inputs, "decoder_attention_mask": torch.ones_like(ids)}, seq, 0


def _two_sided(
    module: Any, config: HFConfig, phase: str, batch: int, seq: int
) -> tuple[dict[str, Any], int, int]:
    if phase in GENERATING:
        raise config.error("prefill and decode of encoder-decoder modules are not run here")
    ids = torch.zeros(batch, seq, dtype=torch.int64, device="meta")
    return {"input_ids": ids, "decoder_input_ids": ids.clone(), "use_cache": False}, seq, 0


def _cache(module: Any, batch: int, cached: int) -> Any:
    from transformers import DynamicCache

    own = module.config
    heads = own.num_attention_heads
    kv_heads = getattr(own, "num_key_value_heads", None) or heads
    head_dim = getattr(own, "head_dim", None) or own.hidden_size // heads
    cache = DynamicCache(config=own)
    for layer in range(own.num_hidden_layers if cached else 0):
        window = getattr(cache.layers[layer], "sliding_window", None) if cache.layers else None
        kept = cached if window is None else min(cached, window - 1)
        parts = [(kv_heads, head_dim)] * 2
        if latent := getattr(own, "kv_lora_rank", None):  # keys and values come from one latent
            parts = [(1, latent), (1, own.qk_rope_head_dim)]
        k, v = (torch.empty(batch, h, kept, width, device="meta") for h, width in parts)
        cache.update(k, v, layer)
    return cache
