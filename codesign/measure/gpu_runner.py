"""One run of the plan on one device: each point checked, timed and appended to the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from codesign.config import CodesignError
from codesign.measure.gpu_plan import LIMIT_S, Point, Run, counter_points, held_out
from codesign.measure.gpu_products import Product, relative_error
from codesign.measure.gpu_results import (
    Board,
    CounterRow,
    EnergyRow,
    LatencyRow,
    Results,
    Session,
    Timed,
    read_results,
    write_results,
)
from codesign.measure.gpu_timing import (
    ENERGY_S,
    Device,
    Latency,
    Sample,
    measure_energy,
    measure_latency,
)

_SAVE_EVERY = 25
_LONGEST_FAILURE = 300
_SPARE_S = 10.0
_ENERGY_COST_S, _COUNTER_COST_S, _REPEAT_COST_S = 5.0, 60.0, 0.3
_BROKEN = ("CUDA error", "device-side assert", "unspecified launch failure")
"""Errors after which a process can launch nothing any more."""


class Lab(Protocol):
    """A device with memory that can be given back."""

    @property
    def device(self) -> Device:
        """What times."""
        ...

    def build(self, point: Point) -> Product:
        """Operands and launch of a point."""
        ...

    def error(self, product: Product) -> float:
        """The relative error of one launch."""
        ...

    def counters(self, point: Point, limit_s: float) -> dict[str, float]:
        """Hardware counters of one launch."""
        ...

    def release(self) -> None:
        """Forget the operands of the last point."""
        ...


class CudaLab:
    """The current CUDA device with the kernels of the plan."""

    def __init__(self, device: Device, release: Callable[[], None]) -> None:
        self.device = device
        self._release = release

    def build(self, point: Point) -> Product:
        """Operands on the device, seeded by the point."""
        from codesign.measure.gpu_builders import builder

        return builder(point.kernel)(point, "cuda")

    def error(self, product: Product) -> float:
        """Against float64 on the device."""
        return relative_error(product, "cuda")

    def counters(self, point: Point, limit_s: float) -> dict[str, float]:
        """From ncu."""
        from codesign.measure.gpu_counters import read_counters

        return read_counters(point, limit_s)

    def release(self) -> None:
        """Give cached memory back."""
        self._release()


class LostDeviceError(CodesignError):
    """The device can do nothing more in this process."""


def split_of(point: Point) -> str:
    """`fit`, or why the point is held out.

    >>> split_of(Point("cublas", "bf16", 64, 4096, 4096))
    'fit'
    """
    return " ".join(held_out(point)) or "fit"


def _timed(found: Latency) -> Timed:
    return Timed(**asdict(found))


def _board(sample: Sample) -> Board:
    return Board(**asdict(sample))


def measure_point(lab: Lab, point: Point, session: str, *, repeat: bool = False) -> LatencyRow:
    """The row of a point: checked first; times only when the result is right.

    A kernel that fails gives a row that says so. Raises LostDeviceError when the device is lost.
    """
    row = partial(LatencyRow, session=session, key=point.key, split=split_of(point), repeat=repeat)
    try:
        product = lab.build(point)
        error = lab.error(product)
        known: dict[str, Any] = {"flops": product.flops, "bytes": product.bytes}
        if not error <= product.tolerance:
            reason = f"relative error {error:.3g} is above {product.tolerance:g}"
            return row(**known, failed=reason)
        warm, board = measure_latency(lab.device, product.launch, cold=False)
        details = dict(product.details)
        details["captured"] = float(getattr(lab.device, "captured", True))
        cold, _ = measure_latency(lab.device, product.launch, cold=True)
    except Exception as error_:
        reason = f"{type(error_).__name__}: {error_}"[:_LONGEST_FAILURE]
        if any(word in str(error_) for word in _BROKEN):
            raise LostDeviceError(reason) from None
        return row(failed=reason)
    finally:
        lab.release()
    return row(
        **known,
        warm=_timed(warm),
        cold=_timed(cold),
        board=_board(board),
        relative_error=error,
        details=details,
    )


def run_gemm(
    lab: Lab,
    run: Run,
    session: Session,
    path: Path,
    *,
    limit_s: float = LIMIT_S,
    say: Callable[[str], None] = lambda text: None,
    only: Sequence[str] = (),
) -> Results:
    """Append the rows of a run's points to a file, and those of its repeats at the end.

    Points that have times on this board with these versions are not measured again. When time
    runs out the rest is left for a later call, which goes on there; the repeats, which show
    drift, keep their share. Returns the content of the file.
    """
    results = read_results(path)
    done = results.done(session.gpu, session.versions)
    results = results.plus(sessions=[session])
    chosen = [p for p in run.points if not only or p.kernel in only]
    todo = [p for p in chosen if p.key not in done]
    again = [p for p in run.repeats if p in chosen]
    end = lab.device.now_s() + limit_s - _SPARE_S
    rows: list[LatencyRow] = []

    def flush() -> None:
        nonlocal results
        results = results.plus(latency=rows)
        rows.clear()
        write_results(path, results)

    flush()
    measured: set[str] = set()
    try:
        for points, repeat, until in (
            (todo, False, end - _REPEAT_COST_S * len(again)),
            (again, True, end),
        ):
            for place, point in enumerate(points):
                if repeat and point.key not in measured:
                    continue
                if lab.device.now_s() > until:
                    say(f"time is up: {len(points) - place} points are left for another call")
                    break
                row = measure_point(lab, point, session.id, repeat=repeat)
                rows.append(row)
                if not row.failed:
                    measured.add(point.key)
                say(_line(row))
                if len(rows) >= _SAVE_EVERY:
                    flush()
    except LostDeviceError as error:
        say(f"the device is lost, the run ends here: {error}")
    flush()
    return results


def _line(row: LatencyRow) -> str:
    if row.warm is None or row.cold is None:
        return f"{row.key}: FAILED, {row.failed}"
    return f"{row.key}: warm {row.warm.median_us:.2f} us, cold {row.cold.median_us:.2f} us"


def run_energy(
    lab: Lab,
    run: Run,
    session: Session,
    path: Path,
    *,
    limit_s: float = LIMIT_S,
    say: Callable[[str], None] = lambda text: None,
    counted: Iterable[Point] | None = None,
) -> Results:
    """Append the energy of loops of at least three seconds, then hardware counters."""
    results = read_results(path).plus(sessions=[session])
    end = lab.device.now_s() + limit_s - _SPARE_S
    write_results(path, results)
    for point in run.points:
        if lab.device.now_s() + _ENERGY_COST_S > end:
            say("time is up: the other energies are left out")
            break
        try:
            row = _energy_row(lab, point, session.id)
        except Exception as error:
            say(f"{point.key}: FAILED, {type(error).__name__}: {error}"[:_LONGEST_FAILURE])
            if any(word in str(error) for word in _BROKEN):
                break
            continue
        finally:
            lab.release()
        say(f"{point.key}: {row.energy_j / row.seconds:.1f} W over {row.seconds:.2f} s")
        results = results.plus(energy=[row])
        write_results(path, results)
    for point in counter_points() if counted is None else counted:
        left = end - lab.device.now_s()
        if left < _COUNTER_COST_S / 2:
            say("time is up: the other counters are left out")
            break
        try:
            counters = lab.counters(point, min(left, _COUNTER_COST_S))
        except CodesignError as error:
            say(f"{point.key}: {error}")
            if "not installed" in str(error):
                break
            continue
        counts = CounterRow(
            session=session.id, key=point.key, split=split_of(point), counters=counters
        )
        results = results.plus(counters=[counts])
        write_results(path, results)
    return results


def _energy_row(lab: Lab, point: Point, session: str) -> EnergyRow:
    known: dict[str, Any] = {}
    launch = None
    if point.kernel != "idle":
        product = lab.build(point)
        error = lab.error(product)
        if not error <= product.tolerance:
            raise CodesignError(f"relative error {error:.3g} is above {product.tolerance:g}")
        launch = product.launch
        known = {
            "flops": product.flops,
            "bytes": product.bytes,
            "details": dict(product.details),
        }
    found, sample = measure_energy(lab.device, launch, seconds=ENERGY_S)
    return EnergyRow(
        session=session,
        key=point.key,
        split=split_of(point),
        **asdict(found),
        board=_board(sample),
        **known,
    )
