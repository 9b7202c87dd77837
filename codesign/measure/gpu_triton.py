"""Operands and launches of the Triton kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from codesign.config import CodesignError
from codesign.measure import gpu_kernels_triton as kernels
from codesign.measure.gpu_plan import Point
from codesign.measure.gpu_products import (
    OUT_TYPES,
    TOLERANCES,
    Product,
    generator_of,
    linear_reference,
    random_matrix,
    size_bytes,
)

GROUP_ROWS = 8
NM_TILE_N = 64
DEPTH = 64
DECODE_TILE = 64
MOST_SPLITS = 32
READ_CHUNK = 4096


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU."""
    return bool(triton.knobs.runtime.interpret)


def _types(dtype: str) -> dict[str, Any]:
    return {
        "ACC": tl.int32 if dtype == "int8" else tl.float32,
        "WIDEN": interpreted() and dtype == "bf16",
    }


def tile_rows(m: int) -> int:
    """Rows of a tile of the sparse kernels: as few as cover m, from 16 to 128."""
    return min(128, max(16, 1 << (m - 1).bit_length()))


def _product(
    point: Point,
    x: Tensor,
    dense: Tensor,
    stored: tuple[Tensor, ...],
    run: Callable[[Tensor], object],
    **details: float,
) -> Product:
    """A product whose weights are the tensors `stored` and mean the matrix `dense`."""
    out = torch.empty(point.m, point.n, dtype=OUT_TYPES[point.dtype], device=x.device)

    def launch() -> Tensor:
        run(out)
        return out

    return Product(
        launch=launch,
        reference=linear_reference(x, dense),
        rows=point.m,
        out=out,
        flops=2 * point.m * point.n * point.k,
        bytes=size_bytes(x, out, *stored),
        tolerance=TOLERANCES[point.dtype],
        details={"weight_bytes": size_bytes(*stored), **details},
    )


def _operands(point: Point, device: str) -> tuple[Tensor, Tensor, torch.Generator]:
    source = generator_of(point, device)
    x = random_matrix(point.m, point.k, point.dtype, source)
    return x, random_matrix(point.n, point.k, point.dtype, source), source


def dense_product(point: Point, device: str) -> Product:
    """Dense weights on the tile that the point names."""
    x, w, _ = _operands(point, device)
    m, n, k = point.m, point.n, point.k
    tile = {name: point.count(name.lower()) for name in ("TILE_M", "TILE_N", "TILE_K")}
    grid = (triton.cdiv(m, tile["TILE_M"]) * triton.cdiv(n, tile["TILE_N"]),)
    even = k % tile["TILE_K"] == 0

    def run(out: Tensor) -> None:
        kernels.dense[grid](
            x, w, out, m, n, k, **tile, GROUP=GROUP_ROWS, EVEN=even, **_types(point.dtype),
            num_warps=point.count("warps"), num_stages=point.count("stages"),
        )  # fmt: skip

    return _product(point, x, w, (w,), run, tiles=grid[0])


def block_product(point: Point, device: str) -> Product:
    """Weights of which a share of square blocks is zero, the same number of blocks in all."""
    x, w, source = _operands(point, device)
    m, n, k, block = point.m, point.n, point.k, point.count("block")
    if n % block or k % block:
        raise CodesignError(f"{point.key}: n and k are multiples of the block")
    block_rows, block_cols = n // block, k // block
    total = block_rows * block_cols
    kept = max(1, round(total * (1 - point.option("sparsity"))))
    at = torch.randperm(total, generator=source, device=device)[:kept].sort().values
    column = (at % block_cols).to(torch.int32)
    counts = torch.bincount(at // block_cols, minlength=block_rows)
    start = torch.zeros(block_rows + 1, dtype=torch.int32, device=device)
    start[1:] = counts.cumsum(0)
    blocks = w.view(block_rows, block, block_cols, block).transpose(1, 2).reshape(total, -1)
    values = blocks[at].contiguous()
    held = torch.zeros(total, dtype=torch.bool, device=device)
    held[at] = True
    mask = held.view(block_rows, 1, block_cols, 1).expand(-1, block, -1, block).reshape(n, k)
    tile_m = tile_rows(m)
    grid = (triton.cdiv(m, tile_m), block_rows)

    def run(out: Tensor) -> None:
        kernels.block_sparse[grid](
            x, values, start, column, out, m, n, k,
            TILE_M=tile_m, BLOCK=block, **_types(point.dtype), num_warps=4, num_stages=4,
        )  # fmt: skip

    dense = torch.where(mask, w, torch.zeros_like(w))
    return _product(
        point, x, dense, (values, start, column), run, tile_m=tile_m, density=kept / total
    )


def nm_product(point: Point, device: str) -> Product:
    """Weights whose NM_TILE_N neighbouring rows keep the same `keep` of each `of` columns."""
    x, values_from, source = _operands(point, device)
    m, n, k = point.m, point.n, point.k
    keep, of = point.count("keep"), point.count("of")
    if k % of:
        raise CodesignError(f"{point.key}: k is a multiple of the group")
    tiles, kept = -(-n // NM_TILE_N), k // of * keep
    order = torch.rand(tiles, k // of, of, generator=source, device=device).argsort(2)
    local = order[:, :, :keep].sort(2).values
    base = torch.arange(0, k, of, device=device)[None, :, None]
    column = (local + base).reshape(tiles, kept).to(torch.int32)
    values = values_from[:, :kept].contiguous()
    dense = torch.zeros_like(values_from)
    where = column.long().repeat_interleave(NM_TILE_N, 0)[:n]
    bits = torch.uint8 if dense.element_size() == 1 else torch.int16
    dense.view(bits).scatter_(1, where, values.view(bits))
    tile_m = tile_rows(m)
    grid = (triton.cdiv(m, tile_m), tiles)

    def run(out: Tensor) -> None:
        kernels.nm_gather[grid](
            x, values, column, out, m, n, k, kept,
            TILE_M=tile_m, TILE_N=NM_TILE_N, TILE_K=DEPTH, **_types(point.dtype),
            num_warps=4, num_stages=4,
        )  # fmt: skip

    return _product(point, x, dense, (values, column), run, tile_m=tile_m, density=keep / of)


def pack(dense: Tensor, kept: Tensor, tile: int) -> tuple[Tensor, Tensor, Tensor]:
    """Kept values in reading order, bitmap words of 32, and where each tile's values start."""
    lines, size = kept.shape
    if size % tile or tile % 32:
        raise CodesignError(f"lines of {size} elements do not fit bitmaps of tiles of {tile}")
    weights = torch.ones(32, dtype=torch.int64, device=dense.device) << torch.arange(
        32, device=dense.device
    )
    words = (kept.view(lines, size // 32, 32).long() * weights).sum(2)
    signed = torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)
    counts = kept.view(-1, tile).sum(1)
    start = (counts.cumsum(0) - counts).to(torch.int32)
    return dense[kept].contiguous(), signed.contiguous(), start


def bitmap_product(point: Point, device: str) -> Product:
    """Weights of which any share of elements is zero."""
    x, w, source = _operands(point, device)
    m, n, k = point.m, point.n, point.k
    kept = torch.rand(n, k, generator=source, device=device) >= point.option("sparsity")
    values, bitmap, start = pack(w, kept, DEPTH)
    tile_m, tile_n = tile_rows(m), 64
    grid = (triton.cdiv(m, tile_m), triton.cdiv(n, tile_n))

    def run(out: Tensor) -> None:
        kernels.bitmap_product[grid](
            x, values, bitmap, start, out, m, n, k,
            TILE_M=tile_m, TILE_N=tile_n, TILE_K=DEPTH, **_types(point.dtype),
            num_warps=4, num_stages=3,
        )  # fmt: skip

    dense = torch.where(kept, w, torch.zeros_like(w))
    density = float(values.numel() / kept.numel())
    return _product(point, x, dense, (values, bitmap, start), run, tile_m=tile_m, density=density)


def decode_product(point: Point, device: str) -> Product:
    """One new token of each sequence over the tokens of its cache that are kept."""
    return _decode(point, device, packed=False)


def decode_bitmap_product(point: Point, device: str) -> Product:
    """One new token of each sequence over a cache of which single elements are kept."""
    return _decode(point, device, packed=True)


def _decode(point: Point, device: str, *, packed: bool) -> Product:
    batch, tokens, size = point.m, point.n, point.k
    heads, kv_heads = point.count("heads"), point.count("kv_heads")
    shared, caches = heads // kv_heads, batch * kv_heads
    if heads % kv_heads or shared > kernels.PADDED_HEADS:
        raise CodesignError(
            f"{point.key}: a cache serves a whole number of at most "
            f"{kernels.PADDED_HEADS} query heads"
        )
    source = generator_of(point, device)
    q = random_matrix(caches * shared, size, point.dtype, source)
    k = random_matrix(caches * tokens, size, point.dtype, source)
    v = random_matrix(caches * tokens, size, point.dtype, source)
    share = point.option("kept")
    count = tokens if packed else max(1, round(tokens * share))
    order = torch.rand(caches, tokens, generator=source, device=device).argsort(1)
    kept = order[:, :count].sort(1).values.to(torch.int32).contiguous()
    nothing = kept
    stored: tuple[Tensor, ...] = (kept,)
    key_map = key_start = value_map = value_start = nothing
    keys, values = k, v
    if packed:
        stays = torch.rand(2, *k.shape, generator=source, device=device) < share
        keys, key_map, key_start = pack(k, stays[0], size)
        values, value_map, value_start = pack(v, stays[1], size)
        k, v = torch.where(stays[0], k, 0), torch.where(stays[1], v, 0)
        stored = (kept, keys, values, key_map, key_start, value_map, value_start)
    splits = max(1, min(MOST_SPLITS, -(-count // (4 * DECODE_TILE)), -(-264 // caches)))
    per_split = -(-count // (splits * DECODE_TILE)) * DECODE_TILE
    padded = kernels.PADDED_HEADS
    part = torch.empty(caches, splits, padded, size, dtype=torch.float32, device=device)
    peak, weight = (torch.empty(caches, splits, padded, device=device) for _ in range(2))
    out = torch.empty(caches, shared * size, dtype=OUT_TYPES[point.dtype], device=device)
    scale = 1 / math.sqrt(size)
    widen = interpreted() and point.dtype == "bf16"

    def launch() -> Tensor:
        kernels.decode_part[(caches, splits)](
            q, keys, values, kept, key_map, key_start, value_map, value_start,
            part, peak, weight, scale, tokens, count, per_split,
            HEADS=shared, SIZE=size, TILE_T=DECODE_TILE, PADDED=padded, PACKED=packed,
            WIDEN=widen, num_warps=4, num_stages=2,
        )  # fmt: skip
        kernels.decode_join[(caches,)](
            part, peak, weight, out, splits, HEADS=shared, SIZE=size, PADDED=padded
        )
        return out

    def reference(chosen: Tensor) -> Tensor:
        answers = []
        for cache in chosen.tolist():
            lines = kept[cache].long() + cache * tokens
            query = q[cache * shared : (cache + 1) * shared].double()
            score = (query @ k[lines].double().T * scale).softmax(1)
            answers.append((score @ v[lines].double()).reshape(-1))
        return torch.stack(answers)

    read = sum(size_bytes(t) for t in stored)
    read += 0 if packed else 2 * caches * count * size * k.element_size()
    return Product(
        launch=launch,
        reference=reference,
        rows=caches,
        out=out,
        flops=4 * caches * shared * tokens * size,
        bytes=read + size_bytes(q, out),
        tolerance=TOLERANCES[point.dtype],
        details={"splits": splits, "kept_tokens": count, "cache_bytes": read},
    )


def l2_read_product(point: Point, device: str) -> Product:
    """One buffer of n elements, small enough for the L2, that is read `rounds` times."""
    x = random_matrix(point.m, point.n, point.dtype, generator_of(point, device)).abs()
    chunks, rounds = point.n // READ_CHUNK, point.count("rounds")
    if point.m != 1 or point.n % READ_CHUNK or not chunks:
        raise CodesignError(f"{point.key}: one row of a multiple of {READ_CHUNK} elements")
    out = torch.empty(chunks, 1, dtype=torch.float32, device=device)

    def launch() -> Tensor:
        kernels.l2_read[(chunks,)](x, out, chunks, rounds, CHUNK=READ_CHUNK, num_warps=4)
        return out

    def reference(chosen: Tensor) -> Tensor:
        sums = x.view(chunks, READ_CHUNK).double().sum(1)
        steps = torch.arange(rounds, device=device)
        return sums[(chosen[:, None] + steps[None, :]) % chunks].sum(1, keepdim=True)

    return Product(
        launch=launch,
        reference=reference,
        rows=chunks,
        out=out,
        flops=0,
        bytes=size_bytes(x),
        tolerance=1e-4,
        details={"l2_bytes": float(size_bytes(x) * rounds)},
    )


BUILDERS: dict[str, Callable[[Point, str], Product]] = {
    "l2_read": l2_read_product,
    "triton_dense": dense_product,
    "triton_block": block_product,
    "triton_nm": nm_product,
    "triton_bitmap": bitmap_product,
    "triton_decode": decode_product,
    "triton_decode_bitmap": decode_bitmap_product,
}
