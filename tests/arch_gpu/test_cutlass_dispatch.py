"""Are vLLM's products of 8-bit floats timed with the tiles that its source chooses?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.arch.gpu_kernels import Run, laws
from codesign.measure.gpu_rows import Protocol, Rows, cutlass_kernels, predict

PROTOCOL = Protocol(origin="o", library="l", offset_us=0, warm=0, burst=0, cutlass=True)


def us(board: str, m: int, n: int, k: int = 4096) -> float:
    """Time of one product, without what quantising it takes."""
    sizes = np.array([[1, m, n, k]], dtype=np.int64)
    rows = Rows("o", board, "fp8", "dense", "l", sizes, np.ones(1))
    machine = load_arch(board)
    quantise = 3.0 * m * k / (machine.spec.l2.bytes_per_cycle / 2) / machine.spec.clock_mhz
    per_row = m * cutlass_kernels().quantize_us_per_row
    return float(predict(machine, rows, PROTOCOL)[0]) - max(quantise, per_row)


def forced_us(board: str, m: int, n: int, tile: tuple[int, int]) -> float:
    machine = load_arch(board)
    run = Run(window_cycles=laws().power_window_us * machine.spec.clock_mhz)
    sizes = np.array([[1, m, n, 4096]], dtype=np.int64)
    found = machine.choose(sizes, "fp8", run=run, tiles=((*tile, 1),), splits=(1,))
    return float(found[0, 0]) / machine.spec.clock_mhz


@pytest.mark.parametrize(
    ("board", "m", "n", "tile"),
    [
        ("h200", 16, 8192, (16, 64)), ("h200", 17, 1280, (16, 64)), ("h200", 17, 1281, (64, 64)),
        ("h200", 65, 8192, (64, 128)), ("h200", 256, 8192, (128, 128)),
        ("b200", 1, 8192, (64, 64)), ("b200", 65, 8192, (64, 128)), ("b200", 256, 8192, (64, 128)),
        ("b200", 512, 8192, (128, 128)),
    ],
)  # fmt: skip
def test_the_first_kernel_that_takes_a_product_runs_it(board, m, n, tile):
    assert us(board, m, n) == pytest.approx(forced_us(board, m, n, tile), rel=1e-9)


def test_clusters_are_launched_whole():
    assert us("h200", 384, 8192) == pytest.approx(us("h200", 512, 8192), rel=1e-9)
    assert us("h200", 384, 8192) > 1.2 * us("h200", 256, 8192)
    last = cutlass_kernels().sm_90[-1]
    assert last.rows_of(np.array([1, 128, 129, 256, 257, 512])).tolist() == [
        256, 256, 129, 256, 512, 512,
    ]  # fmt: skip


def test_the_last_kernel_takes_all():
    for kernels in (cutlass_kernels().sm_90, cutlass_kernels().sm_100):
        assert kernels[-1].most_m == kernels[-1].most_n >= 1 << 24
