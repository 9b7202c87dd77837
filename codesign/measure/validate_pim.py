"""PIM-GPT on its eight models, and GEMV on AiM and HBM-PIM, beside what was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from codesign.arch import load_arch
from codesign.arch.pim import PimMachine
from codesign.arch.pim_spec import PimSpec
from codesign.evaluate import evaluate
from codesign.measure.pim_baselines import (
    PUBLISHED,
    T4,
    XEON,
    Measured,
    baseline_rows,
    range_group,
    range_rows,
)
from codesign.measure.suite import Group, TableRow, ValidationReport, compare, report
from codesign.trace.kv_cache import prune_kv_cache
from codesign.trace.op import Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

GENERATED = 1024
"""Tokens that the paper's main results generate (believed of it, not read in it)."""


ROW_HIT_RATE = 0.98
"""Believed of the paper; 63 of 64 columns of a row, if rows are full."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the paper: a workload of ours, with sizes replaced."""

    name: str
    workload: str
    sizes: Mapping[str, int]

    def decode(self, context: int, dtype: str = "bf16") -> Trace:
        return load_workload(
            self.workload, phase="decode", context=context, dtype=dtype, overrides=self.sizes
        )


def _gpt3(name: str, depth: int, width: int, heads: int) -> Model:
    sizes = {"depth": depth, "width": width, "heads": heads, "mlp_width": 4 * width}
    return Model(name, "gpt3_xl", sizes)


MODELS = (
    Model("GPT2-small", "gpt2", {}),
    Model("GPT2-medium", "gpt2_medium", {}),
    Model("GPT2-large", "gpt2_large", {}),
    Model("GPT2-XL", "gpt2_xl", {}),
    _gpt3("GPT3-small", 12, 768, 12),
    _gpt3("GPT3-medium", 24, 1024, 16),
    _gpt3("GPT3-large", 24, 1536, 16),
    _gpt3("GPT3-XL", 24, 2048, 16),
)


def run(path: Path | None = None) -> ValidationReport:
    """Simulate decoding on PIM-GPT and GEMV on the others; ranges carry no bound, laws do."""
    models = [measure(model) for model in MODELS]
    laws = [
        _law("no faster than all in-bank MACs", [(m.bound_s, m.last.latency_s) for m in models]),
        _law(
            "no faster than the weights of the layers allow",
            [(m.layers_bound_s, m.latency_s) for m in models],
        ),
        compare(
            "MACs of the trace", [(m.last.executed_macs, m.last.macs) for m in models], within=0
        ),
    ]
    rates = [(m.row_hit_rate, ROW_HIT_RATE) for m in models]
    beside = [range_group(models, what) for what in PUBLISHED]
    beside.append(compare("row hits", rates, note="98 % is believed of the paper, not read in it"))
    vendors, lines = gemv_speedups()
    table = [*(_model_row(m) for m in models), *range_rows(models), *baseline_rows(models), *lines]
    table += [*sparse_rows(), *_assumed()]
    return report("pim", laws, [*beside, *vendors], table=table)


def measure(model: Model) -> Measured:
    """Mean latency and energy of 1024 generated tokens by Simpson's rule over the context."""
    machine = _machine("pim_gpt")
    contexts = (1, GENERATED // 2, GENERATED - 1)
    traces = [model.decode(context) for context in contexts]
    results = [evaluate(trace, machine) for trace in traces]

    def mean(values: list[float]) -> float:
        return (values[0] + 4 * values[1] + values[2]) / 6

    last = results[-1]
    hits, misses = (last.counters[name] for name in ("row_hit", "row_miss"))
    weights = sum(op.macs for op in traces[0] if op.weight is not None and op.name != "lm_head")
    peak = float(machine.peak_macs_per_cycle(traces[0]["lm_head"])) * last.clock_mhz * 1e6
    return Measured(
        model=model.name,
        latency_s=mean([r.latency_s for r in results]),
        t4_machine_s=_on_t4(model),
        energy_j=mean([r.energy_j for r in results]),
        row_hit_rate=hits / (hits + misses),
        last=last,
        layers_bound_s=weights / peak,
        bound_s=last.macs / peak,
        operators=len(traces[0]),
        values=mean([float(sum(op.b_elements for op in t if op.is_matmul)) for t in traces]),
        baseline_s={
            b.name: mean([b.token_s(trace) for trace in traces]) for b in (T4, XEON)
        },
    )  # fmt: skip


def _on_t4(model: Model) -> float:
    """Seconds of a token half-way on this project's own T4, kernels as its GPU model has them."""
    return evaluate(model.decode(GENERATED // 2, "fp16"), load_arch("t4")).latency_s


def _assumed() -> list[TableRow]:
    """Every number under the results that no source that we read states."""
    return [
        {
            "section": "Assumed or unverified numbers of PIM-GPT",
            "number": row.path,
            "value": row.value,
            "status": row.status,
        }
        for row in _machine("pim_gpt").assumptions()
    ]


def _machine(name: str) -> PimMachine[PimSpec]:
    machine = load_arch(name)
    assert isinstance(machine, PimMachine)
    return machine


def _law(name: str, pairs: list[tuple[float, float]]) -> Group:
    """A group of (bound, value) that passes where no value is below its bound."""
    broken = sum(value < bound for bound, value in pairs)
    note = f"closest: {min((v / b for b, v in pairs), default=inf):.2f} times the bound"
    return Group(name, len(pairs), len(pairs) - broken, 0, None, "none below", not broken, note)


def _model_row(m: Measured) -> TableRow:
    return {
        "section": f"PIM-GPT, mean over {GENERATED} generated tokens",
        "model": m.model,
        "ms/token": round(m.latency_s * 1e3, 4),
        "MAC bound, layers": round(m.layers_bound_s * 1e3, 4),
        "mJ/token": round(m.energy_j * 1e3, 3),
        "row hits": round(m.row_hit_rate, 4),
        **{f"{w.quantity}, {w.baseline.name}": round(m.ratio(w), 1) for w in PUBLISHED},
    }


_GEMVS = ((1024, 4096), (2048, 4096), (4096, 4096), (8192, 8192))
_VENDORS = (("aim_gddr6", 7.5, 10.5), ("hbm_pim", 8.9, 8.9))


def gemv_speedups() -> tuple[list[Group], list[TableRow]]:
    """GEMV in the banks against the same weights read once over the pins at their peak rate."""
    groups: list[Group] = []
    rows: list[TableRow] = []
    for name, low, high in _VENDORS:
        machine = _machine(name)
        ours = []
        for outputs, inputs in _GEMVS:
            result = evaluate(load_workload(f"gemm:1,{outputs},{inputs}"), machine)
            streamed = outputs * inputs * 2 / machine.pin_bytes_per_cycle
            ours.append(streamed / result.cycles)
            rows.append(
                {
                    "section": "GEMV speed-up over the same DRAM's pins at their peak",
                    "machine": name,
                    "outputs x inputs": f"{outputs}x{inputs}",
                    "us": round(result.latency_s * 1e6, 2),
                    "speed-up": round(ours[-1], 2),
                    "published": f"{low:g}" if low == high else f"{low:g} to {high:g}",
                    "implied pin use of the baseline": round(ours[-1] / low, 2),
                }
            )
        most = machine.dram_bytes_per_cycle / machine.pin_bytes_per_cycle
        note = (
            f"ours {min(ours):.1f} to {max(ours):.1f} over pins that never wait, at most {most:g}; "
            "the published baselines are whole systems, whose sizes are not known to us"
        )
        pairs = [(min(ours), low), (max(ours), high)]
        groups.append(compare(f"GEMV speed-up of {name}", pairs, note=note))
    return groups, rows


_WEIGHT_PATTERNS = ("2:4", "2:8", "unstructured(0.7)", "block(64x64, 0.8)", "row(0.5)")
_CACHE_PATTERNS = ("unstructured(0.5)", "unstructured(0.7)")


def sparse_rows() -> list[TableRow]:
    """GPT2-small with sparse weights or a pruned cache: what zeros save, indices included."""
    machine = _machine("pim_gpt")
    dense = MODELS[0].decode(GENERATED - 1)
    tried = {f"weights {p}": sparsify(dense, p) for p in _WEIGHT_PATTERNS}
    tried |= {f"KV cache {p}": prune_kv_cache(dense, p) for p in _CACHE_PATTERNS}
    before = evaluate(dense, machine)
    rows: list[TableRow] = []
    for name, trace in tried.items():
        after = evaluate(trace, machine)
        rows.append(
            {
                "section": "Sparsity on PIM-GPT (this project's extension), GPT2-small",
                "what": name,
                "kept MACs": round(after.effective_macs / after.macs, 3),
                "columns read": round(
                    after.counters["mac_columns"] / before.counters["mac_columns"], 3
                ),
                "speed-up over dense": round(before.cycles / after.cycles, 3),
                "energy over dense": round(after.energy_j / before.energy_j, 3),
            }
        )
    return rows
