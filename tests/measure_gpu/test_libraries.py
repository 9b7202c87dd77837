"""Do the products of the libraries get the operands, padding and algorithm that they should?"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from codesign.config import CodesignError  # noqa: E402
from codesign.measure import gpu_device, gpu_libraries  # noqa: E402
from codesign.measure.gpu_builders import builder  # noqa: E402
from codesign.measure.gpu_plan import KERNELS, Point  # noqa: E402
from codesign.measure.gpu_products import (  # noqa: E402
    checked_rows,
    generator_of,
    keep_pairs,
    random_matrix,
    relative_error,
)
from tests.measure_gpu.fake_device import FakeDevice  # noqa: E402


@pytest.mark.parametrize(("dtype", "m"), [("bf16", 1), ("fp16", 40), ("int8", 24)])
def test_dense_products_of_torch_pass_their_check(dtype: str, m: int) -> None:
    product = builder("cublas")(Point("cublas", dtype, m, 48, 64), "cpu")
    assert relative_error(product, "cpu") <= product.tolerance
    size = {"bf16": 2, "fp16": 2, "int8": 1}[dtype]
    result = {"bf16": 2, "fp16": 2, "int8": 4}[dtype]
    assert product.bytes == (m * 64 + 48 * 64) * size + m * 48 * result
    assert product.flops == 2 * m * 48 * 64


class FakeLt:
    """cuSPARSELt on a CPU, as torch's operators promise it: x comes transposed and padded."""

    def __init__(self, algorithms: int) -> None:
        self.algorithms = algorithms
        self.rows: set[int] = set()

    def compress(self, w: torch.Tensor) -> torch.Tensor:
        assert int((w.view(-1, 4) != 0).sum(1).max()) <= 2
        return w

    def multiply(
        self,
        packed: torch.Tensor,
        x: torch.Tensor,
        *,
        out_dtype: torch.dtype | None,
        transpose_result: bool,
        alg_id: int,
    ) -> torch.Tensor:
        if alg_id >= self.algorithms:
            raise RuntimeError("CUSPARSE_STATUS_INVALID_VALUE")
        assert transpose_result
        self.rows.add(x.shape[1])
        found = packed.double() @ x.double()
        return found.T.contiguous().to(out_dtype or packed.dtype)


@pytest.mark.parametrize(("dtype", "rows"), [("bf16", 8), ("fp8", 16), ("int8", 16)])
def test_two_of_four_is_padded_and_gives_the_pruned_product(
    monkeypatch: pytest.MonkeyPatch, dtype: str, rows: int
) -> None:
    fake = FakeLt(3)
    monkeypatch.setattr(torch, "_cslt_compress", fake.compress)
    monkeypatch.setattr(torch, "_cslt_sparse_mm", fake.multiply)
    product = builder("cusparselt")(Point("cusparselt", dtype, 3, 48, 64), "cpu")
    assert relative_error(product, "cpu") <= product.tolerance
    assert fake.rows == {rows}
    assert product.details["padded_m"] == rows


def test_the_search_takes_the_fastest_algorithm_that_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeLt(5)
    times = iter([4.0, 2.0, 1.0, 3.0, 1.0])
    monkeypatch.setattr(torch, "_cslt_compress", fake.compress)
    monkeypatch.setattr(torch, "_cslt_sparse_mm", fake.multiply)

    def time(launch: object) -> float:
        launch()  # type: ignore[operator]
        return next(times)

    monkeypatch.setattr(gpu_libraries, "_milliseconds", time)
    product = builder("cusparselt_search")(Point("cusparselt_search", "bf16", 8, 48, 64), "cpu")
    assert (product.details["algorithm"], product.details["algorithms"]) == (2, 5)
    assert relative_error(product, "cpu") <= product.tolerance


def test_the_two_largest_of_four_are_kept() -> None:
    w = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.5, 0.0, 0.0, -0.25]])
    assert keep_pairs(w).tolist() == [[0.0, -4.0, 3.0, 0.0, 0.5, 0.0, 0.0, -0.25]]


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp8", "int8"])
def test_two_of_each_four_are_kept_whatever_the_ties(dtype: str) -> None:
    w = random_matrix(64, 64, dtype, torch.Generator().manual_seed(3))
    kept = keep_pairs(w).double().view(-1, 4)
    assert bool(((kept != 0).sum(1) == 2).all())
    dropped = torch.where(kept == 0, w.double().view(-1, 4), 0.0).abs().amax(1)
    least = torch.where(kept == 0, math.inf, kept.abs()).amin(1)
    assert bool((dropped <= least).all())


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp8", "int8"])
def test_operands_depend_on_the_point_alone_and_hold_no_zeros(dtype: str) -> None:
    point = Point("cublas", dtype, 64, 64, 64)
    drawn = [random_matrix(64, 64, dtype, generator_of(point, "cpu")).double() for _ in range(2)]
    assert torch.equal(*drawn)
    assert bool((drawn[0] != 0).all())
    other = random_matrix(64, 64, dtype, generator_of(replace(point, n=128), "cpu")).double()
    assert not torch.equal(drawn[0], other)


def test_a_result_that_is_not_written_or_wrong_in_one_row_fails() -> None:
    product = builder("cublas")(Point("cublas", "bf16", 40, 48, 64), "cpu")
    lazy = replace(product, launch=lambda: product.out)
    assert relative_error(lazy, "cpu") == math.inf

    def holed() -> torch.Tensor:
        found = tall.launch()
        found[1, 3] = math.nan
        return found

    tall = builder("cublas")(Point("cublas", "bf16", 4096, 16, 16), "cpu")
    assert 1 not in checked_rows(4096, "cpu")
    assert relative_error(replace(tall, launch=holed), "cpu") == math.inf

    def off() -> torch.Tensor:
        found = product.launch().clone()
        found[-1] *= 2
        return found

    assert relative_error(replace(product, launch=off), "cpu") > product.tolerance


def test_checked_rows_span_the_result() -> None:
    assert checked_rows(5, "cpu").tolist() == [0, 1, 2, 3, 4]
    rows = checked_rows(8192, "cpu").tolist()
    assert (rows[0], rows[-1], len(set(rows))) == (0, 8191, 256)


def test_a_copy_copies() -> None:
    product = builder("copy")(Point("copy", "bf16", 1, 1 << 14, 1), "cpu")
    assert relative_error(product, "cpu") == 0
    assert product.bytes == 4 << 14


def test_every_kernel_of_the_plan_has_a_builder() -> None:
    pytest.importorskip("triton", reason="builders of the Triton kernels")
    for kernel in KERNELS:
        if kernel != "idle":
            assert callable(builder(kernel))
    with pytest.raises(CodesignError, match="no kernel"):
        builder("magma")


def test_ceilings_are_rates_of_the_timed_bodies() -> None:
    device = FakeDevice(idle_w=90)
    bodies = device.record

    def record(launch: object, copies: int) -> object:
        def costed() -> None:
            launch()  # type: ignore[operator]
            device.launch()

        return bodies(costed, copies)

    device.record = record  # type: ignore[method-assign, assignment]
    found = gpu_device.ceilings(device, "cpu", copy_bytes=1 << 12, size=16)
    assert found["copy_bytes_per_s"] == pytest.approx(2 * (1 << 12) / 1e-3)
    assert found["bf16_random_flop_per_s"] == pytest.approx(2 * 16**3 / 1e-3)
    assert found["smallest_launch_cold_us"] == pytest.approx(1500)
    assert found["idle_w"] == pytest.approx(90)


def test_without_a_gpu_the_device_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CodesignError, match="dry-run"):
        gpu_device.CudaDevice()
    assert gpu_device.versions("1.2")["driver"] == "1.2"
