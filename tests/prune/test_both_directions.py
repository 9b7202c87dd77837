"""Do SLoPe, T-mask, FST and S-STE have the properties that define them?"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from codesign.prune.mvue import along_batch, inclusion, mvue
from codesign.prune.registry import sparsifier
from codesign.prune.s_ste import continuous
from codesign.prune.select import largest_of_groups
from codesign.prune.slope import double_pruning_loss
from codesign.prune.transposable import all_masks, flow_block, greedy_blocks, transposable
from codesign.sparsity.pattern import NM, Transposable

# extra zeros of double pruning, from the formula of the thesis and a simulation of ours
LEMMA = {"1:2": 0.125, "2:4": 0.0938, "1:4": 0.0791, "2:8": 0.0584, "4:8": 0.0684, "1:8": 0.0430,
         "2:16": 0.0316, "1:16": 0.0223}  # fmt: skip


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("text", LEMMA)
def test_double_pruning_loses_what_the_lemma_says(text) -> None:
    n, m = map(int, text.split(":"))
    assert double_pruning_loss(n, m) == pytest.approx(LEMMA[text], abs=6e-5)
    layer = nn.Linear(1024, 512)
    method = sparsifier("slope", text).attach(
        layer, optimizer=torch.optim.SGD(layer.parameters(), lr=0.1)
    )
    forward, backward = method.masks()["weight"], method.backward_masks()["weight"]
    lost = forward.density - backward.density
    assert lost == pytest.approx(double_pruning_loss(n, m), abs=0.003)
    assert (backward.to_dense() <= forward.to_dense()).all()
    assert NM(n, m, "out").accepts(backward)
    assert forward.density == n / m


def slope_run(steps: int, share: float):
    torch.manual_seed(0)
    layer = nn.Linear(16, 8)
    sgd = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    method = sparsifier("slope", "2:4", rank=2, adapter_share=share)
    method.attach(layer, steps=steps, optimizer=sgd)
    start, x = layer.weight.detach().clone(), seeded(32, 16)
    for _ in range(steps):
        sgd.zero_grad()
        (layer(x) - x[:, :8]).square().mean().backward()
        method.after_backward()
        sgd.step()
        method.after_step()
    return method, layer, start, x


def test_slope_never_moves_a_pruned_weight_nor_a_mask() -> None:
    method, layer, start, _ = slope_run(10, 0.0)
    mask = method.targets[0].mask
    assert torch.equal(layer.weight[~mask], start[~mask])
    assert not torch.equal(layer.weight[mask], start[mask])


def test_slope_adds_adapters_for_the_last_steps_and_keeps_them() -> None:
    method, layer, _, x = slope_run(10, 0.2)
    up, down = method.adapters["weight"]
    assert method.adapting
    assert up.abs().sum() > 0
    with torch.no_grad():
        before = layer(x)
        method.finish()
        after = layer(x)
    torch.testing.assert_close(before, after)
    torch.testing.assert_close(after, x @ (layer.weight + up @ down).t() + layer.bias)
    assert (layer.weight.count_nonzero(1) <= 8).all()
    early, _, _, _ = slope_run(8, 0.0)
    assert early.adapters["weight"][0].abs().sum() == 0


def test_a_block_has_90_transposable_masks() -> None:
    masks = all_masks(2, 4)
    assert len(masks) == 90
    assert (masks.sum(1) == 2).all()
    assert (masks.sum(2) == 2).all()
    assert len({tuple(mask.reshape(-1).tolist()) for mask in masks}) == 90


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (2, 8)])
def test_exact_solvers_agree_and_the_greedy_one_is_near(n, m) -> None:
    rows = seeded(2 * m, 3 * m)
    kept = {how: (rows.abs() * transposable(rows, n, m, how)).sum() for how in
            ("exact", "flow", "greedy")}  # fmt: skip
    assert float(kept["flow"]) == pytest.approx(float(kept["exact"]), rel=1e-5)
    assert kept["exact"] / 2 <= kept["greedy"] <= kept["exact"] * (1 + 1e-6)
    mask = transposable(rows, n, m, "exact").numpy()
    assert (Transposable(n, m).project(rows.numpy()).to_dense() == mask).all()
    assert (transposable(rows, n, m, "greedy").reshape(2, m, 3, m).sum(1) <= n).all()


def test_the_greedy_rule_worked_by_hand() -> None:
    block = torch.tensor([[[9.0, 8, 1, 0], [7, 6, 1, 0], [5, 4, 3, 2], [1, 1, 2, 1]]])
    kept = greedy_blocks(block, 2)[0]
    assert kept[:2, :2].all()  # fills rows and columns 0 and 1
    assert kept.int().tolist()[2] == [0, 0, 1, 1]
    assert torch.equal(flow_block(block[0], 2), _best(block[0]))


def _best(block: torch.Tensor) -> torch.Tensor:
    return max(all_masks(2, 4), key=lambda mask: float((mask * block).sum()))


def test_fst_reads_one_mask_in_both_directions_and_ends_dense() -> None:
    layer = nn.Linear(8, 8, bias=False)
    method = sparsifier("fst", "2:4", decay=0.5).attach(layer, steps=6)
    x = seeded(4, 8).requires_grad_()
    mask = method.targets[0].mask
    y = layer(x)
    y.sum().backward()
    sparse = layer.weight.detach() * mask
    torch.testing.assert_close(y.detach(), x.detach() @ sparse.t())
    torch.testing.assert_close(x.grad, torch.ones(4, 8) @ sparse)
    before = layer.weight.grad.clone()
    method.after_backward()
    pulled = layer.weight.grad - before
    torch.testing.assert_close(pulled, 0.5 * layer.weight.detach() * ~mask)
    for _ in range(5):
        method.after_step()
    assert method.tuning
    torch.testing.assert_close(layer(x), x @ layer.weight.t())


def pair_chances(size: torch.Tensor) -> torch.Tensor:
    """Inclusion probabilities of two draws without return, by listing all pairs."""
    out = torch.zeros_like(size)
    total = size.sum()
    for i, j in itertools.permutations(range(len(size)), 2):
        chance = size[i] / total * size[j] / (total - size[i])
        out[i] += chance
        out[j] += chance
    return out


def test_inclusion_probabilities_are_those_of_all_pairs() -> None:
    size = seeded(5, 4).abs().double()
    found = inclusion(size)
    torch.testing.assert_close(found, torch.stack([pair_chances(row) for row in size]))
    torch.testing.assert_close(found.sum(1), torch.full((5,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (2, 8)])
def test_the_estimate_is_unbiased_and_sparse(n, m) -> None:
    x = seeded(1, 2 * m).double()
    x[0, 1] = 0
    drawn = mvue(x.repeat(40_000, 1), n, m, torch.Generator().manual_seed(1))
    assert ((drawn.reshape(-1, m) != 0).sum(1) <= n).all()
    spread = drawn.std(0) / 40_000**0.5
    assert ((drawn.mean(0) - x[0]).abs() <= 5 * spread + 1e-12).all()


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (2, 8)])
def test_the_kernel_draws_as_the_general_rule_does(n, m) -> None:
    x = seeded(2 * m, 1)
    x[1] = 0
    drawn = along_batch(x.repeat(1, 40_000), n, m, torch.Generator().manual_seed(1)).double()
    spread = drawn.std(1) / 40_000**0.5
    assert ((drawn.mean(1) - x[:, 0]).abs() <= 5 * spread + 1e-6).all()
    twin = mvue(x.t().double().repeat(40_000, 1), n, m, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.std(1), twin.std(0), rtol=0.05, atol=1e-3)
    values = sorted(set(twin[:, 0].tolist()))  # the same few values, drawn or not
    assert sorted(set(drawn[0].tolist())) == pytest.approx(values, rel=1e-5)
    lonely = torch.tensor([[0.0], [-3.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0]])
    assert torch.equal(along_batch(lonely, n, 4, torch.Generator().manual_seed(0)), lonely)


def test_the_estimate_is_unbiased_where_one_element_outweighs_the_others() -> None:
    x = torch.tensor([[1.0, -3e-7, 1e-7, 2e-8]])
    listed = pair_chances(x[0].abs().double())
    torch.testing.assert_close(inclusion(x.abs())[0].double(), listed, rtol=1e-5, atol=0)
    many = 200_000
    kernel = along_batch(x.t().repeat(1, many), 2, 4, torch.Generator().manual_seed(1))
    general = mvue(x.repeat(many, 1), 2, 4, torch.Generator().manual_seed(1)).t()
    for estimate in (kernel, general):
        assert int((estimate != 0).sum()) == 2 * many
        for row, value, chance in zip(estimate.double(), x[0], listed, strict=True):
            drawn = row[row != 0]
            torch.testing.assert_close(
                drawn, (value / chance).expand(len(drawn)), rtol=1e-5, atol=0
            )
            spread = (chance * (1 - chance) / many) ** 0.5
            assert len(drawn) / many == pytest.approx(float(chance), abs=5 * float(spread))


def test_groups_that_are_zero_or_hold_one_number_are_exact() -> None:
    x = torch.tensor([[0.0, 0, 0, 0, 0, -3, 0, 0]])
    for n in (1, 2):
        assert torch.equal(mvue(x, n, 4, torch.Generator().manual_seed(0)), x)


def test_the_estimate_for_the_weight_gradient_lies_along_the_batch() -> None:
    dy = seeded(8, 3)
    drawn = along_batch(dy, 2, 4, torch.Generator().manual_seed(0))
    assert ((drawn.reshape(2, 4, 3) != 0).sum(1) == 2).all()
    images = seeded(2, 3, 2, 2)
    drawn = along_batch(images, 1, 4, torch.Generator().manual_seed(0))
    assert ((drawn.permute(1, 0, 2, 3).reshape(3, 2, 4) != 0).sum(2) == 1).all()


def test_s_ste_worked_by_hand() -> None:
    rows = torch.tensor([[4.0, -3.0, 2.0, 1.0, 0.5, 0.5, -0.5, 2.0]])
    expected = torch.tensor([[2.0, -1.0, 0, 0, 0, 0, 0, 1.5]])
    assert torch.equal(continuous(rows, 2, 4)[0], expected)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (2, 8)])
def test_s_ste_is_continuous_where_hard_pruning_jumps(n, m) -> None:
    for seed in range(20):
        start, stop = seeded(1, m, seed=seed), seeded(1, m, seed=seed + 100)
        path = start + (stop - start) * torch.linspace(0, 1, 2001)[:, None]
        soft, _ = continuous(path, n, m)
        step, hard = path.diff(dim=0).abs().max(), path * largest_of_groups(path, n, m)
        assert soft.diff(dim=0).abs().max() <= 2 * step + 1e-6  # |w| and t move by one step each
        assert ((soft != 0).sum(1) <= n).all()
        swaps = ((hard != 0).diff(dim=0)).any()
        assert not swaps or hard.diff(dim=0).abs().max() > 2 * step


def test_s_ste_scales_once_and_passes_the_gradient_through() -> None:
    layer = nn.Linear(8, 4, bias=False)
    method = sparsifier("s_ste", "2:4", estimate=False).attach(layer)
    soft, _ = continuous(layer.weight.detach(), 2, 4)
    beta = (layer.weight.detach() * soft).sum() / soft.square().sum()
    torch.testing.assert_close(method.weight(method.targets[0]), beta * soft)
    x = seeded(4, 8)
    layer(x).sum().backward()
    method.after_backward()
    torch.testing.assert_close(layer.weight.grad, torch.ones(4, 4) @ x)
    with torch.no_grad():
        layer.weight.mul_(3.0)
        layer.weight[0] = 0
    method.after_step()
    assert method.targets[0].state["beta"] == beta
    big = torch.randn(400, 400, generator=torch.Generator().manual_seed(3))
    gaussian = nn.Linear(400, 400, bias=False)
    with torch.no_grad():
        gaussian.weight.copy_(big)
    scale = sparsifier("s_ste", "2:4").attach(gaussian).targets[0].state["beta"]
    assert float(scale) == pytest.approx(1.483, abs=0.01)  # for Gaussian weights, our simulation
