"""Do the verbs give the answers of the functions behind them, on the machines that ship?"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import codesign.measure.suite
from codesign.arch import list_archs, load_arch
from codesign.measure.suite import ValidationReport, compare, report
from codesign.trace.workload import load_workload, workload_names

GEMM = ("simulate", "gemm:48,40,64")
MACHINES = [name for name, _ in list_archs()]


def answer(codesign, *arguments: str) -> dict:
    ran = codesign(*arguments, "--json")
    assert (ran.code, ran.err) == (0, ""), ran.err
    return json.loads(ran.out)


TRAINED = load_workload("gemm:48,40,64", phase="training")
RUNS = [(name, "inference") for name in MACHINES] + [
    (name, "training") for name in MACHINES if all(map(load_arch(name).supports, TRAINED))
]


@pytest.mark.parametrize(("arch", "phase"), RUNS)
def test_operators_share_the_cycles_of_the_run(codesign, arch: str, phase: str) -> None:
    result = answer(codesign, *GEMM, "--arch", arch, "--sparsity", "2:8", "--phase", phase)
    assert (result["arch"], result["phase"], result["sparsity"]) == (arch, phase, "2:8")
    assert sum(op["cycles"] for op in result["ops"]) == result["cycles"]
    assert result["macs"] == 48 * 40 * 64 * (3 if phase == "training" else 1)
    assert result["effective_macs"] < result["macs"]


def test_a_set_value_reaches_the_machine(codesign) -> None:
    run = (*GEMM, "--arch", "dense_systolic")
    slow = answer(codesign, *run, "--set", "dram.bytes_per_cycle=1", "--set", "clock_mhz=500")
    assert slow["clock_mhz"] == 500
    assert slow["cycles"] > answer(codesign, *run)["cycles"]
    shown = answer(codesign, "arch", "show", "dense_systolic", "--set", "array.rows=8")
    assert shown["array"]["rows"] == 8


def test_a_pattern_goes_where_it_is_told(codesign) -> None:
    run = ("simulate", "resnet9", "--arch", "dense_systolic", "--fidelity", "tile")
    layers = {op["layer"]: op["layer"] for op in answer(codesign, *run)["ops"] if op["macs"]}
    first, second, third = list(layers)[1:4]
    result = answer(
        codesign, *run, "--sparsity", "2:4", "--where", first, "--where", f"{second}=1:8"
    )
    patterns = {op["layer"]: op["pattern"] for op in result["ops"] if op["macs"]}
    assert (patterns[first], patterns[second], patterns[third]) == ("2:4", "1:8", "dense")


def test_a_comparison_runs_every_pair(codesign) -> None:
    archs = [word for name in MACHINES for word in ("--arch", name)]
    patterns = ("--sparsity", "dense", "--sparsity", "2:4")
    content = answer(codesign, "compare", "gemm:48,40,64", *archs, *patterns)
    pairs = [(result["arch"], result["sparsity"]) for result in content["results"]]
    assert pairs == [(name, pattern) for name in MACHINES for pattern in ("dense", "2:4")]
    for ratios, result in zip(content["ratios"], content["results"], strict=True):
        baseline = content["results"][0]
        assert ratios["energy_j"] == pytest.approx(result["energy_j"] / baseline["energy_j"])
        speedup = ratios["speedup_over_baseline"]
        assert speedup == pytest.approx(baseline["latency_s"] / result["latency_s"])


@pytest.fixture
def module_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "def tiny():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), "
        "torch.nn.Linear(8, 4)), torch.zeros(3, 16)\n"
    )
    return path


def test_an_extracted_module_is_a_workload(codesign, module_file: Path) -> None:
    source, trace = f"torch:{module_file}:tiny", module_file.with_suffix(".json")
    facts = answer(codesign, "extract", source, "-o", str(trace), "--real", "--sparsity", "2:4")
    assert (facts["macs"], facts["parameters"]) == (3 * (16 * 8 + 8 * 4), 16 * 8 + 8 + 8 * 4 + 4)
    shown = answer(codesign, "workload", "show", str(trace))
    assert shown["macs"] == facts["macs"]
    assert "2:4" in {op["pattern"] for op in shown["ops"]}
    direct = answer(codesign, "simulate", source, "--arch", "dense_systolic")
    assert direct["macs"] == facts["macs"]
    assert answer(codesign, "simulate", str(trace), "--arch", "dense_systolic")["ops"]


def test_the_lists_name_everything_that_ships(codesign) -> None:
    assert [row["name"] for row in answer(codesign, "arch", "list")["archs"]] == MACHINES
    listed = [row["name"] for row in answer(codesign, "workload", "list")["workloads"]]
    assert listed == workload_names()
    text = codesign("arch", "list").out + codesign("workload", "list").out
    assert all(name in text for name in [*MACHINES, *listed])


@pytest.mark.parametrize("arch", MACHINES)
def test_every_number_of_a_machine_is_shown_with_its_source(codesign, arch: str) -> None:
    out = codesign("arch", "show", arch).out
    assert "clock_mhz" in out
    assert all(line.strip() for line in out.splitlines()[1:3])


def test_a_changed_number_has_no_source_of_the_file(codesign) -> None:
    lines = codesign("arch", "show", "rtx4090", "--set", "power.limit_w=250").out.splitlines()
    (limit,) = (line.split() for line in lines if line.startswith("power.limit_w"))
    assert limit[:3] == ["power.limit_w", "250", "changed"]
    (idle,) = (line.split() for line in lines if line.startswith("power.idle_w"))
    assert idle[2] == "assumed"


def test_the_schema_covers_every_family(codesign, tmp_path: Path) -> None:
    content = json.loads(codesign("arch", "schema").out)
    described = {one["properties"]["machine"]["const"] for one in content["oneOf"]}
    assert described == {load_arch(name).spec.machine for name in MACHINES}
    one = tmp_path / "schema.json"
    assert codesign("arch", "schema", "dense_systolic", "-o", str(one)).out == ""
    assert "array" in json.loads(one.read_text())["properties"]


def test_the_doctor_finds_what_ships(codesign) -> None:
    findings = {row["name"]: row for row in answer(codesign, "doctor")["findings"]}
    assert findings["arch_configs"]["detail"].startswith(f"{len(MACHINES)} files")
    assert findings["numpy"]["state"] == "ok"


@dataclass(frozen=True)
class Apart:
    """A suite whose pairs differ by one in a hundred, which `within` allows or not."""

    within: float
    about: str = "Rows of a simulator."

    def run(self, data: Path | None = None) -> ValidationReport:
        group = compare("dense", [(100, 100), (99, 100)], within=self.within, note="edge folds")
        return report("apart", [group] if data is None else [group, group])


@pytest.fixture
def suites(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"good": Apart(0.01), "bad": Apart(0)}
    monkeypatch.setattr(codesign.measure.suite, "suites", lambda: known)


def test_a_missed_bound_is_exit_code_1(codesign, suites, tmp_path: Path) -> None:
    ran = codesign("validate", "good")
    assert ran.code == 0
    assert "1 of 2 rows exact, mean error 0.50%; within every stated bound" in ran.out
    ran = codesign("validate", "bad", "--json")
    content = json.loads(ran.out)
    assert ran.code == 1
    wanted = ("suite", "rows", "exact_rows", "max_abs_diff", "mape", "groups")
    assert set(wanted) <= content.keys()
    assert content["groups"][0]["note"] == "edge folds"
    data = tmp_path / "rows.csv"
    data.touch()
    assert answer(codesign, "validate", "good", "--data", str(data))["rows"] == 4


def test_suites_are_listed(codesign, suites) -> None:
    assert "name a suite: good, bad" in codesign("validate").err
    assert "Rows of a simulator." in codesign("validate", "--list").out


@dataclass(frozen=True)
class CheckRow:
    name: str
    passed: bool
    detail: str


@pytest.mark.parametrize("passed", [True, False])
def test_a_failed_check_is_exit_code_1(codesign, monkeypatch, passed: bool) -> None:
    fake = ModuleType("codesign.measure.conformance")
    fake.check = lambda machine, *, quick: [  # type: ignore[attr-defined]
        CheckRow("roofline", True, ""),
        CheckRow("every knob matters", passed, "vector.lanes"),
    ]
    monkeypatch.setitem(sys.modules, "codesign.measure.conformance", fake)
    for verb in (("arch", "check"), ("check",)):
        ran = codesign(*verb, "dense_systolic")
        assert ran.code == (0 if passed else 1)
        assert f"{2 if passed else 1} of 2 checks pass" in ran.out
        assert json.loads(codesign(*verb, "dense_systolic", "--json").out)["passed"] is passed
