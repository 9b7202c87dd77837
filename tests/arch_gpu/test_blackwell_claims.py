"""Is the B200, on which nothing is fitted, as quick as others measured it?"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_board_claims import (
    BOUND,
    board,
    board_claims,
    board_scores,
    pairs_of,
    protocol_of,
    role_of,
)

CLAIMS = [one for one in board_claims().claims if one.gpu == "B200"]


def errors(claims, machine=None) -> list[float]:
    """Relative errors of simulated rates."""
    return [
        ours / theirs - 1
        for one in claims
        for ours, theirs in pairs_of(one, machine or board(one), protocol_of(one))
    ]


def mean(claims, machine=None) -> float:
    return float(np.mean(np.abs(errors(claims, machine))))


def test_every_source_but_the_one_in_view_is_a_test_of_the_model():
    assert {role_of(one) for one in CLAIMS} == {"unseen"}
    in_view = {(one.source, one.at) for one in CLAIMS if "in view of" in one.beside}
    assert in_view == {("vllm_graph", "pull request 19566")}


def test_all_types_and_batch_sizes_are_within_the_bound_of_unseen_boards():
    found = [one for one in CLAIMS if not one.beside]
    assert sum(len(one.sizes) for one in found) > 100
    by_type = defaultdict(list)
    for one in found:
        by_type[one.dtype].append(one)
    assert all(mean(claims) < BOUND for claims in by_type.values())
    _, rows = board_scores()
    shown = [r for r in rows if r["section"].startswith("mean error") and r["gpu"] == "B200"]
    assert len(shown) == 11
    assert max(row["mean error"] for row in shown) < 0.2
    parts = sum(r["products"] * r["mean error"] for r in shown) / sum(r["products"] for r in shown)
    assert parts == pytest.approx(mean([one for one in found if one.best_tflops is None]))


def test_tensor_memory_brings_the_model_nearer_than_that_of_a_larger_hopper():
    spec = load_arch("b200").spec
    sm = spec.sm.model_copy(update={"tensor_memory": None, "warp_groups": True})
    hopper = TensorCore(spec.model_copy(update={"sm": sm}))
    wide = [one for one in CLAIMS if one.dtype != "fp8" and not one.beside]
    assert mean(wide) < 0.5 * mean(wide, hopper)
