"""Is a model with masks of its own told apart from the same model dense, and from a pattern?"""

from __future__ import annotations

import json

import numpy as np
import pytest

from codesign.sparsity.mask import Mask
from codesign.trace.io import save_trace
from codesign.trace.real_masks import with_masks
from codesign.trace.sparsify import without_sparsity
from codesign.trace.workload import load_workload


@pytest.fixture
def model(tmp_path):
    dense = load_workload("gemm:64,64,64")
    kept = np.random.default_rng(0).random((64, 64)) < 0.25
    masked = with_masks(dense, [(dense.ops[0].name, Mask.from_dense(kept))])
    save_trace(masked, tmp_path / "model.json")
    assert without_sparsity(masked).ops == dense.ops
    assert without_sparsity(dense) is dense
    return tmp_path / "model.json", int(kept.sum())


def test_without_a_pattern_the_masks_are_run_and_named(codesign, model) -> None:
    path, kept = model
    found = json.loads(codesign("compare", str(path), "--arch", "sat", "--json").out)
    assert found["baseline"] == "sat · stored"
    assert found["results"][0]["effective_macs"] == 64 * kept
    assert " · stored\n" in codesign("simulate", str(path), "--arch", "sat", "-q").out


def test_dense_is_dense_and_stored_is_as_it_came(codesign, model) -> None:
    path, kept = model
    asked = [word for text in ("dense", "stored", "2:4") for word in ("--sparsity", text)]
    found = json.loads(codesign("compare", str(path), "--arch", "sat", *asked, "--json").out)
    counts = {result["sparsity"]: result["effective_macs"] for result in found["results"]}
    assert counts == {"dense": 64**3, "stored": 64 * kept, "2:4": 64**3 // 2}


def test_no_accuracy_is_looked_up_for_masks(codesign, model) -> None:
    ran = codesign("compare", str(model[0]), "--arch", "sat", "--accuracy", "published")
    assert (ran.code, ran.out) == (2, "")
    assert "name one, such as --sparsity 2:4" in ran.err
