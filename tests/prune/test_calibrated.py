"""Do calibrated methods minimise what they claim, beside slow twins and worked examples?"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codesign.config import CodesignError
from codesign.prune.calibrated import add_tokens, damped, gram, quadratic, refit, sparsegpt
from codesign.prune.registry import sparsifier
from codesign.sparsity.pattern import parse_pattern


def tokens(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Correlated inputs with channels of different size."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, generator=random)
    return (x + 0.8 * x.roll(1, 1)) * torch.exp(0.7 * torch.randn(size, generator=random))


def pruned(name: str, pattern: str, layer: nn.Module, x: torch.Tensor, **options) -> nn.Module:
    method = sparsifier(name, pattern, **options).attach(layer)
    if method.needs_data:
        method.calibrate(layer, x.split(64))
    method.finish()
    return method


def error(name: str, pattern: str, seed: int) -> float:
    torch.manual_seed(seed)
    layer, x = nn.Linear(32, 16, bias=False), tokens(256, 32, seed)
    wanted = layer(x).detach()
    pruned(name, pattern, layer, x)
    return float((layer(x).detach() - wanted).square().sum() / wanted.square().sum())


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "unstructured(0.5)", "unstructured(0.75)"])
@pytest.mark.parametrize("seed", range(4))
def test_repairing_methods_never_lose_to_magnitude(pattern, seed) -> None:
    magnitude = error("magnitude_uniform", pattern, seed)
    for name in ("sparsegpt", "obs", "chita"):
        assert error(name, pattern, seed) <= magnitude, name


@pytest.mark.parametrize("name", ["sparsegpt", "obs", "chita", "wanda"])
@pytest.mark.parametrize("pattern", ["2:4", "unstructured(0.5)"])
def test_masks_are_exact_and_pruned_weights_zero(name, pattern) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 16)
    method = pruned(name, pattern, layer, tokens(128, 32))
    mask = method.masks()["weight"]
    assert mask.nnz == 16 * 32 // 2
    assert (layer.weight[~torch.from_numpy(mask.to_dense())] == 0).all()
    if pattern == "2:4":
        assert (mask.group_counts(4) == 2).all()
    elif name != "sparsegpt":  # which shares its zeros out over blocks of columns
        assert (mask.lane_counts(16)[0] == 16).all()


def test_sums_over_tokens_are_symmetric_however_often_they_are_read() -> None:
    x = torch.randn(12, 1100, generator=torch.Generator().manual_seed(0))
    state: dict[str, torch.Tensor] = {}
    for part in x.split(4):
        add_tokens(state, part)
        gram(state)
    torch.testing.assert_close(gram(state), x.t() @ x, rtol=1e-5, atol=1e-4)
    assert torch.equal(gram(state), gram(state).t())
    assert state["tokens"] == 12


def test_wanda_worked_by_hand() -> None:
    layer = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, -1.0, 1.0, -1.0]]))
    x = torch.tensor([[1.0, 0.0, 3.0, 8.0], [0.0, 1.0, 0.0, 6.0]])  # norms 1, 1, 3, 10
    method = pruned("wanda", "2:4", layer, x)
    assert method.masks()["weight"].to_dense().tolist() == [[False, False, True, True]] * 2
    assert layer.weight.tolist() == [[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, -1.0]]


def test_wanda_weighs_with_the_norm_not_its_square() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 1.0]]))
    pruned("wanda", "1:2", layer, torch.tensor([[1.0, 2.0]]))
    assert layer.weight.tolist() == [[3.0, 0.0]]


def sparsegpt_twin(weights, hessian, n: int, m: int):
    """One column at a time with the inverse Hessian itself, rows left to right, no blocks."""
    rows, inverse = weights.double().clone(), torch.linalg.inv(hessian.double())
    mask = torch.ones(rows.shape, dtype=torch.bool)
    diagonal = torch.linalg.cholesky(inverse, upper=True).diagonal()
    for j in range(rows.shape[1]):
        if j % m == 0:
            salience = (rows[:, j : j + m] / diagonal[j : j + m]).abs()
            order = salience.argsort(dim=1, descending=True, stable=True)[:, n:]
            mask[:, j : j + m] = mask[:, j : j + m].scatter(1, order, False)
        gone = rows[:, j] * ~mask[:, j]
        rows[:, j:] -= gone[:, None] / inverse[j, j] * inverse[j, j:]
        rows[:, j] = torch.where(mask[:, j], rows[:, j], torch.zeros_like(gone))
        inverse -= inverse[:, j, None] * inverse[None, j] / inverse[j, j]
    return rows, mask


@pytest.mark.parametrize("block", [4, 8, 128])
def test_sparsegpt_is_elimination_of_columns_in_order(block) -> None:
    torch.manual_seed(0)
    weights, x = torch.randn(6, 16), tokens(64, 16)
    hessian = damped(x.t() @ x / 64, 0.01)
    found, mask = sparsegpt(weights, hessian, parse_pattern("2:4"), block)
    expected, twin_mask = sparsegpt_twin(weights, hessian, 2, 4)
    assert torch.equal(mask, twin_mask)
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=2e-4)


def test_obs_takes_the_cheapest_weight_and_repairs_exactly() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.2]]))
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])  # H = [[2, 2], [2, 3]] / 3
    pruned("obs", "1:2", layer, x, damping=0.0)
    # inverse of H / 3: [[4.5, -3], [-3, 3]]; costs 1/4.5 and 1.44/3: the first goes
    torch.testing.assert_close(layer.weight, torch.tensor([[0.0, 1.2 + 1 / 4.5 * 3]]))


@pytest.mark.parametrize("pattern", ["2:4", "unstructured(0.75)"])
def test_obs_ends_at_the_best_weights_of_its_mask(pattern) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(16, 4, bias=False), tokens(64, 16)
    dense = layer.weight.detach().double().clone()
    method = pruned("obs", pattern, layer, x)
    mask = torch.from_numpy(method.masks()["weight"].to_dense())
    best = refit(dense, damped(x.t() @ x / 64, 0.01).double(), mask)
    torch.testing.assert_close(layer.weight.detach().double(), best, atol=1e-5, rtol=1e-5)


def test_refit_is_the_least_squares_solution_inside_the_mask() -> None:
    x, dense = tokens(64, 8).double(), torch.randn(3, 8).double()
    mask = torch.rand(3, 8) > 0.5
    found = refit(dense, x.t() @ x, mask)
    assert (found[~mask] == 0).all()
    for row in range(3):
        kept = mask[row]
        wanted = torch.linalg.lstsq(x[:, kept], x @ dense[row]).solution
        torch.testing.assert_close(found[row][kept], wanted)
    assert quadratic(found - dense, x.t() @ x) == pytest.approx(
        float((x @ (found - dense).t()).square().sum()) / 2
    )


def test_calibration_in_pieces_is_calibration_at_once() -> None:
    torch.manual_seed(0)
    one, x = nn.Linear(16, 8), tokens(64, 16)
    other = nn.Linear(16, 8)
    other.load_state_dict(one.state_dict())
    sparsifier("sparsegpt", "2:4").attach(one).calibrate(one, [x]).finish()
    sparsifier("sparsegpt", "2:4").attach(other).calibrate(other, x.split(7)).finish()
    torch.testing.assert_close(one.weight, other.weight, atol=1e-4, rtol=1e-4)


def test_an_input_that_is_never_on_costs_nothing() -> None:
    layer, x = nn.Linear(8, 4), tokens(32, 8)
    x[:, 3] = 0
    method = pruned("sparsegpt", "2:4", layer, x)
    assert torch.isfinite(layer.weight).all()
    assert method.density() == 0.5


def test_convolutions_are_calibrated_on_their_windows() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 8, 3, padding=1), torch.randn(4, 4, 6, 6)
    wanted = layer(x).detach()
    kept = {}
    for name in ("magnitude_uniform", "sparsegpt"):
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 8, 3, padding=1)
        method = sparsifier(name, "2:4").attach(layer)
        if method.needs_data:
            method.calibrate(layer, [x])
        method.finish()
        kept[name] = float((layer(x).detach() - wanted).square().sum())
        assert (method.masks()["weight"].group_counts(4) == 2).all()
    assert kept["sparsegpt"] < kept["magnitude_uniform"]


def test_layers_without_data_are_named() -> None:
    net = nn.ModuleDict({"used": nn.Linear(4, 4), "idle": nn.Linear(4, 4)})
    method = sparsifier("wanda", "2:4").attach(net)
    net.forward = lambda x: net["used"](x)  # type: ignore[method-assign]
    with pytest.raises(CodesignError, match="idle"):
        method.calibrate(net, [torch.randn(2, 4)])


def test_spense_keeps_the_most_sensitive_rows_dense() -> None:
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [5.0], [2.0], [4.0]]).expand(4, 4))
    method = pruned("spense", "split(2:4, 0.25)", layer, torch.ones(2, 4))
    assert method.masks()["weight"].to_dense().sum(1).tolist() == [2, 4, 2, 4]
