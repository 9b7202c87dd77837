"""Do AiM programs, run command by command, take the cycles that closed forms tell?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.memory import dram
from codesign.memory.aim import Instruction, command_program, gemv_program, program_cycles


def cycles(program):
    spec = dram("gddr6_aim")
    return program_cycles(spec, command_program(spec, program))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 5000), st.sampled_from([1, 2, 8, 32]))
def test_matrix_vector_products_take_the_closed_form(outputs, inputs, channels):
    groups = -(-outputs // (16 * channels))
    expected = 0
    for start in range(0, inputs, 1024):
        columns = -(-min(1024, inputs - start) // 16)
        expected += 2 * columns + groups * (158 + 2 * columns)
    assert cycles(gemv_program(outputs, inputs, channels)) == expected


def test_command_counts_of_a_product():
    program = command_program(dram("gddr6_aim"), gemv_program(4096, 4096, 32))
    assert program.counts == {
        "TMOD": 65,
        "WRGB": 256,
        "WRMAC16": 32,
        "ACT16": 32,
        "PREA": 31,
        "MAC16": 2048,
        "RDMAC16": 32,
    }


def test_single_instructions():
    assert cycles([Instruction("MAC_ABK", 64, 0)]) == 185
    assert cycles([Instruction("MAC_ABK", 64, 0)] * 2) == 313
    assert cycles([Instruction("MAC_ABK", 64, j) for j in range(2)]) == 411
    assert cycles([Instruction("MAC_SBK", 64, j) for j in range(16)]) == 3575
    assert cycles([Instruction("MAC_ABK", 1, j) for j in range(16)]) == 1559
    assert cycles([Instruction("WR_GB", 64)] * 2) == 291
    assert cycles([Instruction("EWMUL", 16, j) for j in range(2)]) == 184
    assert cycles([]) == 0


def test_no_product_is_faster_than_its_multipliers():
    for outputs, inputs in ((16, 16), (768, 768), (4096, 1024)):
        spec = dram("gddr6_aim")
        program = command_program(spec, gemv_program(outputs, inputs, 1))
        macs = program.counts["MAC16"] * 16 * 16
        assert macs >= outputs * inputs
        assert program_cycles(spec, program) * 16 * 16 / 2 >= macs


def test_faults():
    with pytest.raises(CodesignError, match="no commands for all banks"):
        command_program(dram("gddr6_14000"), gemv_program(1, 1, 1))
    with pytest.raises(CodesignError, match="needs outputs"):
        gemv_program(0, 1, 1)
