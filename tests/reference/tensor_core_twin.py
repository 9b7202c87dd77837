"""The model of a product on a GPU, written once more in plain Python from docs/machines/gpu.md."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf, sqrt


@dataclass
class Gpu:
    multiprocessors: float
    l2_bytes: float
    l2_rate: float
    dram_rate: float
    dram_latency: float
    shared_bytes: float
    warp_groups: float
    rows: float = 0
    columns: float = 0
    pairs: float = 0


@dataclass
class Constants:
    read: float
    write: float
    sharing: float
    prologue: float
    store: float
    step: float
    split: float
    cap: float
    warm: float
    burst: float
    window: float
    by_rows: float


@dataclass
class Laws:
    overlap: float
    warp_share: float
    fill_share: float
    decline: float
    shared_rate: float
    port_rate: float
    stages: float
    stages_alone: float
    step_bytes: float
    vector_step_bytes: float
    tensor_fill_share: float


@dataclass
class Operands:
    a_size: float
    c_size: float
    b_share: float
    rate: float
    kept: float
    unpack: float
    most_splits: float


def join(x: float, y: float, exponent: float) -> float:
    return (x**exponent + y**exponent) ** (1 / exponent)


def retained(kept: float, moved: float, laws: Laws) -> float:
    share = min(1.0, kept / moved)
    return share if share == 1.0 else share**laws.decline


def residents(size: int) -> int:
    return next((n for limit, n in ((1024, 4), (4096, 3), (8192, 2)) if size <= limit), 1)


def tensor_memory_pass(rows, cols, row_size, col_size, most_rows, most_cols, blocks, gpu: Gpu):
    """Share of the full rate, bytes read and bytes filled per element, columns of sums."""
    if gpu.pairs and blocks > 1:
        col_size /= 2
    passes = ceil(rows / gpu.rows)
    read = rows * row_size + passes * cols * col_size
    filled = min(rows, most_rows) * row_size + min(cols, most_cols) * col_size
    return rows / (passes * gpu.rows), read, filled, passes * cols


def tile_cycles(size, tile, parts, gpu: Gpu, c: Constants, laws: Laws, ops: Operands) -> float:
    groups, m, n, k = size
    rows, cols, given = tile
    a, b = ops.a_size, ops.a_size * ops.b_share
    resident = given or residents(rows * cols)
    depth = floor(laws.step_bytes / a)
    steps = ceil(k * ops.kept / parts / depth)
    length = steps * depth
    blocks = groups * ceil(m / rows) * ceil(n / cols) * parts
    stage = (rows * a + cols * b) * depth
    most = laws.stages_alone if given == 1 else laws.stages
    stages = min(most, max(2, floor(gpu.shared_bytes / stage / resident)))
    rate = ops.rate
    filled = min(rows, m) * a + min(cols, n) * b
    entering, filling, sums = filled, laws.fill_share, inf
    if gpu.rows:
        filling = laws.tensor_fill_share
        ways = [tensor_memory_pass(cols, rows, b, a, n, m, ceil(n / cols), gpu)]
        if ops.b_share == 1:
            ways.append(tensor_memory_pass(rows, cols, a, b, m, n, ceil(m / rows), gpu))
        used, read, entering, sums = min(
            ways, key=lambda way: max(rows * cols / ops.rate / way[0], way[1] / laws.shared_rate)
        )
        rate *= used
    elif gpu.warp_groups and max(rows, cols) >= 64:
        if rows >= 64 and ops.b_share == 1:
            read = rows * a + ceil(rows / 64) * cols * b
        else:
            read = cols * b + ceil(cols / 64) * rows * a
    else:
        warp_rows = min(64, rows // 2 if rows > 16 else rows)
        warp_cols = min(64, max(1, cols // 2))
        read = ceil(rows / warp_rows) * ceil(cols / warp_cols) * (warp_rows * a + warp_cols * b)
        rate *= laws.warp_share if gpu.warp_groups else 1.0
    waves = ceil(blocks / (gpu.multiprocessors * resident))
    many = blocks > gpu.multiprocessors
    beside = min(resident, blocks / gpu.multiprocessors) if many else 1.0
    compute = beside * rows * cols * length / rate
    shared = beside * length * (read + entering * filling + cols * ops.unpack)
    shared /= laws.shared_rate
    port = beside * length * entering / laws.port_rate
    waiting = steps * c.step / (stages - 1)
    storing = beside * rows * cols * ops.c_size / c.store
    products = join(compute, max(shared, port, waiting), laws.overlap)
    if 2 * resident * sums <= gpu.columns:
        inside = c.prologue + products + storing + (waves - 1) * max(products, storing)
    else:
        inside = waves * (products + c.prologue + storing)

    a_bytes = groups * m * k * a
    b_bytes = groups * n * k * ops.kept * b
    c_bytes = groups * m * n * ops.c_size
    moved = a_bytes + b_bytes + c_bytes
    warm = retained(c.warm, moved, laws)
    active = min(blocks, gpu.multiprocessors * resident)
    together = max(1.0, active / parts)
    down, across = ceil(m / rows), ceil(n / cols)
    tall = min(down, max(1.0, sqrt(together * cols / rows)))
    wide = min(across, max(1.0, together / tall))
    tall = min(down, max(1.0, together / wide))
    kept_a = retained(gpu.l2_bytes, a_bytes, laws)
    kept_b = retained(gpu.l2_bytes, b_bytes, laws)
    if c.by_rows:
        passes = max(1.0, down * min(across, together) / together)
        reads = a_bytes + b_bytes * (kept_b + passes * (1 - kept_b))
    else:
        again_a = kept_a + ceil(across / wide) * (1 - kept_a)
        again_b = kept_b + ceil(down / tall) * (1 - kept_b)
        reads = min(a_bytes + b_bytes * again_b, a_bytes * again_a + b_bytes)
    reading = min(gpu.dram_rate * c.read, active * (stages - 1) * stage / gpu.dram_latency)
    dram = max(0.0, reads - warm * moved) / reading
    dram += c_bytes * (1 - warm) / (gpu.dram_rate * c.write)
    l2 = blocks * length * filled / (gpu.l2_rate * c.sharing)
    cycles = join(inside, max(l2, dram), laws.overlap)
    allowed = c.cap * (1 + (c.burst - 1) * c.window / (c.window + cycles))
    cycles = max(cycles, groups * m * n * k * ops.kept / allowed)
    if parts > 1:
        cycles += c.split + groups * m * n * 4 * parts / gpu.l2_rate
    return cycles


def vector_cycles(size, gpu: Gpu, c: Constants, laws: Laws, ops: Operands) -> float:
    groups, _, n, k = size
    moved = groups * (k + n * k * ops.kept * ops.b_share) * ops.a_size + groups * n * ops.c_size
    memory = moved * (1 - retained(c.warm, moved, laws)) / (gpu.dram_rate * c.read)
    memory = max(memory, moved / (gpu.l2_rate * c.sharing))
    return c.step + max(memory, ceil(k * ops.kept * ops.a_size / laws.vector_step_bytes) * c.step)


def least_cycles(size, tiles, splits, gpu: Gpu, c: Constants, laws: Laws, ops: Operands) -> float:
    groups, m, n, k = size
    best = inf
    for tile in tiles:
        rows, cols, given = tile
        if rows == 1:
            if m == 1:
                best = min(best, vector_cycles(size, gpu, c, laws, ops))
            continue
        too_tall, too_wide = rows >= 2 * m and rows > 64, cols >= 2 * n and cols > 64
        if len(tiles) > 3 and (too_tall or too_wide):
            continue
        resident = given or residents(rows * cols)
        for parts in splits:
            blocks = groups * ceil(m / rows) * ceil(n / cols) * parts
            if parts > 1 and (
                parts > ops.most_splits
                or k * ops.a_size < 256 * parts
                or blocks > 2 * gpu.multiprocessors * resident
            ):
                break
            best = min(best, tile_cycles(size, tile, parts, gpu, c, laws, ops))
    return best
