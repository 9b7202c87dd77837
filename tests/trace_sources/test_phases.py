"""Do phases of several passes do the work that their parts do, no more and no less?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.sparsity.pattern import DENSE
from codesign.trace.model import Model, Size, open_model
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.parallel import sharded
from codesign.trace.phases import chunked_prefill, decode_range, sample_contexts, speculative
from codesign.trace.recipe import Recipe, follow
from codesign.trace.sparsify import sparsify, trace_effective_macs
from codesign.trace.training_steps import accumulated, adapted, recomputed, with_dtypes
from tests.trace_sources.sources import CONFIGS, moved_bytes

SMALL = {"depth": 2, "width": 64, "heads": 4, "mlp_width": 96, "vocabulary": 128}


def small(name: str, **changed: object) -> Model:
    return open_model(name).with_spec(**{**SMALL, **changed})


GPT2 = small("gpt2")
LLAMA = small("llama3_8b", kv_heads=2)


def macs(trace: Trace, *kinds: Kind) -> int:
    return sum(op.macs for op in trace if op.kind in kinds)


@pytest.mark.parametrize("model", [GPT2, LLAMA])
@pytest.mark.parametrize(("seq", "chunk"), [(64, 16), (50, 16), (16, 16), (10, 100), (5, 1)])
def test_chunks_of_prefill(model: Model, seq: int, chunk: int) -> None:
    size = Size(batch=2, seq=seq, context=7)
    whole, cut = model.trace("prefill", size), chunked_prefill(model, chunk, size)
    assert macs(cut, Kind.GEMM) == macs(whole, Kind.GEMM)
    pieces = [(start, min(chunk, seq - start)) for start in range(0, seq, chunk)]
    # two products of all heads for every new token on everything up to the end of its piece
    expected = sum(2 * 2 * 2 * 64 * n * (7 + start + n) for start, n in pieces)
    assert macs(cut, Kind.ATTENTION) == expected
    written = [sum(op.writes for op in t if op.function == "kv_cache_write") for t in (whole, cut)]
    assert written[0] == written[1]
    assert cut.parameters == whole.parameters
    assert sum(op.layer == "lm_head" for op in cut) == 1


def test_a_chunk_waits_for_the_keys_of_the_one_before() -> None:
    cut = chunked_prefill(GPT2, 8, Size(seq=16))
    assert "chunk0.layers.1.attention.kv_write" in cut["chunk1.layers.1.attention.scores"].deps


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 500), st.integers(1, 300), st.integers(1, 20), st.integers(1, 400))
def test_samples_integrate_affine_costs_exactly(
    first: int, steps: int, samples: int, window: int
) -> None:
    contexts = [min(c, max(window, first)) for c in range(first, first + steps)]
    taken = sample_contexts(contexts, samples)
    assert sum(s.count for s in taken) == steps
    assert sum(s.count * s.context for s in taken) == sum(contexts)
    assert len(taken) <= 2 * samples + 1


@pytest.mark.parametrize("model", [GPT2, LLAMA, small("llama3_8b", kv_heads=2, window=40)])
@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (30, 1), (31, 4), (30, 30), (7, 100)])
def test_a_decode_range_does_the_work_of_its_steps(model: Model, steps: int, samples: int) -> None:
    joined = decode_range(model, steps, Size(batch=2, context=20), samples=samples)
    each = [model.trace("decode", Size(batch=2, context=20 + i)) for i in range(steps)]
    assert joined.macs == sum(t.macs for t in each)
    assert moved_bytes(joined) == sum(map(moved_bytes, each))
    assert sum(op.repeats for op in joined if op.layer == "lm_head") == steps


@pytest.mark.parametrize("draft", [1, 4, 7])
def test_a_draft_is_verified_in_one_step(draft: int) -> None:
    step = speculative(LLAMA, draft, Size(batch=2, context=30))
    tokens = draft + 1
    linear = macs(LLAMA.trace("decode", Size(batch=2, context=30)), Kind.GEMM)
    assert macs(step, Kind.GEMM) == tokens * linear
    assert macs(step, Kind.ATTENTION) == 2 * 2 * 2 * 64 * tokens * (30 + tokens)
    assert {op.phase for op in step} == {Phase.DECODE}


STEP = GPT2.trace("training", Size(batch=2, seq=16))


@pytest.mark.parametrize("times", [1, 2, 5])
def test_gradients_are_accumulated(times: int) -> None:
    step = accumulated(STEP, times)
    assert step.macs == times * STEP.macs
    updates = [op for op in step if op.kind is Kind.UPDATE]
    assert [op.elements for op in updates] == [op.elements for op in STEP if op.kind is Kind.UPDATE]
    sums = [op for op in step if op.name.endswith(".accumulate")]
    gradients = {dep for op in STEP if op.kind is Kind.UPDATE for dep in op.deps}
    assert len(sums) == (times - 1) * len(gradients)
    if times > 1:
        summed = {op.name for op in sums}
        assert all(set(op.deps) <= summed for op in updates)


def test_activations_are_computed_again() -> None:
    forward = sum(
        op.macs for op in STEP if op.phase is Phase.FORWARD and op.layer.startswith("layers.")
    )
    everything, one = recomputed(STEP), recomputed(STEP, ["layers.1"])
    assert everything.macs == STEP.macs + forward
    assert one.macs == STEP.macs + forward // 2
    backward = (Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT)
    inner = [op for op in everything if op.layer.startswith("layers.1") and op.phase in backward]
    kept = {dep for op in inner for dep in op.deps if everything[dep].phase is Phase.FORWARD}
    assert all(dep.endswith(".recomputed") for dep in kept if dep.startswith("layers.1."))
    again = [op.name for op in everything if op.name.endswith(".recomputed")]
    assert again.index("layers.1.norm1.recomputed") < again.index("layers.0.norm1.recomputed")
    waits = everything["layers.0.norm1.recomputed"].deps
    assert any(everything[dep].phase is Phase.BACKWARD_DATA for dep in waits)
    with pytest.raises(CodesignError, match=r"did you mean 'layers\.1'"):
        recomputed(STEP, ["layer.1"])


def test_adapters_are_trained_alone() -> None:
    step = adapted(GPT2, 4, Size(batch=2, seq=16), where=("*.attention.qkv",))
    assert sum(op.elements for op in step if op.kind is Kind.UPDATE) == 2 * 4 * (64 + 3 * 64)
    weights = [op for op in step if op.phase is Phase.BACKWARD_WEIGHT and op.is_matmul]
    assert {op.layer.rpartition(".")[2] for op in weights} == {"lora_a", "lora_b"}
    forward = GPT2.trace("inference", Size(batch=2, seq=16))
    extra = 2 * 32 * 4 * (64 + 192)
    assert sum(op.macs for op in step if op.phase is Phase.FORWARD) == forward.macs + extra
    assert {op.name for op in step if op.layer == "layers.0.attention.qkv"} == {
        "layers.0.attention.qkv"
    }
    assert "layers.1.attention.qkv.backward_data" in {op.name for op in step}
    with pytest.raises(CodesignError, match="matches no linear layer"):
        adapted(GPT2, 4, Size(), where=("nothing",))


def test_frozen_biases_and_norms_cost_nothing() -> None:
    step = adapted(GPT2, 4, Size(seq=8), where=("layers.1.mlp.down",))
    gradients = [op for op in step if op.phase in (Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT)]
    assert not any(op.layer.startswith("layers.0") for op in gradients)
    assert not any("bias" in op.name for op in gradients)


def test_biases_alone_are_trained() -> None:
    step = GPT2.trace("training", Size(seq=8), trainable=lambda name: name.endswith(".bias"))
    assert not any(op.is_matmul and op.phase is Phase.BACKWARD_WEIGHT for op in step)
    trained = sum(n for name, n in step.parameters.items() if name.endswith(".bias"))
    assert sum(op.elements for op in step if op.kind is Kind.UPDATE) == trained


def test_data_types_by_what_a_tensor_is() -> None:
    step = with_dtypes(STEP, weights="int4", activations="fp8", cache="int8", gradients="fp32")

    def types(name: str) -> tuple[str, str, str]:
        op: Op = step[name]
        return op.a_dtype, op.b_dtype, op.c_dtype

    layer = "layers.0.mlp.up"
    assert types(layer) == ("fp8", "int4", "fp8")
    assert types(f"{layer}.backward_data") == ("fp32", "int4", "fp32")
    assert types(f"{layer}.backward_weight") == ("fp8", "fp32", "fp32")
    assert types(f"{layer}.update") == ("fp32", "fp32", "int4")
    assert types("layers.0.attention.scores") == ("fp8", "int8", "fp8")
    assert types("layers.0.norm1.backward_data")[0] == "fp32"
    assert with_dtypes(STEP) == STEP or with_dtypes(STEP).fingerprint == STEP.fingerprint
    with pytest.raises(CodesignError, match="did you mean 'int8'"):
        with_dtypes(STEP, weights="int5")


@pytest.mark.parametrize("phase", ["inference", "training", "prefill", "decode"])
@pytest.mark.parametrize("ways", [1, 2, 4])
@pytest.mark.parametrize("model", [GPT2, LLAMA])
def test_shards_share_the_work(model: Model, ways: int, phase: str) -> None:
    size = Size(batch=2, seq=None if phase == "decode" else 16,
                context=16 if phase == "decode" else None)  # fmt: skip
    whole, shard = model.trace(phase, size), sharded(model, ways, phase, size)
    replicated = sum(
        count for name, count in shard.parameters.items() if whole.parameters[name] == count
    )
    if model is GPT2 or ways <= 2:  # more devices than key-value heads repeat these
        assert ways * shard.macs == whole.macs
        if ways > 1:
            assert ways * (shard.parameter_count - replicated) + replicated == whole.parameter_count
    sums = [op for op in shard if op.function == "all_reduce"]
    layers = 2 * 2 * (2 if phase == "training" else 1)
    assert len(sums) == (0 if ways == 1 else layers + 1 + (phase == "training"))
    for op in sums:
        assert op.b_reads == -(-2 * (ways - 1) * op.elements // ways)


@pytest.mark.parametrize(
    ("ways", "message"), [(3, "heads 4 is no multiple"), (0, "ways of tensor")]
)
def test_shards_that_do_not_divide(ways: int, message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        sharded(GPT2, ways, "inference", Size())
    with pytest.raises(CodesignError, match="only encoders and decoders"):
        sharded(open_model("resnet50"), 2, "inference", Size())


def test_everything_goes_together_and_with_sparsity() -> None:
    source = f"hf:{CONFIGS / 'gpt2.json'}"
    recipe = Recipe(tensor_parallel=2, accumulate=2, recompute=("*",), weights_dtype="fp8")
    step = follow(recipe, source, "training", Size(seq=8), lambda: pytest.fail("not asked"))
    assert step.meta["tensor_parallel"] == step.meta["micro_batches"] == 2
    assert "micro1.transformer.h.11.mlp.c_fc.recomputed" in {op.name for op in step}
    chunks = follow(Recipe(chunk=4), "gpt2", None, Size(seq=8), lambda: pytest.fail("not asked"))
    sparse = sparsify(chunks, "2:4")
    assert trace_effective_macs(sparse) < chunks.macs
    assert {op.b_pattern for op in sparse if op.layer == "layers.3.mlp.up"} != {DENSE}


@pytest.mark.parametrize(
    ("recipe", "source", "phase", "message"),
    [
        (Recipe(chunk=4, steps=2), "gpt2", None, "chunk and steps are not combined"),
        (Recipe(chunk=4), "gpt2", "training", "belongs to the phase prefill"),
        (Recipe(chunk=4), "gemm:4,4,4", None, "gives one trace"),
        (Recipe(steps=4), "resnet50", None, "generates no tokens"),
        (Recipe(draft=4), "bert_base", None, "generates no tokens"),
        (Recipe(accumulate=2), "gpt2", None, "in a training step"),
        (Recipe(recompute=("*",)), "gpt2", None, "in a training step"),
        (Recipe(lora_rank=4, lora=("x",)), "gpt2", None, "matches no linear layer"),
    ],
)
def test_contradictions_are_told(
    recipe: Recipe, source: str, phase: str | None, message: str
) -> None:
    from codesign.trace.workload import load_workload

    with pytest.raises(CodesignError, match=message):
        follow(recipe, source, phase, Size(), lambda: load_workload(source, seq=8))


def test_sizes_are_checked() -> None:
    for wrong in (
        lambda: chunked_prefill(GPT2, 0, Size(seq=4)),
        lambda: decode_range(GPT2, 0, Size()),
        lambda: decode_range(GPT2, 4, Size(), samples=0),
        lambda: speculative(GPT2, 0, Size()),
        lambda: accumulated(STEP, 0),
        lambda: adapted(GPT2, 0, Size()),
    ):
        with pytest.raises(CodesignError):
            wrong()
    assert replace(Size(), batch=3).batch == 3
