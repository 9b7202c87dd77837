"""Does a broken sweep file give line, key and suggestion before the first point runs?"""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.config import CodesignError, ConfigError, shipped
from codesign.sweep.check import read_study

GOOD = """\
name: small
workload: resnet18
arch: sat
method: grid
metrics:
  latency_s: minimize
  area_mm2: minimize
parameters:
  sparsity: {values: [dense, "2:8"]}
  arch.array.rows: {values: [16, 32]}
constraints:
  - area_mm2 <= 400
run_cap: 4
execution: {executor: serial}
"""

CASES = [
    # what is replaced, by what, the line that is named, and pieces of the message
    ("name: small", "nam: small", 1, "nam", "did you mean 'name'"),
    ("name: small", "name: a name/with spaces", 1, "name", ""),
    ("method: grid", "method: gird", 4, "method", "did you mean 'grid'"),
    ("method: grid", "methods: grid", 4, "methods", "did you mean 'method'"),
    ("  latency_s: minimize", "  latencys: minimize", 6, "metrics.latencys", "'latency_s'"),
    ("  latency_s: minimize", "  latency_s: minimise", 6, "metrics.latency_s", "'minimize'"),
    ("  latency_s: minimize", "  accuracy: maximize", 6, "metrics.accuracy", "key accuracy"),
    ("workload: resnet18", "workload: resnet-81", 2, "workload", "resnet18"),
    ("workload: resnet18", "workload: {nme: resnet18}", 2, "workload", "name"),
    ("arch: sat", "arch: sta", 3, "arch", "'sat'"),
    ("arch: sat", "arch: {name: sat, set: {array.row: 3}}", 3, "arch", "rows"),
    ('[dense, "2:8"]', '[dense, "8:2"]', 9, "sparsity.values.1", "'2:8'"),
    ('[dense, "2:8"]', '[dense, "2;8"]', 9, "sparsity.values.1", "no sparsity pattern"),
    ('[dense, "2:8"]', "[]", 9, "parameters.sparsity.values", ""),
    ('[dense, "2:8"]', "[dense, dense]", 9, "parameters.sparsity", "twice"),
    ("arch.array.rows:", "arch.array.row:", 10, "arch.array.row", "'arch.array.rows'"),
    ("arch.array.rows:", "arch.rows:", 10, "arch.rows", "'arch.array.rows'"),
    ("arch.array.rows:", "arc.array.rows:", 10, "arc.array.rows", "'arch.array.rows'"),
    ("[16, 32]", "[16, 0]", 10, "rows.values.1", ">= 1"),
    ("[16, 32]", "[16, 32.5]", 10, "rows.values.1", ""),
    ("[16, 32]", "[16, big]", 10, "rows.values.1", "big"),
    ("values: [16, 32]", "min: 16, max: 8", 10, "arch.array.rows", "not below max"),
    ("values: [16, 32]", "min: 16", 10, "arch.array.rows", "min and max"),
    ("values: [16, 32]", "min: 16, max: 64", 10, "arch.array.rows", "a grid needs values"),
    ("values: [16, 32]", "vals: [16, 32]", 10, "arch.array.rows.vals", "'values'"),
    ("values: [16, 32]", "values: [16], min: 2", 10, "arch.array.rows", "not both"),
    ("values: [16, 32]", "min: 0, max: 2.5, distribution: log_uniform", 10, "rows", "above 0"),
    ("values: [16, 32]", "min: 1, max: 2, distribution: gaussian", 10, "distribution", "uniform"),
    ("values: [16, 32]", "values: [16], also: [arch.array.colz]", 10, "rows", "'arch.array.cols'"),
    ("values: [16, 32]", "values: [16], when: {sparse: [dense]}", 10, "when.sparse", "'sparsity'"),
    ("values: [16, 32]", "values: [16], when: {sparsity: [dens]}", 10, "when.sparsity", "'dense'"),
    ("area_mm2 <= 400", "area_mm <= 400", 12, "constraints.0", "'area_mm2'"),
    ("area_mm2 <= 400", "area_mm2 = 400", 12, "constraints.0", "not ="),
    ("area_mm2 <= 400", "area_mm2 <= 20*20", 12, "constraints.0", "a number"),
    ("area_mm2 <= 400", "__import__('os') <= 4", 12, "constraints.0", "a number"),
    ("area_mm2 <= 400", "accuracy_drop <= 0.01", 12, "constraints.0", "key accuracy"),
    ("run_cap: 4", "run_cap: 0", 13, "run_cap", ""),
    ("run_cap: 4", "run_cap: many", 13, "run_cap", ""),
    ("run_cap: 4", "promote: {fidelity: tile}", 13, "promote.fidelity", "no closer"),
    ("run_cap: 4", "promote: {fidelity: rows}", 13, "promote.fidelity", "'row'"),
    ("run_cap: 4", "seed: -1", 13, "seed", ""),
    ("method: grid", "method: cmaes", 5, "", "CMA-ES"),
    ("executor: serial", "executor: procces", 14, "execution.executor", "'process'"),
    ("executor: serial", "executor: serial, workers: 0", 14, "execution.workers", ""),
    ("executor: serial", 'executor: thread, address: "a:1"', 14, "execution.address", "ray"),
    ("executor: serial", "timeout: 3", 14, "execution.timeout", "'timeout_s'"),
    ("name: small", "name: small\nname: again", 2, "name", ""),
    ("name: small", "name: small\noutput: /", 2, "output", "is a folder"),
    ("area_mm2 <= 400", "area_mm2 <= 1\n  - area_mm2 >= 2", 11, "constraints", "no design keeps"),
    ("area_mm2 <= 400", "area_mm2 <= 1\n  - area_mm2 > 1", 11, "constraints", "no design keeps"),
    (
        "arch.array.rows: {values: [16, 32]}",
        'sparsity.where: {values: ["layer1*", "lay1*"]}',
        10,
        "sparsity.where.values.1",
        "'lay1*'",
    ),
    (
        "[16, 32]}",
        "[16]}\n  arch.set.array.rows: {values: [8]}",
        11,
        "arch.set.array.rows",
        "is set by arch.array.rows as well",
    ),
    ("metrics:", "metrics: 3\nx:", 5, "metrics", ""),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "said"), CASES)
def test_faults_are_named(
    tmp_path: Path, old: str, new: str, line: int, key: str, said: str
) -> None:
    """File and line, the dotted key, and what was meant."""
    assert old in GOOD
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CodesignError) as caught:
        read_study(path)
    message = str(caught.value)
    assert f"sweep.yaml:{line}" in message, message
    assert key in message, message
    assert said in message, message


def test_the_file_that_is_broken_above_is_whole(tmp_path: Path) -> None:
    """Without a fault there is no complaint."""
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_study(path).study.name == "small"


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    """Two faults, two lines."""
    path = tmp_path / "sweep.yaml"
    text = GOOD.replace("latency_s", "latencys").replace("area_mm2 <= 400", "area_mm <= 4")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CodesignError) as caught:
        read_study(path)
    assert str(caught.value).count("sweep.yaml:") == 2


def test_assignments_are_checked_like_the_file(tmp_path: Path) -> None:
    """A wrong word on the command line is answered with the right one."""
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD, encoding="utf-8")
    base = read_study(path, ["arch.array.rows=8,64", "run_cap=3", "sparsity=2:4"])
    assert base.study.parameters["arch.array.rows"].values == (8, 64)
    assert base.study.parameters["sparsity"].values == ("2:4",)
    assert base.study.run_cap == 3
    with pytest.raises(CodesignError, match=r"arch\.array\.rows"):
        read_study(path, ["arch.array.rowz=8"])
    with pytest.raises(CodesignError, match="run_cap"):
        read_study(path, ["run_cp=8"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("foo=3", "foo=3: unknown key"),
        ("fidelty=row", "fidelty=row: unknown key; did you mean 'fidelity'?"),
        ("method=gird", "method=gird: must be "),
        ("arch.array.rows=[3", "arch.array.rows=[3: not YAML"),
        ("foo", "'foo' is not of the form KEY=VALUE,VALUE"),
        ("run_cap=", "'run_cap=' is not of the form"),
        ("=3", "'=3' is not of the form"),
        ("arch..rows=3", "'arch..rows=3' is not of the form"),
    ],
)
def test_a_wrong_assignment_is_told_by_its_own_words(tmp_path: Path, given: str, said: str) -> None:
    """Nobody wrote --set."""
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(CodesignError) as caught:
        read_study(path, ["seed=1", given])
    assert str(caught.value).startswith(said)
    assert "--set" not in str(caught.value)


OWN = """\
name: own
workload: own_network.yaml
arch: machines/own.yaml
method: grid
metrics: {latency_s: minimize}
parameters: {arch.array.rows: {values: [8, 16]}}
"""


def own_files(folder: Path, cols: int) -> None:
    (folder / "machines").mkdir(parents=True)
    machine = (shipped("arch_configs") / "dense_systolic.yaml").read_text()
    (folder / "machines" / "own.yaml").write_text(machine.replace("cols: 32", f"cols: {cols}"))
    network = "name: own\nlayers:\n  - {name: one, gemm: [4, 16, 32]}\n"
    (folder / "own_network.yaml").write_text(network)


def test_files_lie_beside_the_sweep_or_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep with files of its own runs from anywhere, and its own files come first."""
    beside, current = tmp_path / "sweeps", tmp_path / "current"
    own_files(beside, 8)
    current.mkdir()
    monkeypatch.chdir(current)
    (beside / "sweep.yaml").write_text(OWN)
    first = read_study(beside / "sweep.yaml")
    assert first.machines["machines/own.yaml"].data["array"]["cols"] == 8
    assert set(first.workloads) == {"own_network.yaml"}
    own_files(current / "more", 4)
    for name in ("machines", "own_network.yaml"):
        (current / "more" / name).rename(current / name)
    assert read_study(beside / "sweep.yaml") == first
    (beside / "machines" / "own.yaml").unlink()
    again = read_study(beside / "sweep.yaml")
    assert again.machines["machines/own.yaml"].data["array"]["cols"] == 4
    (current / "machines" / "own.yaml").unlink()
    with pytest.raises(ConfigError) as caught:
        read_study(beside / "sweep.yaml")
    assert "sweep.yaml:3" in str(caught.value)
    assert str(beside) in str(caught.value)
    assert str(current) in str(caught.value)
    (current / "machines" / "owm.yaml").touch()
    (current / "own_network.yaml").rename(current / "ownnetwork.yaml")
    (beside / "own_network.yaml").unlink()
    with pytest.raises(ConfigError) as caught:
        read_study(beside / "sweep.yaml")
    assert str(caught.value).count("did you mean") == 2
    assert "did you mean 'owm.yaml'?" in str(caught.value)
    assert "did you mean 'ownnetwork.yaml'?" in str(caught.value)
