"""How a small sparse matrix is stored in each format, packed by the code that the machines use."""

from __future__ import annotations

import numpy as np

from codesign.config import CodesignError
from codesign.report.svg import Figure, bar, figure, label
from codesign.sparsity.formats import CSR, Bitmap, DenseFormat
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import parse_pattern
from codesign.sparsity.storage import Format

_ROWS, _COLS = 8, 16
_SEED = 5
_DTYPE = "fp16"
_CELL_PX = 15


def formats() -> Figure:
    """Two masks with the same zeros in number, and the bits of each format for both."""
    two = parse_pattern("2:4")
    anywhere = parse_pattern("unstructured(0.5)")
    masks = [
        ("2:4", two.sample(_ROWS, _COLS, _SEED)),
        ("unstructured(0.5)", anywhere.sample(_ROWS, _COLS, _SEED)),
    ]
    stored: list[tuple[str, Format]] = [
        ("dense", DenseFormat()),
        ("2:4, slots with indices", two.format),
        ("bitmap", Bitmap()),
        ("CSR with 8-bit indices", CSR(index_bits=8, pointer_bits=16)),
    ]

    def draw(width: int) -> tuple[float, list[str]]:
        parts: list[str] = []
        half = width / 2
        for i, (name, mask) in enumerate(masks):
            left = i * half
            kept = int(mask.to_dense().sum())
            parts.append(label(left, 16, f"{name} · {kept} of {_ROWS * _COLS} kept", "st"))
            parts += _cells(left, 28, mask)
            top = 28 + _ROWS * _CELL_PX + 26.0
            for title, form in stored:
                parts += _bar(left, top, half - 60, title, form, mask)
                top += 50
        return 28 + _ROWS * _CELL_PX + 26 + 50.0 * len(stored), parts

    return figure(
        "formats",
        "What it takes to store half of a matrix",
        f"Bytes of values (full) and of places (hatched), {_ROWS} x {_COLS} {_DTYPE} values",
        draw,
    )


def _cells(left: float, top: float, mask: Mask) -> list[str]:
    dense = np.asarray(mask.to_dense())
    return [
        bar(
            left + x * _CELL_PX + (x // 4) * 4, top + r * _CELL_PX, _CELL_PX - 2, _CELL_PX - 2,
            "f0" if dense[r, x] else "ax",
        )
        for r in range(_ROWS)
        for x in range(_COLS)
    ]  # fmt: skip


def _bar(left: float, top: float, width: float, title: str, form: Format, mask: Mask) -> list[str]:
    try:
        size = form.packed_bytes(mask, _DTYPE)
    except CodesignError:
        return [label(left, top + 12, f"{title}: cannot hold it, a group has more", "mu")]
    scale = width / (2.2 * _ROWS * _COLS)
    values, places = size.value_bytes, size.metadata_bytes
    text = f"{title}: {values} + {places} = {size.bytes} bytes"
    return [
        label(left, top + 12, text),
        bar(left, top + 18, values * scale, 15, "f0"),
        bar(left + values * scale, top + 18, places * scale, 15, "c1"),
    ]
