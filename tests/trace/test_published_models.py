"""Do the shipped workloads have the parameters and the multiply-accumulates that are published?"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from codesign.config import CodesignError
from codesign.trace.op import Kind, Phase
from codesign.trace.workload import list_workloads, load_workload, workload_names, workload_spec

NAMES = workload_names()
REQUIRED = [
    "resnet9", "resnet18", "resnet50", "vgg19", "mobilenet_v1", "vit_b16", "deit_s", "vit_cifar",
    "bert_base", "bert_large", "gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl", "gpt3_xl",
    "opt_125m", "opt_350m", "opt_1_3b", "opt_2_7b", "opt_6_7b", "opt_13b", "opt_30b", "opt_66b",
    "llama2_7b", "llama2_13b", "llama2_70b", "llama3_8b",
]  # fmt: skip


def test_all_names_that_users_rely_on_exist() -> None:
    assert set(REQUIRED) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    facts = workload_spec(name).published
    if facts is None:
        pytest.skip("nobody published numbers of this variant")
    trace = load_workload(name)
    if facts.parameters is not None:
        if facts.parameters_tolerance == 0:
            assert trace.parameter_count == facts.parameters
        assert trace.parameter_count == pytest.approx(
            facts.parameters, rel=facts.parameters_tolerance
        )
    if facts.macs is not None:
        assert trace.macs == pytest.approx(facts.macs, rel=facts.macs_tolerance)


def test_most_models_are_held_to_exact_parameter_counts() -> None:
    exact = [
        name
        for name in NAMES
        if (facts := workload_spec(name).published)
        and facts.parameters
        and not facts.parameters_tolerance
    ]
    assert len(exact) >= 20


@pytest.mark.parametrize(
    ("name", "options", "flop", "tolerance"),
    [
        # torch's flop counter on the modules of transformers: a decode step after `context` tokens
        ("llama2_7b", {"phase": "decode", "context": 2048}, 14.29e9, 0.0005),
        ("llama3_8b", {"phase": "decode", "context": 2048}, 16.08e9, 0.0005),
        ("opt_6_7b", {"phase": "decode", "context": 1024}, 13.83e9, 0.0005),
        ("gpt2", {"phase": "decode", "context": 1023}, 0.28e9, 0.02),
        # the same counter on forward and backward pass
        ("llama2_7b", {"phase": "training", "seq": 2048}, 87_784.8e9, 1e-6),
        ("llama3_8b", {"phase": "training", "seq": 2048}, 98_814.3e9, 1e-6),
        ("gpt2", {"phase": "training", "seq": 1024}, 874.9e9, 1e-4),
        ("vit_b16", {"phase": "training"}, 105.1e9, 0.003),
        ("resnet50", {"phase": "training"}, 24.3e9, 0.002),
        ("llama2_7b", {"seq": 2048}, 29.26e12, 0.0001),
    ],
)
def test_phases_have_the_work_that_others_counted(
    name: str, options: dict[str, object], flop: float, tolerance: float
) -> None:
    trace = load_workload(name, **options)  # type: ignore[arg-type]
    assert 2 * trace.macs == pytest.approx(flop, rel=tolerance)


@pytest.mark.parametrize(
    ("name", "convolutions", "linear", "attention"),
    [
        ("resnet50", 53, 1, 0),
        ("resnet18", 20, 1, 0),
        ("resnet9", 8, 1, 0),
        ("vgg19", 16, 1, 0),
        ("mobilenet_v1", 27, 1, 0),
        ("vit_b16", 1, 73, 24),
        ("bert_base", 0, 73, 24),
        ("gpt2", 0, 49, 24),
        ("llama2_70b", 0, 561, 160),
    ],
)
def test_layer_counts(name: str, convolutions: int, linear: int, attention: int) -> None:
    kinds = Counter(op.kind for op in load_workload(name))
    assert (kinds[Kind.CONV], kinds[Kind.GEMM], kinds[Kind.ATTENTION]) == (
        convolutions,
        linear,
        attention,
    )


def test_grouped_query_attention_reads_each_key_once() -> None:
    trace = load_workload("llama2_70b", phase="decode", context=4095, batch=2)
    scores = trace["layers.0.attention.scores"]
    assert (scores.groups, scores.m, scores.k, scores.n) == (2 * 8, 8, 128, 4096)
    assert scores.b_bytes == 2 * 2 * 8 * 128 * 4096


def test_cached_phases_write_the_cache_and_only_they_do() -> None:
    assert not any(op.function == "kv_cache_write" for op in load_workload("gpt2"))
    for phase, tokens in (("prefill", 64), ("decode", 1)):
        trace = load_workload("gpt2", phase=phase, seq=tokens, context=128)
        writes = [op for op in trace if op.function == "kv_cache_write"]
        assert len(writes) == 12
        assert {op.writes for op in writes} == {2 * 768 * tokens}
        assert {op.phase for op in trace} == {Phase(phase)}
        assert trace["layers.3.attention.scores"].n == 128 + tokens


def test_prefill_computes_the_logits_of_the_last_token_only() -> None:
    assert load_workload("gpt2", phase="prefill", seq=100, batch=3)["lm_head"].m == 3
    assert load_workload("gpt2", seq=100, batch=3)["lm_head"].m == 300


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1", "bert_base", "llama3_8b"])
def test_work_is_proportional_to_the_batch(name: str) -> None:
    assert load_workload(name, batch=7).macs == 7 * load_workload(name).macs


@pytest.mark.parametrize("phase", ["inference", "training", "prefill", "decode"])
@pytest.mark.parametrize(
    "name", ["resnet18", "vit_b16", "bert_base", "gpt2", "opt_350m", "llama3_8b"]
)
def test_vector_work_is_never_free(name: str, phase: str) -> None:
    try:
        trace = load_workload(name, phase=phase)
    except CodesignError:
        assert phase in ("prefill", "decode")
        return
    for op in trace:
        if not op.is_matmul:
            assert min(op.elements, op.passes, op.read_bytes, op.write_bytes) > 0, op.name
            moves_only = op.kind is Kind.EMBEDDING or op.function == "kv_cache_write"
            assert moves_only or op.alu_per_element + op.special_per_element > 0, op.name


def test_depthwise_convolutions_have_one_group_for_each_channel() -> None:
    op = load_workload("mobilenet_v1")["features.1.depthwise.conv"]
    assert (op.groups, op.m, op.n, op.k) == (32, 112 * 112, 1, 9)
    assert op.b_elements == 32 * 9


def test_hyper_parameters_can_be_replaced() -> None:
    small = load_workload("resnet18", image=64, overrides={"stem": "cifar", "classes": 200})
    assert small["conv1"].m == 64 * 64
    assert small["fc"].n == 200
    with pytest.raises(CodesignError, match="stem"):
        load_workload("resnet18", overrides={"stm": "cifar"})


def test_every_workload_says_where_its_numbers_come_from() -> None:
    for name, facts in list_workloads():
        assert facts["description"], name
        assert facts["source"] or facts["parameters"] is None, name
        assert load_workload(name).name == name


def test_the_longest_trace_is_built() -> None:
    trace = load_workload("llama2_70b", phase="training")
    assert len(trace) > 4000


def test_fingerprints_tell_shapes_apart_and_nothing_else() -> None:
    one = load_workload("gpt2")
    assert one.fingerprint == load_workload("gpt2").fingerprint
    others = [
        load_workload("gpt2", batch=2),
        load_workload("gpt2", seq=512),
        load_workload("gpt2", dtype="bf16"),
        load_workload("gpt2", phase="training"),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5
    script = (
        "from codesign.trace.workload import load_workload; import sys;"
        "print(load_workload('gpt2').fingerprint, 'torch' in sys.modules, 'numba' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == [one.fingerprint, "False", "False"]
