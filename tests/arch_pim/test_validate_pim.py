"""Does the PIM suite compare with the ranges of its paper, and fail when a law is broken?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from codesign.measure import validate_pim
from codesign.measure.pim_baselines import range_rows
from codesign.measure.validate_pim import MODELS, PUBLISHED, T4, XEON, measure, run


def test_ranges_are_reported_and_laws_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate_pim, "MODELS", MODELS[:1])
    monkeypatch.setattr(validate_pim, "_GEMVS", ((1024, 1024),))
    monkeypatch.setattr(validate_pim, "_WEIGHT_PATTERNS", ("2:4",))
    monkeypatch.setattr(validate_pim, "_CACHE_PATTERNS", ("unstructured(0.7)",))
    found = run()
    assert found.passed
    assert found.rows == found.exact_rows == 3
    notes = {group.name: group.note for group in found.groups}
    for what in PUBLISHED:
        note = notes[f"{what.quantity} over {what.baseline.name}"]
        assert f"published {what.low:g} to {what.high:g}" in note
        assert "assumed" in note
    assert len({row["section"] for row in found.table}) == 6
    assumed = {row["number"] for row in found.table if "status" in row}
    assert {"units.accumulators", "logic.lanes", "gddr6_pim_gpt.nRFC"} <= assumed


def test_each_range_says_which_end_is_met_and_what_the_rest_asks_for() -> None:
    small = measure(MODELS[0])
    seconds = dict.fromkeys(("T4", "Xeon"), 41 * small.latency_s)
    joules = 41 * small.latency_s * T4.power_w / 123
    both = [
        replace(small, baseline_s=seconds, energy_j=joules),
        replace(small, baseline_s={**seconds, "T4": 50 * small.latency_s}, energy_j=joules),
    ]
    rows = range_rows(both)
    ends = {row["range"]: (row["low end"], row["high end"]) for row in rows}
    assert ends["speed-up, T4"] == ("met", "not met")
    assert ends["speed-up, Xeon"] == ("not met", "not met")
    power = rows[2]["what the rest asks for"]
    assert f"ours 3 to {3 * 41 / 41:.3g} (70 W" in str(power)
    at_41 = both[0].operator_s(PUBLISHED[0], 41)
    assert at_41 == pytest.approx(T4.per_operator_s)


def test_a_model_faster_than_its_macs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = measure(MODELS[0])
    assert slow.layers_bound_s == pytest.approx(12 * 12 * 768**2 / 2.048e12)
    fast = replace(slow, latency_s=slow.layers_bound_s / 2)
    monkeypatch.setattr(validate_pim, "MODELS", MODELS[:1])
    monkeypatch.setattr(validate_pim, "measure", lambda model: fast)
    monkeypatch.setattr(validate_pim, "gemv_speedups", lambda: ([], []))
    monkeypatch.setattr(validate_pim, "sparse_rows", list)
    assert not run().passed


def test_baselines_read_every_value_once() -> None:
    trace = MODELS[0].decode(1023)
    values = sum(op.b_elements for op in trace if op.is_matmul)
    cache = 2 * 12 * 1024 * 768
    assert values == 12 * 12 * 768**2 + 50257 * 768 + cache
    assert T4.token_s(trace) == pytest.approx(2 * values / 320e9 + len(trace) * 10e-6)
    assert XEON.token_s(trace) == pytest.approx(4 * values / 128e9 + len(trace) * 10e-6)
