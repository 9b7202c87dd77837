"""Do the steps of tiled work load, compute and store what they must, behind double buffers?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.arch import load_arch
from codesign.measure.probes import gemm
from codesign.schedule.folds import TileCycles
from codesign.schedule.product import TiledProduct
from codesign.schedule.program import Program, Steps, Unit
from codesign.schedule.streaming import (
    ARRAY,
    DRAM,
    DRAM_READ,
    DRAM_WRITE,
    MAC,
    STATIONARY_LOAD,
    Link,
    Operand,
    Selection,
    bytes_of,
    emit_outline,
    share,
)
from codesign.schedule.tiling import TileTable, Tiling, tile_table
from codesign.schedule.vector_stream import Stream
from codesign.sim import simulate
from codesign.trace.op import Kind, Op, Phase
from tests.schedule.made_products import Pads, program_of

SORTER = Unit("sorter")
UNITS = (DRAM, STATIONARY_LOAD, ARRAY, SORTER)
ACTIONS = (DRAM_READ, DRAM_WRITE, MAC, "sort", "alu", "special", "b_read", "b_write")


def constant(table: TileTable, value: int) -> np.ndarray:
    return np.full(len(table), value, dtype=np.int64)


def product_program(
    *, tiles: int, compute: int, load: int, latency: int = 0, fill: int = 0, outline: bool = False
) -> Program:
    """A product cut along m: `load` cycles to bring each tile of A, one cycle for B and each C."""
    op = gemm(tiles, 1, 1).ops[0]
    table = tile_table(op, Tiling(1, 1, 1))
    body, tail = constant(table, compute - 1), constant(table, 1)
    cycles = TileCycles(constant(table, fill), body, tail, constant(table, 0), constant(table, 1))
    a = Operand(table.loads_a, constant(table, load), True)
    b = Operand(table.loads_b, constant(table, 1), False)
    steps = Steps(UNITS, ACTIONS)
    link, macs = Link(2.0, latency), constant(table, 1)
    a = replace(a, size_bytes=2 * a.size_bytes)
    b = replace(b, size_bytes=2 * b.size_bytes)
    return program_of(steps, TiledProduct(table, cycles, a, b, macs), link, outline=outline)


def test_computation_hides_loads_and_stores() -> None:
    """First load of A and B, all computation, last store."""
    assert simulate(product_program(tiles=10, compute=20, load=3)).cycles == 1 + 3 + 200 + 1


def test_a_slow_link_hides_computation() -> None:
    """B, ten tiles of A, nine stores between; then the last tile computes and is stored."""
    assert simulate(product_program(tiles=10, compute=5, load=20)).cycles == 1 + 200 + 8 + 5 + 1


def test_a_load_waits_for_the_use_of_the_load_two_before_it() -> None:
    timeline = simulate(product_program(tiles=6, compute=50, load=5, latency=100))
    program = timeline.program
    of_a = np.flatnonzero((program.action == 1) & (program.count == 10))
    tails = np.flatnonzero(program.action == 3)
    assert len(of_a) == len(tails) == 6
    assert np.all(timeline.start[of_a[2:]] >= timeline.end[tails[:-2]])
    assert np.all(timeline.start[of_a[2:]] < timeline.end[tails[1:-1]])


def test_the_next_stationary_values_load_during_the_last_fold_only() -> None:
    hidden = simulate(product_program(tiles=8, compute=20, load=1, fill=1)).cycles
    shown = simulate(product_program(tiles=8, compute=20, load=1, fill=6)).cycles
    assert hidden == 1 + 1 + 160 + 1
    assert shown == hidden + 5 + 7 * 5


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(2, 60), st.integers(1, 60), st.integers(0, 80),
    st.integers(0, 60),
)  # fmt: skip
def test_an_outline_is_near_the_steps(
    tiles: int, compute: int, load: int, latency: int, fill: int
) -> None:
    sizes = {"tiles": tiles, "compute": compute, "load": load, "latency": latency, "fill": fill}
    steps, outline = (
        simulate(product_program(**sizes, outline=choice)).cycles  # type: ignore[arg-type]
        for choice in (False, True)
    )
    assert abs(outline - steps) <= 0.25 * steps + 2 * (load + latency + compute + fill)


def test_a_double_buffer_takes_turns_from_the_third_transfer_on() -> None:
    """Half of the transfers, the work, and all waits but two; none without a link."""
    link = Link(2.0, 10)
    assert [link.turns(100, count, 5, 3) for count in (0, 1, 2)] == [0, 0, 0]
    assert link.turns(100, 6, 5, 3) == (50 + 4 * 13 + 5) / 2
    assert Link(None, 10).turns(100, 6, 5, 3) == 0


def test_results_that_are_kept_take_no_turn_on_the_link() -> None:
    """Few loads, many tiles, a slow way to memory: the outline is near the steps as well."""
    table = tile_table(gemm(4, 50, 1).ops[0], Tiling(1, 1, 1))
    one, pads = constant(table, 1), Pads(1e9)
    product = TiledProduct(
        table,
        TileCycles(0 * one, one, one, 0 * one, one),
        streamed=Operand(table.loads_a, 2 * one, True),
        stationary=Operand(table.loads_b, 2 * one, True, kept=pads),
        macs=one,
        results=pads,
    )
    link = Link(2.0, 1000)
    steps, outline = (
        simulate(program_of(Steps(UNITS, ACTIONS), product, link, outline=choice)).cycles
        for choice in (False, True)
    )
    assert abs(outline - steps) <= 0.1 * steps


@pytest.mark.parametrize("outline", [False, True])
def test_steps_and_outlines_move_the_same_bytes_and_do_the_same_work(outline: bool) -> None:
    program = product_program(tiles=7, compute=4, load=3, outline=outline)
    op = gemm(7, 1, 1).ops[0]
    assert program.totals() == {"dram_read": 7 * 6 + 2, "dram_write": op.c_bytes, "mac": 7}


def test_a_selection_lies_between_a_load_and_its_use() -> None:
    op = gemm(3, 1, 1).ops[0]
    table = tile_table(op, Tiling(1, 1, 1))
    one = constant(table, 1)
    cycles = TileCycles(0 * one, one, one, 0 * one, one)
    chosen = Selection(SORTER.name, "sort", 9 * one, 4 * one)
    steps = Steps(UNITS, ACTIONS)
    product = TiledProduct(
        table,
        cycles,
        streamed=Operand(table.loads_a, 2 * one, True, chosen),
        stationary=Operand(table.loads_b, 2 * one, False),
        macs=one,
    )
    program = program_of(steps, product, Link(2.0), outline=False)
    assert program.totals()["sort"] == 12
    assert simulate(program).cycles == 2 + 3 * 9 + 2 + 1


def stream(elements: int, *, chunk_bytes: int = 64, lanes: int = 4, latency: int = 5) -> Stream:
    op = Op(
        name="v", kind=Kind.ELEMENTWISE, phase=Phase.FORWARD, elements=elements, passes=1,
        alu_per_element=2, special_per_element=1, reads=2 * elements, writes=elements,
    )  # fmt: skip
    return Stream(op, "array", "alu", "special", chunk_bytes, 3, lanes, latency)


links = st.builds(Link, st.none() | st.floats(0.5, 200), st.integers(0, 200))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5000), links, st.integers(5, 12))
def test_vector_work_is_complete_and_its_chunks_fit(elements: int, link: Link, power: int) -> None:
    work = stream(elements, chunk_bytes=1 << power)
    steps = Steps(UNITS, ACTIONS)
    release, done = work.emit(steps, link)
    work.tally(steps, "b")
    program = steps.build(release_after=release, done_after=done)
    program.check()
    totals = program.totals()
    assert totals["dram_read"] == work.op.read_bytes == 4 * elements
    assert totals["dram_write"] == work.op.write_bytes == 2 * elements
    assert totals["alu"] == 2 * elements
    assert totals["special"] == elements
    assert totals["b_read"] == totals["b_write"] == 6 * elements
    reads = program.count[program.action == 1]
    assert reads.max() <= max(work.chunk_bytes, 4)
    held = simulate(program).busy_cycles()["array"]
    assert held >= -(-elements // work.lanes) * work.cycles_per_element
    outlined = Steps(UNITS, ACTIONS)
    ends = emit_outline(outlined, link, work.outline(link))
    outline = outlined.build(release_after=ends[0], done_after=ends[1])
    assert outline.totals()["dram_read"] == totals["dram_read"]
    assert outline.totals()["alu"] == totals["alu"]


@given(st.integers(1, 20_000), links, st.integers(5, 12))
def test_a_larger_vector_buffer_is_never_estimated_slower(
    elements: int, link: Link, power: int
) -> None:
    """The counts that a buffer of twice the size allows are twice as many, down to one doubling."""
    small, large = (stream(elements, chunk_bytes=size << power) for size in (1, 2))
    before = small.estimate(small.chunks(link), link)
    assert large.estimate(large.chunks(link), link) <= before * 1.02 + small.lanes * 3


def test_the_selection_behind_vector_work_delays_its_stores() -> None:
    link = Link(8.0)
    plain = stream(200)
    sorted_ = replace(
        plain, after=Selection(SORTER.name, "sort", np.array([1000]), np.array([200]))
    )
    cycles = []
    for work in (plain, sorted_):
        steps = Steps(UNITS, ACTIONS)
        release, done = work.emit(steps, link)
        cycles.append(simulate(steps.build(release_after=release, done_after=done)).cycles)
    assert cycles[1] >= 1000 > cycles[0]


def test_a_link_rounds_each_transfer_up_and_an_ideal_one_takes_no_time() -> None:
    amounts = np.array([0, 1, 64, 65])
    assert Link(64.0, 9).cycles(amounts).tolist() == [0, 1, 1, 2]
    assert Link(None, 9).cycles(amounts).tolist() == [0, 0, 0, 0]
    assert (Link(64.0, 9).delay, Link(None, 9).delay) == (9, 0)


def test_bytes_and_shares_are_whole() -> None:
    assert bytes_of(np.array([3, 4]), "int4").tolist() == [2, 2]
    assert bytes_of(np.array([3]), "fp16").tolist() == [6]
    assert share(10, 4).tolist() == [2, 3, 2, 3]
    assert share(3, 5).sum() == 3


def test_machine_buffers_limit_tiles() -> None:
    """Tiles of the same product shrink with each scratchpad."""
    op = gemm(512, 512, 512).ops[0]
    for name, size in (("input", "tile_m"), ("weight", "tile_n"), ("output", "tile_m")):
        tight = load_arch("dense_systolic", {f"buffers.{name}.capacity_bytes": 8192}).mappings(op)
        roomy = load_arch("dense_systolic").mappings(op)
        area = [m.tile_m * m.tile_n * m.tile_k for m in (tight[0], roomy[0])]
        assert area[0] < area[1], (name, size)
