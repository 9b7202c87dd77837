"""How long do models take to become traces, and seven billion weights to be counted?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np

from benchmarks import Row
from codesign.sparsity.mask import Mask
from codesign.trace.checkpoint import count_nonzeros
from codesign.trace.extract import extract
from codesign.trace.op import Trace
from codesign.trace.tensor_file import save_masks
from codesign.trace.workload import load_workload

CONFIGS = Path(__file__).parent.parent / "examples" / "hf_configs"
REFERENCE = ("llama2_7b", "llama3_8b", "opt_6_7b", "gpt2", "bert_base", "vit_b16", "resnet50")
GENERATES = REFERENCE[:4]
GB = 1e9


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
        return [*rows, *_masks()]
    start = perf_counter()
    extract(source, via="module")
    rows.append(
        Row("llama2_7b by module, first, elapsed", perf_counter() - start, "s", 10, "lower")
    )
    for phase in ("inference", "decode", "training"):
        seconds = _seconds(source, phase, "module")
        rows.append(Row(f"llama2_7b by module, {phase}", seconds, "s", 10, "lower"))
    pairs = list(_pairs())
    agree = sum(map(_agree, *zip(*pairs, strict=True)))
    rows.append(Row(f"of {len(pairs)} reference model phases agree", agree, "", len(pairs)))
    return [*rows, *_masks()]


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


def _masks() -> list[Row]:
    trace = load_workload("llama2_7b")
    shapes = {
        str(op.weight): (op.n, op.k) for op in trace if op.is_matmul and op.weight is not None
    }
    rng = np.random.default_rng(0)

    def made() -> Iterator[tuple[str, Mask]]:
        for name, (rows, cols) in shapes.items():
            packed = np.frombuffer(rng.bytes(rows * cols // 8), np.uint8)
            yield name, Mask(rows, cols, packed.reshape(rows, -1))

    with TemporaryDirectory() as folder:
        path = Path(folder) / "masks.safetensors"
        save_masks(path, shapes, made())
        start = perf_counter()
        counted = count_nonzeros(path)
        seconds = perf_counter() - start
    weights = sum(size for _, size in counted.values()) / GB
    memory = getrusage(RUSAGE_SELF).ru_maxrss * 1024 / GB
    return [
        Row(f"non-zeros of {weights:.2f} G weights counted from a file", seconds, "s", 10, "lower"),
        Row("memory of it all at most", memory, "GB", 2, "lower"),
    ]
