"""A folder of studies made by hand, and a server of it in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign.sweep.store import Row, Store
from codesign.sweep.study import Study

Address = tuple[str, int]
"""Host and port."""


def a_study(**changes: Any) -> Study:
    content = {
        "name": "toy",
        "description": "Made by hand",
        "workload": "gemm:64,64,64",
        "arch": "sat",
        "method": "grid",
        "metrics": {"latency_s": "minimize", "area_mm2": "minimize"},
        "constraints": ["area_mm2 <= 90"],
        "parameters": {
            "sparsity": {"values": ["dense", "2:4", "2:8"]},
            "arch.array.rows": {"values": list(range(1, 101))},
        },
    }
    return Study.model_validate_json(json.dumps({**content, **changes}))


def a_row(number: int, **changes: Any) -> Row:
    """Latency falls and area grows with the number, apart from the odd ones, which are slow."""
    values = {"sparsity": ("dense", "2:4", "2:8")[number % 3], "arch.array.rows": number + 1}
    config = {
        "workload": {"name": "gemm:64,64,64", "set": {}, "batch": 1}
        | dict.fromkeys(("phase", "seq", "context", "image", "dtype", "optimizer")),
        "arch": {"name": "sat", "set": {"array.rows": values["arch.array.rows"]}, "file": ""},
        "sparsity": {"pattern": values["sparsity"], "where": "*", "method": None},
        "mapping": {"mapper": "heuristic", "objective": "latency", "budget": 16},
        "seed": 0,
        "fidelity": "tile",
    }
    latency_s = 1.0 / (number + 1) + number % 2
    row = {
        "key": f"key{number:04}",
        "number": number,
        "fidelity": "tile",
        "values": values,
        "config": config,
        "metrics": {"latency_s": latency_s, "area_mm2": float(number + 1), "energy_j": 2.0},
        "error": None,
        "seed": 0,
        "duration_s": 0.01,
        "arch_fingerprint": "a",
        "trace_fingerprint": "t",
        "version": "0.1.0",
    }
    return Row(**(row | changes))


def a_store(path: Path, count: int, study: Study | None = None) -> Path:
    with Store(path) as store:
        store.keep("study", (study or a_study()).model_dump_json())
        store.add([a_row(number) for number in range(count)])
    return path


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with studies, one of them damaged, a report, and a secret beside it."""
    above = tmp_path_factory.mktemp("above")
    (above / "secret.db").write_text("secret")
    (above / "secret.html").write_text("secret")
    folder = above / "runs"
    a_store(folder / "toy.db", 100)
    a_store(folder / "deep" / "er.db", 3)
    (folder / "broken.db").write_bytes((folder / "toy.db").read_bytes()[:5000])
    (folder / "report.html").write_text("<!DOCTYPE html><title>r</title><p id=r>report")
    (folder / "notes.txt").write_text("secret")
    (folder / ".hidden.db").write_text("secret")
    (folder / "out.db").symlink_to(above / "secret.db")
    (folder / "up").symlink_to(above)
    return folder


@pytest.fixture(scope="session")
def address(runs: Path) -> Iterator[Address]:
    """Host and port of a server of the folder."""
    pytest.importorskip("uvicorn")
    with serving(runs) as found:
        yield found


class serving:  # noqa: N801
    """`codesign serve FOLDER` in a process of its own, as a context."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._command = [
            sys.executable, "-m", "codesign", "serve", str(folder), "--port", "0", *options,
        ]  # fmt: skip

    def __enter__(self) -> Address:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "http://" in line, self._process.communicate()
        host, _, port = line.split("http://")[1].split("/")[0].rpartition(":")
        return host, int(port)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        _, self.errors = self._process.communicate(timeout=20)
