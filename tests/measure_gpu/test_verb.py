"""Does `codesign measure` print its plan without a GPU and refuse to measure without one?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.measure.gpu_plan import run_named, split_text
from codesign.measure.gpu_results import Results, read_results, write_results


def test_the_plan_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in plan["runs"]] == ["ceilings", "gemm", "energy"]
    keys = [point.key for point in run_named("gemm").points]
    assert list(plan["runs"][1]["points"]) == keys
    assert main(["measure", "gemm", "--dry-run", "--only", "triton_nm"]) == 0
    out = capsys.readouterr().out
    assert out.count("[batch pattern]") == 3
    assert "cublas" not in out


def test_a_run_without_a_gpu_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    results, split = tmp_path / "results.json", tmp_path / "split.json"
    call = ["measure", "gemm", "--results", str(results), "--split", str(split)]
    assert main(call) == 2
    assert "--freeze" in capsys.readouterr().err
    assert main([*call[:1], "--freeze", *call[2:]]) == 0
    assert split.read_text(encoding="utf-8") == split_text()
    assert main(call) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not results.exists()


def test_a_split_is_not_frozen_again_over_measured_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from codesign.measure.gpu_results import LatencyRow
    from tests.measure_gpu.test_runner import SESSION

    results = tmp_path / "results.json"
    row = LatencyRow(session="one", key="cublas bf16 m1 n2 k3", split="fit", failed="it did")
    write_results(results, Results(sessions=(SESSION,), latency=(row,)))
    split = tmp_path / "split.json"
    call = ["measure", "--freeze", "--results", str(results), "--split", str(split)]
    assert main(call) == 2
    assert "measured rows" in capsys.readouterr().err
    assert not split.exists()


def test_exporting_needs_no_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "rows.csv"
    results = tmp_path / "results.json"
    assert main(["measure", "--export", str(target), "--results", str(results)]) == 0
    assert target.read_text(encoding="utf-8").startswith("gpu,dtype,pattern")
    assert "0 rows" in " ".join(capsys.readouterr().out.split())
    assert read_results(results) == Results()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gem"], "did you mean 'gemm'"),
        ([], "name a run"),
        (["--dry-run", "--only", "cublass"], "did you mean 'cublas'"),
        (["gemm", "--limit", "1"], "--limit"),
    ],
)
def test_bad_input_is_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", *words]) == 2
    assert said in capsys.readouterr().err
