"""Do blocks of steps become a consistent table, and are inconsistent tables refused?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.schedule.program import (
    COMPUTE,
    DONE,
    ENGINE_READY,
    ENGINE_RELEASED,
    INPUTS_READY,
    LOAD,
    Program,
    Steps,
    Unit,
)

UNITS = (Unit("link"), Unit("array"))
ACTIONS = ("read", "mac")


def loads_and_computes(tiles: int) -> Program:
    steps = Steps(UNITS, ACTIONS)
    at = np.arange(tiles)
    compute = steps.add(
        "array", at + 10, at=at, stage=COMPUTE, latency_cycles=3, action="mac", count=at
    )
    load = steps.add("link", at + 1, at=at, stage=LOAD, action="read", count=at * 5)
    steps.depend(compute, load)
    steps.depend(load[2:], compute[:-2])
    steps.depend(load[:1], steps.inputs_ready)
    steps.tally("buffer", 7)
    steps.tally("buffer", 8)
    return steps.build(release_after=compute[-1:], done_after=compute[-2:])


@given(st.integers(2, 30))
def test_steps_come_in_the_order_of_tiles_and_stages(tiles: int) -> None:
    program = loads_and_computes(tiles)
    program.check()
    assert len(program) == 2 * tiles + 4
    inner = program.unit[2:-2]
    assert inner.tolist() == [1, 2] * tiles
    assert program.busy_cycles[2:-2:2].tolist() == list(range(1, tiles + 1))
    assert program.busy_cycles[3:-2:2].tolist() == list(range(10, tiles + 10))
    assert set(program.latency_cycles[3:-2:2].tolist()) == {3}


def dependencies(program: Program, row: int) -> list[int]:
    row %= len(program)
    return sorted(program.dep_idx[program.dep_ptr[row] : program.dep_ptr[row + 1]].tolist())


def test_dependencies_are_renumbered_with_their_steps() -> None:
    program = loads_and_computes(4)
    assert program.unit[[INPUTS_READY, ENGINE_READY, ENGINE_RELEASED, DONE]].tolist() == [0] * 4
    assert dependencies(program, 2) == [INPUTS_READY]
    assert dependencies(program, 3) == [2]
    assert dependencies(program, 6) == [3]
    assert dependencies(program, 9) == [8]
    assert dependencies(program, ENGINE_RELEASED) == [9]
    assert dependencies(program, DONE) == [7, 9]


def test_totals_are_of_steps_and_tallies() -> None:
    assert loads_and_computes(4).totals() == {"read": 30, "mac": 6, "buffer": 15}


def test_a_scalar_stands_for_all_steps_of_a_block() -> None:
    steps = Steps(UNITS, ACTIONS)
    block = steps.add("link", np.array([1, 2, 3]), at=0, action="read", count=4)
    steps.depend(block, steps.engine_ready)
    program = steps.build(release_after=block, done_after=block)
    program.check()
    assert program.count[2:5].tolist() == [4, 4, 4]
    assert [dependencies(program, row) for row in (2, 3, 4)] == [[ENGINE_READY]] * 3
    assert dependencies(program, DONE) == [2, 3, 4]


def spoiled(**changes: Any) -> Program:
    return replace(loads_and_computes(3), **changes)


GOOD = loads_and_computes(3)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (spoiled(count=GOOD.count[1:]), "count has 9 rows, unit has 10"),
        (spoiled(latency_cycles=GOOD.latency_cycles[1:]), "latency_cycles has 9 rows"),
        (spoiled(dep_ptr=GOOD.dep_ptr[:-1]), "dep_ptr does not span dep_idx"),
        (spoiled(dep_ptr=GOOD.dep_ptr + 1), "dep_ptr does not span dep_idx"),
        (spoiled(dep_idx=GOOD.dep_idx[:-1]), "dep_ptr does not span dep_idx"),
        (spoiled(dep_idx=GOOD.dep_idx * 0 + 9), "a step that is not earlier"),
        (spoiled(dep_idx=GOOD.dep_idx - 9), "a step that is not earlier"),
        (spoiled(unit=GOOD.unit + 1), "names a unit that does not exist"),
        (spoiled(unit=GOOD.unit - 1), "names a unit that does not exist"),
        (spoiled(busy_cycles=GOOD.busy_cycles - 99), "negative cycles or counts"),
        (spoiled(latency_cycles=GOOD.latency_cycles - 1), "negative cycles or counts"),
        (spoiled(count=GOOD.count - 1), "negative cycles or counts"),
    ],
)
def test_inconsistent_tables_are_refused(program: Program, message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        program.check()


def test_a_table_may_be_empty() -> None:
    none = np.zeros(0, dtype=np.int64)
    zero = np.zeros(1, dtype=np.int64)
    Program(
        (), (), none.astype(np.int32), none, none, none.astype(np.int16), none, zero, none
    ).check()
