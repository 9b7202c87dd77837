"""How much memory does a run need at least, in numbers that one can count by hand?"""

from __future__ import annotations

from codesign.trace.footprint import Footprint, footprint
from codesign.trace.op import Op, Trace
from codesign.trace.training_steps import recomputed
from codesign.trace.workload import load_workload


def dense(op: Op) -> int:
    return op.b_bytes


def needs(trace: Trace) -> Footprint:
    return footprint(trace, dense)


def test_a_product_needs_its_weights_input_and_result():
    assert needs(load_workload("gemm:8,16,32")) == Footprint(
        weights=2 * 16 * 32, cache=0, activations=2 * (8 * 32 + 8 * 16), gradients=0, optimizer=0
    )


def test_a_result_that_is_its_own_gradient_is_no_input():
    assert needs(load_workload("gemm:8,16,32", phase="training")).activations == 2 * (8 * 48)


def test_a_model_needs_every_parameter_once_and_tied_ones_too():
    trace = load_workload("gpt2", phase="decode", context=16)
    assert needs(trace).weights == 2 * trace.parameter_count


def test_a_cache_grows_with_batch_and_context():
    small, large = (
        needs(load_workload("llama2_7b", phase="decode", context=context, batch=batch)).cache
        for context, batch in ((1023, 1), (2047, 4))
    )
    assert small == 2 * 2 * 32 * 4096 * 1024
    assert large == 8 * small
    assert needs(load_workload("llama2_7b", phase="prefill", seq=1024)).cache == small


def test_what_a_machine_stores_of_a_weight_is_what_it_needs():
    trace = load_workload("gemm:8,16,32")
    assert footprint(trace, lambda op: op.b_bytes // 2).weights == 16 * 32


def test_an_embedding_beside_narrow_weights_is_no_larger_than_they_are_wide():
    trace = load_workload("gpt2", phase="decode", context=16)
    assert footprint(trace, lambda op: op.b_bytes // 4).weights <= trace.parameter_count // 2 + 1


def test_training_keeps_gradients_master_weights_and_moments():
    for dtype, width in (("fp16", 2), ("fp32", 4)):
        trace = load_workload("gpt2", phase="training", seq=16, optimizer="adamw", dtype=dtype)
        found, count = needs(trace), trace.parameter_count
        assert (found.weights, found.gradients) == (width * count, width * count)
        assert found.optimizer == (12 if width == 2 else 8) * count, "fp32 weights are the master"


def test_training_keeps_inputs_until_their_weights_have_gradients():
    step = load_workload("gpt2", phase="training", seq=64, batch=2)
    forward = load_workload("gpt2", seq=64, batch=2)
    kept = needs(step).activations
    tokens, width, blocks = 2 * 64, 768, 12
    assert kept >= 2 * tokens * blocks * (width + width + width + 4 * width)
    logits = 2 * tokens * 50257
    inputs = 2 * tokens * blocks * width
    assert inputs <= needs(recomputed(step)).activations < kept / 2
    assert logits < needs(forward).activations < logits + inputs
