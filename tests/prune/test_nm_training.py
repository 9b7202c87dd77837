"""Are masks and gradients of the N:M training methods those of their papers, worked by hand?"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codesign.config import CodesignError
from codesign.prune.registry import sparsifier

W = [[4.0, -3.0, 2.0, 1.0], [1.0, 2.0, -3.0, 4.0], [5.0, 1.0, 1.0, -6.0], [1.0, 7.0, 0.0, 2.0]]
X = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 0.0, 2.0]])
DY = torch.tensor([[1.0, -2.0, 0.5, 4.0], [3.0, 1.0, -1.0, 0.25]])
FORWARD = torch.tensor([[4.0, -3, 0, 0], [0, 0, -3, 4], [5, 0, 0, -6], [0, 7, 0, 2]])
BACKWARD = torch.tensor([[4.0, -3, 2, 0], [0, 0, -3, 4], [5, 0, 0, -6], [0, 7, 0, 0]])


def run(name: str, **options):
    """One backward pass of a 4 x 4 layer with dy given: method, layer, y, dx."""
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(W))
    method = sparsifier(name, "2:4", **options).attach(layer, steps=100)
    x = X.clone().requires_grad_()
    y = layer(x)
    y.backward(DY)
    method.after_backward()
    return method, layer, y.detach(), x.grad


def test_ste_runs_both_products_on_the_forward_mask() -> None:
    _, layer, y, dx = run("ste")
    assert torch.equal(y, X @ FORWARD.t())
    assert torch.equal(dx, DY @ FORWARD)
    assert torch.equal(layer.weight.grad, DY.t() @ X)


def test_sr_ste_pulls_exactly_the_pruned_weights() -> None:
    _, layer, _, _ = run("sr_ste", decay=0.5)
    pruned = torch.tensor(W) - FORWARD
    assert torch.equal(layer.weight.grad, DY.t() @ X + 0.5 * pruned)


def test_bdwp_reads_weights_grouped_along_inputs_forward_and_outputs_backward() -> None:
    method, layer, y, dx = run("bdwp")
    assert torch.equal(y, X @ FORWARD.t())
    assert torch.equal(dx, DY @ BACKWARD)
    assert torch.equal(layer.weight.grad, DY.t() @ X)
    kept = method.backward_masks()["weight"].to_dense()
    assert (kept.sum(0) == 2).all()
    assert kept[0, 2]  # pruned in the forward pass, kept in the backward one: chosen apart


def test_sdwp_is_dense_forward() -> None:
    method, _, y, dx = run("sdwp")
    assert torch.equal(y, X @ torch.tensor(W).t())
    assert torch.equal(dx, DY @ BACKWARD)
    assert method.masks() == {}


def test_bimask_keeps_backward_what_forward_keeps() -> None:
    method, _, _, dx = run("bimask")
    forward = method.masks()["weight"].to_dense()
    backward = method.backward_masks()["weight"].to_dense()
    assert (backward <= forward).all()
    assert (backward.sum(0) <= 2).all()
    assert torch.equal(dx, DY @ (torch.tensor(W) * torch.from_numpy(backward)))


def test_sdgp_prunes_the_output_gradient_of_backward_data_alone() -> None:
    pruned = torch.tensor([[0, -2.0, 0, 4], [3, 1, 0, 0]])
    _, layer, y, dx = run("sdgp", variant="max")
    assert torch.equal(y, X @ torch.tensor(W).t())
    assert torch.equal(dx, pruned @ torch.tensor(W))
    assert torch.equal(layer.weight.grad, DY.t() @ X)
    _, _, _, dx = run("sdgp", variant="rnd")
    assert not torch.equal(dx, pruned @ torch.tensor(W))


def test_sdgp_can_keep_the_magnitude_of_each_channel() -> None:
    method = sparsifier("sdgp", "2:4", variant="maxnorm").attach(nn.Conv2d(4, 4, 1))
    dy = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    kept = method.pruned(dy)
    assert ((kept != 0).sum(1) == 2).all()
    torch.testing.assert_close(kept.abs().sum((2, 3)), dy.abs().sum((2, 3)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("decay", ["linear", "exp", "structure"])
def test_pgf_fades_to_the_mask(decay) -> None:
    method, layer, y, _ = run("pgf", decay=decay, begin=0.1, end=0.5)
    if decay == "structure":
        assert (layer.weight.detach() * method.targets[0].mask).count_nonzero(1).tolist() == [
            3, 3, 3, 3,
        ]  # fmt: skip
    else:
        assert torch.equal(y, X @ torch.tensor(W).t())
    leaks = []
    for _ in range(60):
        method.after_step()
        leaks.append(method.leak)
    if decay == "linear":
        assert leaks[29] == pytest.approx(0.5)
    assert leaks == sorted(leaks, reverse=True)
    assert leaks[-1] == 0
    assert torch.equal(method.weight(method.targets[0]), FORWARD)


def test_pgf_narrows_its_groups_in_the_published_steps() -> None:
    method = sparsifier("pgf", "1:16", decay="structure", end=1.0)
    method.attach(nn.Linear(16, 2), steps=50)
    found = []
    for step in range(50):
        method.step = step
        found.append(method.kept_now)
    assert sorted(set(found), reverse=True) == [15, 8, 4, 2, 1]
    assert [found.count(n) for n in (15, 8, 4, 2, 1)] == [10] * 5


def test_masks_follow_the_weights_every_so_many_steps() -> None:
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    method = sparsifier("ste", "2:4", every=2).attach(layer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    method.after_step()
    assert method.targets[0].mask.tolist() == [[True, True, False, False]]
    method.after_step()
    assert method.targets[0].mask.tolist() == [[False, False, True, True]]


def step_run(steps: int, switch: float):
    torch.manual_seed(0)
    layer = nn.Linear(8, 4)
    adam = torch.optim.Adam(layer.parameters(), lr=0.01, betas=(0.9, 0.9), eps=1e-8)
    method = sparsifier("step", "2:4", latest=switch)
    method.attach(layer, steps=steps, optimizer=adam)
    x = torch.randn(16, 8)
    for _ in range(steps):
        adam.zero_grad()
        layer(x).square().mean().backward()
        method.after_backward()
        before = layer.weight.detach().clone()
        adam.step()
        method.after_step()
    return method, layer, adam, before


def test_step_is_dense_adam_before_the_switch_and_freezes_the_variance_after() -> None:
    method, layer, adam, before = step_run(10, 0.5)
    assert method.switched_at == 5
    moments = adam.state[layer.weight]
    assert int(moments["step"]) == 10
    frozen = method._second["weight"]
    corrected = moments["exp_avg"] / (1 - 0.9**10)
    expected = corrected / (frozen.sqrt() + 1e-8**0.75) * 0.01
    assert (before == layer.weight).all()  # the optimizer itself leaves the weight alone
    with torch.no_grad():
        previous = layer.weight + expected
    assert not torch.equal(previous, layer.weight)
    plain, plain_layer, _, _ = step_run(4, 2.0)
    assert plain.switched_at is None
    assert plain.masks() == {}
    torch.manual_seed(0)
    twin = nn.Linear(8, 4)
    adam = torch.optim.Adam(twin.parameters(), lr=0.01, betas=(0.9, 0.9), eps=1e-8)
    x = torch.randn(16, 8)
    for _ in range(4):
        adam.zero_grad()
        twin(x).square().mean().backward()
        adam.step()
    torch.testing.assert_close(twin.weight, plain_layer.weight)


def test_step_needs_adam() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(CodesignError, match="optimizer"):
        sparsifier("step", "2:4").attach(layer)
    with pytest.raises(CodesignError, match="Adam"):
        sparsifier("step", "2:4").attach(
            layer, optimizer=torch.optim.SGD(layer.parameters(), lr=0.1)
        )
