"""Energy of every action that a machine's blocks perform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codesign.arch.parts import Component, EnergyOverrides, Status, Technology
from codesign.config import CodesignError, did_you_mean
from codesign.metrics.technology import (
    Figure,
    arithmetic,
    cell,
    doubt,
    dram_energy,
    dram_kinds,
    special_multiplications,
    sram_energy,
)
from codesign.units import BITS_PER_BYTE, dtype_bits


@dataclass(frozen=True, slots=True)
class ActionEnergy:
    """Energy of one action and the part that pays it: per byte for memories, else per operation."""

    pj: float
    part: str
    source: str
    status: Status


def energy_table(
    components: Sequence[Component], technology: Technology, overrides: EnergyOverrides
) -> dict[str, ActionEnergy]:
    """Energy of every action of every component, by the action's name.

    An SRAM action whose name ends in `_write` is a write, every other one a read. A vector action
    whose name ends in `special` is an exponential, root or division, every other one an addition or
    a multiplication. A value of `overrides` holds for all actions of its kind; its own status
    stands in the machine file, here it is `chosen`, like an energy that a component states itself.

    Raises CodesignError for an action of two components, an SRAM without a capacity, a DRAM of
    unknown kind and a command without an energy.
    """
    table: dict[str, ActionEnergy] = {}
    for component in components:
        for action, figure in _actions(component, technology.node_nm, overrides):
            if action in table:
                raise CodesignError(
                    f"action {action!r} is performed by both {table[action].part!r} and "
                    f"{component.name!r}; give each component actions of its own"
                )
            table[action] = ActionEnergy(figure.value, component.name, figure.source, figure.status)
    return table


def _actions(
    component: Component, node_nm: int, overrides: EnergyOverrides
) -> Iterator[tuple[str, Figure]]:
    for action in component.actions:
        if action in component.stated_pj:
            stated = component.stated_pj[action]
            yield action, Figure(stated, "chosen", "stated by the machine")
            continue
        field = _override(component, action)
        chosen = getattr(overrides, field) if field else None
        if chosen is not None:
            yield action, Figure(chosen, "chosen", f"energy.{field} of the machine file")
        else:
            yield action, _derived(component, action, node_nm)


def _override(component: Component, action: str) -> str | None:
    match component.kind:
        case "mac":
            return "mac_pj"
        case "dram" | "sram" | "register":
            return f"{component.kind}_pj_per_byte"
        case "vector":
            return "vector_special_pj" if _is_special(action) else "vector_alu_pj"
        case "compare" | "command":
            return None


def _derived(component: Component, action: str, node_nm: int) -> Figure:
    match component.kind:
        case "mac":
            multiply = arithmetic("multiply", component.dtype, "pj", node_nm)
            add = arithmetic("add", component.accumulate_dtype, "pj", node_nm)
            return Figure(
                multiply.value + add.value,
                doubt(multiply.status, add.status),
                f"{component.dtype} multiplication: {multiply.source}; "
                f"{component.accumulate_dtype} addition: {add.source}",
            )
        case "vector":
            multiply = arithmetic("multiply", component.dtype, "pj", node_nm)
            if _is_special(action):
                times = special_multiplications()
                return Figure(
                    times.value * multiply.value,
                    doubt(times.status, multiply.status),
                    f"{times.value} multiplications ({times.source}): {multiply.source}",
                )
            add = arithmetic("add", component.dtype, "pj", node_nm)
            return Figure(
                (multiply.value + add.value) / 2,
                doubt("derived", multiply.status, add.status),
                f"mean of {component.dtype} addition and multiplication: {multiply.source}",
            )
        case "compare":
            return cell("compare", "pj", node_nm).times(dtype_bits(component.dtype))
        case "register":
            return cell("register", "pj", node_nm).times(BITS_PER_BYTE)
        case "sram":
            if component.capacity_bytes <= 0:
                raise CodesignError(f"SRAM {component.name!r} has no capacity_bytes")
            return sram_energy(
                component.capacity_bytes, component.width_bytes, action.endswith("_write"), node_nm
            )
        case "dram":
            known = dram_energy(component.dram_kind)
            if known is None:
                hint = did_you_mean(component.dram_kind, dram_kinds())
                raise CodesignError(
                    f"DRAM {component.name!r} is of unknown kind {component.dram_kind!r}; "
                    + (f"did you mean {hint!r}?" if hint else f"known: {', '.join(dram_kinds())}")
                )
            return known.times(BITS_PER_BYTE)
        case "command":
            raise CodesignError(f"command {component.name!r} states no energy of {action!r}")


def _is_special(action: str) -> bool:
    return action.endswith("special")
