"""Rates of GPUs and speed-ups of sparse language models on them, beside what was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from codesign.arch.tensor_core import TensorCore
from codesign.evaluate import simulated_s
from codesign.measure.gpu_board_claims import board_scores
from codesign.measure.gpu_layer_claims import gpu, layer_scores
from codesign.measure.suite import TableRow, ValidationReport, compare, report
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.op import Kind, Op, Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

BYTES_PER_GB = 1e9
SLOPE = "SLoPe (arXiv 2405.16325), speed-ups on one A100-40GB, rank 0"


@dataclass(frozen=True)
class Claim:
    """A published speed-up over dense, and the run that stands for it."""

    paper: str
    workload: str
    gpu: str
    pattern: str
    published: float
    source: str
    phase: str = "prefill"
    batch: int = 1
    seq: int | None = 2048
    context: int | None = None
    dtype: str = "fp16"
    method: str | None = None
    target: str = "weights"
    """What is sparse: all weights, the weights of the MLPs, or the cached keys and values."""
    library: str = "cuSPARSELt"
    square: bool = False
    """Whether weights with more outputs than inputs are multiplied as several square ones."""
    memory_gb: float | None = None
    """Of the board: each run takes the largest batch whose cache fits; None: `batch` for both."""
    overrides: Mapping[str, object] = field(default_factory=dict)
    assumed: str = ""


def _slope(workload: str, inference: float, training: float) -> list[Claim]:
    common = {
        "workload": workload, "gpu": "a100_sxm_40gb", "pattern": "2:4", "source": SLOPE,
        "square": True,
    }  # fmt: skip
    return [
        Claim("SLoPe inference", published=inference, batch=8, **common,  # type: ignore[arg-type]
              assumed="8 sequences of 2,048 tokens"),
        Claim("SLoPe training", published=training, phase="training", batch=8, method="slope",
              **common, assumed="8 sequences of 2,048 tokens, no update"),  # type: ignore[arg-type]
    ]  # fmt: skip


_LLAMA_1B = {"width": 2048, "depth": 16, "heads": 32, "kv_heads": 8, "mlp_width": 8192}

CLAIMS: tuple[Claim, ...] = (
    *_slope("opt_2_7b", 1.31, 1.13),
    *_slope("opt_6_7b", 1.46, 1.21),
    *_slope("opt_13b", 1.54, 1.25),
    *_slope("opt_30b", 1.53, 1.22),
    *_slope("opt_66b", 1.46, 1.20),
    *_slope("llama3_8b", 1.35, 1.16),
    Claim(
        "PATCH", "llama2_7b", "a6000", "2:4", 1.38, "abstract: 1.18 to 1.38x end to end, A6000",
        library="STOICC",
        assumed="all tiles 2:4, prefill of 2,048 tokens",
    ),
    Claim(
        "SpenseGPT", "opt_30b", "b200", "2:4", 1.2, "abstract: up to 1.2x decoding, FP8",
        phase="decode", batch=64, seq=None, context=1024, dtype="fp8",
        assumed="OPT-30B for its 32B models, all weights 2:4, batch 64, context 1,024",
    ),
    Claim(
        "Mustafar", "llama3_8b", "l40s", "unstructured(0.7)", 2.23,
        "abstract: up to 2.23x tokens/s, 70 % of the KV cache pruned", phase="decode", batch=8,
        seq=None, context=8192, target="cache",
        assumed="L40S for its GPU, context 8,192, pruning itself not charged",
    ),
    Claim(
        "Mustafar, full memory", "llama3_8b", "l40s", "unstructured(0.7)", 2.23,
        "abstract: up to 2.23x tokens/s, 70 % of the KV cache pruned", phase="decode",
        seq=None, context=8192, target="cache", memory_gb=48,
        assumed="as above, each at the largest batch that 48 GB hold; their format takes 0.45 of "
        "the dense bytes (from memory), our bitmap 0.36",
    ),
    Claim(
        "BLaST", "llama3_8b", "h100_sxm", "block(64x64, 0.95)", 1.6,
        "abstract of v1: 1.6x inference, 95 % block-sparse MLP weights, Llama-3.2-1B",
        target="mlp", overrides=_LLAMA_1B, assumed="H100 for its GPU, prefill of 2,048 tokens",
    ),
)  # fmt: skip


def dense_trace(claim: Claim) -> Trace:
    """The model of a claim, dense; training without the optimiser's update."""
    trace = load_workload(
        claim.workload, phase=claim.phase, batch=claim.batch, seq=claim.seq,
        context=claim.context, dtype=claim.dtype, overrides=claim.overrides,
    )  # fmt: skip
    if claim.phase != "training":
        return trace
    return replace(trace, ops=tuple(op for op in trace.ops if op.kind is not Kind.UPDATE))


def sparse_trace(claim: Claim, trace: Trace) -> Trace:
    """The model of a claim with its zeros."""
    if claim.target == "cache":
        pattern = parse_pattern(claim.pattern)
        ops = tuple(
            replace(op, b_pattern=pattern) if op.kind is Kind.ATTENTION else op for op in trace
        )
        return replace(trace, ops=ops)
    if claim.target == "mlp":
        return sparsify(trace, {"*.mlp.*": claim.pattern}, skip_first_last=False)
    sparse = sparsify(trace, claim.pattern, method=claim.method)
    if not claim.square:
        return sparse
    return replace(sparse, ops=tuple(_as_squares(op) for op in sparse))


def _as_squares(op: Op) -> Op:
    """A sparse product whose weights have more outputs than inputs, as several products in turn."""
    parts = op.n // op.k if op.kind is Kind.GEMM and not op.b_pattern.is_dense else 1
    if parts < 2:
        return op
    return replace(op, n=op.n // parts, repeats=op.repeats * parts)


def largest_batch(trace: Trace, machine: TensorCore, memory_gb: float) -> int:
    """Sequences whose keys and values fit beside the weights; `trace` is of one sequence."""
    weights = sum(op.b_bytes * op.repeats for op in trace if op.kind is Kind.GEMM)
    cache = sum(
        op.b_bytes * op.repeats * machine.form(op).b_share
        for op in trace
        if op.kind is Kind.ATTENTION
    )
    return max(1, int((memory_gb * BYTES_PER_GB - weights) / cache))


def speedup(claim: Claim) -> float:
    """Simulated time of the dense model over that of the sparse one, each for one sequence."""
    machine = gpu(claim.gpu, claim.library)

    def seconds(*, sparse: bool) -> float:
        def traced(batch: int) -> Trace:
            run = replace(claim, batch=batch)
            trace = dense_trace(run)
            return sparse_trace(run, trace) if sparse else trace

        batch = claim.batch
        if claim.memory_gb is not None:
            batch = largest_batch(traced(1), machine, claim.memory_gb)
        return simulated_s(traced(batch), machine, fidelity="tile") / batch

    return seconds(sparse=False) / seconds(sparse=True)


def run(path: Path | None = None) -> ValidationReport:
    """Simulate every claim; a bound is stated for boards of which nothing is fitted."""
    found = [(claim, speedup(claim)) for claim in CLAIMS]
    groups = [
        compare(
            name,
            [(ours, claim.published) for claim, ours in found if claim.paper == name],
            note="; ".join(
                f"{claim.workload} {ours:.2f} (published {claim.published})"
                for claim, ours in found
                if claim.paper == name
            ),
        )
        for name in dict.fromkeys(claim.paper for claim in CLAIMS)
    ]
    table: list[TableRow] = [
        {
            "section": "speed-up over dense, whole model",
            "paper": claim.paper,
            "model": claim.workload,
            "gpu": claim.gpu,
            "pattern": claim.pattern,
            "simulated": ours,
            "published": claim.published,
            "assumed": claim.assumed,
            "source": claim.source,
        }
        for claim, ours in found
    ]
    layer_groups, layer_rows = layer_scores()
    board_groups, board_rows = board_scores()
    return report(
        "published_gpu",
        [*groups, *layer_groups],
        board_groups,
        table=[*table, *layer_rows, *board_rows],
    )
