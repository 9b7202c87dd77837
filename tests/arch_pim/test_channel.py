"""Do a channel's commands take the cycles of closed forms, and does refresh come when it is due?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.arch.pim import PimMachine
from codesign.arch.pim_channel import scattered_write, transfer
from codesign.arch.pim_spec import PimSpec
from codesign.evaluate import evaluate
from codesign.memory import Location, simulate_located
from codesign.schedule.bank_rows import SLOT_COMMANDS, Cells
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.workload import load_workload


def machine(name: str, **changes: object) -> PimMachine[PimSpec]:
    found = load_arch(name, {key.replace("__", "."): value for key, value in changes.items()})
    assert isinstance(found, PimMachine)
    return found


def gemv(n: int, k: int) -> Op:
    return Op(
        name="gemv", kind=Kind.GEMM, phase=Phase.DECODE, weight="w", m=1, n=n, k=k,
        a_dtype="bf16", b_dtype="bf16", c_dtype="bf16",
    )  # fmt: skip


def cells(columns: list[int], writes: list[int], reads: list[int]) -> Cells:
    counts = np.array(columns, dtype=np.int64)
    start = np.cumsum(counts) - counts
    return Cells(counts, np.array(writes), np.array(reads), start)


@pytest.mark.parametrize(
    ("outputs", "inputs", "channels"),
    [(1024, 1024, 8), (4096, 4096, 32), (768, 768, 1), (256, 1024, 1), (5000, 3000, 16)],
)
def test_gemv_of_aim_takes_the_cycles_of_its_closed_form(
    outputs: int, inputs: int, channels: int
) -> None:
    """sum over chunks of 1024 inputs of 2 o + g (158 + 2 o): arkhadem/aim_simulator @0f28a07."""
    groups = -(-outputs // (16 * channels))
    columns = [-(-min(1024, inputs - at) // 16) for at in range(0, inputs, 1024)]
    expected = sum(2 * o + groups * (158 + 2 * o) for o in columns)
    aim = machine("aim_gddr6", channels=channels)
    op = gemv(outputs, inputs)
    layout = aim.plan(op, "input-held", 1, None).layout
    from codesign.schedule.bank_rows import channel_cells

    channel = aim.channel(op)
    works = [channel_cells(layout, channel.array, at) for at in range(channels)]
    assert max(channel.work(one).cycles for one in works if one is not None) == expected


def test_a_row_of_pim_gpt_takes_rcd_columns_and_rp() -> None:
    """88 cycles a row would be RCD + 64 + RP; the last column waits RTP less one more."""
    channel = machine("pim_gpt", refresh=False).channel(gemv(16, 16))
    t = channel.dram.cycles
    rows = [channel.work(cells([64 * n], [0], [1])).cycles for n in (2, 3, 4)]
    assert set(np.diff(rows)) == {t["nRCDMAC"] + 63 + t["nRTP"] + t["nRP"]}
    one = channel.work(cells([1, 1], [0, 0], [0, 1])).cycles
    two = channel.work(cells([1, 2], [0, 0], [0, 1])).cycles
    assert two - one == t["nCCDMAC"]


def test_opening_banks_one_by_one_waits_for_the_activation_window() -> None:
    at_once = machine("pim_gpt", refresh=False).channel(gemv(16, 16))
    by_bank = machine("pim_gpt", refresh=False, units__activates="one_bank").channel(gemv(16, 16))
    work = cells([64], [0], [1])
    t = at_once.dram.cycles
    window = max(15 * t["nRRD"], 3 * t["nFAW"] + 3 * t["nRRD"])
    assert by_bank.work(work).cycles - at_once.work(work).cycles == window


def test_refreshes_are_sent_at_the_first_change_of_row_after_they_are_due() -> None:
    channel = machine("pim_gpt").channel(gemv(16, 16))
    t = channel.dram.cycles
    long = cells([64] * 300, [0] * 300, [1] * 300)
    free = channel.stream(long)
    rows = channel.clocks(free)[free.safe]
    due = np.zeros(len(rows), dtype=np.int64)
    place = int(np.searchsorted(rows, t["nREFI"]))
    due[place] = 1
    stream = channel.stream(long, due)
    clocks = channel.clocks(stream)
    sent = clocks[[SLOT_COMMANDS[i] == "REFA" for i in stream.command]]
    period = t["nRCDMAC"] + 63 + t["nRTP"] + t["nRP"]
    assert len(sent) == 1
    assert t["nREFI"] - t["nRP"] <= sent[0] <= t["nREFI"] + period + 64
    assert channel.cycles(clocks) - channel.cycles(channel.clocks(free)) == t["nRFC"]


def test_refresh_costs_its_share_of_the_time_whatever_the_length() -> None:
    channel = machine("pim_gpt").channel(gemv(16, 16))
    t = channel.dram.cycles
    share = t["nRFC"] / (t["nREFI"] - t["nRFC"])
    for rows in (1, 10, 100, 1000):
        work = channel.work(cells([64] * rows, [64] + [0] * (rows - 1), [1] * rows))
        cost = work.refresh_cycles / work.refresh_runs / work.cycles
        assert cost == pytest.approx(share, rel=0.35)
        assert work.busy_cycles(1000) >= 1000 * work.cycles
    off = machine("pim_gpt", refresh=False).channel(gemv(16, 16))
    work = off.work(cells([64], [0], [1]))
    assert (work.refresh_cycles, work.refresh_runs) == (0, 1)


def test_keys_are_written_faster_than_values() -> None:
    channel = machine("pim_gpt").channel(gemv(16, 16))
    keys, values = scattered_write(channel, 25, 4), scattered_write(channel, 1600, 1)
    assert keys.activates == 25
    assert values.activates == 1600
    assert values.cycles > 5 * keys.cycles
    peak = channel.dram.organisation.channels * 32
    assert transfer(channel, 1 << 16, True).cycles * peak >= 1 << 16


def test_short_cache_writes_carry_their_share_of_refresh() -> None:
    """A write between two refreshes costs what a part of a long one does, on all channels."""
    op = gemv(16, 16)
    on, off = machine("pim_gpt").channel(op), machine("pim_gpt", refresh=False).channel(op)
    t, shape = on.dram.cycles, on.dram.organisation
    for bursts in (1, 4):
        writes = [
            [scattered_write(channel, runs * shape.channels, bursts) for channel in (on, off)]
            for runs in (8, 20_000)
        ]
        (busy, bare), (long_busy, long_bare) = writes
        assert bare.cycles < busy.cycles < t["nREFI"]
        assert busy.activates == bare.activates == 8 * shape.channels
        long = long_busy.cycles / long_bare.cycles - 1
        assert busy.cycles / bare.cycles - 1 == pytest.approx(long, abs=1 / bare.cycles)
        assert long == pytest.approx(t["nRFC"] / t["nREFI"], rel=0.5)
    where = np.arange(20_000)
    rows = Location(0 * where, where % shape.banks, where // shape.banks, 0 * where)
    alone = on.dram.model_copy(update={"organisation": shape.model_copy(update={"channels": 1})})
    simulated = simulate_located(alone, rows, True)
    assert simulated.commands["REFA"] > 4
    carried = scattered_write(on, 20_000 * shape.channels, 1)
    assert carried.cycles == pytest.approx(simulated.cycles, rel=0.02)


def test_the_same_gemv_is_simulated_once() -> None:
    trace = load_workload("gemm:1,512,512")
    first = evaluate(trace, machine("pim_gpt"))
    assert evaluate(trace, machine("pim_gpt")).cycles == first.cycles
