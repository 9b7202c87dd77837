"""Triton kernels of sparse products and of attention over a pruned cache.

Layouts: activations x[m, k] and weights w[n, k] are packed along k, results out[m, n] along n.
`WIDEN` multiplies in fp32, which the interpreter needs for bf16 and a GPU does not; `ACC` is the
type of the sums. Products of offsets are 32 bit: no operand has 2^31 elements.
"""

from __future__ import annotations

import triton
import triton.language as tl

PADDED_HEADS = 16
"""Fewest rows of a tensor-core product: query heads of one cache are padded to it."""


@triton.jit
def _multiply(a, b, total, ACC: tl.constexpr, WIDEN: tl.constexpr):
    if WIDEN:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, total, out_dtype=ACC)


@triton.jit
def _store(out, total, row, col, M, N):
    inside = (row[:, None] < M) & (col[None, :] < N)
    tl.store(out + row[:, None] * N + col[None, :], total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _tile(M, N, TILE_M: tl.constexpr, TILE_N: tl.constexpr, GROUP: tl.constexpr):
    """Row and column of this program's tile: GROUP rows of tiles share their weights in L2."""
    program = tl.program_id(0)
    tiles_m = tl.cdiv(M, TILE_M)
    in_group = GROUP * tl.cdiv(N, TILE_N)
    first = program // in_group * GROUP
    rows = min(tiles_m - first, GROUP)
    return first + program % in_group % rows, program % in_group // rows


@triton.jit
def dense(
    x, w, out, M, N, K,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr, GROUP: tl.constexpr,
    EVEN: tl.constexpr, ACC: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """out = x w^T; EVEN: k is a multiple of TILE_K."""
    tile_m, tile_n = _tile(M, N, TILE_M, TILE_N, GROUP)
    row = tile_m * TILE_M + tl.arange(0, TILE_M)
    col = tile_n * TILE_N + tl.arange(0, TILE_N)
    deep = tl.arange(0, TILE_K)
    a_at = x + (row % M)[:, None] * K + deep[None, :]
    b_at = w + (col % N)[None, :] * K + deep[:, None]
    total = tl.zeros((TILE_M, TILE_N), ACC)
    for start in range(0, K, TILE_K):
        if EVEN:
            a = tl.load(a_at + start)
            b = tl.load(b_at + start)
        else:
            a = tl.load(a_at + start, mask=deep[None, :] + start < K, other=0.0)
            b = tl.load(b_at + start, mask=deep[:, None] + start < K, other=0.0)
        total = _multiply(a, b, total, ACC, WIDEN)
    _store(out, total, row, col, M, N)


@triton.jit
def block_sparse(
    x, values, start_of_row, column, out, M, N, K,
    TILE_M: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """out = x w^T for w of kept BLOCK x BLOCK blocks, values[block, n, k], in CSR."""
    row = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    block_row = tl.program_id(1)
    inner = tl.arange(0, BLOCK)
    a_at = x + (row % M)[:, None] * K + inner[None, :]
    b_at = values + inner[None, :] * BLOCK + inner[:, None]
    total = tl.zeros((TILE_M, BLOCK), ACC)
    first = tl.load(start_of_row + block_row)
    last = tl.load(start_of_row + block_row + 1)
    for block in range(first, last):
        a = tl.load(a_at + tl.load(column + block) * BLOCK)
        b = tl.load(b_at + block * (BLOCK * BLOCK))
        total = _multiply(a, b, total, ACC, WIDEN)
    _store(out, total, row, block_row * BLOCK + inner, M, N)


@triton.jit
def nm_gather(
    x, values, column, out, M, N, K, KEPT,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr,
    ACC: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """out = x w^T for w whose TILE_N neighbouring rows keep the same KEPT columns.

    values[n, KEPT] are condensed, column[n / TILE_N, KEPT] says which columns of x they meet.
    """
    row = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    tile_n = tl.program_id(1)
    col = tile_n * TILE_N + tl.arange(0, TILE_N)
    deep = tl.arange(0, TILE_K)
    total = tl.zeros((TILE_M, TILE_N), ACC)
    for start in range(0, KEPT, TILE_K):
        at = start + deep
        which = tl.load(column + tile_n * KEPT + at, mask=at < KEPT, other=0.0)
        a = tl.load(x + (row % M)[:, None] * K + which[None, :])
        b_at = values + (col % N)[None, :] * KEPT + at[:, None]
        b = tl.load(b_at, mask=at[:, None] < KEPT, other=0.0)
        total = _multiply(a, b, total, ACC, WIDEN)
    _store(out, total, row, col, M, N)


@triton.jit
def _unpack(values, bitmap, start_of_tile, line, tile, tiles, TILE: tl.constexpr):
    """Elements [line, TILE] of one tile of compressed lines, zeros where a bit is not set.

    A line has `tiles` tiles of TILE elements; bitmap has TILE / 32 words for each, start_of_tile
    the place of its first value.
    """
    deep = tl.arange(0, TILE)
    tile_at = line[:, None] * tiles + tile
    word = tl.load(bitmap + tile_at * (TILE // 32) + deep[None, :] // 32)
    bit = (word >> (deep[None, :] % 32)) & 1
    rank = tl.cumsum(bit, axis=1) - bit
    return tl.load(values + tl.load(start_of_tile + tile_at) + rank, mask=bit != 0, other=0.0)


@triton.jit
def bitmap_product(
    x, values, bitmap, start_of_tile, out, M, N, K,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr,
    ACC: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """out = x w^T for w of any zeros: one bit per element, and the values that are kept."""
    row = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    col = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
    deep = tl.arange(0, TILE_K)
    a_at = x + (row % M)[:, None] * K + deep[None, :]
    tiles = K // TILE_K
    total = tl.zeros((TILE_M, TILE_N), ACC)
    for tile in range(tiles):
        a = tl.load(a_at + tile * TILE_K)
        b = _unpack(values, bitmap, start_of_tile, col % N, tile, tiles, TILE_K)
        total = _multiply(a, tl.trans(b), total, ACC, WIDEN)
    _store(out, total, row, col, M, N)


@triton.jit
def decode_part(
    q, keys, values, kept, key_bitmap, key_start, value_bitmap, value_start,
    part, peak, weight, scale, TOKENS, KEPT, PER_SPLIT,
    HEADS: tl.constexpr, SIZE: tl.constexpr, TILE_T: tl.constexpr, PADDED: tl.constexpr,
    PACKED: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Attention of HEADS query heads over one share of the kept tokens of their cache.

    Programs: (caches, splits). q[cache, HEADS, SIZE]; keys and values [cache, TOKENS, SIZE], or
    with PACKED one bit per element and the kept ones; kept[cache, KEPT] are token numbers.
    part[cache, split, PADDED, SIZE] is the sum of values weighted by exp(score - peak), `weight`
    the sum of those weights.
    """
    cache = tl.program_id(0)
    split = tl.program_id(1)
    head = tl.arange(0, PADDED)
    deep = tl.arange(0, SIZE)
    q_at = q + (cache * HEADS + head)[:, None] * SIZE + deep[None, :]
    query = tl.load(q_at, mask=head[:, None] < HEADS, other=0.0)
    highest = tl.full((PADDED,), float("-inf"), tl.float32)
    weights = tl.zeros((PADDED,), tl.float32)
    total = tl.zeros((PADDED, SIZE), tl.float32)
    for start in range(split * PER_SPLIT, min(split * PER_SPLIT + PER_SPLIT, KEPT), TILE_T):
        at = start + tl.arange(0, TILE_T)
        inside = at < min(split * PER_SPLIT + PER_SPLIT, KEPT)
        line = cache * TOKENS + tl.load(kept + cache * KEPT + at, mask=inside, other=0.0)
        if PACKED:
            key = _unpack(keys, key_bitmap, key_start, line, 0, 1, SIZE)
            value = _unpack(values, value_bitmap, value_start, line, 0, 1, SIZE)
        else:
            key = tl.load(keys + line[:, None] * SIZE + deep[None, :])
            value = tl.load(values + line[:, None] * SIZE + deep[None, :])
        score = tl.zeros((PADDED, TILE_T), tl.float32)
        score = _multiply(query, tl.trans(key), score, tl.float32, WIDEN) * scale
        score = tl.where(inside[None, :], score, float("-inf"))
        higher = tl.maximum(highest, tl.max(score, axis=1))
        exponent = tl.exp(score - higher[:, None])
        shrink = tl.exp(highest - higher)
        weights = weights * shrink + tl.sum(exponent, axis=1)
        total = _multiply(
            exponent.to(value.dtype), value, total * shrink[:, None], tl.float32, WIDEN
        )
        highest = higher
    line_of_head = (cache * tl.num_programs(1) + split) * PADDED + head
    tl.store(part + line_of_head[:, None] * SIZE + deep[None, :], total)
    tl.store(peak + line_of_head, highest)
    tl.store(weight + line_of_head, weights)


@triton.jit
def decode_join(
    part, peak, weight, out, SPLITS,
    HEADS: tl.constexpr, SIZE: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """out[cache, HEADS, SIZE] from what decode_part left; shares without tokens weigh 0."""
    cache = tl.program_id(0)
    head = tl.arange(0, PADDED)
    deep = tl.arange(0, SIZE)
    highest = tl.full((PADDED,), float("-inf"), tl.float32)
    for split in range(SPLITS):
        highest = tl.maximum(highest, tl.load(peak + (cache * SPLITS + split) * PADDED + head))
    weights = tl.zeros((PADDED,), tl.float32)
    total = tl.zeros((PADDED, SIZE), tl.float32)
    for split in range(SPLITS):
        line = (cache * SPLITS + split) * PADDED + head
        shrink = tl.exp(tl.load(peak + line) - highest)
        weights += tl.load(weight + line) * shrink
        total += tl.load(part + line[:, None] * SIZE + deep[None, :]) * shrink[:, None]
    out_at = out + (cache * HEADS + head)[:, None] * SIZE + deep[None, :]
    result = (total / weights[:, None]).to(out.dtype.element_ty)
    tl.store(out_at, result, mask=head[:, None] < HEADS)


@triton.jit
def l2_read(x, out, CHUNKS, ROUNDS, CHUNK: tl.constexpr):
    """out[program]: the sum of ROUNDS neighbouring chunks of x, read past the L1."""
    program = tl.program_id(0)
    at = tl.arange(0, CHUNK)
    total = tl.zeros((CHUNK,), tl.float32)
    for step in range(ROUNDS):
        chunk = (program + step) % CHUNKS
        total += tl.load(x + chunk * CHUNK + at, cache_modifier=".cg").to(tl.float32)
    tl.store(out + program, tl.sum(total, axis=0))
