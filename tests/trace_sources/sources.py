"""Small files of every kind, and what traces are compared by."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from codesign.trace.hf import hf_names, hf_spec
from codesign.trace.hf_config import HFConfig, read_config
from codesign.trace.hf_names import renamed
from codesign.trace.op import Trace
from codesign.trace.workload import build_trace

CONFIGS = Path(__file__).parents[2] / "examples" / "hf_configs"
MODELS = sorted(path.stem for path in CONFIGS.glob("*.json"))
REFERENCE = ("llama2_7b", "llama3_8b", "opt_6_7b", "gpt2", "bert_base", "vit_b16", "resnet50")

DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")


def config(name: str, depth: int | None = None) -> HFConfig:
    stated = read_config(CONFIGS / f"{name}.json")
    if depth is None:
        return stated
    changed = {key: depth for key in DEPTHS if key in stated.data}
    return HFConfig(stated.path, {**stated.data, **changed})


def by_shapes(stated: HFConfig, phase: str, batch: int, **size: int | None) -> Trace:
    trace = build_trace(hf_spec(stated), "test", phase, batch, **size)  # type: ignore[arg-type]
    return renamed(trace, hf_names(stated))


def products(trace: Trace) -> Counter[tuple[object, ...]]:
    """How often each product occurs, whatever its name."""
    return Counter(
        (op.kind, op.phase, op.m, op.n, op.k, op.groups, op.conv) for op in trace if op.is_matmul
    )


def moved_bytes(trace: Trace) -> int:
    return sum(
        op.repeats
        * (op.a_bytes + op.b_bytes + op.c_bytes if op.is_matmul else op.read_bytes + op.write_bytes)
        for op in trace
    )
