"""Are a sweep's figures those of evaluate(), to the last bit, whatever was kept from before?"""

from __future__ import annotations

import random
from typing import Any

import pytest

import codesign
from codesign.arch import list_archs
from codesign.arch.base import Fidelity
from codesign.config import CodesignError, Spec
from codesign.evaluate import evaluate
from codesign.sweep import figures
from codesign.sweep.figures import FIGURES, Evaluator
from codesign.sweep.reads import WHOLE, ReadMemo, View, reads_of
from codesign.trace.sparsify import sparsify

KNOBS: dict[str, list[Any]] = {
    "clock_mhz": [100, 333.0],
    "array.rows": [8, 32, 33],
    "array.cols": [16, 32],
    "dram.bytes_per_cycle": [11, 384.5],
    "dram.latency_cycles": [0, 30],
    "buffers.input.capacity_bytes": [65536, 524288],
    "vector.lanes": [7, 32],
    "technology.node_nm": [7, 16],
    "mac_dtype": ["fp16", "bf16"],
}


@pytest.mark.parametrize("fidelity", ["tile", "row"])
@pytest.mark.parametrize("phase", ["inference", "training"])
def test_one_evaluator_answers_many_designs_as_evaluate_does(fidelity: str, phase: str) -> None:
    """Random designs in random order, dense, N:M and with masks, from one set of kept work."""
    rng = random.Random(0)
    dense = codesign.load_workload("resnet9", phase=phase, image=16)
    traces = [dense, sparsify(dense, "2:8"), sparsify(dense, "unstructured(0.8)")]
    evaluator = Evaluator()
    for _ in range(14):
        chosen = {path: rng.choice(values) for path, values in KNOBS.items()}
        machine = codesign.load_arch("sat", chosen)
        trace = rng.choice(traces)
        seed = rng.choice([0, 1])
        expected = evaluate(trace, machine, fidelity=fidelity, seed=seed)
        found = evaluator.figures(trace, machine, fidelity=Fidelity(fidelity), seed=seed)
        assert found == {name: getattr(expected, name) for name in FIGURES}


def test_networks_too_large_to_keep_are_answered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_SKELETON_STEPS", 10)
    trace = sparsify(codesign.load_workload("resnet9", image=16), "2:8")
    machine = codesign.load_arch("sat")
    expected = evaluate(trace, machine)
    evaluator = Evaluator()
    found = evaluator.figures(trace, machine, fidelity=Fidelity.ROW, seed=0)
    assert found == {name: getattr(expected, name) for name in FIGURES}


@pytest.mark.parametrize("name", [name for name, _ in list_archs()])
def test_every_machine_is_followed(name: str) -> None:
    """Each shipped machine, its bandwidth changed and changed back."""
    trace = codesign.load_workload("gemm:96,64,80")
    evaluator = Evaluator()
    machine = codesign.load_arch(name)
    try:
        expected = evaluate(trace, machine, fidelity="tile")
    except CodesignError as error:
        pytest.skip(f"{name} does not run this product: {error}")
    for clock in (machine.spec.clock_mhz, 2 * machine.spec.clock_mhz, machine.spec.clock_mhz):
        changed = codesign.load_arch(name, {"clock_mhz": clock})
        expected = evaluate(trace, changed, fidelity="tile")
        found = evaluator.figures(trace, changed, fidelity=Fidelity.TILE, seed=0)
        assert found == {figure: getattr(expected, figure) for figure in FIGURES}


class _Inner(Spec):
    a: int = 1
    b: int = 2


class _Outer(Spec):
    inner: _Inner = _Inner()
    c: int = 3

    @property
    def sum(self) -> int:
        return self.inner.a + self.c


def test_reads_are_noted() -> None:
    """Leaves by path; what cannot be followed counts as everything."""
    spec = _Outer()
    assert reads_of(spec, lambda s: s.inner.a + s.inner.a) == (2, ("inner.a",))
    assert reads_of(spec, lambda s: 7) == (7, ())
    assert reads_of(spec, lambda s: s.sum) == (4, ("c", "inner.a"))
    assert reads_of(spec, lambda s: s.inner == _Inner())[1] == WHOLE
    assert reads_of(spec, lambda s: len(type(s).model_fields))[1] == WHOLE
    assert reads_of(spec, lambda s: isinstance(s.inner, _Inner)) == (True, ())


def test_a_memo_answers_only_for_what_was_read() -> None:
    """A field that was not read may change; one that was may not; the oldest answers go first."""
    calls: list[int] = []

    def compute(spec: Any) -> int:
        calls.append(1)
        return int(spec.inner.b if spec.inner.a > 1 else spec.c)

    memo: ReadMemo[int] = ReadMemo(capacity=100)
    answers = [
        memo.get("k", View(_Outer(inner=_Inner(a=a, b=b), c=c)), compute)
        for a, b, c in [(1, 5, 3), (1, 6, 3), (1, 6, 4), (2, 6, 4), (2, 6, 9), (2, 7, 9)]
    ]
    assert answers == [3, 3, 4, 6, 6, 7]
    assert len(calls) == 4
    small: ReadMemo[int] = ReadMemo(capacity=2)
    for c in (1, 2, 3, 1):
        assert small.get("k", View(_Outer(c=c)), lambda spec: int(spec.c)) == c
    assert small.misses == 4
