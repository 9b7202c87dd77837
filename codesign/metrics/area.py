"""Silicon area of a machine's blocks, and what it leaks.

Areas are those of cells and macros: nothing is added for wiring between blocks, control or pads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codesign.arch.base import AnyMachine
from codesign.arch.parts import Component, Status, Technology
from codesign.config import CodesignError
from codesign.metrics.technology import Figure, arithmetic, cell, doubt, sram_area
from codesign.units import BITS_PER_BYTE, MW_PER_W, UM2_PER_MM2, dtype_bits


@dataclass(frozen=True, slots=True)
class PartArea:
    """Area of all instances of a part."""

    mm2: float
    source: str
    status: Status


def area_table(components: Sequence[Component], technology: Technology) -> dict[str, PartArea]:
    """On-chip area by part name; components of one name add up, and DRAM is left out.

    A MAC is a multiplier of its type and an adder of its accumulation type. An instance of a vector
    unit is an adder and a multiplier; exponentials, roots and divisions are assumed to iterate on
    them.

    Raises CodesignError for an SRAM or registers without a size.
    """
    table: dict[str, PartArea] = {}
    for component in components:
        if component.kind in ("dram", "command") or component.instances == 0:
            continue
        one = _instance_um2(component, technology.node_nm)
        mm2 = one.value * component.instances / UM2_PER_MM2
        earlier = table.get(component.name)
        if earlier is None:
            table[component.name] = PartArea(mm2, one.source, one.status)
        else:
            sources = dict.fromkeys((*earlier.source.split("; "), *one.source.split("; ")))
            table[component.name] = PartArea(
                earlier.mm2 + mm2, "; ".join(sources), doubt(earlier.status, one.status)
            )
    return table


def leakage_w(areas: Mapping[str, PartArea], technology: Technology) -> float:
    """Power that the whole area leaks at all times."""
    mm2 = sum(area.mm2 for area in areas.values())
    return mm2 * technology.leakage_mw_per_mm2 / MW_PER_W


def standing_power_w(machine: AnyMachine, areas: Mapping[str, PartArea]) -> dict[str, float]:
    """Power by part that a machine draws at all times: what its area leaks, and what it states."""
    return {"leakage": leakage_w(areas, machine.spec.technology), **machine.static_power_w()}


def _instance_um2(component: Component, node_nm: int) -> Figure:
    match component.kind:
        case "mac":
            return _sum(
                arithmetic("multiply", component.dtype, "um2", node_nm),
                arithmetic("add", component.accumulate_dtype, "um2", node_nm),
            )
        case "vector":
            return _sum(
                arithmetic("multiply", component.dtype, "um2", node_nm),
                arithmetic("add", component.dtype, "um2", node_nm),
                Figure(0.0, "assumed", "no unit of its own for exponentials, roots and divisions"),
            )
        case "compare":
            return cell("compare", "um2", node_nm).times(dtype_bits(component.dtype))
        case "register":
            bits = BITS_PER_BYTE * _capacity_bytes(component)
            return cell("register", "um2", node_nm).times(bits)
        case "sram":
            return sram_area(_capacity_bytes(component), node_nm)
        case "dram" | "command":
            raise AssertionError("DRAM takes no area on the chip")


def _capacity_bytes(component: Component) -> int:
    if component.capacity_bytes <= 0:
        raise CodesignError(f"{component.kind} {component.name!r} has no capacity_bytes")
    return component.capacity_bytes


def _sum(*figures: Figure) -> Figure:
    return Figure(
        sum(figure.value for figure in figures),
        doubt(*(figure.status for figure in figures)),
        "; ".join(dict.fromkeys(figure.source for figure in figures)),
    )
