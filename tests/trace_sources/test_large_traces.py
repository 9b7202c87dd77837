"""Is a trace that is too large refused at once?"""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.trace import io
from codesign.trace.io import load_trace, save_trace
from codesign.trace.workload import load_workload


def test_ten_million_operators_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    op = b'{"name":"a","kind":"gemm","phase":"forward"},'
    with path.open("wb") as file:
        file.write(b'{"format":"codesign-trace","version":1,"name":"t","ops":[')
        for _ in range(100):
            file.write(op * 100_000)
        file.write(b"{}]}")
    with pytest.raises(CodesignError, match=r"10,000,000 operators, 2,000,000 at most"):
        load_trace(path)


def test_operators_are_counted_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = load_workload("gpt2", seq=4)
    path = tmp_path / "trace.json"
    save_trace(trace, path)
    for size in (1, 7, 64, 1 << 20):
        monkeypatch.setattr(io, "_BLOCK_BYTES", size)
        assert io._operators(path) == len(trace)
    assert load_trace(path).fingerprint == trace.fingerprint
