"""Does a saved trace come back as it was, and is anything else refused?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.trace.io import load_trace, save_trace
from codesign.trace.op import Op, Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload


def sparse_trace() -> Trace:
    weight = np.random.default_rng(0).standard_normal((24, 36))
    return sparsify(
        load_workload("gemm:8,24,36", phase="training"), "2:4", weights={"weight": weight}
    )


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v1", "gpt2", "llama3_8b"])
@pytest.mark.parametrize("phase", ["inference", "training"])
def test_traces_round_trip(name: str, phase: str, tmp_path: Path) -> None:
    trace = sparsify(load_workload(name, phase=phase, batch=3), "2:8")
    save_trace(trace, tmp_path / "t.json")
    back = load_trace(tmp_path / "t.json")
    assert back.ops == trace.ops
    assert (back.name, dict(back.parameters), dict(back.meta)) == (
        trace.name,
        dict(trace.parameters),
        dict(trace.meta),
    )
    assert back.fingerprint == trace.fingerprint
    assert load_workload(tmp_path / "t.json").fingerprint == trace.fingerprint


def test_masks_round_trip(tmp_path: Path) -> None:
    trace = sparse_trace()
    assert len(trace.masks) == 2
    save_trace(trace, tmp_path / "t.json")
    assert dict(load_trace(tmp_path / "t.json").masks) == dict(trace.masks)


def test_a_saved_trace_takes_no_options(tmp_path: Path) -> None:
    save_trace(sparse_trace(), tmp_path / "t.json")
    for options in (
        {"phase": "training"},
        {"batch": 2},
        {"seq": 4},
        {"dtype": "fp32"},
        {"image": 8},
    ):
        with pytest.raises(CodesignError, match="saved trace"):
            load_workload(tmp_path / "t.json", **options)  # type: ignore[arg-type]


def test_large_traces_are_read_whole(tmp_path: Path) -> None:
    trace = load_workload("llama2_70b", phase="training")
    save_trace(trace, tmp_path / "t.json")
    assert load_trace(tmp_path / "t.json").ops == trace.ops


def content() -> dict[str, object]:
    """A saved trace as plain data."""
    return {
        "format": "codesign-trace",
        "version": 1,
        "name": "t",
        "ops": [{"name": "a", "kind": "gemm", "phase": "forward", "m": 1, "n": 9, "k": 4}],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "no saved trace"),
        ({"version": 2}, "version 2, this program reads 1"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"name": 3}, "a name and a list of ops"),
        ({"ops": {}}, "a name and a list of ops"),
        ({"ops": [3]}, r"ops\[0\] is no object"),
        ({"ops": [{"name": "a", "kind": "gemm"}]}, r"ops\[0\]: phase is missing"),
        ({"parameters": {"w": 1.5}}, "whole numbers"),
        ({"meta": {"x": []}}, "texts and numbers"),
        ({"masks": {"b": {"rows": 1, "cols": 1, "packed": "AQ=="}}}, "no such operator"),
        ({"masks": {"a": {"rows": 1, "cols": 1, "packed": "?"}}}, "masks"),
        ({"masks": {"a": {"rows": 9, "cols": 4, "packed": "AQ=="}}}, "9 bytes"),
        ({"masks": {"a": {"rows": 9}}}, "has rows, cols and packed"),
    ],
)
def test_other_files_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content() | change))
    with pytest.raises(CodesignError, match=message):
        load_trace(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("m", -1, r"ops\[0\].m is a whole number"),
        ("m", 1.0, "whole number"),
        ("m", True, "whole number"),
        ("m", 1 << 70, "whole number"),
        ("kind", "gem", "is one of gemm, conv"),
        ("phase", 3, "is one of forward"),
        ("a_dtype", "fp12", "no data type 'fp12'"),
        ("b_pattern", "5:4", "5:4"),
        ("b_pattern", 3, "pattern"),
        ("weight", 3, "is a text"),
        ("b_shared", 1, "true or false"),
        ("deps", "a", "list of operator names"),
        ("deps", ["zz"], "does not come earlier"),
        ("conv", {"batch": 1}, "missing"),
        ("conv", {"bach": 1}, "has fields that a convolution has not"),
        ("conv", {"batch": "1"}, "whole number"),
        ("conv", {"stride_h": 0}, "conv.stride_h is a whole number from 1"),
        ("b_changes", 3, "true or false"),
        ("rows", 3, "unknown key 'rows'"),
        ("name", 3, "is a text"),
    ],
)
def test_wrong_fields_are_named(field: str, value: object, message: str, tmp_path: Path) -> None:
    entry = {"name": "a", "kind": "gemm", "phase": "forward", field: value}
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content() | {"ops": [entry]}))
    with pytest.raises(CodesignError, match=message):
        load_trace(path)


def test_files_that_are_no_json(tmp_path: Path) -> None:
    for name, data in (("a", b""), ("b", b"\xff\xfe"), ("c", b"{"), ("d", b"[" * 100_000)):
        path = tmp_path / f"{name}.json"
        path.write_bytes(data)
        with pytest.raises(CodesignError, match="no JSON text"):
            load_trace(path)
    with pytest.raises(CodesignError, match="No such file"):
        load_trace(tmp_path / "missing.json")
    with pytest.raises(CodesignError, match="directory"):
        load_trace(tmp_path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = sorted(Op.__dataclass_fields__)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(entry=st.dictionaries(st.sampled_from(FIELDS), plain, max_size=4), other=plain)
def test_random_content_is_read_or_refused(entry: object, other: object, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    good = {"name": "a", "kind": "gemm", "phase": "forward"}
    fuzzed = {**good, **entry} if isinstance(entry, dict) else good
    for ops in ([fuzzed], other):
        path.write_text(json.dumps(content() | {"ops": ops, "meta": other if ops is other else {}}))
        try:
            trace = load_trace(path)
        except CodesignError:
            continue
        save_trace(trace, path)
        assert load_trace(path).ops == trace.ops
