"""Is the training step made from a forward trace complete, in order, and of the right size?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.trace.network import Network, Value
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.training import train
from codesign.trace.vector_work import OPTIMIZERS
from codesign.trace.workload import load_workload, workload_names

LARGE = {"llama2_70b", "opt_66b", "opt_30b", "opt_13b", "llama2_13b", "gpt2_xl", "gpt2_large"}
MODELS = [name for name in workload_names() if name not in LARGE]


@pytest.mark.parametrize("name", MODELS)
def test_training_is_three_forward_passes_less_the_first_input_gradient(name: str) -> None:
    forward, step = load_workload(name, batch=2), load_workload(name, batch=2, phase="training")
    first = [
        op
        for op in forward
        if op.is_matmul and not op.deps  # a convolution on the image; embeddings are no product
    ]
    assert step.macs == 3 * forward.macs - sum(op.macs for op in first)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_updated_once(name: str) -> None:
    step = load_workload(name, phase="training")
    updates = [op for op in step if op.phase is Phase.UPDATE]
    assert sum(op.elements for op in updates) == step.parameter_count
    assert all(op.kind is Kind.UPDATE for op in updates)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v1", "bert_base", "gpt2", "llama3_8b"])
def test_each_weight_has_its_three_products_in_order(name: str) -> None:
    step = load_workload(name, phase="training")
    place = {op.name: i for i, op in enumerate(step)}
    for op in step:
        if op.kind not in (Kind.GEMM, Kind.CONV) or op.phase is not Phase.FORWARD:
            continue
        gradient = step[f"{op.name}.backward_weight"]
        assert gradient.macs == op.macs
        assert set(op.deps) <= set(gradient.deps)
        assert (gradient.m, gradient.k, gradient.n) == (op.k, op.m, op.n)
        data = f"{op.name}.backward_data"
        if data in place:
            assert step[data].macs == op.macs
            assert place[data] < place[gradient.name]
        update = next(o for o in step if o.phase is Phase.UPDATE and o.weight == op.weight)
        if op.name != "lm_head":
            assert gradient.name in update.deps
            between = [o.kind for o in step.ops[place[gradient.name] + 1 : place[update.name]]]
            assert all(kind is Kind.REDUCTION for kind in between)  # the gradient of a bias


def test_a_tied_weight_is_updated_after_both_of_its_gradients() -> None:
    step = load_workload("gpt2", phase="training")
    (update,) = [op for op in step if op.name == "embeddings.tokens.update"]
    (total,) = [op for op in step if op.name == update.deps[0]]
    assert set(total.deps) == {"lm_head.backward_weight", "embeddings.tokens.backward_weight"}
    assert update.elements == total.elements == 50257 * 768


@pytest.mark.parametrize("name", ["resnet18", "vit_cifar", "gpt2", "opt_350m", "llama3_8b"])
def test_every_gradient_follows_from_the_loss_and_reaches_an_update(name: str) -> None:
    step = load_workload(name, phase="training")
    reached = {"loss"}
    used: set[str] = {dep for op in step for dep in op.deps}
    for op in step:
        if op.phase is not Phase.FORWARD:
            assert reached & set(op.deps), f"{op.name} does not follow from the loss"
            reached.add(op.name)
            assert op.phase is Phase.UPDATE or op.name in used, f"nobody uses {op.name}"


def test_a_residual_sum_adds_the_gradients_of_its_two_readers() -> None:
    step = load_workload("resnet50", phase="training")
    total = step["layer1.1.relu.gradient_sum"]
    forward = step["layer1.1.relu"]
    assert total.elements == forward.elements
    assert set(total.deps) == {"layer1.2.conv1.backward_data", "layer1.2.relu.backward_data"}
    # query, key and value share one product: their gradients lie side by side and are not added
    names = {op.name for op in load_workload("gpt2", phase="training")}
    assert "layers.0.attention.qkv.gradient_sum" not in names
    assert "layers.0.add1.gradient_sum" in names


@pytest.mark.parametrize("stride", [1, 2])
def test_backward_data_of_a_convolution(stride: int) -> None:
    net = Network()
    image = net.vector("in", "add_parameter", Value(None, (2, 8, 8, 4)), weight="in.weight")
    net.parameters["in.weight"] = 4
    net.conv(image, "conv", 6, 3, stride=stride)
    step = train(Trace("t", tuple(net.ops), net.parameters))
    forward, data = step["conv"], step["conv.backward_data"]
    assert (data.m, data.n, data.k) == (forward.m, 4, 9 * 6)
    assert data.macs == forward.macs
    assert data.c_elements == 2 * 8 * 8 * 4  # the whole input map is written
    assert data.conv is not None
    assert data.conv.in_elements == forward.c_elements  # the output gradient is what is read
    assert data.conv.input_dilation_h == stride


def test_attention_has_four_gradient_products() -> None:
    step = load_workload("gpt2", phase="training", overrides={"depth": 1}, seq=10)
    forward = [op for op in step if op.kind is Kind.ATTENTION and op.phase is Phase.FORWARD]
    shapes = {
        op.name.removeprefix("layers.0.attention."): (op.m, op.n, op.k)
        for op in step
        if op.kind is Kind.ATTENTION and op.phase is Phase.BACKWARD_DATA
    }
    assert len(forward) == 2
    assert shapes == {
        "context.backward_a": (10, 10, 64),
        "context.backward_b": (10, 64, 10),
        "scores.backward_a": (10, 64, 10),
        "scores.backward_b": (64, 10, 10),
    }


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_the_update_moves_master_weights_and_moments(rule: str) -> None:
    step = load_workload("gemm:8,16,32", phase="training", optimizer=rule)
    update = step.ops[-1]
    state = OPTIMIZERS[rule].state
    elements = 16 * 32
    assert update.read_bytes == elements * (2 + 4 * state)
    assert update.write_bytes == elements * (2 + 4 * state)
    full = load_workload("gemm:8,16,32,fp32", phase="training", optimizer=rule).ops[-1]
    assert full.write_bytes == elements * 4 * state  # the master weight is the only copy


def test_unknown_optimizers_are_refused() -> None:
    with pytest.raises(CodesignError, match=r"did you mean 'adam'"):
        load_workload("gemm:8,8,8", phase="training", optimizer="adan")


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    residual=st.booleans(),
    batch=st.integers(1, 4),
)
def test_laws_of_random_chains(widths: list[int], residual: bool, batch: int) -> None:
    net = Network(training=True)
    x = Value(None, (batch, 5))
    for i, width in enumerate(widths):
        y = net.linear(x, f"fc{i}", width, bias=i % 2 == 0)
        if residual and y.shape == x.shape and x.op is not None:
            y = net.vector(f"add{i}", "add", y, x)
        x = net.norm(y, f"norm{i}", "layernorm")
    net.loss(x)
    forward = Trace("chain", tuple(net.ops), net.parameters)
    step = train(forward)
    first = batch * 5 * widths[0]
    assert step.macs == 3 * forward.macs - first
    assert sum(op.elements for op in step if op.phase is Phase.UPDATE) == step.parameter_count
    assert [op for op in step if op.phase is Phase.FORWARD] == list(forward.ops)
    wanted = train(forward, input_gradient=True)
    assert wanted.macs == 3 * forward.macs
    assert isinstance(wanted["fc0.backward_data"], Op)
