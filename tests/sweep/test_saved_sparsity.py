"""Does a sweep tell a saved model's own masks from the same model dense, as `compare` does?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.config import ConfigError
from codesign.report.reproduce import tokens
from codesign.sparsity.mask import Mask
from codesign.sweep.check import read_study
from codesign.sweep.run import Sweep, prepare
from codesign.sweep.store import Row, Store
from codesign.trace.io import save_trace
from codesign.trace.real_masks import with_masks
from codesign.trace.workload import load_workload

KEPT = np.random.default_rng(0).random((64, 64)) < 0.25


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of rows over a saved product whose masks keep a quarter of its weights."""
    dense = load_workload("gemm:64,64,64")
    mask = Mask.from_dense(KEPT)
    save_trace(with_masks(dense, [(dense.ops[0].name, mask)]), tmp_path / "model.json")
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: saved\nworkload: model.json\narch: sat\nmethod: grid\n"
        "metrics: {latency_s: minimize}\nparameters:\n  arch.array.rows: {values: [16]}\n"
        "execution: {executor: serial}\n",
        encoding="utf-8",
    )
    return path


def run(path: Path, *assignments: str) -> list[Row]:
    with Store(path.with_suffix(f".{len(assignments)}.db")) as store:
        base = read_study(path, assignments)
        prepare(store, base, resume=False)
        Sweep(base, store).run()
        return store.rows()


def test_dense_is_dense_and_stored_is_as_it_came(sweep: Path) -> None:
    rows = run(sweep, "sparsity=dense,stored,2:4")
    counts = {row.values["sparsity"]: row.metrics["effective_macs"] for row in rows}
    assert counts == {"dense": 64**3, "stored": 64 * int(KEPT.sum()), "2:4": 64**3 // 2}
    study = read_study(sweep).study
    for row in rows:
        assert f"--sparsity {row.values['sparsity']}" in tokens(row, study)


def test_without_a_pattern_the_masks_are_run(sweep: Path) -> None:
    (row,) = run(sweep)
    assert row.metrics["effective_macs"] == 64 * int(KEPT.sum())
    assert row.config["sparsity"]["pattern"] == "stored"


def test_a_workload_without_masks_has_no_stored_ones(sweep: Path) -> None:
    sweep.write_text(sweep.read_text().replace("model.json", "'gemm:8,8,8'"))
    with pytest.raises(ConfigError, match=r"sparsity\.values\.1.*stored dense"):
        read_study(sweep, ["sparsity=dense,stored"])
    (row,) = run(sweep)
    assert row.config["sparsity"]["pattern"] == "dense"
