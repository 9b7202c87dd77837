"""Scatter plots of simulated over measured times, one SVG for each board, type and pattern.

python -m codesign.measure.gpu_scatter DATA_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import sys
from math import ceil, floor, log10
from pathlib import Path

import numpy as np

from codesign.measure.gpu_rows import Float64, Rows
from codesign.measure.gpu_scores import scored_groups

_SIDE, _MARGIN = 360.0, 48.0


def scatter_svg(rows: Rows, predicted: Float64) -> str:
    """An SVG of logarithmic axes in microseconds, with the diagonal and lines at +-15 %."""
    both = np.log10(np.concatenate([rows.latency_us, predicted]))
    low, high = floor(both.min()), ceil(both.max())

    def at(us: Float64 | float) -> Float64:
        return np.asarray(_MARGIN + (np.log10(us) - low) / (high - low) * _SIDE)

    size = _SIDE + 2 * _MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size:g} {size:g}" '
        'font-family="sans-serif" font-size="11">',
        f'<text x="{_MARGIN:g}" y="20">{rows.name}: {len(rows)} rows</text>',
        f'<text x="{size / 2:g}" y="{size - 8:g}" text-anchor="middle">measured, us</text>',
        f'<text x="12" y="{size / 2:g}" text-anchor="middle" '
        f'transform="rotate(-90 12 {size / 2:g})">simulated, us</text>',
    ]
    for power in range(low, high + 1):
        x = float(at(10.0**power))
        out.append(f'<text x="{x:g}" y="{size - 30:g}" text-anchor="middle">1e{power}</text>')
        left, y = _MARGIN - 6, size - x + 4
        out.append(f'<text x="{left:g}" y="{y:g}" text-anchor="end">1e{power}</text>')
    for factor in (1 / 1.15, 1.0, 1.15):
        shift = log10(factor) / (high - low) * _SIDE
        width = 1.0 if factor == 1.0 else 0.4
        out.append(
            f'<line x1="{_MARGIN:g}" y1="{size - _MARGIN - shift:g}" x2="{size - _MARGIN:g}" '
            f'y2="{_MARGIN - shift:g}" stroke="black" stroke-width="{width}"/>'
        )
    for x, y in zip(at(rows.latency_us), size - at(predicted), strict=True):
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" fill="#2060a0" fill-opacity="0.4"/>')
    return "\n".join([*out, "</svg>"])


def main(data: Path, folder: Path) -> None:
    """Write one plot for each scored group of a data folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in scored_groups(data)[0]:
        rows = one.rows.where(one.held)
        if len(rows):
            parts = (rows.gpu, rows.dtype, rows.pattern.replace(":", "of"), rows.origin)
            name = "_".join(parts).lower() + ".svg"
            (folder / name).write_text(scatter_svg(rows, one.predicted[one.held]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
