"""Does a machine that names a DRAM pay for the commands of every transfer?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.arch.device_link import DEVICE_ACTIONS, device_components, device_link
from codesign.arch.parts import DramDevice
from codesign.config import CodesignError, load_yaml, shipped
from codesign.evaluate import evaluate, run
from codesign.memory import command_prices, dram, stream_cycles
from codesign.schedule.program import Steps
from codesign.sparsity.pattern import NM
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

DEVICE = "device: ddr4_2400, controller_latency_cycles: 10"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    source = shipped("arch_configs") / "dense_systolic.yaml"
    text = source.read_text(encoding="utf-8")
    lines, skipping = [], False
    for line in text.splitlines():
        skipping = (skipping and line.startswith("  ")) or line.startswith("dram:")
        if line.startswith("dram:"):
            lines.append(f"dram: {{{DEVICE}}}")
        if not skipping and not line.lstrip().startswith(("dram.bytes", "dram.latency")):
            lines.append(line)
    kept = "\n".join(lines)
    start = kept.index("sources:") + len("sources:\n")
    kept = kept[:start] + "  dram: {status: chosen, source: a named DRAM}\n" + kept[start:]
    drop = [line for line in kept.splitlines() if "four DDR4-2400 channels" not in line]
    path = tmp_path_factory.mktemp("arch") / "named.yaml"
    path.write_text(
        "\n".join(line for line in drop if line.strip() != "status: derived"), encoding="utf-8"
    )
    assert load_yaml(path).data["dram"]["device"] == "ddr4_2400"
    return load_arch(path)


def test_a_transfer_takes_the_cycles_of_its_commands():
    spec = dram("ddr4_2400")
    link = device_link(DramDevice(device="ddr4_2400", controller_latency_cycles=7), 1000.0)
    sizes = np.array([64, 4096, 4096, 100_000])
    for write in (False, True):
        clocks = [stream_cycles(spec, int(size), write=write).cycles for size in sizes]
        expected = [-(-clock * spec.tck_ps // 1000) for clock in clocks]
        assert link.cycles(sizes, write=write).tolist() == expected
    assert link.delay == 7
    assert link.cycles(sizes)[3] >= 100_000 / link.bytes_per_cycle


def test_commands_are_counted_and_paid(machine):
    trace = load_workload("gemm:256,256,256")
    lowered, _, _ = run(trace, machine)
    totals = lowered[0].program.totals()
    assert totals["dram_activate"] > 0
    assert totals["dram_background_cycle"] > 0
    result = evaluate(trace, machine)
    assert result.energy_j_by_part["dram commands"] > 0
    assert result.cycles >= result.roofline_cycles


def test_tiles_too_short_for_a_refresh_pay_what_one_long_transfer_does():
    for name in ("ddr4_2400", "lpddr5_6400"):
        spec = dram(name)
        link = device_link(DramDevice(device=name, controller_latency_cycles=7), 1000.0)
        price = device_components(spec)[1].stated_pj["dram_refresh_cycle"]
        steps = Steps((), DEVICE_ACTIONS)
        link.tally(steps, np.full(1000, 4096), write=False)
        cycles = steps.tallies["dram_refresh_cycle"]
        assert stream_cycles(spec, 4096).commands["REFA"] == 0
        assert cycles == 1000 * stream_cycles(spec, 4096).cycles
        refreshes = cycles / spec.cycles["nREFI"] * spec.organisation.channels
        paid = refreshes * spec.organisation.ranks * command_prices(spec).refresh_pj
        assert cycles * price == pytest.approx(paid)


def test_pins_alone_are_never_slower_than_the_device(machine):
    trace = load_workload("gemm:64,512,512")
    bandwidth = machine.dram_bytes_per_cycle
    plain = load_arch(
        "dense_systolic", {"dram.bytes_per_cycle": bandwidth, "dram.latency_cycles": 0}
    )
    assert evaluate(trace, machine).cycles > evaluate(trace, plain).cycles


def test_fewer_bytes_are_never_slower_on_a_device(machine):
    slow = evaluate(load_workload("gemm:512,512,512"), machine)
    fast = evaluate(load_workload("gemm:256,512,512"), machine)
    assert fast.cycles < slow.cycles
    sparse = sparsify(load_workload("gemm:256,512,512"), NM(2, 4))
    assert evaluate(sparse, machine).dram_bytes == fast.dram_bytes


def test_an_unknown_device_is_named(machine):
    with pytest.raises(CodesignError, match="ddr4_2400"):
        device_link(DramDevice(device="ddr4_2401", controller_latency_cycles=1), 1000.0)
