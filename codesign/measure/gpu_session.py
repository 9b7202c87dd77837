"""A run on the GPU of this machine, from finding the board to the last row."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from codesign.measure.gpu_plan import LIMIT_S, TRITON, Point, point_of, require_frozen, run_named
from codesign.measure.gpu_results import Results, Session, read_results, write_results

RunName = Literal["ceilings", "gemm", "energy"]
_MOST_WORKERS = 16


def measure(
    name: RunName,
    results: Path,
    split: Path,
    *,
    limit_s: float = LIMIT_S,
    only: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Results:
    """Measure one run on the current CUDA device and append it to a file.

    Raises CodesignError without a GPU, and when the split was not frozen before.
    """
    began = time.perf_counter()
    digest = require_frozen(split)
    run = run_named(name)
    read_results(results)
    from codesign.measure.gpu_device import CudaDevice, ceilings, versions
    from codesign.measure.gpu_runner import CudaLab, run_energy, run_gemm

    device = CudaDevice()
    found = device.properties
    session = Session(
        id=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}",
        run=name,
        gpu=found.name,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(device.board.driver()),
        sms=found.multi_processor_count,
        l2_bytes=found.L2_cache_size,
        memory_bytes=found.total_memory,
        power_limit_w=device.board.power_limit_w(),
        split_sha256=digest,
    )
    say(f"{session.gpu}: {', '.join(f'{k} {v}' for k, v in session.versions.items() if v)}")
    if name == "ceilings":
        session = session.model_copy(update={"ceilings": ceilings(device)})
        both = read_results(results).plus(sessions=[session])
        write_results(results, both)
        return both
    lab = CudaLab(device, device.release)
    wanted = [p for p in run.points if not only or p.kernel in only]
    compile_ahead(wanted, say)
    left_s = limit_s - (time.perf_counter() - began)
    if name == "gemm":
        return run_gemm(lab, run, session, results, limit_s=left_s, say=say, only=only)
    return run_energy(
        lab, replace(run, points=tuple(wanted)), session, results, limit_s=left_s, say=say
    )


def stand_in(point: Point) -> Point:
    """A small point for which Triton compiles the same code: sizes matter by divisibility alone.

    >>> stand_in(point_of("triton_bitmap bf16 m8192 n4096 k4096 sparsity=0.7")).key
    'triton_bitmap bf16 m128 n256 k512 sparsity=0.7'
    """
    if point.kernel == "l2_read":
        return point
    m = point.m if point.m <= 128 else 128 + point.m % 16
    if point.kernel.startswith("triton_decode"):
        return replace(point, m=min(point.m, 2), n=min(point.n, 1024))
    return replace(point, m=m, n=min(point.n, 256), k=min(point.k, 512))


def compile_ahead(points: Iterable[Point], say: Callable[[str], None]) -> None:
    """Fill Triton's cache on all cores; what fails here fails again in its row, which says so."""
    keys = sorted({stand_in(point).key for point in points if point.kernel in TRITON})
    if not keys:
        return
    start = time.perf_counter()
    workers = min(_MOST_WORKERS, len(keys), os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            failed = [text for text in pool.map(_launch_once, keys) if text]
    except BrokenProcessPool:
        say("compiling ahead failed: each kernel compiles when it is first measured")
        return
    spent = time.perf_counter() - start
    say(f"{len(keys)} kernels compiled on {workers} cores in {spent:.0f} s; {len(failed)} failed")


def _launch_once(key: str) -> str:
    """Compile and launch a point; the failure's text, empty when there is none."""
    try:
        import torch

        from codesign.measure.gpu_builders import builder

        point = point_of(key)
        builder(point.kernel)(point, "cuda").launch()
        torch.cuda.synchronize()
    except Exception as error:
        return f"{key}: {error}"
    return ""
