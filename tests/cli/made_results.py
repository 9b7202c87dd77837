"""Results with known numbers, for tests of what is printed about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from codesign.arch.base import Assumption
from codesign.metrics.result import OpResult, Result

CLOCK_HZ = 200e6


def op_result(name: str, **changed: object) -> OpResult:
    """A convolution of 1,000 cycles that is bound by compute."""
    base = OpResult(
        name=name,
        layer=name,
        kind="conv",
        phase="forward",
        shape="64x64x64",
        pattern="dense",
        mapping="ws 8x8x8 mn",
        note=None,
        bound_by="compute",
        cycles=1000,
        start_cycle=0,
        end_cycle=1000,
        busy_cycles={"array": 900},
        macs=4000,
        effective_macs=2000,
        executed_macs=2000,
        utilisation=0.5,
        dram_bytes=3000,
        bytes_by_memory={"dram": 3000},
        energy_pj_by_part={"mac": 400.0, "dram": 600.0},
        roofline_cycles=800,
    )
    return replace(base, **changed)


def run_result(ops: Sequence[OpResult], **changed: object) -> Result:
    """The sum of its operators at 200 MHz."""
    cycles = sum(op.cycles for op in ops)
    macs = sum(op.macs for op in ops)
    effective = sum(op.effective_macs for op in ops)
    latency_s = cycles / CLOCK_HZ
    energy_j = sum(op.energy_pj for op in ops) * 1e-12
    base = Result(
        workload="toy",
        arch="sat",
        machine="sat",
        phase="inference",
        sparsity="2:4",
        fidelity="row",
        kind="simulated",
        cycles=cycles,
        clock_mhz=CLOCK_HZ / 1e6,
        latency_s=latency_s,
        energy_j=energy_j,
        energy_j_by_part={"mac": 0.4 * energy_j, "dram": 0.6 * energy_j},
        area_mm2=12.5,
        area_mm2_by_part={"mac": 10.0, "buffer": 2.5},
        die_mm2=None,
        power_w=energy_j / latency_s,
        edp_js=energy_j * latency_s,
        macs=macs,
        effective_macs=effective,
        executed_macs=effective,
        utilisation=0.5,
        dense_tops=2e-12 * macs / latency_s,
        effective_tops=2e-12 * effective / latency_s,
        peak_tops=0.4,
        dram_bytes=sum(op.dram_bytes for op in ops),
        bytes_by_memory={"dram": sum(op.dram_bytes for op in ops)},
        busy_cycles={"array": 900},
        stall_cycles={"array": 10},
        roofline_cycles=max(1, cycles // 2),
        bound_by="compute",
        accuracy=None,
        parameters=100,
        ops=tuple(ops),
        assumptions=(Assumption("dram.latency_cycles", 100.0, "assumed", "no datasheet"),),
        notes=("classifier is kept dense",),
        seed=0,
        trace_fingerprint="a" * 16,
        arch_fingerprint="b" * 16,
        version="0.1.0",
    )
    return replace(base, **changed)
