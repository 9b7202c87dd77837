"""Speed-ups of single sparse products on GPUs, simulated against what was reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from codesign.arch import load_arch
from codesign.arch.tensor_core import TensorCore
from codesign.evaluate import simulated_s
from codesign.measure.gpu_fit import with_kernels
from codesign.measure.suite import Group, TableRow, compare
from codesign.trace.op import Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload
from codesign.units import MS_PER_S

_SPARSEGPT = "SparseGPT (arXiv 2301.00774), OPT-175B layers, A100, 2,048 tokens; from memory"
_WANDA = "Wanda (arXiv 2306.11695), LLaMA-65B layers, A6000; from memory"
_TORCHAO = "torchao, row-wise fp8 sparse benchmark on Hopper, weight 8192 x 8192"


@dataclass(frozen=True)
class LayerClaim:
    """A published speed-up of one product over dense, and the product that stands for it."""

    paper: str
    gpu: str
    shape: tuple[int, int, int]
    """m, n, k."""
    pattern: str
    published: float
    source: str
    dtype: str = "fp16"
    library: str = "cuSPARSELt"
    dense_ms: float | None = None
    """The published time of the dense product, where there is one."""
    assumed: str = ""


LAYER_CLAIMS: tuple[LayerClaim, ...] = (
    LayerClaim("SparseGPT layers", "a100_sxm_80gb", (2048, 12288, 12288), "2:4", 1.79,
               _SPARSEGPT, library="CUTLASS", dense_ms=2.84),
    LayerClaim("SparseGPT layers", "a100_sxm_80gb", (2048, 49152, 12288), "2:4", 1.67,
               _SPARSEGPT, library="CUTLASS", dense_ms=10.26),
    LayerClaim("SparseGPT layers", "a100_sxm_80gb", (2048, 12288, 49152), "2:4", 1.54,
               _SPARSEGPT, library="CUTLASS", dense_ms=10.23),
    LayerClaim("Wanda layers", "a6000", (2048, 8192, 8192), "2:4", 1.63, _WANDA, library="CUTLASS",
               dense_ms=3.49, assumed="2,048 tokens"),
    LayerClaim("Wanda layers", "a6000", (2048, 22016, 8192), "2:4", 1.61, _WANDA, library="CUTLASS",
               dense_ms=9.82, assumed="2,048 tokens"),
    LayerClaim("Wanda layers", "a6000", (2048, 8192, 22016), "2:4", 1.54, _WANDA, library="CUTLASS",
               dense_ms=9.92, assumed="2,048 tokens"),
    *(
        LayerClaim("torchao fp8 layers", "h100_sxm", (m, 8192, 8192), "2:4", published, _TORCHAO,
                   dtype="fp8", assumed="H100 SXM; cuSPARSELt's kernels for CUTLASS's")
        for m, published in ((2048, 1.40), (4096, 1.30), (8192, 1.09))
    ),
    LayerClaim("cuSPARSELt 8192^3", "h100_sxm", (8192, 8192, 8192), "2:4", 1.21,
               "NVIDIA/CUDALibrarySamples issue 203: 1.20 to 1.22 by user and vendor"),
    LayerClaim("CUTLASS 16384^3", "a100_sxm_80gb", (16384, 16384, 16384), "2:4", 1.60,
               "NVIDIA/cutlass issue 408: 302 and 484 TFLOPS", library="CUTLASS"),
    LayerClaim("BLaST kernel", "h100_sxm", (2048, 53248, 16384), "block(128x128, 0.95)", 16.7,
               "abstract: 16.7x kernel speed-up at 95 % block sparsity",
               assumed="H100 for its GPU, an MLP of Llama-3.1-405B, 2,048 tokens"),
    LayerClaim("Marlin int4", "a6000", (16, 8192, 8192), "int4", 3.9,
               "README of IST-DASLab/marlin: close to the ideal 3.87x over fp16 up to batch 16",
               assumed="A6000 for its A10 and RTX 3090, an 8192 x 8192 weight"),
)  # fmt: skip


def gpu(name: str, library: str) -> TensorCore:
    """A machine with the 2:4 kernels of a library: only cuSPARSELt's take blocks row by row."""
    machine = load_arch(name)
    assert isinstance(machine, TensorCore)
    if library == "cuSPARSELt" or machine.spec.sparse is None:
        return machine
    return with_kernels(machine, "sparse", {"by_rows": False})


def times_s(claim: LayerClaim) -> tuple[float, float]:
    """Simulated seconds of the dense and of the sparse product."""
    m, n, k = claim.shape
    dense = load_workload(f"gemm:{m},{n},{k}", dtype=claim.dtype)
    machine = gpu(claim.gpu, claim.library)
    before, after = (
        simulated_s(one, machine, fidelity="tile") for one in (dense, _sparse(claim, dense))
    )
    return before, after


def _sparse(claim: LayerClaim, dense: Trace) -> Trace:
    if claim.pattern == "int4":
        return replace(dense, ops=tuple(replace(op, b_dtype="int4") for op in dense))
    return sparsify(dense, claim.pattern, skip_first_last=False)


def layer_scores() -> tuple[list[Group], list[TableRow]]:
    """Every claim simulated: a group for each paper and a row for each product."""
    found = [(claim, *times_s(claim)) for claim in LAYER_CLAIMS]
    return list(_groups(found)), list(_rows(found))


def _groups(found: list[tuple[LayerClaim, float, float]]) -> Iterator[Group]:
    for paper in dict.fromkeys(claim.paper for claim, _, _ in found):
        own = [one for one in found if one[0].paper == paper]
        yield compare(
            paper,
            [(dense / sparse, claim.published) for claim, dense, sparse in own],
            note="; ".join(
                f"{'x'.join(map(str, claim.shape))} {dense / sparse:.2f} "
                f"(published {claim.published})"
                for claim, dense, sparse in own
            ),
        )


def _rows(found: list[tuple[LayerClaim, float, float]]) -> Iterator[TableRow]:
    for claim, dense, sparse in found:
        yield {
            "section": "speed-up over dense, one product",
            "paper": claim.paper,
            "gpu": claim.gpu,
            "m, n, k": ", ".join(map(str, claim.shape)),
            "dtype": claim.dtype,
            "pattern": claim.pattern,
            "simulated": dense / sparse,
            "published": claim.published,
            "dense ms": dense * MS_PER_S,
            "published dense ms": claim.dense_ms,
            "assumed": claim.assumed,
            "source": claim.source,
        }
