"""What can refresh win? The precharges that it spares by closing all rows at once, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.memory import DramSpec, Location, RequestTimeline, dram, presets, simulate_located
from codesign.memory.requests import Page, Policy

DRAMS = tuple(name for name in presets() if "pim" not in name and "aim" not in name)


def on_and_off(
    spec: DramSpec,
    bank: list[int],
    row: list[int],
    write: list[bool],
    arrival: list[int],
    policy: Policy,
    page: Page,
) -> tuple[RequestTimeline, RequestTimeline]:
    banks = np.array(bank)
    where = Location(0 * banks, banks, np.array(row), 0 * banks)
    on = simulate_located(spec, where, write, arrival, policy=policy, page=page, refresh="all_bank")
    off = simulate_located(spec, where, write, arrival, policy=policy, page=page, refresh="off")
    return on, off


def refreshed_every(spec: DramSpec, cycles: int) -> DramSpec:
    interval = spec.timings["nREFI"].model_copy(update={"cycles": cycles})
    return spec.model_copy(update={"timings": {**spec.timings, "nREFI": interval}})


@pytest.mark.parametrize("name", DRAMS)
@pytest.mark.parametrize("policy", ["fr_fcfs", "row_hits_first", "in_order"])
def test_two_requests_that_refresh_makes_faster(name: str, policy: Policy) -> None:
    """The second finds its bank closed, by a refresh that nobody waited for; else it closes it."""
    spec = dram(name)
    t = spec.cycles
    late = t["nREFI"] + t["nRFC"] + 4 * t["nRP"] + 100
    on, off = on_and_off(spec, [0, 0], [0, 1], [False, False], [0, late], policy, "open")
    assert on.commands["REFA"] >= 1
    assert (off.commands["PRE"], on.commands["PRE"]) == (1, 0)
    assert 0 < off.cycles - on.cycles <= t["nRP"]
    on, off = on_and_off(spec, [0, 0], [0, 1], [False, False], [0, late], policy, "closed")
    assert on.cycles == off.cycles


@pytest.mark.parametrize("name", DRAMS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_in_order_refresh_wins_no_more_than_the_precharges_it_spares(
    name: str, data: st.DataObject
) -> None:
    spec = dram(name)
    t = spec.cycles
    spec = refreshed_every(spec, t["nRFC"] + data.draw(st.integers(60, 1500)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    n = data.draw(st.integers(1, 200))
    bank = rng.integers(0, data.draw(st.integers(1, spec.organisation.banks)), n).tolist()
    row = rng.integers(0, data.draw(st.sampled_from([1, 2, 1000])), n).tolist()
    write = (rng.random(n) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))).tolist()
    spread = data.draw(st.sampled_from([0, 3, 60]))
    arrival = np.cumsum(rng.integers(0, spread + 1, n)).tolist()
    on, off = on_and_off(spec, bank, row, write, arrival, "in_order", "closed")
    assert np.all(on.done >= off.done)
    on, off = on_and_off(spec, bank, row, write, arrival, "in_order", "open")
    spared = max(0, off.commands["PRE"] - on.commands["PRE"])
    slot = 2  # cycles of the command bus that a precharge or the ACT after it may wait for
    assert on.cycles >= off.cycles - spared * (t["nRP"] + slot)


@pytest.mark.parametrize("name", DRAMS)
def test_a_busy_channel_loses_by_refresh(name: str) -> None:
    """All requests there from the start, random rows of all banks, in the order of their age."""
    spec = dram(name)
    shape, rng = spec.organisation, np.random.default_rng(3)
    bank = rng.integers(0, shape.banks, 4000).tolist()
    row = rng.integers(0, shape.rows, 4000).tolist()
    for page in ("open", "closed"):
        on, off = on_and_off(spec, bank, row, [False] * 4000, [0] * 4000, "fr_fcfs", page)
        assert on.cycles > off.cycles
