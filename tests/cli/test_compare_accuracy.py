"""Does `compare` show, limit and explain the accuracy of designs, and of which kind it is?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli import main

RUN = (
    "compare", "resnet50", "--arch", "sat", "--sparsity", "dense", "--sparsity", "2:8",
    "--sparsity", "1:8", "--fidelity", "tile", "--quiet",
)  # fmt: skip


def test_designs_carry_published_accuracies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--accuracy", "published", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    by_label = {each["label"]: each["accuracy"] for each in said["accuracies"]}
    assert by_label["sat · 1:8"] is None
    assert by_label["sat · 2:8"]["kind"] == "published"
    assert by_label["sat · 2:8"]["drop"] == pytest.approx(0.009)
    assert "2102.04010" in by_label["sat · 2:8"]["citation"]
    assert [r["accuracy"] for r in said["results"]] == [
        pytest.approx(0.773), pytest.approx(0.764), None,
    ]  # fmt: skip


def test_a_report_says_which_kind_of_accuracy_it_shows(tmp_path: Path) -> None:
    assert main([*RUN, "--accuracy", "published", "--json", "-o", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "76.4 %" in page
    assert "published" in page
    assert "2102.04010" in page


def test_a_limit_leaves_designs_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--accuracy", "published", "--max-drop", "0.005"]) == 0
    said = capsys.readouterr().out
    assert "left out by --max-drop 0.005: sat · 2:8" in said
    assert "left out by --max-drop 0.005: sat · 1:8" in said
    assert "front of latency and accuracy lost: sat · dense" in said
    assert "the dense figure is unverified" in " ".join(said.split())
    assert main([*RUN, "--max-drop", "0.005"]) == 2
    assert "--accuracy" in capsys.readouterr().err
