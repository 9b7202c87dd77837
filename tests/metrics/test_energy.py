"""Does every action of every component cost what its table says, and more for more work?"""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import isfinite
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.arch.parts import Component, EnergyOverrides, Status, Technology
from codesign.config import CodesignError
from codesign.metrics.energy import ActionEnergy, energy_table
from codesign.units import DTYPES, DTypeName

NODES = (130, 90, 65, 55, 45, 40, 32, 28, 22, 20, 16, 14, 12, 10, 7, 5, 3)
FLOATS: tuple[DTypeName, ...] = ("fp8", "bf16", "fp16", "tf32", "fp32", "fp64")
INTEGERS: tuple[DTypeName, ...] = ("bool", "int4", "int8", "int16", "int32")

MAC = Component(name="array", kind="mac", actions=("mac",), instances=1024)
SRAM = Component(
    name="buffer",
    kind="sram",
    actions=("buffer_read", "buffer_write"),
    capacity_bytes=65_536,
    width_bytes=16,
)
REGISTER = Component(name="accumulators", kind="register", actions=("register",), capacity_bytes=4)
DRAM = Component(name="dram", kind="dram", actions=("dram_read", "dram_write"), dram_kind="lpddr4")
VECTOR = Component(name="vector", kind="vector", actions=("vector_alu", "vector_special"))
COMPARE = Component(name="sorter", kind="compare", actions=("compare",))
COMMAND = Component(
    name="activate", kind="command", actions=("activate",), stated_pj={"activate": 600.0}
)
MACHINE = (MAC, SRAM, REGISTER, DRAM, VECTOR, COMPARE, COMMAND)
NO_OVERRIDES = EnergyOverrides()


def at(node_nm: int) -> Technology:
    return Technology(node_nm=node_nm, leakage_mw_per_mm2=1.0)


def energies(
    *components: Component, node_nm: int = 45, overrides: EnergyOverrides = NO_OVERRIDES
) -> dict[str, ActionEnergy]:
    return energy_table(components, at(node_nm), overrides)


def pj(component: Component, action: str = "", node_nm: int = 45) -> float:
    return energies(component, node_nm=node_nm)[action or component.actions[0]].pj


def test_values_at_45_nm_are_those_of_the_tables() -> None:
    table = {action: energy.pj for action, energy in energies(*MACHINE).items()}
    assert table["mac"] == pytest.approx(1.1 + 0.9)
    assert table["buffer_read"] == pytest.approx(39.33 / 16)
    assert table["buffer_write"] == pytest.approx(36.04 / 16)
    assert table["dram_read"] == table["dram_write"] == pytest.approx(8 * 8)
    assert table["vector_alu"] == pytest.approx((0.4 + 1.1) / 2)
    assert table["vector_special"] == pytest.approx(7.1 * 1.1)
    assert pj(REGISTER, node_nm=40) == pytest.approx(8 * 0.009)
    assert pj(COMPARE, node_nm=40) == pytest.approx(16 * 0.000921)
    assert pj(COMMAND) == 600.0


def test_every_kind_at_every_node_and_type_has_an_energy_with_a_source() -> None:
    assert {part.kind for part in MACHINE} == set(get_args(get_type_hints(Component)["kind"]))
    for node_nm in NODES:
        for dtype in DTYPES:
            parts = tuple(replace(part, dtype=dtype) for part in MACHINE)
            table = energies(*parts, node_nm=node_nm)
            assert set(table) == {action for part in parts for action in part.actions}
            for part in parts:
                for action in part.actions:
                    energy = table[action]
                    assert energy.part == part.name
                    assert energy.pj > 0
                    assert isfinite(energy.pj)
                    assert energy.source
                    assert energy.status in get_args(Status)


@pytest.mark.parametrize("component", [MAC, SRAM, REGISTER, VECTOR, COMPARE], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", ["int8", "fp8", "bf16", "fp32"])
def test_a_smaller_node_costs_less(component: Component, dtype: DTypeName) -> None:
    part = replace(component, dtype=dtype)
    for action in part.actions:
        falling = [pj(part, action, node_nm) for node_nm in NODES]
        assert all(a > b for a, b in itertools.pairwise(falling)), falling


@pytest.mark.parametrize("family", [FLOATS, INTEGERS])
@pytest.mark.parametrize("node_nm", NODES)
def test_a_wider_type_costs_more(family: tuple[DTypeName, ...], node_nm: int) -> None:
    """tf32 has the significand of fp16 and costs the same."""
    for component in (MAC, VECTOR):
        for action in component.actions:
            rising = {
                dtype: pj(replace(component, dtype=dtype), action, node_nm) for dtype in family
            }
            rising.pop("tf32", None)
            values = list(rising.values())
            assert all(a < b for a, b in itertools.pairwise(values)), rising
    assert pj(replace(MAC, dtype="tf32"), node_nm=node_nm) == pj(MAC, node_nm=node_nm)
    narrow = replace(MAC, accumulate_dtype=family[-3])
    wide = replace(MAC, accumulate_dtype=family[-2])
    assert pj(narrow, node_nm=node_nm) <= pj(wide, node_nm=node_nm)
    assert pj(narrow, node_nm=node_nm) < pj(
        replace(MAC, accumulate_dtype=family[-1]), node_nm=node_nm
    )


@settings(max_examples=200, deadline=None)
@given(
    small=st.integers(64, 2**27),
    growth=st.floats(1.01, 100.0),
    width_bytes=st.sampled_from((0, 1, 8, 32, 256)),
    node_nm=st.integers(3, 130),
)
def test_a_larger_sram_costs_more_per_byte(
    small: int, growth: float, width_bytes: int, node_nm: int
) -> None:
    one = replace(SRAM, capacity_bytes=small, width_bytes=width_bytes)
    other = replace(one, capacity_bytes=int(small * growth) + 1)
    for action in SRAM.actions:
        assert pj(one, action, node_nm) < pj(other, action, node_nm)


def test_a_wider_access_costs_less_per_byte_and_more_in_all() -> None:
    for narrow, wide in ((1, 4), (8, 16), (16, 64), (64, 512)):
        a, b = (pj(replace(SRAM, width_bytes=width)) for width in (narrow, wide))
        assert b < a
        assert b * wide > a * narrow


def test_an_sram_without_a_width_has_that_of_the_table() -> None:
    assert pj(replace(SRAM, width_bytes=0)) == pytest.approx(pj(SRAM), rel=1e-12)


def test_only_the_end_of_an_action_makes_it_a_write_or_special() -> None:
    names = ("spill", "a_write", "a_write_back", "a_read")
    table = energies(replace(SRAM, actions=names))
    assert table["a_write"].pj == pj(SRAM, "buffer_write")
    for name in ("spill", "a_write_back", "a_read"):
        assert table[name].pj == pj(SRAM, "buffer_read")
    table = energies(replace(VECTOR, actions=("special_add", "special", "wuve_special")))
    assert table["special_add"].pj == pj(VECTOR, "vector_alu")
    assert table["special"].pj == table["wuve_special"].pj == pj(VECTOR, "vector_special")


OVERRIDES = {
    "mac_pj": {"mac"},
    "dram_pj_per_byte": {"dram_read", "dram_write"},
    "sram_pj_per_byte": {"buffer_read", "buffer_write"},
    "register_pj_per_byte": {"register"},
    "vector_alu_pj": {"vector_alu"},
    "vector_special_pj": {"vector_special"},
}


@pytest.mark.parametrize("field", EnergyOverrides.model_fields)
@pytest.mark.parametrize("value", [0.0, 123.0])
def test_an_override_replaces_its_actions_and_no_other(field: str, value: float) -> None:
    overrides = EnergyOverrides.model_validate({field: value})
    before, after = energies(*MACHINE), energies(*MACHINE, overrides=overrides)
    assert {action for action in after if after[action] != before[action]} == OVERRIDES[field]
    for action in OVERRIDES[field]:
        assert after[action].pj == value
        assert after[action].part == before[action].part
        assert after[action].status == "chosen"
        assert f"energy.{field}" in after[action].source


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ((MAC, replace(VECTOR, actions=("mac",))), ("'mac'", "'array'", "'vector'")),
        ((replace(MAC, actions=("mac", "mac")),), ("'mac'", "'array'")),
        ((replace(SRAM, capacity_bytes=0),), ("'buffer'", "capacity_bytes")),
        ((replace(DRAM, dram_kind="hbm22"),), ("'dram'", "'hbm22'", "hbm2")),
        ((replace(DRAM, dram_kind=""),), ("'dram'", "ddr3", "hbm3e")),
    ],
)
def test_mistakes_are_named(components: tuple[Component, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(CodesignError) as caught:
        energies(*components)
    assert all(word in str(caught.value) for word in words)


def test_a_machine_without_components_has_no_energies() -> None:
    empty: dict[str, Any] = {}
    assert energies() == empty
