"""Do modules that nobody prepared give the right trace, or a clear error?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from codesign.config import CodesignError
from codesign.trace.extract import extract
from codesign.trace.op import Kind, Phase, Trace
from codesign.trace.workload import load_workload
from tests.trace_sources.sources import products

STOCK = f"torch:{Path(__file__).with_name('stock_models.py')}"


def gemms(trace: Trace) -> Counter[tuple[object, ...]]:
    found = products(trace)
    return Counter({key: n for key, n in found.items() if key[0] is not Kind.ATTENTION})


@pytest.mark.parametrize("phase", ["inference", "training"])
@pytest.mark.parametrize(("name", "workload"), [("llama", "llama3_8b"), ("gpt2", "gpt2")])
def test_stock_models_give_the_workload(name: str, workload: str, phase: str) -> None:
    made = extract(f"{STOCK}:{name}", phase=phase, batch=2, seq=48, assume=0)
    stated = load_workload(workload, phase=phase, batch=2, seq=48, overrides={"depth": 1})
    if name == "gpt2":
        assert products(made) == products(stated)
    else:  # the module copies keys and values for every head: the same work in more groups
        assert made.macs == stated.macs
        assert gemms(made) == gemms(stated)
    assert made.parameter_count == stated.parameter_count
    assert str(made.meta["assumed_values"]).startswith("0 in ")


def test_experts_that_look_at_values_are_a_clear_error() -> None:
    with pytest.raises(CodesignError, match=r"the module asks for the value|running the module"):
        extract(f"{STOCK}:mixtral", seq=16)


def test_a_branch_on_values_follows_what_is_assumed() -> None:
    with pytest.raises(CodesignError, match=r"EarlyExit: the module asks for the value"):
        extract(f"{STOCK}:early_exit")
    short, whole = (extract(f"{STOCK}:early_exit", assume=value) for value in (1, 0))
    assert (short.macs, whole.macs) == (32 * 32, 32 * 32 + 32 * 64)
    assert whole.meta["assumed_values"] == "0 in EarlyExit"
    assert extract(f"{STOCK}:early_exit", real=True).macs == 32 * 32 + 32 * 64


def test_a_factory_that_takes_the_phase_has_prefill_and_decode() -> None:
    step = extract(f"{STOCK}:cached", phase="decode", batch=2, context=100)
    product = next(op for op in step if op.kind is Kind.ATTENTION)
    assert (product.m, product.n, product.k, product.groups) == (1, 101, 32, 2)
    assert {op.phase for op in step} == {Phase.DECODE}
    assert next(op for op in step if op.name == "cat").writes == 2 * 32
    assert (step.meta["context"], step.meta["phase"]) == (100, "decode")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phase": "decode"}, "let the factory take `phase`"),
        ({"context": 5}, "factories that take an argument `context`"),
    ],
)
def test_other_factories_have_no_such_phases(options: dict[str, object], message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        extract(f"{STOCK}:early_exit", **options)  # type: ignore[arg-type]
