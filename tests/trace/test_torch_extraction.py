"""Are the products of a real module, forward and in training, those that its shapes imply?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from codesign.config import CodesignError
from codesign.trace.extract import extract, extract_with_weights
from codesign.trace.op import Kind, Phase, Trace
from codesign.trace.sparsify import sparsify, trace_effective_macs
from codesign.trace.workload import load_workload

MODELS = f"torch:{Path(__file__).parents[2] / 'examples' / 'models.py'}"
ODD = f"torch:{Path(__file__).with_name('odd_modules.py')}"
PHASES = ("inference", "training")


def products(trace: Trace, below: str = "") -> Counter[tuple[object, ...]]:
    """How often each product occurs, whatever its name."""
    return Counter(
        (op.kind, op.phase, op.m, op.n, op.k, op.groups, op.conv)
        for op in trace
        if op.is_matmul and op.layer.startswith(below)
    )


def update_elements(trace: Trace) -> int:
    return sum(op.elements for op in trace if op.kind is Kind.UPDATE)


@pytest.mark.parametrize("phase", PHASES)
def test_resnet50_is_the_workload(phase: str) -> None:
    made = extract(f"{MODELS}:resnet50", phase=phase, batch=2)
    stated = load_workload("resnet50", phase=phase, batch=2)
    assert products(made) == products(stated)
    assert made.parameters == stated.parameters
    assert update_elements(made) == update_elements(stated)
    if phase == "inference":
        assert Counter(op.function for op in made) == Counter(op.function for op in stated)
    moved = [sum(op.read_bytes + op.write_bytes for op in t) for t in (made, stated)]
    assert moved[0] == pytest.approx(moved[1], rel=0.03)


@pytest.mark.parametrize("phase", PHASES)
def test_a_gpt2_block_is_a_layer_of_the_workload(phase: str) -> None:
    made = extract(f"{MODELS}:gpt2_block", phase=phase, batch=2, seq=100)
    stated = load_workload("gpt2", phase=phase, batch=2, seq=100, overrides={"depth": 1})
    assert products(made) == products(stated, "layers.0")
    functions = {op.function for op in made if op.phase is Phase.FORWARD}
    assert {"layernorm", "softmax", "gelu_tanh", "add"} <= functions


@pytest.mark.parametrize("phase", PHASES)
def test_the_same_layers_are_pruned_in_both(phase: str) -> None:
    made = sparsify(extract(f"{MODELS}:resnet50", phase=phase), "2:8")
    stated = sparsify(load_workload("resnet50", phase=phase), "2:8")
    assert made.meta["sparse_layers"] == stated.meta["sparse_layers"] == 52
    assert trace_effective_macs(made) == trace_effective_macs(stated)
    block = sparsify(extract(f"{MODELS}:gpt2_block", phase=phase), "2:8")
    assert block.meta["sparse_layers"] == 4


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize(
    ("name", "forward", "training", "parameters"),
    [
        # 16 x 32 features or tokens; each linear layer of 32 x 32 has 16384 products
        ("tied", 16 * 32 * (32 + 100), 3 * 16 * 32 * (32 + 100), 3200 + 1056),
        ("stored_transposed", 16 * 32 * 48, 2 * 16 * 32 * 48, 32 * 48 + 48),
        ("by_hand", 16 * 32 * 128 + 2 * 16 * 16 * 32, 0, 33 * 96 + 33 * 32),
        ("grouped", 16 * 32 * 48 + 2 * 16 * 16 * 32, 0, 33 * 48),
        # the body is computed twice, and its input needs no gradient
        ("recomputed", 3 * 16 * 1024, (3 + 2 + 6 - 1) * 16 * 1024, 3 * 1056),
        ("shared_layer", 2 * 3 * 1024, 5 * 3 * 1024, 1056),
        ("frozen", 3 * 32 * 36, 3 * 32 * 36 + 3 * 32 * 4, 1056 + 132),
        ("of_size", 16 * 2, 2 * 16 * 2, 34),
    ],
)
def test_macs_and_parameters(
    name: str, forward: int, training: int, parameters: int, real: bool
) -> None:
    trace = extract(f"{ODD}:{name}", seq=16, real=real)
    assert trace.macs == forward
    assert trace.parameter_count == parameters
    step = extract(f"{ODD}:{name}", seq=16, phase="training", real=real)
    if training:
        assert step.macs == training
    else:  # three linear layers or one without an input gradient, and attention
        first = sum(op.macs for op in trace if op.is_matmul and not op.deps)
        assert step.macs == 3 * forward - first
    assert update_elements(step) == (132 if name == "frozen" else parameters)


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("phase", PHASES)
def test_attention_inside_library_functions_is_folded(phase: str, real: bool) -> None:
    trace = extract(f"{ODD}:encoder", phase=phase, real=real)
    forward = [op for op in trace if op.kind is Kind.ATTENTION and op.phase is Phase.FORWARD]
    backward = [op for op in trace if op.kind is Kind.ATTENTION and op.phase is not Phase.FORWARD]
    assert len(forward) == 4
    assert len(backward) == (8 if phase == "training" else 0)
    assert {(op.m, op.n, op.k, op.groups) for op in forward} == {(16, 16, 8, 8), (16, 8, 16, 8)}
    linear = 2 * 2 * 16 * 32 * (96 + 32 + 64 + 64)
    attention = 2 * 2 * 2 * 16 * 16 * 32
    total = linear + attention
    first = 2 * 16 * 32 * 96
    assert trace.macs == (total if phase == "inference" else 3 * total - first)


def test_attention_by_hand_and_folded_have_the_same_products() -> None:
    step = extract(f"{ODD}:by_hand", phase="training")
    shapes = {(op.phase, op.m, op.n, op.k, op.groups) for op in step if op.kind is Kind.ATTENTION}
    forward, back = Phase.FORWARD, Phase.BACKWARD_DATA
    assert shapes == {
        (forward, 16, 16, 8, 4), (forward, 16, 8, 16, 4), (back, 16, 16, 8, 4),
        (back, 16, 8, 16, 4), (back, 8, 16, 16, 4),
    }  # fmt: skip
    assert sum(op.kind is Kind.ATTENTION for op in step) == 6


def test_heads_that_share_keys_are_rows_of_one_product() -> None:
    scores = next(op for op in extract(f"{ODD}:grouped") if op.kind is Kind.ATTENTION)
    assert (scores.m, scores.n, scores.k, scores.groups) == (4 * 16, 16, 8, 1)


def test_convolutions_keep_their_windows() -> None:
    step = extract(f"{ODD}:convolutions", phase="training")
    depthwise, strided, flat = (
        op for op in step if op.kind is Kind.CONV and op.phase is Phase.FORWARD
    )
    assert (depthwise.groups, depthwise.m, depthwise.n, depthwise.k) == (8, 2 * 64, 1, 9)
    assert (strided.m, strided.n, strided.k) == (2 * 16, 16, 8)
    assert (flat.groups, flat.m, flat.n, flat.k) == (2, 2 * 4, 4, 24)
    assert step.macs == 3 * (depthwise.macs + strided.macs + flat.macs) - depthwise.macs


@pytest.mark.parametrize("name", ["by_hand", "grouped", "tied", "encoder", "convolutions"])
def test_every_gradient_depends_on_the_forward_pass(name: str) -> None:
    step = extract(f"{ODD}:{name}", phase="training")
    graph = step.graph()
    forward = [op.name for op in step if op.phase is Phase.FORWARD]
    reached = {forward[-1]}
    for op in step:
        if op.phase is not Phase.FORWARD:
            assert reached & set(graph.predecessors(op.name)), op.name
            reached.add(op.name)


@pytest.mark.parametrize("name", ["stored_transposed", "convolutions", "by_hand", "tied"])
def test_masks_come_from_the_real_weights(name: str) -> None:
    trace, weights = extract_with_weights(f"{ODD}:{name}", real=True)
    sparse = sparsify(trace, "2:4", weights=weights, skip_first_last=False)
    assert sparse.masks
    for op in sparse:
        if op.name in sparse.masks:
            assert op.weight is not None
            matrix = np.abs(weights[op.weight])
            if matrix.ndim == 4:
                matrix = matrix.transpose(0, 2, 3, 1)
            matrix = matrix.reshape(op.groups * op.n, op.k)
            kept = sparse.masks[op.name].to_dense()
            largest = np.sort(matrix.reshape(-1, 4), axis=1)[:, 2:].sum()
            assert np.isclose((matrix * kept).sum(), largest)
    assert trace_effective_macs(sparse) < trace.macs
    assert not extract_with_weights(f"{ODD}:{name}")[1]


def test_floating_point_types_can_be_kept() -> None:
    assert {op.a_dtype for op in extract(f"{ODD}:encoder", dtype=None)} == {"fp32"}
    assert {op.a_dtype for op in extract(f"{ODD}:encoder", dtype="bf16")} == {"bf16"}


def test_a_module_in_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_here.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Linear(4, 2), torch.ones(3, 4)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert extract("torch:found_here:make").macs == 24


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("torch:nothing.here:make", "no module 'nothing'"),
        ("torch:no/such/file.py:make", "no file"),
        ("resnet50", "write torch:package.module:factory"),
        ("torch:onlyone", "write torch:package.module:factory"),
        ("jax:a:b", "write torch:package.module:factory"),
        (f"{ODD}:encodr", "did you mean 'encoder'"),
        (f"{ODD}:NOT_CALLABLE", "cannot be called"),
        (f"{ODD}:no_module", "returns a int"),
        (f"{ODD}:fails", "ValueError: this factory is broken"),
        (f"{ODD}:no_inputs", r"example_inputs\(batch, seq\)"),
        (f"{ODD}:wrong_inputs", "running the module fails: RuntimeError"),
        (f"{ODD}:text_inputs", "inputs are a tensor"),
        (f"{ODD}:decides", r"Decides: the module asks for the value of a tensor"),
    ],
)
def test_what_cannot_be_extracted_is_said(source: str, message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        extract(source)


def test_real_inputs_answer_what_the_meta_device_cannot() -> None:
    assert extract(f"{ODD}:decides", real=True).macs == 16 * 32 * 4


def test_fused_operators_are_refused_rather_than_missed() -> None:
    with pytest.raises(CodesignError, match="mkldnn_rnn_layer"):
        extract(f"{ODD}:recurrent", real=True)
    gates = 4 * 16
    assert extract(f"{ODD}:recurrent").macs == 2 * 5 * gates * (32 + 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phase": "trainig"}, "did you mean 'training'"),
        ({"phase": "decode"}, "inference or training"),
        ({"dtype": "fp12"}, "no data type 'fp12'"),
        ({"optimizer": "adan"}, "did you mean 'adam'"),
    ],
)
def test_options_are_checked(options: dict[str, str], message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        extract(f"{ODD}:encoder", **options)  # type: ignore[arg-type]
