"""Products of NVIDIA's libraries through torch: cuBLAS, cuSPARSELt with search, CUTLASS 2:4."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from codesign.measure.gpu_device import timer
from codesign.measure.gpu_plan import Point
from codesign.measure.gpu_products import (
    OUT_TYPES,
    TOLERANCES,
    Product,
    generator_of,
    keep_pairs,
    linear_reference,
    random_matrix,
    size_bytes,
)

MOST_ALGORITHMS = 128
"""Where a sweep over cuSPARSELt's algorithms ends if none of their numbers is refused."""
_ROWS_MULTIPLE = {"bf16": 8, "fp16": 8, "fp8": 16, "int8": 16}


def _product(
    point: Point,
    x: Tensor,
    dense: Tensor,
    stored: tuple[Tensor, ...],
    launch: Callable[[], Tensor],
    out: Tensor | None = None,
    details: Mapping[str, float] = {},
) -> Product:
    result_bytes = point.m * point.n * OUT_TYPES[point.dtype].itemsize
    return Product(
        launch=launch,
        reference=linear_reference(x, dense),
        rows=point.m,
        out=out,
        flops=2 * point.m * point.n * point.k,
        bytes=size_bytes(x[: point.m], *stored) + result_bytes,
        tolerance=TOLERANCES[point.dtype],
        details={"weight_bytes": size_bytes(*stored), **details},
    )


def cublas(point: Point, device: str) -> Product:
    """torch.mm, torch._scaled_mm for fp8, torch._int_mm for int8 (more than 16 rows only)."""
    source = generator_of(point, device)
    x = random_matrix(point.m, point.k, point.dtype, source)
    w = random_matrix(point.n, point.k, point.dtype, source)
    if point.dtype == "fp8":
        one = torch.ones((), device=device)

        def scaled() -> Tensor:
            return torch._scaled_mm(x, w.t(), one, one, out_dtype=torch.bfloat16)

        return _product(point, x, w, (w,), scaled)
    if point.dtype == "int8":
        return _product(point, x, w, (w,), lambda: torch._int_mm(x, w.t()))
    out = torch.empty(point.m, point.n, dtype=OUT_TYPES[point.dtype], device=device)

    def plain() -> Tensor:
        return torch.mm(x, w.t(), out=out)

    return _product(point, x, w, (w,), plain, out)


def padded_rows(m: int, dtype: str) -> int:
    """Rows of activations with which cuSPARSELt works: a multiple of 8, or of 16 for 8 bit.

    >>> padded_rows(1, "bf16"), padded_rows(17, "fp8")
    (8, 32)
    """
    step = _ROWS_MULTIPLE[dtype]
    return -(-m // step) * step


def _pruned(point: Point, device: str) -> tuple[Tensor, Tensor]:
    """Padded activations and 2:4 weights; the rows of padding are zero and are not counted."""
    source = generator_of(point, device)
    x = random_matrix(point.m, point.k, point.dtype, source)
    w = keep_pairs(random_matrix(point.n, point.k, point.dtype, source))
    rows = padded_rows(point.m, point.dtype)
    if rows > point.m:
        padded = torch.zeros(rows, point.k, dtype=x.dtype, device=device)
        padded[: point.m] = x
        x = padded
    return x, w


def cusparselt(point: Point, device: str, *, search: bool = False) -> Product:
    """2:4 weights in cuSPARSELt with its default algorithm."""
    x, w = _pruned(point, device)
    packed = torch._cslt_compress(w)
    out_type = OUT_TYPES[point.dtype] if point.dtype in ("fp8", "int8") else None

    def multiply(algorithm: int) -> Tensor:
        found = torch._cslt_sparse_mm(
            packed, x.t(), out_dtype=out_type, transpose_result=True, alg_id=algorithm
        )
        return found[: point.m]

    details = {"padded_m": float(x.shape[0]), "algorithm": 0.0}
    best = 0
    if search:
        best, tried = fastest(multiply, _milliseconds)
        details |= {"algorithm": float(best), "algorithms": float(tried)}
    return _product(point, x, w, (packed,), lambda: multiply(best), details=details)


def cusparselt_search(point: Point, device: str) -> Product:
    """2:4 weights in cuSPARSELt with the fastest of its algorithms for this problem."""
    return cusparselt(point, device, search=True)


def fastest(
    multiply: Callable[[int], Tensor], time: Callable[[Callable[[], Tensor]], float]
) -> tuple[int, int]:
    """The algorithm with the least time, and how many there were before one was refused."""
    best, least, tried = 0, float("inf"), 0
    for algorithm in range(MOST_ALGORITHMS):
        try:
            spent = time(lambda algorithm=algorithm: multiply(algorithm))  # type: ignore[misc]
        except RuntimeError:
            break
        tried += 1
        if spent < least:
            best, least = algorithm, spent
    return best, tried


def _milliseconds(launch: Callable[[], Tensor]) -> float:
    launch()
    start, end = timer(), timer()
    start.record()
    for _ in range(3):
        launch()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 3


def cutlass_24(point: Point, device: str) -> Product:
    """2:4 weights in torch's CUTLASS kernels, which use mma.sp on every GPU."""
    from torch.sparse import SparseSemiStructuredTensorCUTLASS

    x, w = _pruned(point, device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        sparse = SparseSemiStructuredTensorCUTLASS.from_dense(w)
    packed, meta = sparse.packed, sparse.meta
    assert packed is not None
    assert meta is not None

    def launch() -> Tensor:
        found: Tensor = torch.mm(sparse, x.t()).t()
        return found[: point.m]

    return _product(point, x, w, (packed, meta), launch, details={"padded_m": float(x.shape[0])})


def copy(point: Point, device: str) -> Product:
    """n elements copied from one place of the memory to another."""
    cols = 1024
    origin = random_matrix(point.n // cols, cols, point.dtype, generator_of(point, device))
    out = torch.empty_like(origin)
    return Product(
        launch=lambda: out.copy_(origin),
        reference=lambda chosen: origin[chosen].double(),
        rows=point.n // cols,
        out=out,
        flops=0,
        bytes=size_bytes(origin, out),
        tolerance=0.0,
    )


BUILDERS: dict[str, Callable[[Point, str], Product]] = {
    "cublas": cublas,
    "cusparselt": cusparselt,
    "cusparselt_search": cusparselt_search,
    "cutlass_24": cutlass_24,
    "copy": copy,
}
