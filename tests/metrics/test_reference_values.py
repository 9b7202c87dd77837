"""Does every reference value say where it is from, and do independent values agree with it?"""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from codesign.arch.parts import DramLink, Status
from codesign.config import ConfigError, load_spec
from codesign.metrics import reference as module
from codesign.metrics.reference import Reference, reference
from codesign.metrics.technology import (
    arithmetic,
    at_node,
    cell,
    doubt,
    dram_energy,
    dram_kinds,
    interpolate,
    node_factor,
    sram_energy,
)

IDENTITY = {"operation", "dtype", "kind", "node_nm", "capacity_bytes", "width_bytes"}
"""What a row is of; its other fields are numbers."""
YAML = Path(module.__file__).with_name("reference.yaml")


def test_every_row_has_a_source_a_status_and_positive_numbers() -> None:
    values = reference()
    assert len(values.rows()) > 60
    for table, row in values.rows():
        assert values.sources[row.source].strip()
        assert row.status in get_args(Status)
        numbers = row.model_dump(exclude={"status", "source", *IDENTITY})
        assert numbers
        if table != "sram_width":
            assert min(numbers.values()) > 0


def test_no_two_rows_are_of_the_same_thing() -> None:
    keys = [
        (table, *sorted(row.model_dump(include=IDENTITY).items()))
        for table, row in reference().rows()
    ]
    assert len(keys) == len(set(keys))


def test_numbers_without_a_source_are_assumed_and_only_they() -> None:
    values = reference()
    for _, row in values.rows():
        unknown = values.sources[row.source].startswith("no source")
        assert unknown == (row.status == "assumed")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("source: stillmaker_area}", "source: nobody}"),
        ("status: published", "status: certain"),
        ("pj: 0.2,", "pj: -0.2,"),
        ("sources:\n", 'sources:\n  idle: "nobody uses this"\n'),
        ("  aladdin:", "  alladin:"),
    ],
)
def test_a_faulty_table_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = YAML.read_text(encoding="utf-8")
    assert old in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError):
        load_spec(Reference, broken)


def test_every_kind_of_dram_that_a_machine_may_name_has_an_energy() -> None:
    assert set(dram_kinds()) == set(get_args(get_type_hints(DramLink)["kind"]))
    assert dram_energy("ddr9") is None


def test_the_tables_are_met_exactly_at_their_rows() -> None:
    for row in reference().sram:
        for write, energy_pj in ((False, row.read_pj), (True, row.write_pj)):
            figure = sram_energy(row.capacity_bytes, row.width_bytes, write, row.node_nm)
            assert figure.value * row.width_bytes == pytest.approx(energy_pj, rel=1e-12)
            assert figure.status == "derived"
    for row_ in reference().arithmetic_energy:
        figure = arithmetic(row_.operation, row_.dtype, "pj", row_.node_nm)
        assert (figure.value, figure.status) == (row_.pj, row_.status)
    for row__ in reference().arithmetic_area:
        figure = arithmetic(row__.operation, row__.dtype, "um2", row__.node_nm)
        assert (figure.value, figure.status) == (row__.um2, row__.status)
    for scaling in reference().energy_scaling:
        assert node_factor("pj", 45, scaling.node_nm).value == pytest.approx(scaling.factor)
    for scaling in reference().area_scaling:
        assert node_factor("um2", 45, scaling.node_nm).value == pytest.approx(scaling.factor)


def test_what_is_outside_the_tables_is_assumed() -> None:
    assert sram_energy(2**14, 8, False, 30).status == "derived"
    assert sram_energy(2**9, 8, False, 45).status == "assumed"
    assert sram_energy(2**21, 8, False, 45).status == "assumed"
    assert sram_energy(2**14, 2, False, 45).status == "assumed"
    assert sram_energy(2**14, 128, False, 45).status == "assumed"
    assert sram_energy(2**14, 8, False, 90).status == "assumed"
    assert sram_energy(2**14, 8, False, 5).status == "assumed"
    assert cell("register", "pj", 130).status == cell("register", "pj", 7).status == "derived"
    assert cell("register", "pj", 5).status == "assumed"
    assert arithmetic("multiply", "fp32", "pj", 22).status == "derived"
    assert arithmetic("multiply", "fp32", "pj", 5).status == "assumed"
    assert arithmetic("multiply", "fp8", "pj", 45).status == "assumed"
    assert arithmetic("multiply", "fp16", "pj", 45).status == "unverified"


def test_interpolation_is_a_power_law_between_rows_and_beyond_them() -> None:
    xs, ys = (1.0, 10.0, 100.0), (2.0, 20.0, 2000.0)
    assert [interpolate(xs, ys, x) for x in xs[:2]] == [2.0, 20.0]
    assert interpolate(xs, ys, 5.0) == pytest.approx(10.0)
    assert interpolate(xs, ys, 1000.0) == pytest.approx(200_000.0)
    assert interpolate(xs, ys, 0.1) == pytest.approx(0.2)
    assert interpolate((4.0,), (3.0,), 9.0) == 3.0


def test_between_two_nodes_a_value_lies_between_theirs() -> None:
    figures = {7: arithmetic("add", "fp32", "pj", 7), 45: arithmetic("add", "fp32", "pj", 45)}
    middle = at_node("pj", figures, 16)
    assert 0.38 < middle.value < 0.9
    assert middle.value == pytest.approx(0.38 * (0.9 / 0.38) ** 0.44426, rel=1e-4)


def test_the_least_trustworthy_status_wins() -> None:
    order: list[Status] = ["published", "measured", "derived", "chosen", "unverified", "assumed"]
    assert sorted(order) == sorted(get_args(Status))
    for worse in range(len(order)):
        for better in range(worse + 1):
            assert doubt(order[better], order[worse]) == order[worse]
            assert doubt(order[worse], order[better]) == order[worse]


@pytest.mark.parametrize(
    ("node_nm", "register_byte_pj", "register_byte_um2"),
    [(28, 0.042526, 26.177), (22, 0.024369, 17.529), (16, 0.014379, 13.138), (7, 0.007814, 4.129)],
)
def test_registers_scale_as_in_the_library_that_ships_them(
    node_nm: int, register_byte_pj: float, register_byte_um2: float
) -> None:
    """8-bit AladdinRegister of hwcomponents-library 1.0.58, which interpolates nodes linearly."""
    assert 8 * cell("register", "pj", node_nm).value == pytest.approx(register_byte_pj, rel=0.1)
    assert 8 * cell("register", "um2", node_nm).value == pytest.approx(register_byte_um2, rel=0.15)


@pytest.mark.parametrize(
    ("megabytes", "write", "pj_per_bit", "tolerance"),
    [
        (4, False, 0.249, 0.01),
        (4, True, 0.293, 0.15),
        (128, False, 1.88, 0.35),
        (128, True, 2.36, 0.4),
    ],
)
def test_large_buffers_agree_with_tpu_v4i(
    megabytes: int, write: bool, pj_per_bit: float, tolerance: float
) -> None:
    """Accelforge's tpu_v4i.yaml (7 nm), which cites Jouppi et al., ISCA 2023."""
    ours = sram_energy(megabytes << 20, 0, write, 7).value / 8
    assert ours == pytest.approx(pj_per_bit, rel=tolerance)


def test_an_int8_mac_lies_between_the_published_ones() -> None:
    """TPU v4i at 7 nm: 0.084 pJ; Aladdin's multiplier and 16-bit adder at 40 nm: 0.8975 pJ."""
    mac_7nm = (
        arithmetic("multiply", "int8", "pj", 7).value + arithmetic("add", "int32", "pj", 7).value
    )
    assert mac_7nm == pytest.approx(0.084, rel=0.2)
    mac_40nm = (
        arithmetic("multiply", "int8", "pj", 40).value + arithmetic("add", "int16", "pj", 40).value
    )
    assert 0.2 < mac_40nm < 0.8975
