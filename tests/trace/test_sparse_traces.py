"""Does sparsify prune the products that it says, and are the kept multiply-accumulates exact?"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.sparsity.pattern import NM, parse_pattern
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.sparsify import METHODS, effective_macs, sparsify, trace_effective_macs
from codesign.trace.workload import load_workload

PRODUCTS = {"forward": Phase.FORWARD, "data": Phase.BACKWARD_DATA, "weight": Phase.BACKWARD_WEIGHT}

SPARSE_PRODUCTS: dict[str, frozenset[str] | set[str]] = {
    # docs of each method: which of the three products of a layer run on pruned operands
    "dense": set[str](),
    "sr_ste": {"forward"},
    "sdgp": {"data"},
    "sdwp": {"data"},
    "bdwp": {"forward", "data"},
    "bimask": {"forward", "data"},
    "slope": {"forward", "data"},
    "tmask": {"forward", "data"},
    "fst": {"forward", "data", "weight"},
    "s_ste": {"forward", "weight"},
    "monarch": set[str](),
    # one N:M mask of the weight, along the inputs, does not serve backward-data
    **dict.fromkeys(
        (
            *("ste", "step", "pgf", "nm_magnitude", "random", "magnitude_uniform", "rigl", "srigl"),
            *("magnitude_global", "magnitude_erk", "magnitude_lamp", "gradual", "granet", "st3"),
            *("autosparse", "pdp", "blast", "wanda", "sparsegpt", "obs", "chita", "patch"),
            *("spense", "pixelated_butterfly", "slicegpt"),
            # zeros in the activations that the forward product reads
            *("teal", "wina", "r_sparse", "mustafar", "kwta"),
        ),
        frozenset({"forward"}),
    ),
}
ONE_OF_EACH_RULE = {rule: name for name, rule in reversed(METHODS.items())}.values()


def brute_force_kept(pattern: NM, rows: int, cols: int) -> int:
    """Kept elements counted group by group."""
    return rows * sum(
        min(pattern.n, cols - start, pattern.m) for start in range(0, cols, pattern.m)
    )


def layer_macs(trace: Trace, layers: set[str]) -> Fraction:
    """Effective over dense work of the weighted products of `layers`."""
    ops = [op for op in trace if op.weight and op.is_matmul and op.layer in layers]
    return Fraction(sum(effective_macs(op) for op in ops), sum(op.macs for op in ops))


@pytest.mark.parametrize("method", ONE_OF_EACH_RULE)
@pytest.mark.parametrize("text", ["2:4", "2:8", "2:16"])
@pytest.mark.parametrize("name", ["resnet18", "vgg19", "vit_cifar", "gpt2"])
def test_work_ratios_hold_exactly_over_the_sparse_layers(name: str, text: str, method: str) -> None:
    dense = load_workload(name, phase="training", batch=16)
    sparse = sparsify(dense, text, method=method)
    layers = {op.layer for op in sparsify(dense, text, method="bdwp") if not op.b_pattern.is_dense}
    f = Fraction(*map(int, text.split(":")))
    pruned = len(SPARSE_PRODUCTS[method])
    if METHODS[method].nested:  # of N slots for each group of backward-data some are empty
        ratio = (1 + f + parse_pattern(f"double({text})").density) / 3
        assert float(layer_macs(sparse, layers)) == pytest.approx(float(ratio), rel=1e-3)
    else:
        assert layer_macs(sparse, layers) == (3 - pruned + pruned * f) / 3
    for op in sparse:
        if op.layer in layers and op.weight and op.is_matmul:
            expected = {PRODUCTS[part] for part in SPARSE_PRODUCTS[method]}
            is_sparse = not (op.a_pattern.is_dense and op.b_pattern.is_dense)
            assert is_sparse == (op.phase in expected), op.name


def test_all_methods_are_tested() -> None:
    assert set(METHODS) == set(SPARSE_PRODUCTS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_prunes_the_products_that_it_declares(method: str) -> None:
    sparse = sparsify(load_workload("gemm:64,32,16", phase="training"), "2:4", method=method)
    found = {op.phase for op in sparse if not (op.a_pattern.is_dense and op.b_pattern.is_dense)
             and op.is_matmul}  # fmt: skip
    assert found == {PRODUCTS[part] for part in SPARSE_PRODUCTS[method]}


def test_a_mask_that_belongs_to_the_weight_serves_backward_data_transposed() -> None:
    dense = load_workload("gemm:64,32,16", phase="training")
    sparse = sparsify(dense, "block(8x4, 0.5)", method="blast")
    assert str(sparse["gemm.backward_data"].b_pattern) == "block(4x8, 0.5)"


def test_sdgp_prunes_the_output_gradient_and_fst_the_one_of_the_weight_gradient() -> None:
    dense = load_workload("gemm:64,32,16", phase="training")
    data = sparsify(dense, "2:4", method="sdgp")["gemm.backward_data"]
    assert (str(data.a_pattern), str(data.b_pattern)) == ("2:4", "dense")
    weight = sparsify(dense, "2:4", method="fst")["gemm.backward_weight"]
    assert (str(weight.a_pattern), str(weight.b_pattern)) == ("dense", "2:4")


def test_first_and_last_layers_stay_dense_unless_they_are_named() -> None:
    dense = load_workload("resnet50")
    by_default = sparsify(dense, "2:4")
    assert by_default["conv1"].b_pattern.is_dense
    assert by_default["fc"].b_pattern.is_dense
    assert by_default.meta["sparse_layers"] == 52
    assert by_default.meta["weighted_layers"] == 54
    named = sparsify(dense, "2:4", where=["fc", "layer1.*"])
    assert str(named["fc"].b_pattern) == "2:4"
    assert named["layer2.0.conv1"].b_pattern.is_dense
    everything = sparsify(dense, "2:4", skip_first_last=False)
    assert str(everything["fc"].b_pattern) == "2:4"
    assert everything["conv1"].b_pattern.is_dense  # three channels hold no group of four
    assert str(sparsify(dense, "2:4", where="conv1")["conv1"].b_pattern) == "2:4"


def test_a_single_layer_is_not_skipped() -> None:
    assert str(sparsify(load_workload("gemm:8,8,8"), "2:4")["gemm"].b_pattern) == "2:4"


def test_depthwise_convolutions_stay_dense() -> None:
    sparse = sparsify(load_workload("mobilenet_v1"), "2:4", skip_first_last=False)
    for op in sparse:
        if op.conv is not None and op.groups > 1:
            assert op.b_pattern.is_dense


def test_attention_and_vector_work_are_never_pruned() -> None:
    sparse = sparsify(load_workload("gpt2", phase="training"), "unstructured(0.9)")
    for op in sparse:
        if op.kind not in (Kind.GEMM, Kind.CONV, Kind.UPDATE):
            assert op.a_pattern.is_dense
            assert op.b_pattern.is_dense


def test_an_update_states_the_copies_that_the_next_step_reads() -> None:
    dense = load_workload("resnet18", phase="training")
    for method, forward, backward in (
        ("bdwp", "2:8", "2:8"), ("sr_ste", "2:8", "dense"), ("sdwp", "dense", "2:8"),
        ("sdgp", "dense", "dense"), ("dense", "dense", "dense"),
    ):  # fmt: skip
        sparse = sparsify(dense, "2:8", method=method)
        update = sparse["layer1.0.conv1.update"]
        assert (str(update.b_pattern), str(update.a_pattern)) == (forward, backward)
        assert sparse["layer1.0.conv1"].b_changes == (forward != "dense")
        assert sparse["fc.update"].b_pattern.is_dense
    assert not sparsify(load_workload("resnet18"), "2:8")["layer1.0.conv1"].b_changes


def test_patterns_by_layer() -> None:
    sparse = sparsify(
        load_workload("gpt2"), {"*.mlp.up": "2:4", "*.mlp.*": "1:4", "*.qkv": "block(32x32, 0.5)"}
    )
    assert str(sparse["layers.0.mlp.up"].b_pattern) == "2:4"
    assert str(sparse["layers.0.mlp.down"].b_pattern) == "1:4"
    assert str(sparse["layers.7.attention.qkv"].b_pattern) == "block(32x32, 0.5)"
    assert sparse["layers.7.attention.out"].b_pattern.is_dense
    assert sparse.meta["sparse_layers"] == 36


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "2:4", "where": "layer.0.conv1"}, "did you mean 'layer4.0.conv1'"),
        ({"pattern": "2:4", "where": ["fc", "nothing*"]}, "'nothing\\*' matches none of the 54"),
        ({"pattern": {"layer9.*": "2:4"}}, "matches none"),
        ({"pattern": {"fc": "2:4"}, "where": "fc"}, "where is not used"),
        ({"pattern": "2:4", "where": []}, "where is empty"),
        ({"pattern": "5:4"}, "5:4"),
        ({"pattern": "2:4", "method": "bdwq"}, "did you mean 'bdwp'"),
        ({"pattern": "2:4", "method": "fst", "weights": {}}, "transposable"),
        ({"pattern": "2:4", "weights": {}}, "no weights are given for 'layer1.0.conv1.weight'"),
        (
            {"pattern": "2:4", "where": "fc", "weights": {"fc.weight": np.ones((1000, 2047))}},
            r"weights of shape \(1000, 2048\), got \(1000, 2047\)",
        ),
    ],
)
def test_mistakes_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        sparsify(load_workload("resnet50"), **arguments)  # type: ignore[arg-type]


def test_a_sparse_trace_has_another_fingerprint() -> None:
    dense = load_workload("resnet18", phase="training")
    prints = {
        sparsify(dense, "2:8", method=m).fingerprint for m in ("dense", "sr_ste", "bdwp", "fst")
    }
    assert len(prints) == 4
    assert dense.fingerprint in prints


@settings(max_examples=150, deadline=None)
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 40),
    k=st.integers(1, 70),
    group=st.integers(1, 20),
    data=st.data(),
)
def test_effective_macs_count_ragged_groups(
    m: int, n: int, k: int, group: int, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, group))
    groups = data.draw(st.integers(1, 3))
    pattern = NM(kept, group)
    op = Op(
        name="x", kind=Kind.GEMM, phase=Phase.FORWARD, m=m, n=n, k=k, groups=groups, weight="w",
        b_pattern=pattern,
    )  # fmt: skip
    assert effective_macs(op) == groups * m * brute_force_kept(pattern, n, k)
    sampled = pattern.sample(groups * n, k, seed=m)
    assert effective_macs(op, sampled) == effective_macs(op)
    on_a = Op(
        name="x", kind=Kind.GEMM, phase=Phase.BACKWARD_DATA, m=m, n=n, k=k, groups=groups,
        a_pattern=pattern,
    )  # fmt: skip
    assert effective_macs(on_a) == groups * n * brute_force_kept(pattern, m, k)


def test_masks_of_real_weights_lie_along_each_products_reduction() -> None:
    rng = np.random.default_rng(0)
    dense = load_workload("resnet18", phase="training", image=32)
    weight = rng.standard_normal((64, 64, 3, 3))
    where, name = "layer1.0.conv1", "layer1.0.conv1.weight"
    sparse = sparsify(dense, "2:4", where=where, weights={name: weight})
    forward = sparse.masks[where].to_dense().reshape(64, 3, 3, 64)
    data = sparse.masks[f"{where}.backward_data"].to_dense().reshape(64, 3, 3, 64)
    for _ in range(50):
        o, i = rng.integers(64, size=2)
        y, x = rng.integers(3, size=2)
        start = i // 4 * 4
        rank = np.argsort(-np.abs(weight[o, start : start + 4, y, x]))
        assert set(np.flatnonzero(forward[o, y, x, start : start + 4])) == set(rank[:2])
        start = o // 4 * 4
        rank = np.argsort(-np.abs(weight[start : start + 4, i, y, x]))
        assert set(np.flatnonzero(data[i, y, x, start : start + 4])) == set(rank[:2])
    assert trace_effective_macs(sparse) == trace_effective_macs(sparsify(dense, "2:4", where=where))


def test_nested_methods_keep_backwards_only_what_they_keep_forwards() -> None:
    weight = np.random.default_rng(1).standard_normal((32, 64))
    dense = load_workload("gemm:16,32,64", phase="training")
    sparse = sparsify(dense, "2:4", method="slope", weights={"weight": weight})
    forward = sparse.masks["gemm"].to_dense()
    data = sparse.masks["gemm.backward_data"].to_dense()
    assert not (data.T & ~forward).any()
    assert 0 < data.sum() < forward.sum()
    free = sparsify(dense, "2:4", method="bdwp", weights={"weight": weight})
    assert (free.masks["gemm.backward_data"].to_dense().T & ~forward).any()
    assert trace_effective_macs(sparse) < trace_effective_macs(free)
    assert str(sparse["gemm"].b_pattern) == "2:4"
    assert str(sparse["gemm.backward_data"].b_pattern) == "double(2:4)"
    assert sparse["gemm.backward_data"].b_pattern.accepts(sparse.masks["gemm.backward_data"])
    expected = sparsify(dense, "2:4", method="slope")["gemm.backward_data"]
    kept = 0.5 - 0.09375  # eq. 4.8 of the thesis
    assert effective_macs(expected) == round(expected.macs * kept)


@pytest.mark.parametrize("text", ["unstructured(0.7)", "row(0.5)", "block(4x8, 0.5)"])
def test_other_patterns_have_one_mask_in_both_directions(text: str) -> None:
    weight = np.random.default_rng(2).standard_normal((32, 64))
    dense = load_workload("gemm:16,32,64", phase="training")
    sparse = sparsify(dense, text, weights={"weight": weight})
    forward, data = sparse.masks["gemm"], sparse.masks["gemm.backward_data"]
    assert data == forward.transpose()
    pattern = sparse["gemm.backward_data"].b_pattern
    assert pattern == parse_pattern(text).transpose()
    assert pattern.accepts(data)
    assert effective_macs(sparse["gemm"], forward) == 16 * forward.nnz
    plain = sparsify(dense, text)
    assert trace_effective_macs(plain) == trace_effective_macs(sparse)
