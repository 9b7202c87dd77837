"""Does a product cost the energy of its own data type, in units that multiply several?"""

from __future__ import annotations

import pytest

from codesign import evaluate, load_arch, load_workload
from codesign.arch.parts import Component, Technology, mac_action, macs_by_width
from codesign.metrics.area import area_table
from codesign.metrics.energy import energy_table

ARRAY = Component(
    name="array", kind="mac", actions=(), instances=64, dtype="int8", accumulate_dtype="int32"
)
AT_7NM = Technology(node_nm=7, leakage_mw_per_mm2=0)


@pytest.mark.parametrize(
    ("machine", "part", "dtypes"),
    [("s4", "lanes", ("int8", "bf16")), ("cpu_epyc9654", "vector units", ("int8", "bf16", "fp32"))],
)
def test_wider_operands_take_more_energy_in_the_same_area(machine, part, dtypes):
    arch = load_arch(machine)
    found = [
        evaluate(load_workload("gemm:64,256,256", dtype=dtype), arch, fidelity="tile")
        for dtype in dtypes
    ]
    joules = [one.energy_j_by_part[part] for one in found]
    assert joules == sorted(joules)
    assert joules[0] < joules[-1] / 2
    assert len({one.area_mm2_by_part[part] for one in found}) == 1


def test_the_action_is_that_of_the_wider_operand_and_no_wider_than_the_units():
    assert mac_action(("int4", "int8"), (8, 16)) == "mac_8bit"
    assert mac_action(("bf16", "int8"), (8, 16)) == "mac_16bit"
    assert mac_action(("fp32", "int8"), (8, 16)) == "mac_16bit"
    assert mac_action(("tf32", "tf32"), (8, 16, 32)) == "mac_32bit"


def test_widths_have_energies_of_their_own_and_the_area_of_the_units():
    parts = macs_by_width(ARRAY, (8, 16, 32))
    table = energy_table(parts, AT_7NM, load_arch("s4").spec.energy)
    assert table["mac_8bit"].pj < table["mac_16bit"].pj < table["mac_32bit"].pj
    assert area_table(parts, AT_7NM) == area_table([ARRAY], AT_7NM)
