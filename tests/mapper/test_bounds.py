"""Does a roofline count what must be done and moved, once, whatever the mapping spares?"""

from __future__ import annotations

import math
from dataclasses import replace

import codesign
from codesign.arch.base import Kept, Place, Sparse
from codesign.mapper.bounds import roofline
from codesign.trace.op import Op

DENSE = Sparse()


def _product() -> Op:
    return codesign.load_workload("gemm:96,200,64").ops[0]


def test_a_product_alone_does_all_its_work_and_moves_each_operand_once() -> None:
    op, machine = _product(), codesign.load_arch("dense_systolic")
    found = roofline(op, machine, DENSE, op.macs, machine.mappings(op)[0])
    peak, bandwidth = machine.peak_macs_per_cycle(op), machine.dram_bytes_per_cycle
    assert found.compute_cycles == math.ceil(op.macs / peak)
    assert found.compulsory_bytes == op.a_bytes + op.b_bytes + op.c_bytes
    assert found.memory_cycles == math.ceil(found.compulsory_bytes / bandwidth)
    assert found.alone_cycles == max(found.compute_cycles, found.memory_cycles)


def test_repeats_move_their_operands_again() -> None:
    op, machine = replace(_product(), repeats=3), codesign.load_arch("dense_systolic")
    mapping = machine.mappings(op)[0]
    three, one = (roofline(each, machine, DENSE, 1, mapping) for each in (op, _product()))
    assert three.compulsory_bytes == 3 * one.compulsory_bytes


def test_what_stays_on_the_chip_is_not_moved() -> None:
    op, machine = _product(), codesign.load_arch("dense_systolic")
    mapping = machine.mappings(op)[0]
    kept = replace(mapping, kept=Kept(a=True, c=True))
    assert roofline(op, machine, DENSE, 1, kept).compulsory_bytes == op.b_bytes
    fused = roofline(op, machine, DENSE, 1, replace(mapping, fused_into="another"))
    assert (fused.compulsory_bytes, fused.memory_cycles) == (0, 0)


def test_operators_side_by_side_share_the_machine() -> None:
    """On one core a product takes four times its share of the whole; that is not rounded up."""
    op, four = _product(), codesign.load_arch("dense_systolic", {"cores": 4})
    mapping = codesign.load_arch("dense_systolic").mappings(op)[0]
    peak, macs = four.peak_macs_per_cycle(op), op.macs + 1
    placed = roofline(op, four, DENSE, macs, replace(mapping, place=Place(1)))
    assert placed.compute_cycles == math.floor(macs / peak)
    assert placed.alone_cycles >= math.ceil(4 * macs / peak)
    cut = roofline(op, four, DENSE, macs, replace(mapping, place=Place(axis="n")))
    assert cut.compute_cycles == placed.compute_cycles
    assert cut.alone_cycles == max(math.ceil(macs / peak), cut.memory_cycles)
