"""Does every sparsifier attach, train, finish, resume and reach machines in the same way?"""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from codesign import load_arch
from codesign.config import CodesignError
from codesign.evaluate import evaluate
from codesign.prune.base import Sparsifier
from codesign.prune.registry import SPARSIFIERS, sparsifier
from codesign.sparsity.pattern import NM, Unstructured
from codesign.trace.op import Phase
from codesign.trace.sparsify import METHODS
from codesign.trace.torch_extract import extract_module

OWN_PATTERNS = {
    "dense": "dense", "monarch": "dense", "srigl": "fan_in(0.5)", "blast": "block(4x4, 0.5)",
    "pixelated_butterfly": "butterfly(8)", "patch": "tiles(8x8, 2:4, 0.25)",
    "spense": "split(2:4, 0.25)", "slicegpt": "column(0.5)",
}  # fmt: skip
NM_METHODS = [name for name, kind in SPARSIFIERS.items() if NM in kind.patterns]
X = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))


def pattern_for(name: str) -> str:
    if name in OWN_PATTERNS:
        return OWN_PATTERNS[name]
    return "2:4" if name in NM_METHODS else "unstructured(0.5)"


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Unflatten(1, (4, 4, 4)), nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(128, 8),
    )  # fmt: skip


def attached(name: str, net: nn.Module, steps: int = 6) -> tuple[Sparsifier, torch.optim.Optimizer]:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    where = "[06]" if name == "mustafar" else "*"
    method = sparsifier(name, pattern_for(name))
    method.attach(net, where=where, steps=steps, optimizer=optimizer)
    if method.needs_data:
        method.calibrate(net, X.split(8))
    return method, optimizer


def train(net: nn.Module, method: Sparsifier, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X), torch.arange(16) % 8).backward()
        method.after_backward()
        optimizer.step()
        method.after_step()


class Conv1D(nn.Module):
    """GPT-2's linear layer, whose weight is [in, out]."""

    def __init__(self, out: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, out))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight)


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_a_linear_layer_of_gpt2_is_pruned_as_any_other(name, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.pytorch_utils", SimpleNamespace(Conv1D=Conv1D))
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU(),
                          nn.ReLU(), nn.Linear(32, 8))  # fmt: skip
    turned = copy.deepcopy(plain)
    turned[0], turned[6] = Conv1D(32, 16), Conv1D(8, 32)
    with torch.no_grad():
        for i in (0, 6):
            turned[i].weight.copy_(plain[i].weight.t())
            turned[i].bias.copy_(plain[i].bias)
    found = []
    for net in (plain, turned):
        method, optimizer = attached(name, net)
        train(net, method, optimizer, 6)
        method.finish()
        found.append((method.masks(), method.backward_masks()))
    for ours, theirs in zip(*found, strict=True):
        assert {k: m.to_dense().tolist() for k, m in ours.items()} == {
            k: m.to_dense().tolist() for k, m in theirs.items()
        }
    torch.testing.assert_close(turned(X), plain(X), rtol=1e-4, atol=1e-5)
    for i in (0, 6):
        torch.testing.assert_close(turned[i].weight.t(), plain[i].weight, rtol=1e-4, atol=1e-5)


def test_every_method_has_a_rule_for_traces_and_a_source() -> None:
    assert set(SPARSIFIERS) == set(METHODS)
    assert all(kind.paper for kind in SPARSIFIERS.values())


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_a_model_trains_finishes_and_its_masks_reach_a_trace(name) -> None:
    net = network()
    names = set(net.state_dict())
    method, optimizer = attached(name, net)
    train(net, method, optimizer, 6)
    assert set(net.state_dict()) == names
    method.finish()
    assert torch.isfinite(net(X)).all()
    for key, mask in method.masks().items():
        target = next(t for t in method.targets if t.key == key)
        if name not in ("pixelated_butterfly", "slicegpt"):  # whose weight is a product
            assert not (target.rows() * ~target.mask).any()
        assert mask.shape == target.shape
    for phase in ("inference", "training"):
        trace, _ = extract_module(network(), ((X,), {}), name="net", phase=phase)
        sparse = method.sparsify(trace)
        helped = {
            op.phase for op in sparse if op.is_matmul
            and not (op.a_pattern.is_dense and op.b_pattern.is_dense)
        }  # fmt: skip
        rule = METHODS[name]
        allowed = {
            Phase.FORWARD: rule.forward or rule.inputs,
            Phase.BACKWARD_DATA: rule.backward_data or rule.output_gradient,
            Phase.BACKWARD_WEIGHT: rule.backward_weight,
        }
        assert all(allowed[phase] for phase in helped)
        if phase == "inference" and method.masks() and rule.forward:
            forward = {op.weight: op.name for op in sparse if op.phase is Phase.FORWARD}
            for key, mask in method.masks().items():
                assert mask.density >= 0.99 or sparse.masks[forward[key]] == mask


@pytest.mark.parametrize("name", ["bdwp", "bimask", "slope", "tmask"])
def test_masks_of_both_directions_lie_as_the_products_read_them(name) -> None:
    net = network()
    method, _ = attached(name, net)
    trace, _ = extract_module(network(), ((X,), {}), name="net", phase="training")
    sparse = method.sparsify(trace)
    for op in sparse:
        if op.phase in (Phase.FORWARD, Phase.BACKWARD_DATA) and op.weight is not None:
            assert str(op.b_pattern) == "2:4", op.name
            assert sparse.masks[op.name].shape == (op.n, op.k)
            assert NM(2, 4).accepts(sparse.masks[op.name])
    conv = next(t for t in method.targets if t.name == "3")
    op = next(op for op in sparse if op.weight == conv.key and op.phase is Phase.BACKWARD_DATA)
    kept = conv.mask if conv.backward_mask is None else conv.backward_mask
    assert (sparse.masks[op.name].to_dense() == conv.by_input(kept).numpy()).all()


def test_training_time_follows_from_the_method() -> None:
    sat = load_arch("sat")
    trace, _ = extract_module(
        nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 256)),
        ((torch.randn(512, 256),), {}), name="mlp", phase="training",
    )  # fmt: skip
    time = {}
    for name in ("dense", "sr_ste", "bdwp"):
        net = nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 256))
        method = sparsifier(name, "dense" if name == "dense" else "2:8").attach(net)
        time[name] = evaluate(method.sparsify(trace), sat).latency_s
    assert time["bdwp"] < time["sr_ste"] < time["dense"]


@pytest.mark.parametrize("name", ["bdwp", "rigl", "s_ste", "pgf"])
def test_a_run_goes_on_from_its_state(name) -> None:
    net = network()
    method, optimizer = attached(name, net)
    train(net, method, optimizer, 3)
    saved = copy.deepcopy((net.state_dict(), optimizer.state_dict(), method.state_dict()))
    train(net, method, optimizer, 3)
    again = network()
    other, adam = attached(name, again)
    again.load_state_dict(saved[0])
    adam.load_state_dict(saved[1])
    other.load_state_dict(saved[2])
    if name != "s_ste":  # whose draws start anew
        train(again, other, adam, 3)
        torch.testing.assert_close(again(X), net(X))
        assert other.masks() == method.masks()
    with pytest.raises(CodesignError, match="another"):
        other.load_state_dict({**saved[2], "pattern": "1:4"})


def test_detaching_gives_the_model_back_as_it_was() -> None:
    net = network()
    wanted = net(X)
    method, _ = attached("bdwp", net)
    assert not torch.equal(net(X), wanted)
    method.detach()
    assert torch.equal(net(X), wanted)
    assert all("forward" not in vars(layer) for layer in net)


def test_layers_are_chosen_by_glob() -> None:
    method = sparsifier("nm_magnitude", "2:4").attach(network(), where=("0", "3"), skip="0")
    assert list(method.masks()) == ["3.weight"]
    with pytest.raises(CodesignError, match="matches"):
        sparsifier("nm_magnitude", "2:4").attach(network(), where="fc*")


def test_wrong_use_is_told() -> None:
    with pytest.raises(CodesignError, match="bdwp"):
        sparsifier("bdpw", "2:4")
    with pytest.raises(CodesignError, match="NM"):
        sparsifier("bdwp", "unstructured(0.5)")
    with pytest.raises(CodesignError, match="seeds"):
        sparsifier("bdwp", "2:4", seeds=1)
    method = sparsifier("bdwp", "2:4").attach(network())
    with pytest.raises(CodesignError, match="attached"):
        method.attach(network())
    trace, _ = extract_module(nn.Linear(16, 16), ((X,), {}), name="other")
    with pytest.raises(CodesignError, match="reads a weight"):
        method.sparsify(trace)


def test_random_masks_are_decided_by_the_seed() -> None:
    masks = [sparsifier("random", "2:4", seed=s).attach(network()).masks() for s in (0, 0, 1)]
    assert masks[0] == masks[1]
    assert masks[0] != masks[2]


def test_grouped_convolutions_keep_their_gradients() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(8, 8, 3, groups=2, stride=2, padding=1), torch.randn(2, 8, 6, 6)
    x.requires_grad_()
    layer(x).square().sum().backward()
    wanted = (layer.weight.grad.clone(), layer.bias.grad.clone(), x.grad.clone())
    layer.zero_grad()
    x.grad = None
    sparsifier("dense", "dense").attach(layer)
    layer(x).square().sum().backward()
    for found, grad in zip((layer.weight.grad, layer.bias.grad, x.grad), wanted, strict=True):
        torch.testing.assert_close(found, grad)


def test_unstructured_layers_carry_their_own_density() -> None:
    method = sparsifier("magnitude_global", "unstructured(0.5)").attach(network())
    trace, _ = extract_module(network(), ((X,), {}), name="net")
    for op in method.sparsify(trace):
        if op.weight in method.masks():
            mask = method.masks()[str(op.weight)]
            assert isinstance(op.b_pattern, Unstructured)
            assert op.b_pattern.density == pytest.approx(mask.density)
            assert np.isclose(mask.density, mask.nnz / mask.size)
