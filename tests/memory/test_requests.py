"""Do streams, policies and energies obey the laws of pins, refresh and command counts?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.config import CodesignError
from codesign.memory import (
    command_prices,
    dram,
    energy_of,
    refresh_pj_per_cycle,
    simulate_requests,
    stream_cycles,
)
from codesign.memory import streams as streams_module

DRAMS = (
    "ddr4_2400",
    "gddr6_14000",
    "hbm2_2000",
    "hbm2e_3200",
    "hbm3_6400",
    "hbm3e_9200",
    "lpddr4x_4266",
    "lpddr5_6400",
)


@pytest.mark.parametrize("name", DRAMS)
def test_no_stream_is_faster_than_the_pins_and_long_ones_come_near(name):
    spec = dram(name)
    for size in (1, 4096, 100_003, 1 << 20):
        for write in (False, True):
            stream = stream_cycles(spec, size, write=write)
            assert stream.moved_bytes >= size
            assert stream.cycles * spec.peak_bytes_per_cycle >= stream.moved_bytes
    unrefreshed = stream_cycles(spec.model_copy(update={"refresh": "off"}), 1 << 20)
    assert unrefreshed.cycles * spec.peak_bytes_per_cycle < 1.25 * (1 << 20)


@pytest.mark.parametrize("name", DRAMS)
def test_more_bytes_and_refresh_are_never_faster(name):
    spec = dram(name)
    cycles = [stream_cycles(spec, size).cycles for size in range(0, 200_000, 9_973)]
    assert cycles == sorted(cycles)
    unrefreshed = spec.model_copy(update={"refresh": "off"})
    for size in (1 << 16, 1 << 19, 1 << 21):
        assert stream_cycles(spec, size).cycles >= stream_cycles(unrefreshed, size).cycles
    addresses = np.random.default_rng(3).integers(0, 1 << 28, 4000)
    on = simulate_requests(spec, addresses, policy="in_order", page="closed")
    off = simulate_requests(spec, addresses, policy="in_order", page="closed", refresh="off")
    assert np.all(on.done >= off.done)
    assert on.cycles > off.cycles
    assert on.commands["REFA"] > 0 == off.commands["REFA"]


@pytest.mark.parametrize("policy", ["fr_fcfs", "row_hits_first", "in_order"])
@pytest.mark.parametrize("page", ["open", "closed"])
def test_each_request_is_one_burst(policy, page):
    spec = dram("hbm3_6400")
    rng = np.random.default_rng(5)
    addresses = rng.permutation(1 << 14)[:6000] * 32
    write = rng.random(6000) < 0.3
    run = simulate_requests(spec, addresses, write, policy=policy, page=page)
    c = run.commands
    assert c["RD"] + c["RDA"] == (~write).sum()
    assert c["WR"] + c["WRA"] == write.sum()
    assert run.row_hits + run.row_misses + run.row_conflicts == 6000
    assert (c["RDA"] + c["WRA"] > 0) == (page == "closed")
    assert np.all(run.done[~write] - run.served[~write] == 28)


def test_better_order_is_worth_its_queue():
    spec = dram("ddr4_2400")
    addresses = np.random.default_rng(1).integers(0, 1 << 30, 5000)
    in_order = simulate_requests(spec, addresses, policy="in_order").cycles
    small = simulate_requests(spec, addresses, queue=4).cycles
    large = simulate_requests(spec, addresses, queue=32).cycles
    assert large < small < in_order


def test_per_bank_refresh_closes_one_bank_at_a_time():
    spec = dram("lpddr5_6400")
    addresses = np.arange(40_000) * 32
    run = simulate_requests(spec, addresses, refresh="per_bank")
    assert run.commands["REFA"] == 0
    assert run.commands["REFB"] == pytest.approx(run.cycles / spec.cycles["nREFIpb"], abs=2)
    with pytest.raises(CodesignError, match="no refresh of one bank"):
        simulate_requests(dram("ddr4_2400"), addresses, refresh="per_bank")


def test_waiting_writes_answer_reads_and_absorb_writes_of_their_address():
    spec = dram("ddr4_2400")
    next_row = 16 * 128 * 64
    run = simulate_requests(spec, [0, next_row, next_row, next_row], [True, True, True, False])
    assert run.commands["WR"] == 2
    assert run.commands["RD"] == 0
    assert run.served.tolist()[2:] == [0, 0]
    assert (run.done - run.entered).tolist()[2:] == [1, 1]


def test_arrivals_hold_requests_back():
    spec = dram("hbm2_2000")
    late = simulate_requests(spec, [0, 64], arrival=[500, 9000], refresh="off")
    assert late.entered.tolist() == [500, 9000]
    # the ACT at clock 501 holds its bus for two cycles: RD after 14 + 1, data after 14 + 2
    assert late.done.tolist()[0] == 501 + 15 + 16
    for arrival in ([5, 4], [-1, 0]):
        with pytest.raises(CodesignError, match="arrivals"):
            simulate_requests(spec, [0, 64], arrival=arrival)
    with pytest.raises(CodesignError, match="place"):
        simulate_requests(spec, [0], queue=0)


def test_streams_are_simulated_once_per_shape_and_alignment(monkeypatch):
    calls = []
    real = streams_module.simulate_requests
    monkeypatch.setattr(
        streams_module,
        "simulate_requests",
        lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs),
    )
    streams_module._stream.cache_clear()
    page = 16 * 128 * 64
    first = stream_cycles(dram("ddr4_2400", {"refresh": "off"}), 5000, offset_bytes=64)
    assert (
        stream_cycles(dram("ddr4_2400", {"refresh": "off"}), 5000, offset_bytes=64 + page) == first
    )
    assert len(calls) == 1
    stream_cycles(dram("ddr4_2400", {"refresh": "off"}), 5000, offset_bytes=128)
    stream_cycles(
        dram("ddr4_2400", {"refresh": "off", "timings.nRP.cycles": 17}), 5000, offset_bytes=64
    )
    assert len(calls) == 3


@pytest.mark.parametrize("name", DRAMS)
def test_a_stream_shorter_than_the_refresh_interval_carries_its_share(name):
    spec = dram(name)
    unrefreshed = spec.model_copy(update={"refresh": "off"})
    long, short = 1 << 21, 1 << 13
    share = stream_cycles(spec, long).cycles / stream_cycles(unrefreshed, long).cycles
    bare = stream_cycles(unrefreshed, short).cycles
    assert bare < spec.cycles["nREFI"]
    assert stream_cycles(spec, short).cycles == pytest.approx(share * bare, abs=1)
    assert 1 < share < 1 + 2.5 * spec.cycles["nRFC"] / spec.cycles["nREFI"]
    refreshes = stream_cycles(spec, long).cycles / spec.cycles["nREFI"]
    ranks = spec.organisation.channels * spec.organisation.ranks
    assert stream_cycles(spec, long).commands["REFA"] == pytest.approx(refreshes * ranks, abs=1)


def test_long_streams_go_on_at_the_simulated_rate(monkeypatch):
    spec = dram("ddr4_2400")
    bursts = 3 * streams_module.SIMULATED_BURSTS
    guess = stream_cycles(spec, bursts * 64)
    whole = simulate_requests(spec, np.arange(bursts) * 64, mapping=streams_module.STREAM_MAPPING)
    assert guess.cycles == pytest.approx(whole.cycles, rel=0.005)
    assert guess.commands["RD"] == bursts
    assert guess.commands["ACT"] == pytest.approx(whole.commands["ACT"], rel=0.03)


def test_pieces_are_one_stream():
    spec = dram("gddr6_14000")
    run = stream_cycles(spec, 64, pieces=100, stride_bytes=4096)
    assert run.moved_bytes == 6400
    assert run.cycles > stream_cycles(spec, 6400).cycles
    assert stream_cycles(spec, 64, pieces=10, stride_bytes=64) == stream_cycles(spec, 640)
    assert stream_cycles(spec, 0).cycles == 0
    with pytest.raises(CodesignError, match="negative"):
        stream_cycles(spec, -1)


def test_energies_are_currents_times_time():
    """DDR4 by hand, mW cycles of 0.833 ns: see the formula; HBM3: 3.48 pJ/b, 1 KB pages at 0.11."""
    price = command_prices(dram("ddr4_2400"))
    period_ns = 0.833
    assert price.read_pj == pytest.approx(8 * 1.2 * (135 - 43) * 4 * period_ns)
    assert price.write_pj == pytest.approx(8 * 1.2 * (123 - 43) * 4 * period_ns)
    assert price.refresh_pj == pytest.approx(8 * 1.2 * (250 - 43) * 433 * period_ns)
    assert price.activate_pj == pytest.approx(8 * 1.2 * (48 * 55 - 43 * 39 - 34 * 16) * period_ns)
    assert price.open_pj_per_cycle == pytest.approx(8 * 1.2 * 43 * period_ns)
    assert price.closed_pj_per_cycle == pytest.approx(8 * 1.2 * 34 * period_ns)
    price = command_prices(dram("hbm3_6400"))
    assert price.read_pj == pytest.approx(256 * 3.48, abs=0.1)
    assert price.activate_pj == pytest.approx(8192 * 0.11, abs=0.1)
    assert price.open_pj_per_cycle == pytest.approx(30 * 0.625)


def test_refresh_costs_what_its_refreshes_do_in_the_long_run():
    spec = dram("hbm3_6400")
    cycles = 1000 * spec.cycles["nREFI"]
    paid = energy_of(spec, {"REFA": 1000}, cycles).refresh_pj
    assert cycles * refresh_pj_per_cycle(spec) == pytest.approx(paid)
    for refresh, share in (("per_bank", 1), ("off", 0)):
        other = spec.model_copy(update={"refresh": refresh})
        assert refresh_pj_per_cycle(other) == share * refresh_pj_per_cycle(spec)


def test_energy_adds_up_over_commands_ranks_and_channels():
    spec = dram("hbm2_2000")
    price = command_prices(spec)
    counts = {"ACT": 2, "RD": 3, "RDA": 1, "WR": 4, "REFA": 1, "REFB": 16, "PRE": 9}
    energy = energy_of(spec, counts, 100, open_share=0.25)
    assert energy.activate_pj == 2 * price.activate_pj
    assert energy.read_pj == 4 * price.read_pj
    assert energy.write_pj == 4 * price.write_pj
    assert energy.refresh_pj == 2 * price.refresh_pj
    share = 0.25 * price.open_pj_per_cycle + 0.75 * price.closed_pj_per_cycle
    assert energy.background_pj == pytest.approx(100 * 8 * 2 * share)
    parts = (energy.activate_pj, energy.read_pj, energy.write_pj, energy.refresh_pj)
    assert energy.total_pj == pytest.approx(sum(parts) + energy.background_pj)
