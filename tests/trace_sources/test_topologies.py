"""Do SCALE-Sim topologies become the layers that they list?"""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.trace.extract import extract

HEAD = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"  # noqa: E501


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return f"scalesim:{path}"


def test_convolutions(tmp_path: Path) -> None:
    text = HEAD + "Conv1, 224, 224, 7, 7, 3, 64, 2,\nConv2, 56, 56, 3, 3, 64, 64, 1,\n\n"
    first, second = extract(written(tmp_path / "net.csv", text), batch=2)
    assert (first.m, first.n, first.k) == (2 * 110 * 110, 64, 147)
    assert (second.m, second.n, second.k, second.deps) == (2 * 54 * 54, 64, 576, ("Conv1",))
    step = extract(written(tmp_path / "net.csv", text), phase="training")
    assert step.macs == 3 * (first.macs + second.macs) // 2 - first.macs // 2


def test_products_with_sparsity_and_equal_names(tmp_path: Path) -> None:
    text = "Layer, M, N, K, Sparsity\nG, 4, 8, 16, 1:4\nG, 4, 8, 16, 4:4\n"
    sparse, dense = extract(written(tmp_path / "net.csv", text), dtype="int8")
    assert (sparse.name, sparse.m, sparse.n, sparse.k) == ("G", 4, 8, 16)
    assert (str(sparse.b_pattern), str(dense.b_pattern), dense.name) == ("1:4", "dense", "G#2")
    assert sparse.a_dtype == "int8"


def test_a_window_beyond_the_edge_counts_as_there(tmp_path: Path) -> None:
    (op,) = extract(written(tmp_path / "net.csv", HEAD + "a, 8, 8, 3, 3, 1, 1, 2\n"))
    assert op.m == 4 * 4
    assert op.a_elements == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no layers"),
        (HEAD, "no layers"),
        (HEAD + "a, 1, 2\n", "line 2: 2 numbers; a convolution has 7"),
        (HEAD + "a, 8, 8, 3, 3, 1, 1, 0\n", "line 2: stride is a whole number from 1"),
        (HEAD + "a, 8, 8, 3, x, 1, 1, 1\n", "line 2: filter width"),
        (HEAD + "a, 2, 8, 3, 3, 1, 1, 1\n", "the filter is larger than the map"),
        ("G, 4, 8, 99999999999\n", "K is a whole number"),
        ("G, 4, 8, 16, 5:4\n", "at most M"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        extract(written(tmp_path / "net.csv", text))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CodesignError, match="no text"):
        extract(f"scalesim:{tmp_path / 'net.csv'}")
    with pytest.raises(CodesignError, match="No such file"):
        extract(f"scalesim:{tmp_path / 'missing.csv'}")
    with pytest.raises(CodesignError, match="takes no sequence length"):
        extract(written(tmp_path / "a.csv", "G, 4, 8, 16\n"), seq=5)
