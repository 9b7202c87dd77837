"""Do configurations read by their numbers give what the modules of transformers run?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import torch
from torch.utils.flop_counter import FlopCounterMode

from codesign.config import CodesignError
from codesign.trace.extract import extract
from codesign.trace.hf import hf_spec
from codesign.trace.hf_config import HFConfig, read_config
from codesign.trace.hf_torch import _inputs, build_hf, extract_hf
from codesign.trace.op import Kind, Phase
from codesign.trace.workload import load_workload
from tests.trace_sources.sources import (
    CONFIGS,
    MODELS,
    REFERENCE,
    by_shapes,
    config,
    moved_bytes,
    products,
)

SPARSE = ("mixtral_8x7b", "qwen2_moe", "qwen3_30b_a3b")


def sizes(name: str, phase: str) -> dict[str, int | None]:
    spec = hf_spec(config(name))
    if not spec.takes_sequence:
        return {"seq": None}
    return {"seq": None, "context": 100} if phase == "decode" else {"seq": 48}


@pytest.mark.parametrize("name", MODELS)
def test_products_names_and_parameters_agree(name: str) -> None:
    stated = config(name, depth=1)
    phases = ["training"]
    if hf_spec(stated).generates and name != "t5_small":
        phases += ["prefill", "decode"]
    for phase in phases:
        size = sizes(name, phase)
        shapes = by_shapes(stated, phase, 2, **size)
        module = extract_hf("test", config=stated, phase=phase, batch=2, **size)
        assert products(shapes) == products(module)
        assert shapes.parameter_count == module.parameter_count
        if name not in SPARSE:  # experts that are loaded differently are tensors of their own
            assert shapes.parameters == module.parameters


@pytest.mark.parametrize("name", MODELS)
def test_macs_are_those_that_torch_counts(name: str) -> None:
    stated = config(name, depth=1)
    module = build_hf(stated).eval()
    size = sizes(name, "inference")
    inputs, _, _ = _inputs(module, stated, "inference", 2, size.get("seq"), None)
    if "attention_mask" in inputs:
        inputs["position_ids"] = torch.arange(48, device="meta")[None]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(**inputs)
    assert counter.get_total_flops() == 2 * by_shapes(stated, "inference", 2, **size).macs


@pytest.mark.parametrize("phase", ["inference", "training", "decode"])
@pytest.mark.parametrize("dense", [{"decoder_sparse_step": 2}, {"mlp_only_layers": [0, 2]}])
@pytest.mark.parametrize("name", ["qwen2_moe", "qwen3_30b_a3b"])
def test_mixtures_with_dense_layers(name: str, dense: dict[str, object], phase: str) -> None:
    stated = config(name, depth=4)
    stated = HFConfig(stated.path, {**stated.data, **dense})
    size = sizes(name, phase)
    shapes = by_shapes(stated, phase, 2, **size)
    module = extract_hf("test", config=stated, phase=phase, batch=2, **size)
    assert products(shapes) == products(module)
    assert shapes.parameter_count == module.parameter_count
    assert any("mlp.experts" in op.name for op in shapes)
    assert any("mlp.down_proj" in op.name for op in shapes)


DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 64,
    "num_hidden_layers": 3, "first_k_dense_replace": 1, "n_routed_experts": 8, "n_group": 2,
    "num_experts_per_tok": 2, "topk_group": 1, "n_shared_experts": 1, "moe_intermediate_size": 32,
    "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 4,
    "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
    "v_head_dim": 16, "vocab_size": 100, "max_position_embeddings": 4096,
}  # fmt: skip


def test_deepseek_runs_with_its_dense_layers_and_latent_cache() -> None:
    stated = HFConfig(Path("deepseek.json"), DEEPSEEK)
    trace = extract_hf("test", config=stated, phase="inference", batch=1, seq=8)
    experts = {op.layer for op in trace if op.is_matmul and "experts" in op.layer}
    assert not any(".layers.0." in layer for layer in experts)
    assert any(".layers.1." in layer for layer in experts)
    step = extract_hf("test", config=stated, phase="decode", context=100)
    expanded = [op for op in step if "kv_b_proj" in op.layer and op.is_matmul]
    assert [(op.m, op.k, op.n) for op in expanded] == [(101, 16, 4 * (16 + 16))] * 3
    scores = [op for op in step if op.kind is Kind.ATTENTION and op.name.endswith("scores")]
    assert {(op.k, op.n) for op in scores} == {(16 + 8, 101)}
    assert step.parameter_count == trace.parameter_count


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_models_agree_three_ways(name: str) -> None:
    """Module, configuration and workload file; two layers, see the benchmark for all."""
    stated = config(name, depth=2)
    depth = {} if name == "resnet50" else {"depth": 2}
    phases = ["inference", "training"] + ["decode"] * hf_spec(stated).generates
    for phase in phases:
        size = sizes(name, phase)
        module = extract_hf("test", config=stated, phase=phase, **size)
        shapes = by_shapes(stated, phase, 1, **size)
        workload = load_workload(name, phase=phase, overrides=depth, **size)  # type: ignore[arg-type]
        assert products(module) == products(shapes) == products(workload)
        assert module.parameter_count == shapes.parameter_count == workload.parameter_count
        assert moved_bytes(shapes) == moved_bytes(workload)
        if phase == "decode":  # the cache is appended to, not copied
            assert moved_bytes(module) == pytest.approx(moved_bytes(shapes), rel=0.01)


def test_a_prefilled_cache_is_read_and_only_new_tokens_are_written() -> None:
    short, long = (
        extract_hf("test", config=config("llama3_8b", 1), phase="decode", context=context)
        for context in (100, 1000)
    )
    scores = next(op for op in short if op.kind is Kind.ATTENTION)
    assert (scores.m, scores.n, scores.k, scores.groups) == (4, 101, 128, 8)
    assert {op.phase for op in short} == {Phase.DECODE}
    written = [[op.writes for op in t if op.name.endswith("cat")] for t in (short, long)]
    assert written[0] == written[1] != []


def test_the_way_to_read_is_chosen(tmp_path: Path) -> None:
    small = {"model_type": "cohere", "architectures": ["CohereForCausalLM"], "hidden_size": 64,
             "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128,
             "vocab_size": 100}  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(small))
    assert extract(f"hf:{path}", seq=8).meta["torch"]
    with pytest.raises(CodesignError, match="no model_type 'cohere' here"):
        extract(f"hf:{path}", seq=8, via="shapes")
    for name, meant in (("no_such_model", ""), ("qwen22", "; did you mean 'qwen2'\\?")):
        path.write_text(json.dumps({"model_type": name}))
        said = rf"transformers [\d.]+ has no model_type '{name}' among its \d+{meant}$"
        with pytest.raises(CodesignError, match=said):
            extract(f"hf:{path}")
    with pytest.raises(CodesignError, match="via is auto"):
        extract("torch:a:b", via="module")
    assert "torch" not in extract(f"hf:{CONFIGS / 'gpt2.json'}", seq=8).meta


def test_depth_is_changed_in_the_copy_alone() -> None:
    assert config("gpt2", 1).data["n_layer"] == 1
    assert read_config(CONFIGS / "gpt2.json").data["n_layer"] == 12


def test_speech_models_hear_a_whole_window_with_their_encoder() -> None:
    sizes = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 128}
    small = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0}
    stated = HFConfig(Path("test"), {"model_type": "whisper", **sizes, **small})
    trace = extract_hf("test", config=stated, seq=3)
    heard = [op for op in trace if op.name.startswith("model.encoder") and op.kind is Kind.GEMM]
    assert {op.m for op in heard} == {1500}
    assert any(op.name.endswith("encoder_attn.k_proj") and op.m == 1500 for op in trace)
    assert trace["proj_out"].m == 3
    with pytest.raises(CodesignError, match="prefill and decode of encoder-decoder"):
        extract_hf("test", config=stated, phase="decode")


def test_a_model_without_attention_says_that_it_has_no_decode_step_here() -> None:
    stated = HFConfig(Path("test"), {"model_type": "mamba", "num_hidden_layers": 1})
    with pytest.raises(CodesignError, match=r"no 'num_attention_heads'.*let a factory of torch:"):
        extract_hf("test", config=stated, phase="decode", context=8)


def test_a_model_of_text_and_pictures_says_what_is_not_made_here() -> None:
    small = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1}
    parts = {
        "text_config": {**small, "vocab_size": 100},
        "vision_config": {**small, "image_size": 32, "patch_size": 16},
    }
    stated = HFConfig(Path("test"), {"model_type": "clip", **parts})
    wanted = "fails without pixel_values, and only input_ids is made here; let a factory of torch:"
    with pytest.raises(CodesignError, match=wanted):
        extract_hf("test", config=stated)
