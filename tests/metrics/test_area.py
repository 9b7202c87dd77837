"""Is every block on the chip given an area that grows with what it holds, and does it leak?"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from codesign.arch.parts import Component, Technology
from codesign.config import CodesignError
from codesign.metrics.area import PartArea, area_table, leakage_w
from codesign.units import DTYPES, DTypeName

NODES = (130, 90, 65, 55, 45, 40, 32, 28, 22, 20, 16, 14, 12, 10, 7, 5, 3)

MAC = Component(name="array", kind="mac", actions=("mac",), instances=1024)
SRAM = Component(name="buffer", kind="sram", actions=("read",), capacity_bytes=262_144)
REGISTER = Component(name="accumulators", kind="register", actions=("reg",), capacity_bytes=4)
DRAM = Component(name="dram", kind="dram", actions=("load",), dram_kind="hbm2")
VECTOR = Component(name="vector", kind="vector", actions=("alu",), instances=32, dtype="fp32")
COMPARE = Component(name="sorter", kind="compare", actions=("compare",), dtype="int32")
MACHINE = (MAC, SRAM, REGISTER, DRAM, VECTOR, COMPARE)


def areas(*components: Component, node_nm: int = 45) -> dict[str, PartArea]:
    return area_table(components, Technology(node_nm=node_nm, leakage_mw_per_mm2=1.0))


def mm2(component: Component, node_nm: int = 45) -> float:
    return areas(component, node_nm=node_nm)[component.name].mm2


def test_areas_are_those_of_the_tables() -> None:
    table = areas(*MACHINE)
    assert set(table) == {"array", "buffer", "accumulators", "vector", "sorter"}
    assert table["array"].mm2 == pytest.approx(1024 * (1640 + 4184) * 1e-6)
    assert table["buffer"].mm2 == pytest.approx(0.8598)
    assert table["vector"].mm2 == pytest.approx(32 * (7700 + 4184) * 1e-6)
    assert mm2(REGISTER, 40) == pytest.approx(32 * 5.98e-6)
    assert mm2(COMPARE, 40) == pytest.approx(32 * 2.219e-6)
    assert {name: area.status for name, area in table.items()} == {
        "array": "unverified",
        "buffer": "derived",
        "accumulators": "derived",
        "vector": "assumed",
        "sorter": "derived",
    }


@pytest.mark.parametrize("component", [MAC, SRAM, REGISTER, VECTOR, COMPARE], ids=lambda c: c.name)
def test_a_smaller_node_takes_less(component: Component) -> None:
    for dtype in DTYPES:
        falling = [mm2(replace(component, dtype=dtype), node_nm) for node_nm in NODES]
        assert all(a > b for a, b in itertools.pairwise(falling)), (dtype, falling)


@pytest.mark.parametrize("family", [("int4", "int8", "int32"), ("fp8", "bf16", "fp16", "fp32")])
def test_a_wider_type_takes_more(family: tuple[DTypeName, ...]) -> None:
    for component in (MAC, VECTOR):
        rising = [mm2(replace(component, dtype=dtype)) for dtype in family]
        assert all(a < b for a, b in itertools.pairwise(rising)), rising
    rising = [mm2(replace(MAC, accumulate_dtype=dtype)) for dtype in family]
    assert all(a < b for a, b in itertools.pairwise(rising)), rising


@pytest.mark.parametrize("component", [SRAM, REGISTER])
def test_more_bytes_take_more(component: Component) -> None:
    for node_nm in (65, 30, 5):
        rising = [mm2(replace(component, capacity_bytes=64 * 3**i), node_nm) for i in range(14)]
        assert all(a < b for a, b in itertools.pairwise(rising)), rising


def test_instances_and_components_of_one_name_add_up() -> None:
    for component in (MAC, SRAM, REGISTER, VECTOR, COMPARE):
        several = replace(component, instances=7 * component.instances)
        assert mm2(several) == pytest.approx(7 * mm2(component), rel=1e-12)
    part = replace(VECTOR, name="buffer")
    both = areas(SRAM, part)["buffer"]
    assert both.mm2 == pytest.approx(mm2(SRAM) + mm2(part), rel=1e-12)
    assert both.status == "assumed"
    assert areas(SRAM)["buffer"].source in both.source


@pytest.mark.parametrize("component", [SRAM, REGISTER])
def test_a_memory_without_a_size_is_named(component: Component) -> None:
    with pytest.raises(CodesignError, match=f"'{component.name}' has no capacity_bytes"):
        areas(replace(component, capacity_bytes=0))


def test_leakage_is_area_times_leakage_of_the_process() -> None:
    parts = {"a": PartArea(3.0, "here", "chosen"), "b": PartArea(1.5, "here", "chosen")}
    assert leakage_w(parts, Technology(node_nm=7, leakage_mw_per_mm2=20.0)) == pytest.approx(0.09)
    assert leakage_w(parts, Technology(node_nm=7, leakage_mw_per_mm2=0.0)) == 0.0
    assert leakage_w({}, Technology(node_nm=7, leakage_mw_per_mm2=20.0)) == 0.0
