"""How long do models take to become traces?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time

from benchmarks import Row
from codesign.trace.extract import extract
from codesign.trace.op import Trace
from codesign.trace.workload import load_workload

CONFIGS = Path(__file__).parent.parent / "examples" / "hf_configs"
REFERENCE = ("llama2_7b", "llama3_8b", "opt_6_7b", "gpt2", "bert_base", "vit_b16", "resnet50")
GENERATES = REFERENCE[:4]


def main() -> list[Row]:
    """Seconds, and how many of the reference models agree in all ways to extract them.

    A first extraction by module includes the import of torch and transformers; rows of processor
    time hold on a busy machine too.
    """
    rows: list[Row] = []
    source = f"hf:{CONFIGS / 'llama2_7b.json'}"
    for phase in ("inference", "decode", "training"):
        seconds = min(_seconds(source, phase, "shapes") for _ in range(5))
        rows.append(Row(f"llama2_7b by its numbers, {phase}", seconds, "s", 0.05, "lower"))
    try:
        import transformers  # noqa: F401
    except ImportError:
        return rows
    start, start_cpu = perf_counter(), process_time()
    extract(source, via="module")
    elapsed, processor = perf_counter() - start, process_time() - start_cpu
    rows.append(Row("llama2_7b by module, first, elapsed", elapsed, "s", 10, "lower"))
    rows.append(Row("llama2_7b by module, first, processor", processor, "s", 10, "lower"))
    for phase in ("inference", "decode", "training"):
        seconds = _seconds(source, phase, "module")
        rows.append(Row(f"llama2_7b by module, {phase}", seconds, "s", 10, "lower"))
    pairs = list(_pairs())
    agree = sum(map(_agree, *zip(*pairs, strict=True)))
    rows.append(Row(f"of {len(pairs)} reference model phases agree", agree, "", len(pairs)))
    return rows


def _seconds(source: str, phase: str, via: str) -> float:
    start = process_time()
    extract(source, phase=phase, via=via)
    return process_time() - start


def _pairs() -> Iterator[tuple[str, str]]:
    for name in REFERENCE:
        for phase in ("inference", "training", *(["decode"] if name in GENERATES else [])):
            yield name, phase


def _agree(name: str, phase: str) -> bool:
    """Whether module, numbers and workload file give the same products and parameters."""
    source = f"hf:{CONFIGS / f'{name}.json'}"
    traces = [extract(source, phase=phase, via=via) for via in ("module", "shapes")]
    traces.append(load_workload(name, phase=phase))
    first, *others = [(_products(trace), trace.parameter_count) for trace in traces]
    return all(other == first for other in others)


def _products(trace: Trace) -> Counter[tuple[object, ...]]:
    return Counter(
        (op.kind, op.phase, op.m, op.n, op.k, op.groups, op.conv) for op in trace if op.is_matmul
    )
