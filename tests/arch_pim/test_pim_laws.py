"""Do PIM machines obey their memory: pins, banks, refresh, context, and the zeros of real masks?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.arch import load_arch
from codesign.arch.pim import PimMachine
from codesign.arch.pim_spec import PimSpec
from codesign.config import CodesignError, ConfigError
from codesign.evaluate import evaluate
from codesign.sparsity.mask import Mask
from codesign.trace.kv_cache import prune_kv_cache
from codesign.trace.op import Op, Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

NAMES = ("pim_gpt", "aim_gddr6", "hbm_pim")
TINY = {"width": 128, "depth": 2, "heads": 4, "mlp_width": 512, "vocabulary": 512}


def machine(name: str, **changes: object) -> PimMachine[PimSpec]:
    found = load_arch(name, {key.replace("__", "."): value for key, value in changes.items()})
    assert isinstance(found, PimMachine)
    return found


def decode(context: int) -> Trace:
    return load_workload("gpt2", phase="decode", context=context, overrides=TINY, dtype="bf16")


def one_product(trace: Trace) -> Op:
    return next(op for op in trace if op.is_matmul)


@pytest.mark.parametrize("name", NAMES)
def test_banks_compute_no_numbers(name: str) -> None:
    with pytest.raises(CodesignError, match=f"{name}: fidelity cycle .* fidelity row"):
        evaluate(load_workload("gemm:1,16,16"), machine(name), fidelity="cycle")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(m=st.integers(1, 9), n=st.integers(1, 700), k=st.integers(1, 1500))
def test_nothing_beats_the_pins_or_the_banks(name: str, m: int, n: int, k: int) -> None:
    pim, trace = machine(name), load_workload(f"gemm:{m},{n},{k}")
    result = evaluate(trace, pim)
    op = one_product(trace)
    over_pins = result.counters.get("pin_read", 0) + result.counters["pin_write"]
    assert result.cycles >= over_pins / pim.pin_bytes_per_cycle
    assert result.cycles * pim.peak_macs_per_cycle(op) >= result.executed_macs == trace.macs
    assert result.counters["bank_read"] >= m * op.b_bytes / max(1, m)
    hits, misses = result.counters.get("row_hit", 0), result.counters["row_miss"]
    assert hits + misses == result.counters["mac_columns"]
    assert result.counters["activate"] == misses * pim.dram.organisation.banks


@pytest.mark.parametrize("name", NAMES)
def test_refresh_never_helps(name: str) -> None:
    for trace in (decode(300), load_workload("gemm:3,300,900"), load_workload("gemm:1,4096,4096")):
        on, off = (evaluate(trace, machine(name, refresh=value)) for value in (True, False))
        assert on.cycles >= off.cycles
        assert on.energy_j_by_part["refresh"] > off.energy_j_by_part["refresh"] == 0
        grown = ("refresh_cycles", "activate", "row_miss", "row_hit")
        alike = [{k: v for k, v in r.counters.items() if k not in grown} for r in (on, off)]
        assert alike[0] == alike[1]
        assert on.counters["activate"] >= off.counters["activate"]
        timing = machine(name).dram.cycles
        assert on.cycles > off.cycles * (1 + timing["nRFC"] / timing["nREFI"] / 4)


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_context_is_never_faster(name: str) -> None:
    pim = machine(name)
    results = [evaluate(decode(context), pim) for context in (0, 1, 15, 16, 63, 200, 511, 1023)]
    cycles = [result.cycles for result in results]
    assert cycles == sorted(cycles)
    assert all(result.executed_macs == result.macs for result in results)


def test_a_decoded_token_writes_its_keys_and_values() -> None:
    result = evaluate(decode(100), machine("pim_gpt"))
    writes = [op for op in result.ops if op.name.endswith("kv_write")]
    keys, values = -(-128 * 2 // 128) * 128, 128 * 32
    assert len(writes) == 2
    assert all(op.dram_bytes == keys + values for op in writes)


def test_a_prompt_reads_weights_again_for_every_vector() -> None:
    """Only the input buffer lets weights be used again, and 1024 values fill it."""
    pim = machine("pim_gpt")
    one, many = (evaluate(load_workload(f"gemm:{m},256,1024"), pim) for m in (1, 6))
    assert many.counters["bank_read"] == 6 * one.counters["bank_read"]
    assert many.counters["row_miss"] == 6 * one.counters["row_miss"]
    short = evaluate(load_workload("gemm:6,256,128"), pim)
    single = evaluate(load_workload("gemm:1,256,128"), pim)
    assert short.counters["bank_read"] == 6 * single.counters["bank_read"]
    assert short.counters["row_miss"] < 6 * single.counters["row_miss"]


def with_source(path: str) -> dict[str, object]:
    """The sources of the file, and one more."""
    known = load_arch("pim_gpt").spec.sources
    return {
        **{name: source.model_dump() for name, source in known.items()},
        path: {"status": "chosen", "source": "this test"},
    }


def masked(mask: np.ndarray, name: str = "pim_gpt", **changes: object) -> tuple[int, int]:
    """Columns and cycles of one vector on a weight with this mask, bitmap indices included."""
    rows, cols = mask.shape
    trace = sparsify(load_workload(f"gemm:1,{rows},{cols}"), "unstructured(0.9)", where="gemm")
    result = evaluate(
        replace(trace, masks={"gemm": Mask.from_dense(mask)}), machine(name, **changes)
    )
    assert result.executed_macs == int(mask.sum())
    return result.counters["mac_columns"], result.cycles


def evaluate_dense(rows: int, cols: int) -> int:
    return evaluate(load_workload(f"gemm:1,{rows},{cols}"), machine("pim_gpt")).cycles


def test_all_banks_wait_for_the_fullest_one() -> None:
    """A bank's columns of a window are a sixteenth of its kept values there, rounded up."""
    rng = np.random.default_rng(5)
    mask = rng.random((160, 512)) < 0.15
    per_window = mask.reshape(10, 16, 2, 256).sum(axis=3)
    value_columns = -(-per_window.max(axis=1) // 16)
    index_columns = 512 // 256
    columns, cycles = masked(mask)
    assert columns == int(value_columns.sum()) + 10 * index_columns
    one_full = np.zeros((160, 512), dtype=bool)
    one_full[0, :256] = True
    assert masked(one_full)[0] in (256 // 16 + 1, 256 // 16 + 2)
    assert cycles >= masked(one_full)[1]
    assert evaluate_dense(160, 512) > cycles


def test_without_a_choice_only_empty_columns_are_skipped() -> None:
    mask = np.zeros((32, 512), dtype=bool)
    mask[0, 0] = mask[17, 100] = mask[18, 101] = True
    assert masked(mask, units__select_window=1)[0] == 2


@pytest.mark.parametrize(
    ("pattern", "columns"),
    [
        ("2:4", 16 * (16 + 2)),
        ("2:8", 16 * (8 + 2)),
        ("row(0.5)", 8 * 32),
        ("column(0.25)", 16 * 24),
        ("3:4", 16 * 32),
    ],
)
def test_balanced_patterns_read_kept_values_and_their_indices(pattern: str, columns: int) -> None:
    """256 outputs are 16 groups, 512 inputs 32 columns; an index has log2 m bits."""
    trace = load_workload("gemm:1,256,512")
    found = evaluate(sparsify(trace, pattern, where="gemm"), machine("pim_gpt"))
    assert found.counters["mac_columns"] == columns


def test_a_pruned_cache_is_read_faster_and_counts_its_bitmap() -> None:
    trace = decode(1000)
    pim = machine("pim_gpt")
    dense = evaluate(trace, pim)
    cycles = [
        evaluate(prune_kv_cache(trace, f"unstructured({gone})"), pim).cycles
        for gone in (0.5, 0.7, 0.9)
    ]
    assert [dense.cycles, *cycles] == sorted([dense.cycles, *cycles], reverse=True)
    sparse = prune_kv_cache(trace, "unstructured(0.7)")
    context = next(op for op in sparse if op.name.endswith("context"))
    bitmap_bytes = context.b_elements // 8
    kept_bytes = 2 * round(context.b_elements * 0.3)
    lowered = evaluate(Trace("context", (replace(context, deps=()),)), pim)
    assert lowered.counters["bank_read"] >= kept_bytes + bitmap_bytes
    with pytest.raises(CodesignError, match="no cache"):
        prune_kv_cache(load_workload("resnet18"), "2:4")


def test_banks_and_logic_that_overlap_are_never_slower() -> None:
    for trace in (load_workload("gemm:40,64,4000"), decode(200)):
        turns, beside = (evaluate(trace, machine("hbm_pim", overlap=v)) for v in (False, True))
        assert beside.cycles <= turns.cycles


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("timings.nRPX", 3, "no timing"),
        ("timings.nREFI", 900, "more than half"),
        ("timings.nRP", -1, "must be >= 0"),
        ("units.banks_per_unit", 3, "multiple"),
        ("units.input_buffer_bytes", 64, "at least the 512"),
        ("dram", "gddr7", "no DRAM preset"),
    ],
)
def test_files_that_make_no_sense_are_refused(path: str, value: object, message: str) -> None:
    changes: dict[str, object] = {path: value}
    if path.startswith("timings."):
        timings = {path.removeprefix("timings."): value}
        changes = {"timings": timings, "sources": with_source("timings")}
    with pytest.raises(ConfigError, match=message):
        load_arch("pim_gpt", changes)


def test_slower_timings_are_slower_and_listed() -> None:
    timings = {"nRP": 24, "nCCDMAC": 2}
    changed = load_arch("pim_gpt", {"timings": timings, "sources": with_source("timings")})
    trace = load_workload("gemm:1,1024,1024")
    assert evaluate(trace, changed).cycles > 1.5 * evaluate(trace, load_arch("pim_gpt")).cycles
    listed = {row.path for row in load_arch("pim_gpt").assumptions()}
    assert {"gddr6_pim_gpt.nRP", "units.accumulators", "energy.mac_pj"} <= listed
