"""Sentences and JSON of curves: where sparsity pays, what bounds it, and how far that is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from codesign.crossover.curve import Curve, Point, Stretch, Verdict
from codesign.crossover.layers import Gain, Keeping
from codesign.report import quantities as q

MARKS = {Verdict.PAYS: " ", Verdict.LOSES: "-", Verdict.CLOSE: "?", Verdict.SAME: "="}


@dataclass(frozen=True, slots=True)
class Axis:
    """What the sizes of a curve count."""

    name: str

    def at(self, *sizes: int) -> str:
        """Sizes in words.

        >>> TOKENS.at(64, 4096), TOKENS.at(1), BATCH.at(4, 16, 64)
        ('64 and 4,096 tokens', '1 token', 'batch 4, 16 and 64')
        """
        *others, last = (f"{size:,}" for size in sizes)
        listed = f"{', '.join(others)} and {last}" if others else last
        return self._named(listed, one=sizes == (1,))

    def span(self, first: int, last: int) -> str:
        """A range in words.

        >>> TOKENS.span(1, 4096), BATCH.span(1, 16)
        ('1 to 4,096 tokens', 'batch 1 to 16')
        """
        return self._named(f"{first:,} to {last:,}", one=False)

    def _named(self, counts: str, *, one: bool) -> str:
        if self.name == "batch":
            return f"batch {counts}"
        return f"{counts} {self.name.removesuffix('s') if one else self.name}"


TOKENS, BATCH = Axis("tokens"), Axis("batch")


def pays(curve: Curve, axis: Axis) -> str:
    """Where sparsity pays, as a sentence."""
    stretches = curve.stretches
    clauses = [_clause(one, _where(one, stretches, axis), axis) for one in stretches]
    return f"{curve.label} {', '.join(clauses)}."


def _where(stretch: Stretch, stretches: Sequence[Stretch], axis: Axis) -> str:
    first, last = stretch.points[0].size, stretch.points[-1].size
    if len(stretches) == 1 and first != last:
        return f"at every size, {axis.span(first, last)}"
    if first == last:
        return f"at {axis.at(first)}"
    if stretch is stretches[0]:
        return f"up to {axis.at(last)}"
    if stretch is stretches[-1]:
        return f"from {axis.at(first)} on"
    return f"from {axis.span(first, last)}"


def _clause(stretch: Stretch, where: str, axis: Axis) -> str:
    if stretch.verdict is Verdict.SAME:
        return f"makes no difference {where}"
    ratios = [point.speedup for point in stretch.points]
    if stretch.verdict is Verdict.CLOSE:
        low, high = q.ratio(min(ratios)), q.ratio(max(ratios))
        between = low if low == high else f"{low.removesuffix('×')} to {high}"
        return f"is too close to call {where} ({between})"
    one = stretch.telling
    if len(ratios) == 1:
        return f"{stretch.verdict} {where} ({q.ratio(one.speedup)})"
    far = "best" if stretch.verdict is Verdict.PAYS else "worst"
    return f"{stretch.verdict} {where} ({far} {q.ratio(one.speedup)} at {axis.at(one.size)})"


def bounds(curve: Curve, axis: Axis) -> str:
    """What bounds dense and sparse at both ends, as a sentence."""
    told: dict[str, list[int]] = {}
    for point in (curve.points[0], curve.points[-1])[: len(curve.points)]:
        old, new = point.dense.bound_by, point.sparse.bound_by
        by = old if old == new else f"{old} (dense) and {new} ({curve.sparsity})"
        told.setdefault(by, []).append(point.size)
    clauses = [f"{by} at {axis.at(*sizes)}" for by, sizes in told.items()]
    return f"Bound by {', '.join(clauses)}."


def energy(curve: Curve, axis: Axis) -> str:
    """How much of the dense energy is taken, as a sentence."""
    ratios = [f"{point.energy_ratio:.2f}" for point in curve.points]
    least, most = min(ratios, key=float), max(ratios, key=float)
    takes = f"takes {least} of the dense energy"
    if least != most:
        takes = f"takes {least} to {most} of the dense energy"
    saving = [f"{point.size:,}" for point in curve.points if point.energy_ratio < 1]
    if len(saving) in (0, len(ratios)):
        return f"{curve.label} {takes}."
    return f"{curve.label} {takes}, less than all at {axis.name} {', '.join(saving)}."


def kept_dense(found: Sequence[Keeping], axis: Axis) -> list[str]:
    """What to keep dense, one sentence for sizes that agree."""
    lines = []
    for (dense, sparse), same in groupby(found, key=lambda one: (one.dense, one.sparse)):
        keeps = list(same)
        where = f"At {axis.at(*(one.size for one in keeps))}"
        if not sparse:
            lines.append(f"{where} every layer is better kept dense.")
            continue
        gained = ", ".join(q.ratio(one.speedup) for one in keeps)
        sure = "" if any(one.certain for one in keeps) else ", though none loses beyond its error"
        options = " ".join(f"--where '{glob}'" for glob in sparse)
        lines.append(
            f"{where} keep dense: {', '.join(dense)}{sure}. The whole is then {gained} ({options})."
        )
    return lines


def plain(
    curve: Curve,
    axis: Axis,
    rows: Sequence[Gain] = (),
    keep: Sequence[Keeping] = (),
) -> dict[str, Any]:
    """JSON-ready values of a curve; `speedup` is dense over sparse time, energy the reverse."""
    return {
        "arch": curve.arch,
        "sparsity": curve.sparsity,
        "says": pays(curve, axis),
        "points": [{axis.name: point.size, **_point(curve, point)} for point in curve.points],
        "stretches": [
            {
                "from": one.points[0].size,
                "to": one.points[-1].size,
                "verdict": str(one.verdict),
                "speedup": one.telling.speedup,
            }
            for one in curve.stretches
        ],
        "trust": {
            "calibrated": curve.trust.calibrated,
            "remark": curve.trust.remark,
            "standings": [one.model_dump() for one in curve.trust.standings],
        },
        "layers": [
            {
                "where": row.where,
                "speedups": list(row.speedups),
                "verdicts": [str(one) for one in row.verdicts],
                "shares_of_dense_time": list(row.shares),
            }
            for row in rows
        ],
        "keep_dense": [
            {
                axis.name: one.size,
                "dense": list(one.dense),
                "sparse": list(one.sparse),
                "speedup": one.speedup,
                "beyond_error": one.certain,
            }
            for one in keep
        ],
    }


def _point(curve: Curve, point: Point) -> dict[str, Any]:
    low, high = curve.likely(point) if curve.trust.standings else (None, None)
    return {
        "rows": point.rows,
        "speedup": point.speedup,
        "likely_from": low,
        "likely_to": high,
        "verdict": str(curve.verdict(point)),
        "energy_ratio": point.energy_ratio,
        "board_energy_ratio": point.board_energy_ratio,
        **{
            name: {
                "latency_s": result.latency_s,
                "energy_j": result.energy_j,
                "board_energy_j": result.board_energy_j,
                "bound_by": result.bound_by,
            }
            for name, result in (("dense", point.dense), ("sparse", point.sparse))
        },
    }
