"""Do the Triton kernels, run in Triton's interpreter, compute what float64 says they should?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.config import CodesignError
from codesign.measure.gpu_plan import point_of

triton = pytest.importorskip("triton", reason="the kernels need the package triton")
torch = pytest.importorskip("torch")

from codesign.measure.gpu_builders import builder  # noqa: E402
from codesign.measure.gpu_products import relative_error  # noqa: E402
from codesign.measure.gpu_triton import interpreted, pack  # noqa: E402


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
    "triton_dense {d} m300 n40 k16 tile_m=16 tile_n=32 tile_k=16 warps=4 stages=2",
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


def test_reading_again_sums_the_chunks_that_it_says() -> None:
    point = point_of("l2_read bf16 m1 n16384 k1 rounds=3")
    product = builder(point.kernel)(point, "cpu")
    assert relative_error(product, "cpu") <= product.tolerance
    assert product.details["l2_bytes"] == 3 * product.bytes


def test_packed_lines_count_what_they_keep() -> None:
    dense = torch.arange(1.0, 129.0).view(2, 64)
    kept = torch.zeros(2, 64, dtype=torch.bool)
    kept[0, 31] = kept[0, 63] = kept[1, 0] = True
    values, bitmap, start = pack(dense, kept, 32)
    assert values.tolist() == [32, 64, 65]
    assert bitmap.tolist() == [[-(1 << 31), -(1 << 31)], [1, 0]]
    assert start.tolist() == [0, 1, 2, 3]


def test_fewer_weights_are_fewer_bytes() -> None:
    sizes = []
    for sparsity in (0.0, 0.5, 0.9):
        point = point_of(f"triton_bitmap fp16 m8 n64 k128 sparsity={sparsity:g}")
        sizes.append(builder(point.kernel)(point, "cpu").details["weight_bytes"])
    dense_bytes = 64 * 128 * 2
    assert sizes[0] == dense_bytes + 64 * 128 / 8 + 64 * 2 * 4
    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize(
    "key",
    [
        "triton_block bf16 m8 n65 k64 block=32 sparsity=0.5",
        "triton_nm bf16 m8 n64 k65 keep=1 of=4",
        "triton_bitmap bf16 m8 n64 k72 sparsity=0.5",
        "triton_decode bf16 m1 n64 k64 heads=64 kv_heads=1 kept=1",
        "triton_decode bf16 m1 n64 k64 heads=5 kv_heads=2 kept=1",
        "triton_dense bf16 m8 n64 k64",
        "l2_read bf16 m1 n5000 k1 rounds=1",
    ],
)
def test_a_problem_that_a_kernel_cannot_take_is_refused(key: str) -> None:
    point = point_of(key)
    with pytest.raises(CodesignError):
        builder(point.kernel)(point, "cpu")
