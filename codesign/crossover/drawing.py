"""Speed-ups over sizes as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codesign.crossover.curve import Curve
from codesign.crossover.words import Axis, pays
from codesign.report import quantities as q
from codesign.report import scatter
from codesign.report.raster import write_png
from codesign.report.svg import Figure


def drawn(curves: Sequence[Curve], axis: Axis) -> Figure:
    """A line for each curve, in the range where measured speed-ups are likely, over a line at 1."""
    spots = [
        scatter.Spot(
            point.size,
            point.speedup,
            kind,
            f"{curve.label}, {axis.at(point.size)}: {q.ratio(point.speedup)}",
        )
        for kind, curve in enumerate(curves)
        for point in curve.points
    ]
    return scatter.scatter(
        "crossover",
        f"Speed-up over dense by {axis.name}",
        " ".join(pays(curve, axis) for curve in curves),
        spots,
        scatter.Axis(axis.name),
        scatter.Axis("speed-up over dense"),
        kinds=[curve.label for curve in curves],
        levels=(1.0,),
        curves=True,
        bands={
            kind: [(point.size, *curve.likely(point)) for point in curve.points]
            for kind, curve in enumerate(curves)
            if curve.trust.standings
        },
    )


def write_figure(curves: Sequence[Curve], axis: Axis, path: Path) -> None:
    """Write the figure as SVG or, by the name's end, as PNG.

    Raises CodesignError for a PNG where there is no Chromium.
    """
    figure = drawn(curves, axis)
    if path.suffix == ".png":
        write_png(figure, path)
    else:
        path.write_text(figure.standalone(), encoding="utf-8")
