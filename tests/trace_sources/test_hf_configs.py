"""What does a configuration alone give, how fast, and what does a wrong one?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.trace.experts import Experts
from codesign.trace.hf import hf_spec, load_hf
from codesign.trace.hf_families import HF_FAMILIES
from codesign.trace.op import Kind
from codesign.trace.sparsify import sparsify
from tests.trace_sources.sources import CONFIGS, MODELS, config

PARAMETERS = {
    # those of transformers' own modules; published figures: test_published_counts.py
    "bert_base": 109_482_240, "bloom_560m": 559_214_592, "distilbert": 66_362_880,
    "gemma_7b": 8_537_680_896, "gpt2": 124_439_808, "gpt_neox_20b": 20_554_567_680,
    "gptj_6b": 6_050_882_784, "llama2_7b": 6_738_415_616, "llama3_8b": 8_030_261_248,
    "mistral_7b": 7_241_732_096, "mixtral_8x7b": 46_702_792_704, "olmo2_7b": 7_298_617_344,
    "opt_6_7b": 6_658_473_984, "phi2": 2_779_683_840, "phi3_mini": 3_821_079_552,
    "qwen2_7b": 7_615_616_512, "qwen2_moe": 14_315_784_192, "qwen3_30b_a3b": 30_532_122_624,
    "qwen3_8b": 8_190_735_360, "resnet50": 25_557_032, "roberta_base": 124_645_632,
    "stablelm_3b": 2_795_443_200, "starcoder2_3b": 3_030_371_328, "t5_small": 60_506_624,
    "vit_b16": 86_567_656,
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_modules(name: str) -> None:
    assert load_hf(CONFIGS / f"{name}.json").parameter_count == PARAMETERS[name]


def test_every_family_has_an_example() -> None:
    assert {config(name).model_type for name in MODELS} >= set(HF_FAMILIES) - {"deit"}


def test_neither_torch_nor_transformers_is_imported() -> None:
    code = (
        "import sys; from codesign.trace.extract import extract; "
        f"extract('hf:{CONFIGS / 'gpt2.json'}'); "
        "print({'torch', 'transformers', 'onnx'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "set()\n"


def test_layers_are_named_and_pruned_as_in_the_module() -> None:
    trace = load_hf(CONFIGS / "llama2_7b.json", phase="training")
    sparse = sparsify(trace, "2:4", where="model.layers.*.self_attn.q_proj")
    assert sparse.meta["sparse_layers"] == 32
    assert trace["model.layers.0.mlp.down_proj.backward_weight"].m == 11008
    assert sum(op.elements for op in trace if op.kind is Kind.UPDATE) == trace.parameter_count


@pytest.mark.parametrize(("tokens", "rows"), [(1, 2), (3, 6), (4, 8), (5, 10), (64, 128)])
def test_experts_get_every_token_once_for_each_choice(tokens: int, rows: int) -> None:
    loads = Experts(count=8, per_token=2, width=4).loads(tokens)
    assert sum(count * each for count, each in loads) == rows
    assert sum(count for count, _ in loads) == min(8, rows)
    assert max(each for _, each in loads) - min(each for _, each in loads) <= 1


def test_a_mixture_computes_the_experts_that_are_chosen() -> None:
    step = load_hf(CONFIGS / "mixtral_8x7b.json", phase="decode", context=0)
    experts = [op for op in step if ".experts." in op.name and op.is_matmul]
    assert {(op.groups, op.m) for op in experts} == {(2, 1)}
    assert sum(op.macs for op in experts) == 32 * 2 * 3 * 4096 * 14336


def test_a_window_bounds_the_cache() -> None:
    scores = next(
        op
        for op in load_hf(CONFIGS / "mistral_7b.json", phase="decode", context=30_000)
        if op.kind is Kind.ATTENTION
    )
    assert scores.n == 4096


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON text"),
        ("[]", 'has a key "model_type"'),
        ('{"modeltype": "llama"}', "did 'modeltype' mean it"),
        ('{"model_type": "lama"}', "did you mean 'llama'"),
        ('{"model_type": "llama", "hidden_size": -1}', "hidden_size is a whole number"),
        ('{"model_type": "llama", "hidden_size": 1e30}', "hidden_size is a whole number"),
        ('{"model_type": "llama", "hidden_size": true}', "hidden_size is a whole number"),
        ('{"model_type": "llama", "hidden_act": "mish"}', "hidden_act is one of"),
        ('{"model_type": ["llama"]}', '"model_type", a text$'),
        ('{"model_type": "llama", "num_attention_heads": 33}', "no multiple of heads 33$"),
        ('{"model_type": "llama", "num_hidden_layers": 20000}', "depth: .* 10000, got 20000$"),
        ('{"model_type": "gpt2", "tie_word_embeddings": 1}', "true or false"),
        ('{"model_type": "qwen3_moe", "mlp_only_layers": [-1]}', "from 0, got"),
        ('{"model_type": "qwen2_moe", "decoder_sparse_step": 0}', "decoder_sparse_step is a whole"),
        ('{"model_type": "mixtral", "num_experts_per_tok": 9}', "more than the 8 experts"),
        ('{"model_type": "resnet", "depths": [3, "x"]}', "depths is a list"),
        ('{"model_type": "resnet", "hidden_sizes": [256, 300, 1024, 2048]}', "regular ResNets"),
        ('{"model_type": "t5", "feed_forward_proj": "gated-mish"}', "feed_forward_proj"),
    ],
)
def test_wrong_configurations_are_told_what_is_wrong(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(CodesignError, match=message):
        load_hf(path, phase="inference")


def test_position_biases_of_t5_are_looked_up_once_and_learned() -> None:
    heads, layers, tokens, batch = 8, 6, 16, 2
    size = {"seq": tokens, "batch": batch}
    trace = load_hf(CONFIGS / "t5_small.json", phase="training", **size)
    own = "encoder.block.0.layer.0.SelfAttention"
    tables = [op for op in trace if op.layer == f"{own}.relative_attention_bias"]
    assert [op.elements for op in tables[:1]] == [heads * tokens * tokens]
    assert [op.name.rpartition(".")[2] for op in tables[1:]] == [
        "gradient_sum", "backward_weight", "update",
    ]  # fmt: skip
    added = [op for op in trace if op.name.endswith("SelfAttention.bias")]
    assert [op.elements for op in added] == [batch * heads * tokens * tokens] * 2 * layers
    assert trace[f"{own}.softmax"].deps == (f"{own}.bias",)
    step = load_hf(CONFIGS / "t5_small.json", phase="decode", context=9)
    assert step["decoder.block.5.layer.0.SelfAttention.bias"].elements == heads * 10


def test_old_names_and_folders_are_read(tmp_path: Path) -> None:
    stated = {**json.loads((CONFIGS / "bloom_560m.json").read_text()), "n_embed": 1024}
    del stated["hidden_size"]
    (tmp_path / "config.json").write_text(json.dumps(stated))
    trace = load_hf(tmp_path)
    assert trace.parameter_count == PARAMETERS["bloom_560m"]
    assert trace.name == tmp_path.name
    assert hf_spec(config("phi3_mini")).name == "phi3_mini"
