"""Are published speed-ups of single products simulated, within the bounds of their patterns?"""

from __future__ import annotations

from dataclasses import replace

from codesign.arch import load_arch
from codesign.measure.gpu_layer_claims import LAYER_CLAIMS, gpu, layer_scores, times_s
from codesign.measure.validate_published_gpu import (
    CLAIMS,
    dense_trace,
    largest_batch,
    sparse_trace,
    speedup,
)


def test_every_claim_runs_and_stays_under_its_bound():
    bounds = {"2:4": 2.0, "int4": 16 / 4, "block(128x128, 0.95)": 20.0}
    groups, rows = layer_scores()
    assert sum(group.rows for group in groups) == len(LAYER_CLAIMS) == len(rows)
    for claim in LAYER_CLAIMS:
        dense, sparse = times_s(claim)
        assert 0.5 < dense / sparse <= bounds[claim.pattern]


def test_dense_times_are_over_the_roofline():
    for claim in LAYER_CLAIMS:
        m, n, k = claim.shape
        spec = load_arch(claim.gpu).spec
        peak = spec.sm.count * spec.mma[claim.dtype] * spec.clock_mhz * 1e6
        assert times_s(claim)[0] >= m * n * k / peak or m < 64


def test_a_pruned_cache_lets_more_sequences_fit_and_run():
    claim = next(one for one in CLAIMS if one.memory_gb is not None)
    machine = gpu(claim.gpu, claim.library)
    one = dense_trace(replace(claim, batch=1))
    assert largest_batch(one, machine, 48) == 30, "(48 GB - 15.01 of weights) / 1.074 of cache"
    assert largest_batch(sparse_trace(claim, one), machine, 48) == 84
    assert largest_batch(one, machine, 1) == 1
    assert speedup(claim) > speedup(replace(claim, memory_gb=None)) > 1
