"""Is a crossover what single runs and a look at every point say, and no more sure than we are?"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.arch import load_arch
from codesign.crossover.curve import Curve, Point, Verdict, curves, rows_of, verdict_of
from codesign.crossover.layers import Keeping, gains, keepings, kind_of
from codesign.crossover.trust import Trust
from codesign.crossover.words import BATCH, MARKS, TOKENS, bounds, energy, kept_dense, pays
from codesign.evaluate import evaluate
from codesign.measure.gpu_standings import Standing
from codesign.trace.transform import make_sparse
from codesign.trace.workload import load_workload

SIZES = (1, 64, 256, 1024, 8192)
MACHINE = load_arch("gb10")
NOTHING = Trust("m", (), False)


def standing(**changed) -> Standing:
    base = Standing(
        dtype="bf16", pattern="2:4", least_rows=64, most_rows=128, products=10, right=9,
        error=0.1, least=0.8, most=1.1,
    )  # fmt: skip
    return base.model_copy(update=changed)


@pytest.fixture(scope="module")
def gemm() -> Curve:
    dense = {m: load_workload(f"gemm:{m},4096,14336,bf16") for m in SIZES}
    sparse = {"2:4": {m: make_sparse(trace, "2:4") for m, trace in dense.items()}}
    (curve,) = curves(dense, sparse, {"gb10": MACHINE})
    return curve


@pytest.fixture(scope="module")
def base() -> Point:
    trace = load_workload("gemm:8,64,64")
    dense = evaluate(trace, MACHINE)
    return Point(8, 8, dense, evaluate(make_sparse(trace, "2:4"), MACHINE))


def with_speedups(base: Point, speedups: list[float], trust: Trust = NOTHING) -> Curve:
    """A curve whose sparse runs take so much less than a dense one of one second."""
    dense = replace(base.dense, latency_s=1.0)
    points = (
        Point(1 << i, 1 << i, dense, replace(base.sparse, latency_s=1 / ratio))
        for i, ratio in enumerate(speedups)
    )
    return Curve("m", "2:4", tuple(points), trust)


def test_every_point_is_a_pair_of_plain_runs(gemm):
    assert [point.size for point in gemm.points] == [point.rows for point in gemm.points]
    assert tuple(point.size for point in gemm.points) == SIZES
    for point in gemm.points:
        trace = load_workload(f"gemm:{point.size},4096,14336,bf16")
        assert point.dense == evaluate(trace, MACHINE)
        assert point.sparse == evaluate(make_sparse(trace, "2:4"), MACHINE)


def test_dense_runs_are_shared_and_progress_counts_all_runs():
    dense = {m: load_workload(f"gemm:{m},64,64") for m in (2, 1)}
    sparse = {p: {m: make_sparse(t, p) for m, t in dense.items()} for p in ("2:4", "1:4")}
    told = []
    found = curves(
        dense, sparse, {"gb10": MACHINE, "sat": load_arch("sat")}, fidelity="tile",
        progress=lambda name, done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(i, 12) for i in range(1, 13)]
    assert [curve.label for curve in found] == [
        "gb10 · 2:4", "sat · 2:4", "gb10 · 1:4", "sat · 1:4",
    ]  # fmt: skip
    assert found[0].points[0].dense is found[2].points[0].dense
    assert all([point.size for point in curve.points] == [1, 2] for curve in found)


@given(st.lists(st.sampled_from([0.5, 0.8, 0.95, 1.0, 1.05, 1.3, 2.0]), min_size=1, max_size=12))
def test_stretches_are_those_that_a_look_at_every_point_finds(base, speedups):
    curve = with_speedups(base, speedups)
    stretches = curve.stretches
    assert [point for one in stretches for point in one.points] == list(curve.points)
    assert all(a.verdict != b.verdict for a, b in pairwise(stretches))
    for one in stretches:
        for point in one.points:
            wanted = (
                Verdict.SAME if point.speedup == 1
                else Verdict.PAYS if point.speedup > 1 else Verdict.LOSES
            )  # fmt: skip
            assert one.verdict is wanted
        ratios = [point.speedup for point in one.points]
        extreme = min(ratios) if one.verdict is Verdict.LOSES else max(ratios)
        assert one.telling.speedup == extreme


@given(
    st.floats(0.2, 5), st.floats(0.3, 1.0), st.floats(1.0, 3.0),
)  # fmt: skip
def test_only_what_the_error_allows_is_called(speedup, least, most):
    found = verdict_of(speedup, (speedup * least, speedup * most))
    if found is Verdict.PAYS:
        assert speedup * least > 1
    if found is Verdict.LOSES:
        assert speedup * most < 1
    if found is Verdict.CLOSE:
        assert speedup * least <= 1 <= speedup * most
    assert verdict_of(speedup, (1.1, 3.0)) is not Verdict.LOSES


def test_the_error_of_products_counts_by_their_share_of_the_time(gemm, base):
    point = gemm.points[0]
    assert point.sparse_share == 1
    assert point.if_off(0.8) == pytest.approx(0.8 * point.speedup)
    op = base.sparse.ops[0]
    half = replace(
        base.sparse,
        cycles=200,
        ops=(replace(op, cycles=100), replace(op, pattern="dense", cycles=100)),
    )
    mixed = Point(8, 8, replace(base.dense, latency_s=1.0), replace(half, latency_s=1.0))
    assert mixed.sparse_share == 0.5
    assert mixed.if_off(0.5) == pytest.approx(1 / 1.5)
    curve = with_speedups(base, [1.1, 1.3, 0.95, 0.8], Trust("m", (standing(),), True))
    assert [str(curve.verdict(p)) for p in curve.points] == ["close", "pays", "close", "loses"]
    assert curve.likely(curve.points[1]) == pytest.approx((1.04, 1.43))


def test_it_pays_on_the_gb10_up_to_some_tokens_and_then_loses(gemm):
    verdicts = [str(gemm.verdict(point)) for point in gemm.points]
    assert verdicts[0] == "pays"
    assert verdicts[-1] == "loses"
    assert verdicts == sorted(verdicts, key=["pays", "close", "loses"].index)
    assert "pays up to" in pays(gemm, TOKENS)
    assert "loses from" in pays(gemm, TOKENS)


@pytest.mark.parametrize(
    ("speedups", "said"),
    [
        ([2.0], "pays at 1 token (2.00×)"),
        ([1.5, 2.0], "pays at every size, 1 to 2 tokens (best 2.00× at 2 tokens)"),
        (
            [1.5, 1.2, 0.9, 0.5, 0.7, 1.0],
            "pays up to 2 tokens (best 1.50× at 1 token), loses from 4 to 16 tokens "
            "(worst 0.50× at 8 tokens), makes no difference at 32 tokens",
        ),
        (
            [0.9, 1.3, 1.2],
            "loses at 1 token (0.90×), pays from 2 tokens on (best 1.30× at 2 tokens)",
        ),
    ],
)  # fmt: skip
def test_a_curve_in_words(base, speedups, said):
    assert pays(with_speedups(base, speedups), TOKENS) == f"m · 2:4 {said}."


def test_close_calls_bounds_and_energy_in_words(base):
    curve = with_speedups(base, [1.1, 0.95, 1.3], Trust("m", (standing(),), True))
    assert pays(curve, BATCH) == (
        "m · 2:4 is too close to call up to batch 2 (0.95 to 1.10×), pays at batch 4 (1.30×)."
    )
    dense, sparse = (replace(run, bound_by=by) for run, by in (
        (base.dense, "memory"), (base.sparse, "compute"),
    ))  # fmt: skip
    first, last = Point(1, 1, dense, sparse), Point(9, 9, dense, replace(sparse, bound_by="memory"))
    assert bounds(Curve("m", "2:4", (first, last), NOTHING), TOKENS) == (
        "Bound by memory (dense) and compute (2:4) at 1 token, memory at 9 tokens."
    )
    assert bounds(Curve("m", "2:4", (last,), NOTHING), TOKENS) == "Bound by memory at 9 tokens."
    points = [
        Point(size, 1, replace(dense, energy_j=1.0), replace(sparse, energy_j=joule))
        for size, joule in ((1, 0.5), (2, 0.9), (4, 1.2))
    ]
    assert energy(Curve("m", "2:4", tuple(points[:2]), NOTHING), TOKENS) == (
        "m · 2:4 takes 0.50 to 0.90 of the dense energy."
    )
    assert energy(Curve("m", "2:4", tuple(points), NOTHING), TOKENS).endswith(
        "0.50 to 1.20 of the dense energy, less than all at tokens 1, 2."
    )
    assert len({*MARKS.values()}) == len(Verdict)


def test_rows_are_those_of_the_largest_sparse_product():
    trace = load_workload("llama2_7b", phase="decode", context=8, batch=3)
    assert rows_of(make_sparse(trace, "2:4")) == 3
    assert rows_of(load_workload("gemm:5,8,8")) == 5
    network = make_sparse(load_workload("resnet18"), "2:4")
    sparse = [op for op in network if op.is_matmul and not op.b_pattern.is_dense]
    assert rows_of(network) == max(sparse, key=lambda op: op.macs).m
    assert rows_of(network) not in (sparse[-1].m, min(sparse, key=lambda op: op.macs).m)


def test_layers_that_lose_are_kept_dense_where_the_whole_gains():
    given = {b: load_workload("gpt2", phase="decode", context=64, batch=b) for b in (1, 512)}
    sparse = {"2:4": {b: make_sparse(trace, "2:4") for b, trace in given.items()}}
    machine = load_arch("h100_sxm")
    (curve,) = curves(given, sparse, {"h100_sxm": machine})
    rows = gains(curve)
    names = [row.where for row in rows]
    assert len(names) == len(set(names)) > 2
    assert all("*" in name for name in names)
    for i, point in enumerate(curve.points):
        assert sum(row.shares[i] for row in rows) < 1
        gained = sum(row.shares[i] * (1 - 1 / row.speedups[i]) for row in rows)
        assert 1 / (1 - gained) == pytest.approx(point.speedup, rel=0.01)

    def only(size, where):
        return make_sparse(given[size], "2:4", where)

    found = keepings(curve, machine, only)
    for one in found:
        losers = {row.where for row in rows if row.speedups[sizes_of(curve).index(one.size)] < 1}
        assert named(names, one.dense) == losers
        assert named(names, one.sparse) == set(names) - losers
        point = curve.points[sizes_of(curve).index(one.size)]
        alone = 1.0
        if one.sparse:
            mixed = evaluate(only(one.size, one.sparse), machine)
            alone = point.dense.latency_s / mixed.latency_s
        assert one.speedup == alone > point.speedup + 0.005
    assert found
    as_before = keepings(curve, machine, lambda size, where: sparse["2:4"][size])
    assert not any(one.sparse for one in as_before)
    assert any(one.sparse for one in found)


def named(names, globs) -> set[str]:
    """The kinds of layers that globs name."""
    return {name for name in names for glob in globs if fnmatchcase(name, glob)}


def sizes_of(curve: Curve) -> list[int]:
    return [point.size for point in curve.points]


@pytest.mark.parametrize(
    ("sparsity", "phase", "arch", "layers"),
    [
        ("monarch(4)", "decode", "h100_sxm", 4),
        ("2:4", "training", "sat", 4),
        ("kv(unstructured(0.5))", "decode", "h100_sxm", 1),
    ],
)
def test_operators_that_a_change_adds_belong_to_their_layer(sparsity, phase, arch, layers):
    sizes = {"context": 64} if phase == "decode" else {"seq": 16}
    dense = {1: load_workload("gpt2", phase=phase, **sizes)}
    changed = {1: make_sparse(dense[1], sparsity)}
    (curve,) = curves(dense, {sparsity: changed}, {arch: load_arch(arch)}, fidelity="tile")
    rows = gains(curve)
    assert len(rows) == layers
    (point,) = curve.points
    known = {kind_of(op.layer) for op in point.dense.ops}
    for row in rows:
        old, new = (
            sum(
                op.cycles
                for op in run.ops
                for kind in [kind_of(op.layer)]
                if kind == row.where or (kind not in known and kind.startswith(f"{row.where}."))
            )
            for run in (point.dense, point.sparse)
        )
        assert row.speedups[0] == pytest.approx(old / new)
        assert row.shares[0] == pytest.approx(old / point.dense.cycles)


def test_one_layer_alone_is_not_told_to_stay_dense(gemm):
    assert len(gains(gemm)) == 1
    assert keepings(gemm, MACHINE, lambda *_: pytest.fail("nothing to run")) == ()


def test_what_to_keep_dense_in_words():
    keeps = [
        Keeping(1, ("a.*.q",), ("a.*.k",), 1.2, certain=False),
        Keeping(4, ("a.*.q",), ("a.*.k",), 1.1, certain=False),
        Keeping(8, ("a.*.q", "a.*.k"), (), 1.0, certain=True),
    ]
    assert kept_dense(keeps, BATCH) == [
        "At batch 1 and 4 keep dense: a.*.q, though none loses beyond its error. The whole is then "
        "1.20×, 1.10× (--where 'a.*.k').",
        "At batch 8 every layer is better kept dense.",
    ]
