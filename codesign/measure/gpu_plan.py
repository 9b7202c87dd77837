"""What is measured on a GPU: points in three runs of nine minutes, and which are held out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codesign.config import CodesignError

LIMIT_S = 540.0
"""Longest time that one run may take."""

LLAMA_8B = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336))
QWEN_14B = ((7168, 5120), (5120, 5120), (27648, 5120), (5120, 13824))
LLAMA_70B = ((10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672))
LAYERS = (*LLAMA_8B, *QWEN_14B, *LLAMA_70B)
"""(n, k) of fused qkv, attention output, fused gate and up, and down projection."""
BATCHES = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
SQUARES = (512, 1024, 2048, 4096, 8192, 16384)
SKINNY = ((4096, 64), (4096, 128), (4096, 256), (128, 4096), (256, 4096))
WAVE_SMS = 132
EDGES = tuple(128 * WAVE_SMS * waves + off for waves in (1, 2) for off in (-128, 0, 128))
"""m at which tiles of 128 rows and 128 columns just fill one and two waves of 132 SMs, and one
tile to either side."""
EDGE_NK = (128, 4096)

TILES = (
    (16, 128, 128, 4, 4), (64, 64, 64, 4, 4), (64, 128, 64, 4, 4), (128, 128, 64, 4, 4),
    (128, 256, 64, 8, 3), (256, 128, 64, 8, 3),
)  # fmt: skip
"""(rows, columns, depth, warps, stages) of the dense kernel; 8 bit takes twice the depth."""
SPARSITIES = (0.5, 0.75, 0.9)
BITMAP_SPARSITIES = (0.5, 0.7, 0.9)
BLOCKS = (32, 64, 128)
GROUPS = ((1, 2), (1, 4), (2, 8))
KEPT = (1.0, 0.5, 0.3)
"""Shares of the cached tokens, and of their elements, that decoding keeps."""

LIBRARIES = ("cublas", "cusparselt", "cusparselt_search", "cutlass_24", "copy")
TRITON = (
    "triton_dense", "triton_block", "triton_nm", "triton_bitmap", "triton_decode",
    "triton_decode_bitmap", "l2_read",
)  # fmt: skip
KERNELS = (*LIBRARIES, *TRITON, "idle")
"""`copy`, `l2_read` and `idle` are bodies of the energy run only."""

_POINT_S = 0.3
_SEARCH_S = 1.0
_START_S, _COMPILE_S = 15.0, 120.0
_ENERGY_POINT_S = 4.0
_COUNTER_POINT_S = 15.0
_REPEAT_EVERY = 10


@dataclass(frozen=True, slots=True)
class Point:
    """One kernel on one problem; m, n, k are rows of activations, rows of weights, reduction.

    For decoding, m is the batch, n the cached tokens, k the size of a head.
    """

    kernel: str
    dtype: str
    m: int
    n: int
    k: int
    options: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> str:
        """The name of the point in files.

        >>> Point("triton_nm", "bf16", 1, 64, 128, (("keep", 2), ("of", 8))).key
        'triton_nm bf16 m1 n64 k128 keep=2 of=8'
        """
        sizes = f"{self.kernel} {self.dtype} m{self.m} n{self.n} k{self.k}"
        return " ".join([sizes, *(f"{name}={value:g}" for name, value in self.options)])

    def option(self, name: str) -> float:
        """The value of an option; CodesignError when the point has no such option."""
        for known, value in self.options:
            if known == name:
                return value
        raise CodesignError(f"point {self.key!r} needs the option {name!r}")

    def count(self, name: str) -> int:
        """The value of an option that is a count."""
        return int(self.option(name))


def point_of(key: str) -> Point:
    """The point that a key names; CodesignError when it names none.

    >>> point_of("cublas bf16 m1 n64 k128").n
    64
    """
    try:
        kernel, dtype, m, n, k, *options = key.split(" ")
        if (m[0], n[0], k[0]) != ("m", "n", "k"):
            raise ValueError(key)
        pairs = [text.split("=") for text in options]
        sizes = (int(m[1:]), int(n[1:]), int(k[1:]))
        return Point(kernel, dtype, *sizes, tuple((name, float(value)) for name, value in pairs))
    except (ValueError, IndexError):
        raise CodesignError(
            f"a point reads 'kernel dtype m1 n64 k128 option=1', not {key!r}"
        ) from None


@dataclass(frozen=True, slots=True)
class Run:
    """Points that are measured in one go, in this order; `repeats` once more at the end."""

    name: str
    about: str
    points: tuple[Point, ...]
    repeats: tuple[Point, ...]
    estimated_s: float


def runs() -> tuple[Run, ...]:
    """The three runs of the plan."""
    gemm = tuple(_gemm_points())
    repeats = gemm[::_REPEAT_EVERY]
    searches = sum(point.kernel == "cusparselt_search" for point in (*gemm, *repeats))
    gemm_s = _START_S + _COMPILE_S + _POINT_S * len((*gemm, *repeats)) + _SEARCH_S * searches
    energy, counted = tuple(_energy_points()), counter_points()
    energy_s = _START_S + 30.0 + _ENERGY_POINT_S * len(energy) + _COUNTER_POINT_S * len(counted)
    return (
        Run("ceilings", "versions, clocks, copy and product ceilings, launch, idle", (), (), 60.0),
        Run("gemm", "times with a warm and a cold L2", gemm, repeats, gemm_s),
        Run("energy", "energy of loops of 3 s, then counters", energy, (), energy_s),
    )


def run_named(name: str) -> Run:
    """The run of a name; CodesignError when there is none."""
    for run in runs():
        if run.name == name:
            return run
    raise CodesignError(f"there is no run {name!r}; the plan has ceilings, gemm and energy")


def _gemm_points() -> Iterator[Point]:
    """Large sets thinned so that a run holds them; what is short on points comes first."""
    seen: set[Point] = set()
    for point in (*_pairs(), *_triton_points(), *_rest()):
        if point not in seen:
            seen.add(point)
            yield point


def _pairs() -> Iterator[Point]:
    """Dense and 2:4 of the same product, which decide whether 2:4 pays."""
    for n, k in LAYERS:
        for m in (16, 32, 128, 512, 1024, 4096, 8192):
            yield Point("cublas", "bf16", m, n, k)
            yield Point("cusparselt_search", "bf16", m, n, k)
    for n, k in (*LLAMA_8B, *QWEN_14B):
        for m in (16, 128, 1024, 8192):
            yield Point("cublas", "fp8", m, n, k)
            yield Point("cusparselt_search", "fp8", m, n, k)
    for n, k in LLAMA_8B:
        for m in (32, 8192):
            yield Point("cublas", "int8", m, n, k)
            yield Point("cusparselt_search", "int8", m, n, k)


def _triton_points() -> Iterator[Point]:
    problems = [(m, n, k) for n, k in LLAMA_8B[:2] for m in (16, 512, 8192)]
    for m, n, k in (*problems, (4096, 4096, 4096), (8192, 8192, 8192)):
        for tile in TILES:
            yield Point("triton_dense", "bf16", m, n, k, tile_options(tile, 2))
    for tile in TILES[3:]:
        yield Point("triton_dense", "fp8", 8192, 4096, 4096, tile_options(tile, 1))
    for m, n, k in ((16, 4096, 4096), (1024, 4096, 4096), (8192, 4096, 4096)):
        for sparsity in SPARSITIES:
            for block in BLOCKS:
                options = (("block", block), ("sparsity", sparsity))
                yield Point("triton_block", "bf16", m, n, k, options)
        for keep, of in GROUPS:
            yield Point("triton_nm", "bf16", m, n, k, (("keep", keep), ("of", of)))
        for sparsity in BITMAP_SPARSITIES:
            yield Point("triton_bitmap", "bf16", m, n, k, (("sparsity", sparsity),))
    heads = (("heads", 32), ("kv_heads", 8))
    for kept in KEPT:
        for m, n in ((1, 8192), (16, 4096), (64, 8192)):
            yield Point("triton_decode", "bf16", m, n, 128, (*heads, ("kept", kept)))
        yield Point("triton_decode_bitmap", "bf16", 16, 4096, 128, (*heads, ("kept", kept)))


def _rest() -> Iterator[Point]:
    for n, k in LAYERS:
        for m in BATCHES:
            yield Point("cublas", "bf16", m, n, k)
    for size in SQUARES:
        yield Point("cublas", "bf16", size, size, size)
        yield Point("cusparselt", "bf16", size, size, size)
    for n, k in SKINNY:
        for m in (128, 8192):
            yield Point("cublas", "bf16", m, n, k)
    for m in EDGES:
        yield Point("cublas", "bf16", m, *EDGE_NK)
        yield Point("triton_dense", "bf16", m, *EDGE_NK, tile_options(TILES[3], 2))
    for n, k in LLAMA_8B:
        for m in (1, 64, 1024, 8192):
            yield Point("cusparselt", "bf16", m, n, k)
            yield Point("cutlass_24", "bf16", m, n, k)
        for dtype in ("fp8", "int8"):
            yield Point("cusparselt", dtype, 8192, n, k)


def tile_options(tile: Sequence[int], element_bytes: int) -> tuple[tuple[str, float], ...]:
    """The options that name a tile of the dense kernel."""
    rows, columns, depth, warps, stages = tile
    depth = depth * 2 // element_bytes
    names = ("tile_m", "tile_n", "tile_k", "warps", "stages")
    return tuple(zip(names, (rows, columns, depth, warps, stages), strict=True))


def _energy_points() -> Iterator[Point]:
    for n, k in LLAMA_8B[1:3]:
        for dtype in ("bf16", "fp8"):
            for m in (16, 512, 8192):
                yield Point("cublas", dtype, m, n, k)
                yield Point("cusparselt_search", dtype, m, n, k)
    yield Point("copy", "bf16", 1, 1 << 30, 1)
    yield Point("l2_read", "bf16", 1, 1 << 23, 1, (("rounds", 64),))
    yield Point("idle", "bf16", 1, 1, 1)


def counter_points() -> tuple[Point, ...]:
    """The kernels whose hardware counters are read."""
    wanted = [Point("cublas", "bf16", m, 4096, 4096) for m in (16, 512, 8192)]
    wanted += [Point("cusparselt", "bf16", m, 4096, 4096) for m in (16, 512, 8192)]
    tile = tile_options(TILES[3], 2)
    wanted.append(Point("triton_dense", "bf16", 8192, 4096, 4096, tile))
    sparse = (("block", 64), ("sparsity", 0.75))
    wanted.append(Point("triton_block", "bf16", 8192, 4096, 4096, sparse))
    wanted.append(Point("triton_nm", "bf16", 8192, 4096, 4096, (("keep", 1), ("of", 4))))
    wanted.append(Point("triton_bitmap", "bf16", 8192, 4096, 4096, (("sparsity", 0.7),)))
    return tuple(wanted)


def held_out(point: Point) -> tuple[str, ...]:
    """Why a point is kept from the fit; empty for a point that constants may be fitted on.

    >>> held_out(Point("cublas", "bf16", 32, 5120, 5120))
    ('model', 'batch')
    """
    reasons = []
    if (point.n, point.k) in QWEN_14B:
        reasons.append("model")
    if point.m in (32, 1024):
        reasons.append("batch")
    if (point.n, point.k) == EDGE_NK and point.m in EDGES:
        reasons.append("edge")
    if point.kernel in ("triton_nm", "triton_bitmap", "triton_decode", "triton_decode_bitmap"):
        reasons.append("pattern")
    if point.dtype == "fp8":
        reasons.append("dtype")
    return tuple(reasons)


RULES = {
    "model": "every (n, k) of Qwen2.5-14B",
    "batch": "m of 32 and of 1024",
    "edge": "m at the edges of waves of 132 SMs",
    "pattern": "N:M gathers, bitmaps and decoding with a pruned cache",
    "dtype": "fp8",
}


def split_text() -> str:
    """The split of every point of the plan, as the text of the file that freezes it."""
    points = {point.key: point for run in runs() for point in run.points}
    parts = {key: " ".join(held_out(point)) or "fit" for key, point in sorted(points.items())}
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(part)}" for key, part in parts.items())
    digest = hashlib.sha256(lines.encode()).hexdigest()
    rules = json.dumps(RULES, indent=1)
    return f'{{\n"rules": {rules},\n"sha256": "{digest}",\n"points": {{\n{lines}\n}}\n}}\n'


def require_frozen(path: Path) -> str:
    """The digest of a frozen split.

    CodesignError when there is no such file, when its points do not have its digest, or when the
    plan has points that it splits otherwise.
    """
    if not path.is_file():
        raise CodesignError(f"{path}: freeze the split before the first measurement (--freeze)")
    text = path.read_text(encoding="utf-8")
    if text != split_text():
        raise CodesignError(
            f"{path}: the frozen split is not the one of this plan; a changed plan needs a file of "
            "its own, and results that were split by the old one keep it"
        )
    return str(json.loads(text)["sha256"])
