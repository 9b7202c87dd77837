"""Do the Triton kernels, run in Triton's interpreter, compute what float64 says they should?"""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import pytest

from codesign.measure.gpu_plan import point_of

triton = pytest.importorskip("triton", reason="the kernels need the package triton")
torch = pytest.importorskip("torch")

from codesign.measure.gpu_products import builder, relative_error  # noqa: E402
from codesign.measure.gpu_triton import interpreted  # noqa: E402


def _interpreter_works() -> bool:
    """Older Triton turns arrays of one element into numbers, which newer NumPy refuses."""
    major, minor = (int(part) for part in triton.__version__.split(".")[:2])
    newer = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 4)
    return (major, minor) >= (3, 7) or not newer


pytestmark = [
    pytest.mark.skipif(not interpreted(), reason="Triton was imported to compile, on a GPU"),
    pytest.mark.skipif(not _interpreter_works(), reason="this interpreter needs NumPy < 2.4"),
]  # fmt: skip

CASES = [
    "triton_dense {d} m70 n100 k72 tile_m=32 tile_n=64 tile_k=32 warps=4 stages=2",
    "triton_dense {d} m1 n128 k64 tile_m=16 tile_n=64 tile_k=64 warps=4 stages=2",
    "triton_block {d} m70 n96 k128 block=32 sparsity=0.5",
    "triton_block {d} m5 n64 k192 block=32 sparsity=0.99",
    "triton_nm {d} m40 n100 k128 keep=1 of=4",
    "triton_nm {d} m3 n64 k136 keep=2 of=8",
    "triton_bitmap {d} m40 n70 k128 sparsity=0.7",
    "triton_bitmap {d} m1 n64 k64 sparsity=0",
]
DECODE = [
    "triton_decode {d} m2 n300 k64 heads=8 kv_heads=2 kept=0.5",
    "triton_decode {d} m1 n1500 k32 heads=2 kv_heads=1 kept=1",
    "triton_decode {d} m1 n7 k32 heads=3 kv_heads=1 kept=0.3",
    "triton_decode_bitmap {d} m1 n300 k64 heads=4 kv_heads=2 kept=0.5",
]


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp8", "int8"])
@pytest.mark.parametrize("case", CASES)
def test_a_product_is_that_of_the_matrix_that_its_weights_mean(case: str, dtype: str) -> None:
    point = point_of(case.format(d=dtype))
    product = builder(point.kernel)(point, "cpu")
    assert relative_error(product, "cpu") <= product.tolerance


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("case", DECODE)
def test_decoding_attends_to_what_the_cache_keeps(case: str, dtype: str) -> None:
    point = point_of(case.format(d=dtype))
    product = builder(point.kernel)(point, "cpu")
    assert relative_error(product, "cpu") <= product.tolerance
