"""Are tiles, butterflies, Monarch matrices, slices and activation zeros what their papers say?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from codesign.prune.registry import sparsifier


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer_of(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def test_patch_learns_to_keep_the_tiles_that_matter() -> None:
    weight = seeded(16, 16)
    weight[:8, 8:] *= 6  # pruning this tile costs most
    layer = layer_of(weight)
    adam = torch.optim.Adam(layer.parameters(), lr=0.05)
    method = sparsifier("patch", "tiles(8x8, 2:4, 0.375)").attach(layer, steps=60, optimizer=adam)
    x = seeded(64, 16, seed=1)
    for _ in range(60):
        adam.zero_grad()
        (layer(x) - x @ weight.t()).square().mean().backward()
        method.after_backward()
        adam.step()
        method.after_step()
    method.finish()
    tiles = method.masks()["weight"].tile_counts(8, 8)
    assert tiles.tolist() == [[32, 64], [32, 32]]
    kept = torch.from_numpy(method.masks()["weight"].to_dense())
    assert torch.equal(layer.weight, weight * kept)  # frozen weights


def test_butterfly_plus_low_rank() -> None:
    weight = seeded(32, 32)
    layer = layer_of(weight)
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    method = sparsifier("pixelated_butterfly", "butterfly(8)", rank=3, gamma=0.75)
    method.attach(layer, optimizer=sgd)
    kept = torch.from_numpy(method.masks()["weight"].to_dense())
    blocks = kept.reshape(8, 4, 8, 4).any(3).any(1)
    for i in range(8):
        for j in range(8):
            assert bool(blocks[i, j]) == (i == j or (i ^ j) in (1, 2, 4))
    gamma, up, down = method.low["weight"]
    with torch.no_grad():
        up.copy_(seeded(32, 3, seed=1))
    x = seeded(4, 32, seed=2)
    expected = x @ (0.75 * weight * kept + 0.25 * up @ down).t()
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    assert all(part.grad is not None for part in (gamma, up, down))
    assert (layer.weight.grad[~kept] == 0).all()


def test_monarch_projection_is_the_truncated_svd_of_each_block() -> None:
    weight = seeded(16, 16)
    layer = layer_of(weight)
    method = sparsifier("monarch", "dense", blocks=4).attach(layer)
    for i in range(4):
        for j in range(4):
            window = (slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4))
            u, s, v = np.linalg.svd(weight.double().numpy()[window])
            best = s[0] * np.outer(u[:, 0], v[0])
            assert layer.weight.detach().numpy()[window] == pytest.approx(best, abs=1e-5)
    before = layer.weight.detach().clone()
    method.after_step()
    torch.testing.assert_close(layer.weight.detach(), before)  # a Monarch matrix stays itself
    assert method.density() == pytest.approx(2 * 16**1.5 / 256)


def test_slices_are_the_principal_components() -> None:
    x = seeded(200, 8, seed=1) * torch.tensor([5.0, 4, 3, 2, 1, 0.5, 0.2, 0.1])
    mixing = torch.linalg.qr(seeded(8, 8, seed=2)).Q
    x = x @ mixing
    layer = layer_of(torch.linalg.qr(seeded(8, 8, seed=3)).Q)  # a rotation: errors keep their size
    wanted = layer(x).detach()
    method = sparsifier("slicegpt", "column(0.5)").attach(layer).calibrate(layer, [x])
    lost = float((layer(x).detach() - wanted).square().sum())
    values = torch.linalg.eigvalsh(x.double().t() @ x.double())
    assert lost == pytest.approx(float(values[:4].sum()), rel=1e-3)
    small, rotation = method.sliced("")
    assert small.shape == (8, 4)
    torch.testing.assert_close(layer(x), (x @ rotation) @ small.t())
    assert method.masks()["weight"].to_dense().tolist() == [[True] * 4 + [False] * 4] * 8


def test_rotations_fold_through_rmsnorm() -> None:
    """The invariance that SliceGPT rests on: RMSNorm(x Q) = RMSNorm(x) Q."""
    x, layer = seeded(16, 8), layer_of(seeded(4, 8, seed=1))
    method = sparsifier("slicegpt", "column(0.0)").attach(layer).calibrate(layer, [x])
    small, rotation = method.sliced("")
    norm = nn.RMSNorm(8, elementwise_affine=False)
    torch.testing.assert_close(
        norm(x @ rotation) @ small.t(), norm(x) @ layer.weight.t(), atol=1e-4, rtol=1e-4
    )


def test_teal_cuts_at_the_quantile_of_what_it_saw() -> None:
    layer, x = nn.Linear(64, 8), seeded(512, 64)
    method = sparsifier("teal", "unstructured(0.4)").attach(layer).calibrate(layer, [x])
    wanted = torch.quantile(x.abs(), 0.4)
    assert float(method.targets[0].state["threshold"]) == pytest.approx(float(wanted), rel=1e-3)
    layer(seeded(512, 64, seed=1))
    assert method.input_density()["weight"] == pytest.approx(0.6, abs=0.01)


def test_wina_weighs_inputs_with_column_norms() -> None:
    layer = layer_of(torch.tensor([[3.0, 0.0, 1.0, 0.1], [4.0, 1.0, 0.0, 0.0]]))  # 5, 1, 1, 0.1
    sparsifier("wina", "unstructured(0.5)").attach(layer)
    x = torch.tensor([[1.0, -4.0, 2.0, 9.0]])  # scores 5, 4, 2, 0.9
    assert layer(x).tolist() == [[3.0, 0.0]]
    conv = nn.Conv2d(4, 2, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(layer.weight[:, :, None, None])
    sparsifier("wina", "unstructured(0.5)").attach(conv)
    assert conv(x[:, :, None, None]).flatten().tolist() == [3.0, 0.0]


def test_r_sparse_is_exact_at_full_rank_and_sends_the_rest_through_few_directions() -> None:
    layer, x = nn.Linear(16, 8), seeded(64, 16)
    wanted = layer(x).detach()
    method = sparsifier("r_sparse", "unstructured(0.5)", rank=8).attach(layer)
    method.calibrate(layer, [x])
    torch.testing.assert_close(layer(x).detach(), wanted, atol=1e-4, rtol=1e-4)
    method.detach()
    errors = {}
    for name in ("teal", "r_sparse"):
        method = sparsifier(name, "unstructured(0.5)").attach(layer).calibrate(layer, [x])
        errors[name] = float((layer(x).detach() - wanted).square().sum())
        method.detach()
    assert errors["r_sparse"] < errors["teal"]


def test_mustafar_spares_the_recent_tokens() -> None:
    layer = nn.Linear(8, 8)
    method = sparsifier("mustafar", "unstructured(0.75)", recent=3).attach(layer)
    made = layer(seeded(2, 10, 8))
    assert ((made[:, :7] != 0).sum(-1) == 2).all()
    assert (made[:, 7:] != 0).all()
    full = nn.functional.linear(seeded(2, 10, 8), layer.weight, layer.bias)
    kept = full.abs().topk(2, dim=-1).values[:, :7]
    torch.testing.assert_close(made[:, :7].abs().topk(2, dim=-1).values, kept)
    method.detach()
    torch.testing.assert_close(layer(seeded(2, 10, 8)), full)


def test_only_winners_learn_under_k_wta() -> None:
    layer = layer_of(torch.eye(4))
    sparsifier("kwta", "unstructured(0.5)").attach(layer)
    x = torch.tensor([[1.0, 4.0, -9.0, 3.0]])
    y = layer(x)
    assert y.tolist() == [[0.0, 4.0, 0.0, 3.0]]  # the largest, not the largest magnitudes
    y.sum().backward()
    assert layer.weight.grad.tolist() == [[0.0] * 4, x[0].tolist(), [0.0] * 4, x[0].tolist()]
