"""Results made by hand, so that reports are tested without a simulator."""

from __future__ import annotations

from dataclasses import replace

from codesign.arch.base import Assumption
from codesign.metrics.result import OpResult, Result

PEAK_MACS_PER_CYCLE = 1024
DRAM_BYTES_PER_CYCLE = 64
CLOCK_MHZ = 200.0


def op_result(
    name: str,
    layer: str,
    kind: str,
    phase: str,
    start: int,
    *,
    macs: int,
    density: float,
    dram_bytes: int,
    note: str | None = None,
) -> OpResult:
    executed = round(macs * density)
    array = -(-executed // PEAK_MACS_PER_CYCLE) + 20 if macs else 0
    vector = 0 if macs else dram_bytes // 32
    dram = -(-dram_bytes // DRAM_BYTES_PER_CYCLE)
    cycles = max(array, vector, dram)
    bound = {array: "compute", vector: "vector", dram: "memory"}[cycles]
    return OpResult(
        name=name,
        layer=layer,
        kind=kind,
        phase=phase,
        shape="128x64x576" if macs else "65536",
        pattern="dense" if density == 1 else f"{round(density * 8)}:8",
        mapping="ws 512x32x32 mn" if macs else "",
        note=note,
        bound_by=bound,
        cycles=cycles,
        start_cycle=start,
        end_cycle=start + cycles,
        busy_cycles={"array": array, "vector": vector, "dram": dram},
        macs=macs,
        effective_macs=executed,
        executed_macs=executed,
        utilisation=executed / PEAK_MACS_PER_CYCLE / cycles,
        dram_bytes=dram_bytes,
        bytes_by_memory={"dram": dram_bytes, "buffer": 3 * dram_bytes},
        energy_pj_by_part={
            "mac": 1.2 * executed,
            "dram": 70.0 * dram_bytes,
            "leakage": 30.0 * cycles,
        },
        roofline_cycles=max(executed // PEAK_MACS_PER_CYCLE, dram),
    )


def make_result(
    arch: str = "dense_systolic",
    sparsity: str = "dense",
    phase: str = "inference",
    workload: str = "resnet_toy",
    *,
    density: float = 1.0,
    blocks: int = 16,
    area_mm2: float = 11.0,
    note: str | None = None,
) -> Result:
    ops: list[OpResult] = []
    at = 0
    passes = ["forward"]
    if phase == "training":
        passes += ["backward_data", "backward_weight", "update"]
    for step in passes:
        for block in range(blocks):
            layer = f"layer{block // 4 + 1}.{block % 4}.conv1"
            macs = 115_605_504 // (1 + block // 8)
            f = 1.0 if step == "backward_weight" else density
            traffic = 800_000 + 90_000 * block
            if step == "update":
                made = [("update", "update", 0, 1.0, 300_000)]
            else:
                made = [("conv", "conv", macs, f, traffic), ("norm", "norm", 0, 1.0, 200_000)]
            for suffix, kind, work, kept, moved in made:
                op = op_result(
                    f"{layer}.{suffix}.{step}",
                    layer,
                    kind,
                    step,
                    at,
                    macs=work,
                    density=kept,
                    dram_bytes=moved,
                    note=note if work else None,
                )
                at = op.end_cycle
                ops.append(op)
    latency = at / (CLOCK_MHZ * 1e6)
    energy = {
        part: sum(op.energy_pj_by_part[part] for op in ops) * 1e-12
        for part in ("mac", "dram", "leakage")
    }
    macs = sum(op.macs for op in ops)
    executed = sum(op.executed_macs for op in ops)
    total = sum(energy.values())
    return Result(
        workload=workload,
        arch=arch,
        machine=arch,
        phase=phase,
        sparsity=sparsity,
        fidelity="row",
        kind="simulated",
        cycles=at,
        clock_mhz=CLOCK_MHZ,
        latency_s=latency,
        energy_j=total,
        energy_j_by_part=energy,
        area_mm2=area_mm2,
        area_mm2_by_part={
            "mac": 0.6 * area_mm2,
            "buffer": 0.3 * area_mm2,
            "vector": 0.1 * area_mm2,
        },
        die_mm2=None,
        power_w=total / latency,
        edp_js=total * latency,
        macs=macs,
        effective_macs=executed,
        executed_macs=executed,
        utilisation=executed / PEAK_MACS_PER_CYCLE / at,
        dense_tops=2 * macs / latency / 1e12,
        effective_tops=2 * executed / latency / 1e12,
        peak_tops=2 * PEAK_MACS_PER_CYCLE * CLOCK_MHZ * 1e6 / 1e12,
        dram_bytes=sum(op.dram_bytes for op in ops),
        bytes_by_memory={m: sum(op.bytes_by_memory[m] for op in ops) for m in ("dram", "buffer")},
        busy_cycles={u: sum(op.busy_cycles[u] for op in ops) for u in ("array", "vector", "dram")},
        stall_cycles={"array": 10, "vector": 0, "dram": 1000},
        roofline_cycles=sum(op.roofline_cycles for op in ops),
        bound_by="compute",
        accuracy=None,
        parameters=25_557_032,
        ops=tuple(ops),
        assumptions=(
            Assumption("clock_mhz", CLOCK_MHZ, "unverified", "a reader's notes on the paper"),
            Assumption("dram.latency_cycles", 40, "assumed", "no value published"),
        ),
        notes=(note,) if note else (),
        seed=7,
        trace_fingerprint="a1b2c3d4e5f6a7b8",
        arch_fingerprint=f"{arch}-0123456789",
        version="0.1.0",
    )


def study_results() -> list[Result]:
    """Two workloads, two phases, two machines, dense and 2:8; the first result is the baseline."""
    made = []
    for workload, blocks in (("resnet_toy", 16), ("gpt_toy", 6)):
        for phase in ("inference", "training"):
            for arch, mm2 in (("dense_systolic", 11.0), ("sat", 12.5)):
                for sparsity, density in (("dense", 1.0), ("2:8", 0.25)):
                    ignored = arch == "dense_systolic" and density < 1
                    made.append(
                        make_result(
                            arch,
                            sparsity,
                            phase,
                            workload,
                            density=1.0 if ignored else density,
                            blocks=blocks,
                            area_mm2=mm2,
                            note="2:8 runs dense on dense_systolic" if ignored else None,
                        )
                    )
    return made


HOSTILE = (
    "<script>parent.alerts=1</script>",
    "</script><img src=x onerror=parent.alerts=2>",
    "\"'`&amp;<!--",
    "line one\nline two\r\n\ttab",
    "x" * 10_000,
    "層一·卷積 ∇θ é\u0301 🙂 \u202eabc",
    '=HYPERLINK("http://x")',
    "nul\x00 bell\x07 escape\x1b[31m",
    "lone \ud800 surrogate",
    "| a | b | **bold** `code` [link](http://x) {{ 7 * 7 }}",
)


def hostile(text: str) -> Result:
    """A result with `text` in every field that a user or a file can name."""
    base = make_result(blocks=4, note=text)
    return replace(
        base,
        workload=text,
        arch=text,
        machine=text,
        sparsity=text,
        notes=(text,),
        version=text,
        trace_fingerprint=text,
        arch_fingerprint=text,
        assumptions=(Assumption(text, 1.0, "assumed", text),),
        ops=tuple(
            replace(
                op,
                name=f"{i} {text}",
                layer=text,
                shape=text,
                pattern=text,
                mapping=text,
                bound_by=text,
                kind=op.kind if op.macs else text,
                energy_pj_by_part={text: 1.0},
            )
            for i, op in enumerate(base.ops)
        ),
        energy_j_by_part={text: base.energy_j},
        area_mm2_by_part={text: base.area_mm2},
        bytes_by_memory={text: 5},
        busy_cycles={text: 5},
        stall_cycles={text: 5},
    )
