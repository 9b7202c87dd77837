"""Are the steps of work on a product's tiles those of a listing that is written piece by piece?"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.measure.probes import gemm
from codesign.schedule.epilogue import Epilogue, Finish
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
)
from codesign.schedule.tiling import TileTable, Tiling, tile_table
from codesign.sim import simulate
from codesign.trace.op import Kind, Op, Phase
from codesign.units import DTYPE_BYTES
from tests.reference import epilogue_twin as twin
from tests.schedule.made_products import Pads, program_of

VECTOR = Unit("vector")
UNITS = (DRAM, STATIONARY_LOAD, ARRAY, VECTOR)
ACTIONS = (DRAM_READ, DRAM_WRITE, MAC, "alu", "special", "buffer_read", "buffer_write")


class Case:
    """A product, its tiles and their cycles, and the work that follows, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)

        def some(low: int, high: int, size: int | None = None) -> Any:
            return rng.integers(low, high + 1, size=size)

        m, n, k, groups = (int(some(1, high)) for high in (9, 7, 5, 3))
        op = gemm(m, n, k).ops[0]
        op = Op(name="p", kind=Kind.GEMM, phase=Phase.FORWARD, m=m, n=n, k=k, groups=groups)
        whole = int(some(0, 3)) == 0
        tiling = Tiling(
            int(some(1, m)), int(some(1, n)), int(some(1, k)), 1, str(rng.choice(["mn", "nm"]))
        )
        if whole:
            tiling = Tiling(m, n, k, int(some(1, groups)))
        self.table: TileTable = tile_table(op, tiling)
        tiles = len(self.table)
        self.cycles = TileCycles(
            some(0, 9, tiles), some(0, 30, tiles), some(1, 5, tiles), some(0, 9, tiles),
            some(1, 5, tiles),
        )  # fmt: skip
        self.macs = self.table.groups * self.table.m * self.table.n * self.table.k
        self.sizes = some(1, 40, tiles), some(1, 40, tiles)
        self.ops = self._followers(rng, op)
        flags = tuple(bool(flag) for flag in some(0, 1, len(self.ops)))
        self.epilogue = Epilogue(self.ops, (*flags, True))
        operand_bytes = self.epilogue.operand_bytes
        keeps = bool(some(0, 1))
        kept_read = int(some(0, operand_bytes)) if some(0, 1) else 0
        self.link, self.pads = Link(float(some(1, 8)) / 2, int(some(0, 9))), Pads(float(some(1, 9)))
        self.finish = Finish(
            epilogue=self.epilogue, unit=VECTOR.name, action="alu", lanes=int(some(1, 4)),
            cycles_per_element=int(some(1, 6)), latency_cycles=int(some(0, 9)),
            piece_bytes=int(some(4, 60)), kept_read_bytes=kept_read, keeps_result=keeps,
            pads=self.pads if keeps or kept_read else None,
        )  # fmt: skip

    def _followers(self, rng: np.random.Generator, op: Op) -> tuple[Op, ...]:
        found, dtype, size = [], op.c_dtype, op.c_elements
        for _ in range(int(rng.integers(1, 4))):
            made = str(rng.choice(["fp16", "fp32", "int8", "int4"]))
            found.append(
                Op(
                    name="v", kind=Kind.ELEMENTWISE, phase=Phase.FORWARD, elements=size, passes=1,
                    alu_per_element=int(rng.integers(0, 4)), a_dtype=dtype, c_dtype=made,
                    special_per_element=int(rng.integers(0, 2)), writes=size,
                    reads=size + int(rng.choice([0, 0, size, size // 3])),
                )
            )  # fmt: skip
            dtype = made
        return tuple(found)

    def program(self, *, outline: bool = False) -> Program:
        table, steps = self.table, Steps(UNITS, ACTIONS)
        a = Operand(table.loads_a, self.sizes[0], True)
        b = Operand(table.loads_b, self.sizes[1], False)
        self.finish.tally(steps, table.op, "special", "buffer")
        product = TiledProduct(table, self.cycles, a, b, self.macs, finish=self.finish)
        return program_of(steps, product, self.link, outline=outline)

    def plain(self, pads: Pads | None) -> Program:
        """The product alone, its results stored or kept."""
        table = self.table
        a = Operand(table.loads_a, self.sizes[0], True)
        b = Operand(table.loads_b, self.sizes[1], False)
        product = TiledProduct(table, self.cycles, a, b, self.macs, results=pads)
        return program_of(Steps(UNITS, ACTIONS), product, self.link, outline=False)

    def tiles(self) -> list[dict[str, Any]]:
        """The tiles, as the reference takes them."""
        table, cycles = self.table, self.cycles
        return [
            {
                "fill": cycles.fill[i], "body": cycles.body[i], "tail": cycles.tail[i],
                "latency": cycles.latency[i], "macs": self.macs[i],
                "a_load": int(self.sizes[0][i]) if table.loads_a[i] else None,
                "b_load": int(self.sizes[1][i]) if table.loads_b[i] else None,
                "first": bool(table.first_k[i]), "last": bool(table.last_k[i]),
                "elements": int(table.c_elements[i]),
            }
            for i in range(len(table))
        ]  # fmt: skip

    def listing(self) -> list[Any]:
        """The program, from the reference."""
        table, finish = self.table, self.finish
        bits = [
            DTYPE_BYTES[dtype][0] * 8 // DTYPE_BYTES[dtype][1]
            for dtype in self.epilogue.dtypes(table.op.c_dtype)
        ]
        told = {
            "stored_bits": bits, "operand_bytes": self.epilogue.operand_bytes,
            "kept_operand_bytes": finish.kept_read_bytes, "keeps_result": finish.keeps_result,
            "lanes": finish.lanes, "per_element": finish.cycles_per_element,
            "latency": finish.latency_cycles, "piece_bytes": finish.piece_bytes,
            "alu": sum(op.alu_per_element for op in self.ops), "pads": self.pads.bytes_per_cycle,
        }  # fmt: skip
        link = (self.link.bytes_per_cycle, self.link.latency_cycles)
        listed: list[Any] = twin.steps(self.tiles(), told, link)
        return listed


def rows(program: Program) -> list[Any]:
    """A program as the reference lists it."""
    return [
        (
            program.units[program.unit[i]].name, int(program.busy_cycles[i]),
            int(program.latency_cycles[i]), program.actions[program.action[i]],
            int(program.count[i]),
            set(program.dep_idx[program.dep_ptr[i] : program.dep_ptr[i + 1]].tolist()),
        )
        for i in range(len(program))
    ]  # fmt: skip


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_steps_equal_those_of_the_reference(seed: int) -> None:
    """Every row: unit, cycles, action, count, and what it waits for."""
    case = Case(seed)
    assert rows(case.program()) == case.listing()


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=150, deadline=None)
def test_steps_of_a_product_alone_equal_those_of_the_reference(seed: int, kept: bool) -> None:
    """Results leave by the link or stay in scratchpads; sums are freed when they have left."""
    case = Case(seed)
    link = (case.link.bytes_per_cycle, case.link.latency_cycles)
    told = {"stored_bits": 16, "keeps_result": kept, "pads": case.pads.bytes_per_cycle}
    expected = twin.steps(case.tiles(), told, link)
    assert rows(case.plain(case.pads if kept else None)) == expected


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_steps_and_outlines_do_the_same_work(seed: int) -> None:
    """Bytes, operations and accesses are equal, and those of the operators; cycles are near."""
    case = Case(seed)
    steps, outline = case.program(), case.program(outline=True)
    told = steps.totals()
    if case.finish.pads is None:
        assert told == outline.totals()
    size = case.table.op.c_elements
    assert told.get("alu", 0) == size * sum(op.alu_per_element for op in case.ops)
    assert told.get("special", 0) == size * sum(op.special_per_element for op in case.ops)
    moved = case.epilogue.operand_bytes + sum(
        -(-size * DTYPE_BYTES[dtype][0] // DTYPE_BYTES[dtype][1])
        for dtype in case.epilogue.dtypes("fp16")
    )
    assert told["buffer_read"] == told["buffer_write"] == moved
    assert simulate(outline).cycles > 0
