"""Does the demo say what it simulated, and does the committed report agree with its numbers?"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from codesign.report import quantities as q

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "reports" / "demo"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    return module


def test_a_small_demo_leaves_its_files_and_true_remarks(demo, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    job = demo.Job("Block", "torch:examples.models:gpt2_block", "training", 1, 64)
    with (tmp_path / "printed").open("w") as printed:
        cases = demo.run((job,), Console(file=printed, width=80))
    demo.write(cases, tmp_path)
    results = [case.result for case in cases]
    by = {(r.arch, r.sparsity): r for r in results}
    assert len(by) == len(results) == 6
    gain = by["sat", "dense"].latency_s / by["sat", "2:8"].latency_s
    (remark,) = demo.remarks(results)
    assert f"gives {q.ratio(gain)} for Block, batch 1" in remark
    text = (tmp_path / "printed").read_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    for result in results:
        assert q.with_unit(result.latency_s, "s") in text
        assert q.with_unit(result.latency_s, "s") in (tmp_path / "report.md").read_text()
    assert remark.replace("×", "") in (tmp_path / "index.html").read_text().replace("×", "")
    assert len(json.loads((tmp_path / "results.json").read_text())) == 6
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 7


def test_both_machines_have_the_clock_and_the_bandwidth_that_the_text_says(demo) -> None:
    import codesign

    sat = codesign.load_arch("sat")
    dense = codesign.load_arch("dense_systolic", demo.SAME_CLOCK_AND_LINK)
    for machine in (sat, dense):
        assert machine.spec.clock_mhz == 200
        assert machine.dram_bytes_per_cycle * 200e6 == 76.8e9
        assert (machine.spec.array.rows, machine.spec.array.cols) == (32, 32)


def test_the_committed_report_agrees_with_its_numbers() -> None:
    results = json.loads((COMMITTED / "results.json").read_text())
    page = (COMMITTED / "index.html").read_text()
    markdown = (COMMITTED / "report.md").read_text()
    assert len(results) == 24
    for result in results:
        for shown in (
            q.with_unit(result["latency_s"], "s"),
            q.with_unit(result["energy_j"], "J"),
            q.area(result["area_mm2"]),
            result["trace_fingerprint"][:8],
        ):
            assert shown in page
            assert shown in markdown
    figures = {path.stem for path in (COMMITTED / "figures").iterdir()}
    assert figures
    assert all(f"figures/{name}.svg" in markdown for name in figures)
