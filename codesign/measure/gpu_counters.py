"""Hardware counters of one launch, read by NVIDIA's profiler `ncu`.

`python -m codesign.measure.gpu_counters KEY` launches the point of a key for the profiler.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence

from codesign.config import CodesignError
from codesign.measure.gpu_plan import Point, point_of

METRICS = (
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "lts__t_sectors_op_read.sum",
    "lts__t_sectors_op_write.sum",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",
    "sm__inst_executed_pipe_tensor.sum",
    "sm__pipe_tensor_cycles_active.sum",
    "sm__cycles_elapsed.max",
    "gpu__time_duration.sum",
)
"""Sums over kernels have a meaning for each of these. Names: Nsight Compute's metric reference;
which of them a chip has is not checked here."""


def command(point: Point) -> list[str]:
    """What is run to read the counters of a point: caches empty, clocks as they are."""
    return [
        "ncu", "--clock-control", "none", "--cache-control", "all", "--profile-from-start", "off",
        "--csv",
        "--print-units", "base", "--metrics", ",".join(METRICS),
        sys.executable, "-m", "codesign.measure.gpu_counters", point.key,
    ]  # fmt: skip


def parse(text: str) -> dict[str, float]:
    """Sums over the kernels of one launch from the profiler's CSV; counters without value left out.

    CodesignError when the text holds no table.
    """
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        raise CodesignError(f"ncu gave no counters: {text.strip()[-300:] or 'it printed nothing'}")
    totals: dict[str, float] = {}
    for row in csv.DictReader(lines[first:]):
        name, value = row.get("Metric Name"), (row.get("Metric Value") or "").replace(",", "")
        try:
            number = float(value)
        except ValueError:
            continue
        if name:
            totals[name] = totals.get(name, 0.0) + number
    return totals


def read_counters(point: Point, limit_s: float) -> dict[str, float]:
    """The counters of one launch; CodesignError without ncu or without the right to use it."""
    if shutil.which("ncu") is None:
        raise CodesignError("ncu is not installed: no counters")
    try:
        done = subprocess.run(
            command(point), capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise CodesignError(f"ncu took more than {limit_s:.0f} s for {point.key}") from None
    return parse(done.stdout + "\n" + done.stderr if done.returncode else done.stdout)


def main(arguments: Sequence[str]) -> int:
    """Launch a point once to compile, and once between the marks that the profiler waits for."""
    import torch

    from codesign.measure.gpu_builders import builder

    point = point_of(arguments[0])
    product = builder(point.kernel)(point, "cuda")
    product.launch()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
    product.launch()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
