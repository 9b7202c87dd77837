"""A point of the plan as operands, a launch, and a float64 reference of what it computes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from codesign.config import CodesignError
from codesign.measure.gpu_plan import Point

TORCH_TYPES = {
    "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn, "int8": torch.int8,
}  # fmt: skip
OUT_TYPES = {
    "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16, "int8": torch.int32,
}  # fmt: skip
TOLERANCES = {"bf16": 1e-2, "fp16": 2e-3, "fp8": 1e-2, "int8": 0.0}
"""Largest ||out - reference|| / ||reference||: rounding of the result and, in fp8, of short sums;
sums of int8 are exact."""
CHECKED_ROWS = 256


@dataclass(frozen=True)
class Product:
    """What is launched, and what the answer should be.

    `out` is where a launch writes, poisoned before the check; None where a library allocates.
    `reference` gives chosen rows in float64. `flops` are those of the dense product, `bytes` each
    operand, with its metadata, and the result once.
    """

    launch: Callable[[], Tensor]
    reference: Callable[[Tensor], Tensor]
    rows: int
    out: Tensor | None
    flops: int
    bytes: int
    tolerance: float
    details: Mapping[str, float] = field(default_factory=dict)


def seed_of(point: Point) -> int:
    """A seed that depends on the point alone."""
    return int.from_bytes(hashlib.sha256(point.key.encode()).digest()[:6], "big")


def generator_of(point: Point, device: str) -> torch.Generator:
    """The source of the point's random operands."""
    return torch.Generator(device=device).manual_seed(seed_of(point))


def random_matrix(rows: int, cols: int, dtype: str, source: torch.Generator) -> Tensor:
    """Random elements of a data type; never zeros, on which products draw less power."""
    if rows * cols >= 1 << 31:
        raise CodesignError(f"a matrix of {rows} x {cols} has more elements than kernels address")
    if dtype == "int8":
        drawn = torch.randint(-8, 8, (rows, cols), generator=source, device=source.device)
        return torch.where(drawn >= 0, drawn + 1, drawn).to(torch.int8)
    drawn = torch.randn((rows, cols), generator=source, device=source.device)
    return torch.where(drawn.abs() < 0.02, 0.5, drawn).to(TORCH_TYPES[dtype])


def size_bytes(*tensors: Tensor) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def rows_of(x: Tensor, chosen: Tensor) -> Tensor:
    """Rows of a matrix; those of 8 bit are gathered as integers, as not every torch has more."""
    if x.element_size() == 1:
        return x.view(torch.uint8)[chosen].view(x.dtype)
    return x[chosen]


def linear_reference(x: Tensor, w: Tensor) -> Callable[[Tensor], Tensor]:
    """Chosen rows of x w^T in float64."""

    def rows(chosen: Tensor) -> Tensor:
        return rows_of(x, chosen).double() @ w.double().T

    return rows


def checked_rows(rows: int, device: str) -> Tensor:
    """Rows that are compared: the first, the last and evenly spread ones between."""
    count = min(rows, CHECKED_ROWS)
    return torch.linspace(0, rows - 1, count, dtype=torch.float64, device=device).round().long()


def _poison(out: Tensor) -> float:
    return math.nan if out.dtype.is_floating_point else torch.iinfo(out.dtype).min


def _written(result: Tensor) -> Tensor:
    """Which elements are numbers that a product may give."""
    return result.isfinite() if result.dtype.is_floating_point else result != _poison(result)


def relative_error(product: Product, device: str) -> float:
    """||out - reference|| / ||reference|| of one launch into a poisoned result, in float64.

    Infinite where an element was not written or is not a number.
    """
    if product.out is not None:
        product.out.fill_(_poison(product.out))
    chosen = checked_rows(product.rows, device)
    result = product.launch()
    found, wanted = result[chosen].double(), product.reference(chosen)
    if not bool(_written(result).all()):
        return math.inf
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-300))


def keep_pairs(w: Tensor) -> Tensor:
    """The two largest of each four neighbours along k, the others zero; ties keep the first."""
    wide = w if w.element_size() > 1 else w.to(torch.bfloat16)
    lanes = wide.abs().reshape(-1, 4).unbind(1)
    kept = []
    for i, one in enumerate(lanes):
        ahead = [other >= one if j < i else other > one for j, other in enumerate(lanes) if j != i]
        kept.append(torch.stack(ahead).sum(0, dtype=torch.int8) < 2)
    mask = torch.stack(kept, dim=1).reshape(w.shape)
    return wide.masked_fill(~mask, 0).to(w.dtype)
