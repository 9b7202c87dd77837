"""Does a change of a trace leave exactly the work that the method leaves?"""

from __future__ import annotations

import numpy as np
import pytest

import codesign
from codesign.config import CodesignError
from codesign.sparsity.factors import parse_form
from codesign.trace.op import Kind, Phase
from codesign.trace.sparsify import trace_effective_macs
from codesign.trace.training import train
from codesign.trace.transform import CHANGES, is_change, make_sparse
from codesign.trace.transform_weights import restructure
from codesign.trace.workload import load_workload, workload_spec

SMALL = {"depth": 2, "width": 64, "heads": 4, "mlp_width": 128, "vocabulary": 100}
GPT2 = {**SMALL, "positions": 64}


@pytest.fixture(scope="module")
def forward():
    return load_workload("gpt2", seq=32, overrides=GPT2)


@pytest.fixture(scope="module")
def training():
    return load_workload("gpt2", phase="training", seq=32, overrides=GPT2)


@pytest.fixture(scope="module")
def decode():
    overrides = {**SMALL, "kv_heads": 2}
    return load_workload("llama3_8b", phase="decode", context=31, overrides=overrides)


def macs(trace, suffix):
    return sum(op.macs for op in trace if op.name.endswith(suffix))


FORMS = ["lowrank(8)", "monarch(4)", "monarch(4, 2)", "butterfly_factors", "armor(2:4, 16)",
         "2:4+lowrank(8)", "dense+lowrank(4)", "unstructured(0.9)+lowrank(8)",
         "butterfly(8)+lowrank(4)", "butterfly(16)"]  # fmt: skip
HYBRIDS = ["split(2:4, 0.25)", "tiles(16x16, 2:4, 0.25)", "sq(4:8)"]


@pytest.mark.parametrize("text", FORMS[:-1])
def test_a_form_runs_the_products_that_it_states(forward, text):
    changed = make_sparse(forward, text, "*mlp.up")
    form = parse_form(text)
    op = forward["layers.0.mlp.up"]
    expected = sum(p.groups * p.n * p.k * op.m for p in form.products(op.n, op.k))
    made = [o for o in changed if o.name.startswith("layers.0.mlp.up") and o.is_matmul]
    assert sum(o.macs for o in made) == expected
    untouched = {o.name: o for o in forward if ".mlp.up" not in o.name}
    assert all(changed[name] == o for name, o in untouched.items())
    assert changed["layers.0.mlp.up"].deps
    stored = sum(p.groups * p.n * p.k for p in form.products(op.n, op.k))
    names = [name for name in changed.parameters if name.startswith("layers.0.mlp.up")]
    assert sum(changed.parameters[n] for n in names if not n.endswith("bias")) == stored


@pytest.mark.parametrize("text", FORMS)
def test_a_training_step_has_two_gradient_products_for_each_of_a_form(training, text):
    changed = make_sparse(training, text, "layers.1.mlp.*")
    forward = [o for o in changed if o.phase is Phase.FORWARD and o.kind is Kind.GEMM]
    for phase in (Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT):
        gradients = [o for o in changed if o.phase is phase and o.kind is Kind.GEMM]
        assert sum(o.macs for o in gradients) == sum(o.macs for o in forward)
    updates = [o for o in changed if o.kind is Kind.UPDATE]
    assert sum(o.elements for o in updates) == changed.parameter_count
    assert len({o.name for o in changed}) == len(changed)


def test_a_rewritten_step_without_a_change_is_the_step_itself(training):
    again = restructure(training, parse_form("dense+lowrank(4)"), "layers.1.mlp.up")
    kept = {o.name: o for o in training}
    rest = [o for o in again if "layers.1.mlp.up" not in o.name and o.name in kept]
    assert len(rest) >= len(training) - 6
    assert all(o.shape_key == kept[o.name].shape_key for o in rest)


def test_frozen_weights_stay_frozen():
    forward = load_workload("gpt2", seq=32, overrides=GPT2)
    step = train(forward, trainable=lambda name: name.startswith("layers.1."))
    changed = make_sparse(step, "dense+lowrank(4)", "layers.1.mlp.up")
    updated = {o.layer for o in changed if o.kind is Kind.UPDATE}
    assert "layers.1.mlp.up.down" in updated
    assert not any(layer.startswith(("layers.0", "lm_head", "embeddings")) for layer in updated)


@pytest.mark.parametrize("text", HYBRIDS)
def test_hybrids_run_as_two_products(forward, training, text):
    changed = make_sparse(forward, text, "layers.0.mlp.down")
    made = [o for o in changed if "layers.0.mlp.down" in o.name and o.is_matmul]
    op = forward["layers.0.mlp.down"]
    if text.startswith("sq"):
        assert [(o.n, o.k, o.b_dtype) for o in made] == [(64, 128, "int4"), (64, 128, "int8")]
    else:
        assert sum(o.n for o in made) == op.n
        dense = sum(o.macs for o in made)
        removed = trace_effective_macs(changed) - trace_effective_macs(forward)
        assert dense == op.macs
        assert removed == -op.macs // 4
    with pytest.raises(CodesignError, match="no training step"):
        make_sparse(training, text, "layers.0.mlp.down")


def test_sliced_mlps_are_those_of_the_smaller_network(training):
    sliced = make_sparse(training, "mlp(0.25)")
    smaller = load_workload("gpt2", phase="training", seq=32, overrides={**GPT2, "mlp_width": 96})
    assert [o.shape_key for o in sliced] == [o.shape_key for o in smaller]
    assert dict(sliced.parameters) == dict(smaller.parameters)


def test_dropped_layers_are_those_of_the_shorter_network(training):
    shorter = load_workload("gpt2", phase="training", seq=32, overrides={**GPT2, "depth": 1})
    dropped = make_sparse(training, "layers(0.5)")
    assert [(o.name, o.deps) for o in dropped] == [(o.name, o.deps) for o in shorter]
    assert [o.shape_key for o in dropped] == [o.shape_key for o in shorter]
    assert dict(dropped.parameters) == dict(shorter.parameters)


def test_removed_heads_are_those_of_the_narrower_attention(decode):
    overrides = {**SMALL, "heads": 2, "kv_heads": 1, "head_dim": 16}
    narrow = load_workload("llama3_8b", phase="decode", context=31, overrides=overrides)
    removed = make_sparse(decode, "heads(0.5)")
    assert [o.shape_key for o in removed] == [o.shape_key for o in narrow]
    assert dict(removed.parameters) == dict(narrow.parameters)


@pytest.mark.parametrize("phase", [None, "training"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1"])
def test_removed_filters_leave_a_consistent_network(name, phase):
    whole = load_workload(name, phase=phase)
    half = make_sparse(whole, "filters(0.5)")
    assert 0.23 < half.macs / whole.macs < 0.36
    forward = {o.name: o for o in half if o.phase is Phase.FORWARD}
    for op in forward.values():
        if op.conv is not None:
            assert op.conv.out_channels == op.n * op.groups
            assert op.k == op.conv.kernel_h * op.conv.kernel_w * op.conv.in_channels // op.groups
            assert half.parameters[op.weight] == op.groups * op.n * op.k
            for dep in (forward[d] for d in op.deps):
                made = dep.writes if not dep.is_matmul else dep.c_elements
                assert made == op.conv.in_elements
    assert [o.name for o in half] == [o.name for o in whole]


def test_a_sliced_stream_has_narrow_products_and_rotations(forward):
    sliced = make_sparse(forward, "slice(0.25)")
    assert sliced["layers.0.attention.out"].n == sliced["layers.0.mlp.up"].k == 48
    assert sliced["layers.0.mlp.down"].n == sliced["lm_head"].k == 48
    link = sliced["layers.1.add2.rotate"]
    assert (link.m, link.n, link.k, link.deps) == (32, 48, 48, ("layers.1.add1",))
    assert sliced["layers.1.add2"].deps == ("layers.1.add2.rotate", "layers.1.mlp.down")
    assert sliced["layers.1.add2"].elements == 32 * 48


def test_neurons_that_are_left_out_stay_in_memory(decode):
    changed = make_sparse(decode, "neurons(0.75)")
    assert changed["layers.0.mlp.down"].k == changed["layers.0.mlp.gate"].n == 32
    assert changed.parameters == decode.parameters


def test_one_token_skips_its_channels_and_a_batch_their_intersection(decode):
    op = make_sparse(decode, "channels(0.5)", "*mlp.down")["layers.0.mlp.down"]
    assert (op.m, op.k) == (1, 64)
    batch = load_workload(
        "llama3_8b", phase="decode", context=31, batch=3, overrides={**SMALL, "kv_heads": 2}
    )
    assert make_sparse(batch, "channels(0.5)", "*mlp.down")["layers.0.mlp.down"].k == 112
    low = make_sparse(decode, "rsparse(0.5, 8)", "*mlp.down")
    assert macs(low, "mlp.down.core") == 2 * 64 * 64
    assert macs(low, "mlp.down.down") == 2 * 8 * 128
    assert macs(low, "mlp.down.up") == 2 * 8 * 64
    delta = make_sparse(decode, "delta(0.75)", "*mlp.down")
    assert delta["layers.0.mlp.down"].k == 32
    assert delta["layers.0.mlp.down.select"].reads == 2 * 128


def test_chunks_of_tokens_read_the_weights_of_their_union(forward):
    op = make_sparse(forward, "chunks(0.75, 8)", "*mlp.down")["layers.0.mlp.down"]
    assert (op.m, op.k, op.repeats) == (8, 32, 4)


def test_pruned_tokens_shrink_later_layers_alone(forward):
    changed = make_sparse(forward, "tokens(0.5, 1)")
    assert changed["layers.0.mlp.up"] == forward["layers.0.mlp.up"]
    assert changed["layers.1.mlp.up"].m == 16
    scores, context = changed["layers.1.attention.scores"], changed["layers.1.attention.context"]
    assert (scores.m, scores.n, scores.k) == (16, 16, 16)
    assert (context.m, context.n, context.k) == (16, 16, 16)
    softmax = changed["layers.1.attention.softmax"]
    assert softmax.elements * 4 == forward["layers.1.attention.softmax"].elements
    assert changed["tokens.select"].deps == forward["layers.1.norm1"].deps


def test_attention_reads_the_keys_that_are_left(forward, decode, tmp_path):
    window = make_sparse(decode, "window(8)")
    assert window["layers.0.attention.scores"].n == window["layers.0.attention.context"].k == 8
    assert window["layers.0.attention.softmax"].elements == 8 * 2 * 2
    assert make_sparse(decode, "window(99)").ops == decode.ops
    blocks = make_sparse(forward, "blocks(8, 0.75)")
    gate = blocks["layers.0.attention.scores.gate"]
    assert (gate.m, gate.n, gate.k) == (4, 4, 16)
    assert blocks["layers.0.attention.scores"].n == 8
    double = make_sparse(decode, "double_sparsity(0.75, 0.5)")
    assert double["layers.0.attention.scores.labels"].k == 8
    assert double["layers.0.attention.scores"].n == 8
    assert make_sparse(decode, "evict(0.5)")["layers.0.attention.scores"].n == 16
    np.save(tmp_path / "map.npy", np.tril(np.ones((4, 4), bool)))
    mapped = make_sparse(forward, f"attention_map({tmp_path / 'map.npy'})")
    assert mapped["layers.0.attention.scores"].n == 20
    (tmp_path / "bad.npy").write_bytes(b"\x80\x04.")
    for bad in ("bad.npy", "none.npy"):
        with pytest.raises(CodesignError):
            make_sparse(forward, f"attention_map({tmp_path / bad})")


def test_a_compressed_cache_is_read_at_its_rank(decode):
    changed = make_sparse(decode, "kv_rank(8)")
    scores = changed["layers.0.attention.scores"]
    assert (scores.groups, scores.m, scores.n, scores.k) == (1, 4, 32, 8)
    cached = changed["layers.0.attention.context.cached"]
    assert (cached.groups, cached.m, cached.n, cached.k) == (1, 4, 8, 32)
    up = changed["layers.0.attention.context"]
    assert (up.groups, up.m, up.n, up.k) == (2, 2, 16, 8)
    assert changed["layers.0.attention.kv_write"].writes == 16
    pruned = make_sparse(decode, "kv(unstructured(0.7))")
    assert str(pruned["layers.0.attention.scores"].b_pattern) == "unstructured(0.7)"


def test_activations_with_zeros_and_left_out_positions():
    network = load_workload("resnet18", image=32)
    changed = make_sparse(network, "positions(0.25)", "layer1.*")
    assert str(changed["layer1.0.conv1"].a_pattern) == "row(0.25)"
    relu = make_sparse(network, "activations(unstructured(0.6))", "layer1.*")
    assert trace_effective_macs(relu) < trace_effective_macs(network)


def test_erk_keeps_its_budget_of_weights():
    network = load_workload("resnet18", image=32)
    changed = make_sparse(network, "erk(0.8)")
    sparse = [o for o in changed if not o.b_pattern.is_dense]
    kept = sum(o.n * o.k * o.b_pattern.density for o in sparse)
    assert kept / sum(o.n * o.k for o in sparse) < 0.25
    assert len({str(o.b_pattern) for o in sparse}) > 4


def test_parts_apply_from_left_to_right(decode):
    changed = make_sparse(decode, "mlp(0.5) & 2:4 & kv(2:4)")
    assert changed["layers.0.mlp.down"].k == 64
    assert str(changed["layers.0.mlp.down"].b_pattern) == "2:4"
    assert str(changed["layers.0.attention.scores"].b_pattern) == "2:4"
    assert changed.meta["sparsity"] == "mlp(0.5) & 2:4 & kv(2:4)"
    scaled = make_sparse(decode, "gqsa(16, 0.5)")["layers.0.mlp.down"]
    assert (scaled.b_dtype, str(scaled.b_pattern)) == ("int4", "gqsa(16, 0.5)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("monarh(4)", "no form such as monarch"), ("mpl(0.5)", "did you mean mlp"),
        ("mlp(x)", "a number"), ("mlp(0.5, 2)", "write mlp"), ("mlp(2)", "less than 1"),
        ("window(0)", "at least 1"), ("window(1e3)", "whole number"), ("2:4 & ", "no sparsity"),
        ("kv(5:4)", "did you mean"), ("2:4+lowrank(0)", "rank"), ("x" * 999, "characters"),
        ("tokens(0.5, 1)", "pass over all tokens"),
    ],
)  # fmt: skip
def test_faulty_texts_are_refused(decode, text, message):
    with pytest.raises(CodesignError, match=message):
        make_sparse(decode, text)


def test_changes_for_inference_refuse_a_training_step(training):
    for text in ("channels(0.5)", "chunks(0.5, 8)", "window(8)", "kv_rank(8)", "tokens(0.5, 1)"):
        with pytest.raises(CodesignError, match="training step"):
            make_sparse(training, text)


DECODE_ONLY = {"kv", "kv_rank"}
GIVEN = {
    "activations": "activations(2:4)", "kv": "kv(2:4)", "window": "window(8)",
    "blocks": "blocks(8, 0.5)", "double_sparsity": "double_sparsity(0.5, 0.5)",
    "kv_rank": "kv_rank(8)", "chunks": "chunks(0.5, 8)", "rsparse": "rsparse(0.5, 4)",
    "tokens": "tokens(0.5, 1)",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"attention_map"}))
@pytest.mark.parametrize("arch", ["sat", "cpu_c6i"])
def test_every_change_runs_on_a_machine(forward, decode, name, arch):
    text = GIVEN.get(name) or f"{name}(0.5)"
    assert is_change(text)
    chosen = decode if name in DECODE_ONLY else forward
    if name == "filters":
        chosen = load_workload("resnet18", image=32)
    trace = make_sparse(chosen, text)
    result = codesign.evaluate(trace, codesign.load_arch(arch), fidelity="tile")
    assert result.cycles > 0
    assert result.macs == trace.macs


@pytest.mark.parametrize("text", [*FORMS, *HYBRIDS])
def test_every_form_runs_on_a_machine(forward, text):
    trace = make_sparse(forward, text)
    result = codesign.evaluate(trace, codesign.load_arch("a100_pcie_80gb"), fidelity="tile")
    assert result.cycles > 0


def test_the_names_of_layers_are_those_of_all_transformers():
    assert workload_spec("bert_base").family == "encoder"
    for name, phase in (("bert_base", None), ("vit_b16", None), ("llama2_7b", "decode")):
        trace = load_workload(name, phase=phase, overrides={"depth": 1})
        for text in ("mlp(0.5)", "heads(0.5)", "slice(0.25)"):
            assert make_sparse(trace, text).macs < trace.macs


def test_zeros_that_a_machine_cannot_use_are_said_to_run_dense(forward):
    """Of weights and of activations alike."""
    machine = codesign.load_arch("dense_systolic")
    for text in ("fan_in(0.9)", "butterfly(8)+lowrank(4) & row(0.5)", "positions(0.25)"):
        trace = make_sparse(forward, text)
        notes = codesign.evaluate(trace, machine, fidelity="tile").notes
        named = text.rpartition("& ")[2].replace("positions", "row")
        assert f"{named} runs dense on {machine.spec.name}" in notes
