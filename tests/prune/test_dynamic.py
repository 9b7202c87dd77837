"""Do schedules, budgets and swaps of dynamic and soft masks follow their papers' rules?"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codesign.prune.registry import sparsifier
from codesign.prune.schedule import cosine, cubic, progress
from codesign.prune.soft import annealed_threshold
from codesign.sparsity.pattern import Block


def layer_of(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                         nn.Linear(64, 8))  # fmt: skip


def train(method, net, steps: int, each=lambda: None) -> None:
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(16, net[0].in_features, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        sgd.zero_grad()
        net(x).square().mean().backward()
        method.after_backward()
        sgd.step()
        method.after_step()
        each()


def test_schedules_at_their_ends_and_in_the_middle() -> None:
    assert [cubic(0.2, 0.9, done) for done in (0, 1)] == pytest.approx([0.2, 0.9])
    assert cubic(0.0, 0.8, 0.5) == pytest.approx(0.8 * (1 - 0.125))
    assert [cosine(0.3, done) for done in (0, 0.5, 1)] == pytest.approx([0.3, 0.15, 0])
    assert [progress(step, 10, 20) for step in (0, 10, 15, 20, 99)] == [0, 0, 0.5, 1, 1]


def test_gradual_pruning_follows_zhu_and_gupta() -> None:
    net = model()
    method = sparsifier("gradual", "unstructured(0.8)", every=5, end=0.5).attach(net, steps=40)
    found: list[float] = []
    train(method, net, 40, lambda: found.append(method.density()))
    for step, density in enumerate(found, 1):
        at = min(step // 5 * 5, 20)
        assert density == pytest.approx(1 - cubic(0, 0.8, at / 20), abs=1e-3)
    assert found[-1] == pytest.approx(0.2, abs=1e-3)


def test_gradual_pruning_of_a_short_run_still_ends_at_its_sparsity() -> None:
    net = model()
    method = sparsifier("gradual", "block(4x4, 0.5)", every=1000).attach(net, steps=3)
    train(method, net, 3)
    method.finish()
    assert method.density() == pytest.approx(0.5)
    assert all(Block(4, 4, 0.5).accepts(mask) for mask in method.masks().values())


@pytest.mark.parametrize("name", ["magnitude_erk", "magnitude_global", "magnitude_lamp", "rigl"])
def test_shared_budgets_are_met(name) -> None:
    method = sparsifier(name, "unstructured(0.75)").attach(model())
    assert method.density() == pytest.approx(0.25, abs=2e-3)
    densities = {key: mask.density for key, mask in method.masks().items()}
    assert len(set(densities.values())) > 1
    if name in ("magnitude_erk", "rigl"):  # density in proportion to (n + k) / (n k)
        assert densities["0.weight"] / densities["2.weight"] == pytest.approx(
            (96 / 2048) / (128 / 4096), rel=5e-3
        )


def test_global_magnitude_has_one_threshold() -> None:
    method = sparsifier("magnitude_global", "unstructured(0.5)").attach(model())
    kept = torch.cat([t.rows().abs()[t.mask] for t in method.targets])
    pruned = torch.cat([t.rows().abs()[~t.mask] for t in method.targets])
    assert pruned.max() <= kept.min()


def test_rigl_swaps_the_smallest_weights_for_the_largest_gradients() -> None:
    layer = layer_of([[4.0, 3.0, 2.0, 1.0, 9.0, 9.0, 9.0, 9.0]])
    method = sparsifier("rigl", "unstructured(0.5)", every=1, share=0.5, uniform=True)
    method.attach(layer, steps=1000)
    target = method.targets[0]
    target.mask = torch.tensor([[True] * 4 + [False] * 4])
    layer.weight.grad = torch.tensor([[9.0, 9.0, 0.0, 0.05, 0.1, -0.4, 0.3, 0.2]])
    method.after_backward()
    assert layer.weight.grad[0].tolist() == pytest.approx([9.0, 9.0, 0.0, 0.05] + [0.0] * 4)
    method.step = -1  # the share is whole at the start
    method.after_step()
    assert target.mask.int().tolist() == [[1, 1, 0, 0, 0, 1, 1, 0]]
    assert layer.weight[0, 5:7].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["rigl", "srigl"])
def test_the_number_of_weights_never_changes(name) -> None:
    net = model()
    pattern = "fan_in(0.75)" if name == "srigl" else "unstructured(0.75)"
    method = sparsifier(name, pattern, every=2).attach(net, steps=30)
    first = [int(t.mask.sum()) for t in method.targets]
    masks = [t.mask.clone() for t in method.targets]

    def check() -> None:
        for target, count in zip(method.targets, first, strict=True):
            rows = target.mask.sum(1)
            if name == "srigl":
                assert len(set(rows[rows > 0].tolist())) == 1  # constant fan-in
                assert count - rows.max() * 2 <= int(rows.sum()) <= count
            else:
                assert int(rows.sum()) == count

    train(method, net, 30, check)
    assert any(not torch.equal(t.mask, old) for t, old in zip(method.targets, masks, strict=True))
    assert all(method.layer_pattern(t).accepts(method.masks()[t.key]) for t in method.targets)


def test_srigl_gives_up_rows_without_salient_weights() -> None:
    layer = layer_of([[5.0, 5.0, 5.0, 5.0], [4.0, 4.0, 4.0, 4.0], [0.1, 0.1, 0.1, 0.1]])
    method = sparsifier("srigl", "fan_in(0.5)", every=1, share=0.4, least_salient=0.6)
    method.attach(layer, steps=1000)
    target = method.targets[0]
    target.state["gradient"] = torch.ones(3, 4) * torch.tensor([[3.0], [2.0], [1.0]])
    method.step = -1
    method.after_step()
    assert target.mask.sum(1).tolist() == [3, 3, 0]
    assert method.layer_pattern(target).accepts(method.masks()["weight"])


def test_granet_prunes_along_its_schedule_and_regrows_by_gradient() -> None:
    net = model()
    method = sparsifier("granet", "unstructured(0.9)", every=2, end=0.8).attach(net, steps=20)
    found: list[float] = []
    train(method, net, 20, lambda: found.append(method.density()))
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.1, abs=2e-3)
    layer = layer_of([[4.0, 3.0, 2.0, 1.0]])
    method = sparsifier("granet", "unstructured(0.5)", share=0.5).attach(layer)
    method.targets[0].state["gradient"] = torch.tensor([[0.0, 0.0, 1.0, 2.0]])
    method.steps, method.step, method.end = 100, 0, 1.0
    method.initial_sparsity = 0.5
    with torch.no_grad():
        method.change(method.targets[0])
    assert method.targets[0].mask.int().tolist() == [[1, 0, 0, 1]]  # 3 left, 1 came back


def test_blast_moves_whole_blocks() -> None:
    net = model()
    method = sparsifier("blast", "block(8x8, 0.75)", every=2).attach(net, steps=20)
    train(method, net, 20)
    assert all(Block(8, 8, 0.75).accepts(mask) for mask in method.masks().values())
    assert method.density() == pytest.approx(0.25)


def test_autosparse_gradients_are_the_papers_rule() -> None:
    weight = torch.tensor([3.0, -0.5, -2.0, 0.2], requires_grad=True)
    threshold = torch.tensor(1.0, requires_grad=True)
    soft = annealed_threshold(weight, threshold, 0.25)
    assert soft.tolist() == [2.0, 0.0, -1.0, 0.0]
    soft.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert weight.grad.tolist() == [1.0, 0.5, 3.0, 1.0]  # times 1 if kept, alpha if not
    assert threshold.grad == -(1.0 * 1 + 3.0 * -1)


def test_autosparse_anneals_and_stops_at_its_sparsity() -> None:
    net = model()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    method = sparsifier("autosparse", "unstructured(0.5)", initial=1.0, alpha=0.4)
    method.attach(net, steps=20, optimizer=adam)
    assert method.density() == pytest.approx(0.5, abs=2e-3)
    assert method.alpha_now == pytest.approx(0.4)
    with torch.no_grad():
        for logit in method.parameters():
            logit += 0.01
    method.after_step()
    net(torch.randn(4, 32)).sum().backward()
    for logit in method.parameters():
        logit.grad.fill_(-1.0)
    method.after_backward()
    assert all(logit.grad == 0 for logit in method.parameters())
    method.step = 15
    assert method.alpha_now == 0


def test_st3_thresholds_where_the_schedule_says_and_passes_the_gradient() -> None:
    layer = layer_of([[4.0, -3.0, 2.0, 1.0]])
    method = sparsifier("st3", "unstructured(0.5)", end=0.5).attach(layer, steps=2)
    assert method.weight(method.targets[0]).tolist() == [[4.0, -3.0, 2.0, 1.0]]
    method.after_step()
    assert method.weight(method.targets[0]).tolist() == [[2.0, -1.0, 0.0, 0.0]]
    layer(torch.ones(1, 4)).backward()
    assert layer.weight.grad.tolist() == [[1.0] * 4]
    method.rescale = True
    method.after_step()
    assert method.weight(method.targets[0]).norm() == pytest.approx(5.0)  # that of (4, -3)


@pytest.mark.parametrize("pattern", ["unstructured(0.5)", "2:4"])
def test_pdp_masks_are_a_half_at_the_cut_and_harden(pattern) -> None:
    layer = layer_of([[4.0, -3.0, 1.0, 0.5]])
    method = sparsifier("pdp", pattern, absolute_tau=1.0, end=0.5).attach(layer, steps=2)
    method.after_step()
    target = method.targets[0]
    level = ((3.0 + 1.0) / 2) ** 2
    soft = method.soft_mask(target, layer.weight)
    expected = torch.sigmoid(torch.tensor([[16.0, 9.0, 1.0, 0.25]]) - level)
    torch.testing.assert_close(soft, expected)
    layer(torch.ones(1, 4)).backward()
    w = layer.weight.detach()
    slope = expected + w * 2 * w * expected * (1 - expected)  # product rule
    torch.testing.assert_close(layer.weight.grad, slope)
    method.finish()
    assert layer.weight.tolist() == [[4.0, -3.0, 0.0, 0.0]]
