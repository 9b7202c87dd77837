"""Reference values for energy and area, and what they become at another node, width or capacity.

Rows are in reference.yaml. Between the nodes of a table a value is interpolated, log against log;
beyond them it follows the factors for logic of Stillmaker and Baas (2017) and is assumed. Below
7 nm, where these end, energy is assumed to fall with the square root of the node and area with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log
from typing import Final, Literal, cast

from codesign.arch.parts import Status
from codesign.metrics.reference import Operation, Row, reference
from codesign.units import DTypeName, dtype_bits

Measure = Literal["pj", "um2"]

_DOUBT: Final[tuple[Status, ...]] = (
    "published",
    "measured",
    "derived",
    "chosen",
    "unverified",
    "assumed",
)
_SIGNIFICAND_BITS: Final[dict[str, int]] = {
    "fp64": 53,
    "fp32": 24,
    "tf32": 11,
    "fp16": 11,
    "bf16": 8,
    "fp8": 4,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with where it comes from."""

    value: float
    status: Status
    source: str

    def times(self, factor: int) -> Figure:
        """So many of it, from the same source."""
        return Figure(self.value * factor, self.status, self.source)


def doubt(*statuses: Status) -> Status:
    """The least trustworthy of some statuses: that of a number computed from them.

    >>> doubt("derived", "unverified", "published")
    'unverified'
    """
    return max(statuses, key=_DOUBT.index)


def node_factor(measure: Measure, from_nm: int, to_nm: int) -> Figure:
    """What multiplies the energy (pj) or area (um2) of logic when it moves to another node."""
    nodes, factors, source = _scaling_tables()[measure]
    fall = 0.5 if measure == "pj" else 1.0

    def relative(node_nm: int) -> float:
        if node_nm < nodes[0]:
            return factors[0] * float((node_nm / nodes[0]) ** fall)
        return interpolate(nodes, factors, node_nm)

    inside = from_nm == to_nm or nodes[0] <= min(from_nm, to_nm) <= max(from_nm, to_nm) <= nodes[-1]
    if min(from_nm, to_nm) < nodes[0]:
        law = "square root of the node" if measure == "pj" else "the node"
        source = f"{source}; below {nodes[0]} nm in proportion to {law}"
    return Figure(relative(to_nm) / relative(from_nm), "derived" if inside else "assumed", source)


def at_node(measure: Measure, figures: Mapping[int, Figure], node_nm: int) -> Figure:
    """A value known at some nodes, at any node."""
    if node_nm in figures:
        return figures[node_nm]
    nodes = sorted(figures)
    position = bisect_right(nodes, node_nm)
    if 0 < position < len(nodes):
        near = (nodes[position - 1], nodes[position])
        low, high = figures[near[0]], figures[near[1]]
        return Figure(
            interpolate(near, (low.value, high.value), node_nm),
            doubt("derived", low.status, high.status),
            f"between {near[0]} nm ({low.source}) and {near[1]} nm ({high.source})",
        )
    nearest = nodes[0] if position == 0 else nodes[-1]
    known, factor = figures[nearest], node_factor(measure, nearest, node_nm)
    status: Status = "derived" if len(nodes) == 1 else "assumed"
    return Figure(
        known.value * factor.value,
        doubt(status, known.status, factor.status),
        f"{nearest} nm ({known.source}), taken to {node_nm} nm by {factor.source}",
    )


@cache
def arithmetic(operation: Operation, dtype: DTypeName, measure: Measure, node_nm: int) -> Figure:
    """Energy in pJ, or area in um2, of one adder or multiplier.

    Types without a row follow a power law of the bits (of the significand, for floating point)
    through the two types of their family that have rows at every node: fp16 and fp32, int8 and
    int32. So tf32 costs as much as fp16. At 7 nm this law meets the bf16 rows within 7 %.
    """
    table = _arithmetic_tables()[measure]
    nodes = sorted({node for _, _, node in table})
    family: tuple[DTypeName, DTypeName]
    family = ("fp16", "fp32") if dtype in _SIGNIFICAND_BITS else ("int8", "int32")

    def known(node: int) -> Figure:
        row = table.get((operation, dtype, node))
        if row is not None:
            return row
        low, high = (table[operation, member, node] for member in family)
        bits = tuple(_bits(member) for member in family)
        inside = bits[0] <= _bits(dtype) <= bits[1]
        return Figure(
            interpolate(bits, (low.value, high.value), _bits(dtype)),
            doubt("derived" if inside else "assumed", low.status, high.status),
            f"power law of the bits through {family[0]} and {family[1]} ({low.source})",
        )

    return at_node(measure, {node: known(node) for node in nodes}, node_nm)


def cell(kind: str, measure: Measure, node_nm: int) -> Figure:
    """Energy in pJ, or area in um2, of one bit of a register or comparator."""
    return at_node(measure, _cell_table()[kind, measure], node_nm)


def sram_energy(capacity_bytes: int, width_bytes: int, write: bool, node_nm: int) -> Figure:
    """Energy in pJ per byte of an SRAM; a width of 0 is the table's width for the capacity.

    Inside the capacities and widths of the table the value is derived, outside it is assumed.
    """
    field = "write_pj" if write else "read_pj"
    figure = at_node("pj", _sram_by_node(field, capacity_bytes), node_nm)
    rows = reference().sram
    usual_width_bytes = _sram_by_node("width_bytes", capacity_bytes)[rows[0].node_nm].value
    if not width_bytes:
        return figure
    widths = [row.width_bytes for row in rows]
    inside = min(widths) <= width_bytes <= max(widths)
    width = reference().sram_width
    return Figure(
        figure.value * (width_bytes / usual_width_bytes) ** width.exponent,
        doubt(figure.status, width.status, "derived" if inside else "assumed"),
        figure.source,
    )


def sram_area(capacity_bytes: int, node_nm: int) -> Figure:
    """Area in um2 of an SRAM."""
    return at_node("um2", _sram_by_node("area_um2", capacity_bytes), node_nm)


def special_multiplications() -> Figure:
    """Multiplications that cost as much as one exponential, root or division."""
    row = reference().vector_special
    return Figure(row.multiplications, row.status, reference().sources[row.source])


def dram_energy(kind: str) -> Figure | None:
    """Energy in pJ per bit of a kind of DRAM, or None for an unknown kind."""
    return _dram_table().get(kind)


def dram_kinds() -> tuple[str, ...]:
    """Kinds of DRAM that the reference knows."""
    return tuple(_dram_table())


def interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Piecewise power law through points of ascending x; its outermost pieces go on beyond them.

    >>> round(interpolate((1, 10), (1, 100), 100), 6)
    10000.0
    """
    if len(xs) == 1:
        return ys[0]
    right = min(max(bisect_right(xs, x), 1), len(xs) - 1)
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    if x == x0:
        return y0
    return exp(log(y0) + log(y1 / y0) * log(x / x0) / log(x1 / x0))


def _figure(value: float, row: Row) -> Figure:
    return Figure(value, row.status, reference().sources[row.source])


def _bits(dtype: str) -> int:
    return _SIGNIFICAND_BITS.get(dtype) or dtype_bits(dtype)


@cache
def _scaling_tables() -> dict[str, tuple[tuple[int, ...], tuple[float, ...], str]]:
    tables = {}
    for measure, rows in (
        ("pj", reference().energy_scaling),
        ("um2", reference().area_scaling),
    ):
        ordered = sorted(rows, key=lambda row: row.node_nm)
        tables[measure] = (
            tuple(row.node_nm for row in ordered),
            tuple(row.factor for row in ordered),
            reference().sources[ordered[0].source],
        )
    return tables


@cache
def _arithmetic_tables() -> dict[str, dict[tuple[str, str, int], Figure]]:
    energy = {
        (row.operation, row.dtype, row.node_nm): _figure(row.pj, row)
        for row in reference().arithmetic_energy
    }
    area = {
        (row.operation, row.dtype, row.node_nm): _figure(row.um2, row)
        for row in reference().arithmetic_area
    }
    return cast("dict[str, dict[tuple[str, str, int], Figure]]", {"pj": energy, "um2": area})


@cache
def _cell_table() -> dict[tuple[str, str], dict[int, Figure]]:
    table = {}
    for row in reference().cells:
        table[str(row.kind), "pj"] = {row.node_nm: _figure(row.pj_per_bit, row)}
        table[str(row.kind), "um2"] = {row.node_nm: _figure(row.um2_per_bit, row)}
    return table


@cache
def _dram_table() -> dict[str, Figure]:
    return {row.kind: _figure(row.pj_per_bit, row) for row in reference().dram}


@cache
def _sram_by_node(field: str, capacity_bytes: int) -> dict[int, Figure]:
    """A field of the SRAM table at a capacity, for each node; energies are per byte."""
    out = {}
    for node_nm in {row.node_nm for row in reference().sram}:
        rows = sorted(
            (row for row in reference().sram if row.node_nm == node_nm),
            key=lambda row: row.capacity_bytes,
        )
        sizes = [row.capacity_bytes for row in rows]
        values = [
            getattr(row, field) / (row.width_bytes if field.endswith("_pj") else 1) for row in rows
        ]
        inside = sizes[0] <= capacity_bytes <= sizes[-1]
        known = _figure(interpolate(sizes, values, capacity_bytes), rows[0])
        status = doubt("derived" if inside else "assumed", *(row.status for row in rows))
        out[node_nm] = Figure(known.value, status, known.source)
    return out
