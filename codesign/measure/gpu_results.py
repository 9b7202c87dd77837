"""The file of measured rows, to which runs append: sessions, latencies, energies, counters."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from codesign.config import CodesignError, Spec, validate_spec


class Session(Spec):
    """One run on one board: what was installed, and what the board could do at most."""

    id: str = Field(min_length=1)
    run: Literal["ceilings", "gemm", "energy"]
    gpu: str
    started: str
    """Coordinated universal time, ISO 8601."""
    versions: Mapping[str, str]
    """Of torch, cuda, triton, cusparselt, driver, codesign ...; empty text where absent."""
    sms: int = Field(gt=0)
    l2_bytes: int = Field(gt=0)
    memory_bytes: int = Field(gt=0)
    power_limit_w: float | None = None
    split_sha256: str = Field(min_length=64, max_length=64)
    ceilings: Mapping[str, float] = {}
    """Measured limits by name with unit."""


class Timed(Spec):
    """Microseconds of one launch over `count` repeats of `copies` launches."""

    median_us: float = Field(gt=0)
    p10_us: float = Field(gt=0)
    p90_us: float = Field(gt=0)
    count: int = Field(gt=0)
    copies: int = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.p10_us <= self.median_us <= self.p90_us:
            raise ValueError("p10_us <= median_us <= p90_us does not hold")
        return self


class Board(Spec):
    """Medians of clocks, power and temperature during a measurement."""

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None


class _Row(Spec):
    session: str
    key: str
    """`gpu_plan.Point.key`."""
    split: str
    """`fit`, or why the point is held out."""


class LatencyRow(_Row):
    """A point's times; none when its result was wrong or it failed, and `failed` says so."""

    warm: Timed | None = None
    cold: Timed | None = None
    board: Board = Board()
    relative_error: float | None = Field(default=None, ge=0)
    flops: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)
    details: Mapping[str, float] = {}
    repeat: bool = False
    failed: str = ""

    @model_validator(mode="after")
    def _times_or_failure(self) -> Self:
        if (self.warm is None) != bool(self.failed) or (self.cold is None) != bool(self.failed):
            raise ValueError("a row has both times, or says why it failed")
        return self


class EnergyRow(_Row):
    """Energy of a loop of at least three seconds."""

    seconds: float = Field(ge=3)
    launches: int = Field(ge=0)
    energy_j: float = Field(gt=0)
    counted: bool
    """From the board's counter; false: sampled power times time."""
    board: Board = Board()
    flops: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)
    details: Mapping[str, float] = {}


class CounterRow(_Row):
    """Hardware counters of one launch, by the names of the profiler."""

    counters: Mapping[str, float]


class Results(Spec):
    """The content of a file of results."""

    format: Literal[1] = 1
    sessions: tuple[Session, ...] = Field(default=(), strict=False)
    latency: tuple[LatencyRow, ...] = Field(default=(), strict=False)
    energy: tuple[EnergyRow, ...] = Field(default=(), strict=False)
    counters: tuple[CounterRow, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _known_sessions(self) -> Self:
        known = {session.id for session in self.sessions}
        if len(known) < len(self.sessions):
            raise ValueError("two sessions have the same id")
        for row in (*self.latency, *self.energy, *self.counters):
            if row.session not in known:
                raise ValueError(
                    f"row {row.key!r} is of session {row.session!r}, which is not here"
                )
        return self

    def session(self, name: str) -> Session:
        """The session of an id."""
        return next(session for session in self.sessions if session.id == name)

    def plus(
        self,
        sessions: Iterable[Session] = (),
        latency: Iterable[LatencyRow] = (),
        energy: Iterable[EnergyRow] = (),
        counters: Iterable[CounterRow] = (),
    ) -> Results:
        """These results and more at their end; ValidationError for rows of unknown sessions."""
        return Results(
            sessions=(*self.sessions, *sessions),
            latency=(*self.latency, *latency),
            energy=(*self.energy, *energy),
            counters=(*self.counters, *counters),
        )

    def done(self, gpu: str, versions: Mapping[str, str]) -> set[str]:
        """Keys of the points that have times on this board with these versions."""
        same = {s.id for s in self.sessions if s.gpu == gpu and dict(s.versions) == dict(versions)}
        return {row.key for row in self.latency if row.session in same and not row.failed}


def read_results(path: Path) -> Results:
    """The results in a file, none where there is no file; ConfigError for bad content."""
    if not path.exists():
        return Results()
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CodesignError(f"{path}: {error}") from None
    return validate_spec(Results, data, str(path))


def write_results(path: Path, results: Results) -> None:
    """Replace a file as a whole, one session or row on each line.

    CodesignError when what the file holds is not the beginning of the results: measured rows are
    never changed or dropped.
    """
    old = read_results(path)
    for name in ("sessions", "latency", "energy", "counters"):
        before, after = getattr(old, name), getattr(results, name)
        if after[: len(before)] != before:
            raise CodesignError(f"{path}: measured {name} would be changed or lost; only append")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text_of(results), encoding="utf-8")
    os.replace(part, path)


def text_of(results: Results) -> str:
    """The text of a file of results."""
    parts = [f'"format": {results.format}']
    for name in ("sessions", "latency", "energy", "counters"):
        rows = [
            json.dumps(row.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
            for row in getattr(results, name)
        ]
        parts.append(f'"{name}": [' + "".join("\n  " + row + "," for row in rows)[:-1] + "\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


LIBRARY_NAMES = {
    "cublas": ("dense", "cuBLAS", "cuda"),
    "cusparselt": ("2:4", "cuSPARSELt", "cusparselt"),
    "cusparselt_search": ("2:4", "cuSPARSELt", "cusparselt"),
    "cutlass_24": ("2:4", "CUTLASS", "torch"),
    "triton_dense": ("dense", "Triton", "triton"),
}
"""Kernel -> pattern, library, and whose version is stated."""
CSV_COLUMNS = (
    "gpu", "dtype", "pattern", "library", "version", "m", "n", "k", "latency_us", "source",
)  # fmt: skip


def csv_text(results: Results, *, cold: bool = False) -> str:
    """Dense and 2:4 rows in the columns that `codesign validate gpu --data` reads.

    Warm medians, or cold ones; of Triton's dense rows the fastest tile; no repeats.
    """
    from codesign.measure.gpu_plan import point_of

    best: dict[tuple[str, ...], float] = {}
    for row in results.latency:
        point, time = point_of(row.key), row.cold if cold else row.warm
        if point.kernel not in LIBRARY_NAMES or time is None or row.repeat:
            continue
        pattern, library, versioned = LIBRARY_NAMES[point.kernel]
        if point.kernel == "cusparselt_search":
            library = "cuSPARSELt-search"
        session = results.session(row.session)
        line = (
            session.gpu.removeprefix("NVIDIA ").replace(" ", "-"), point.dtype, pattern, library,
            session.versions.get(versioned, ""), str(point.m), str(point.n), str(point.k),
            f"codesign {session.id} {'cold' if cold else 'warm'}",
        )  # fmt: skip
        best[line] = min(time.median_us, best.get(line, time.median_us))
    lines = [",".join((*line[:8], f"{us:.4f}", line[8])) for line, us in best.items()]
    return "\n".join([",".join(CSV_COLUMNS), *lines]) + "\n"
