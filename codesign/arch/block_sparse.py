"""A core that skips empty blocks of weights, or computes banks of weights in two precisions.

Sums stay in the array while A and B stream. Skipping (as for LPViT's 16x16 to 64x32 blocks): a
block of the reduction that is empty for all columns of the array takes one cycle. Two precisions
(as in SQ-format): of every bank the kept weights are wide, the others narrow; both paths work side
by side, add into the same sums, and the columns of the array wait for the slowest bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from codesign.arch.base import Fidelity, Mapping, Sparse
from codesign.arch.systolic import SystolicMachine
from codesign.arch.systolic_parts import SystolicSpec
from codesign.config import CodesignError, Spec
from codesign.schedule.folds import Array, Lanes, TileCycles
from codesign.schedule.program import Int64
from codesign.schedule.tiling import TileTable
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import Block
from codesign.trace.op import Op, Phase, ceil_bytes
from codesign.trace.sparsify import effective_macs
from codesign.units import DTypeName

BlockSize = Literal["16x16", "16x32", "32x16", "32x32", "32x64", "64x32", "64x64"]
"""Outputs x inputs."""

_PATCH_BLOCKS, _PATCH_SEED = 8, 0


class TwoPrecision(Spec):
    """The banked format: wide and narrow weights of a bank."""

    bank: int = Field(ge=2, le=1024)
    narrow_dtype: DTypeName
    narrow_per_cycle: int = Field(ge=1, le=16, description="narrow products beside a wide one")


class BlockCore(Spec):
    """The array and what it does with the weights that a pattern does not keep."""

    rows: int = Field(ge=1, le=1024)
    cols: int = Field(ge=1, le=1024)
    accumulate_latency_cycles: int = Field(ge=1, le=64)
    accumulators: int = Field(ge=1, le=64)
    unkept: Literal["skipped", "narrow"]
    blocks: tuple[BlockSize, ...] = Field(min_length=1)
    """The sizes that can be skipped; a layer takes the largest that its own blocks are made of."""
    two_precision: TwoPrecision


class BlockSparseSpec(SystolicSpec):
    """A machine file of family `block_sparse`."""

    machine: Literal["block_sparse"]
    array: BlockCore


class BlockSparse(SystolicMachine[BlockSparseSpec]):
    """Weights in blocks, skipped where empty; or all weights, some of them narrow."""

    spec_type = BlockSparseSpec
    unit_labels: ClassVar[dict[str, str]] = SystolicMachine.unit_labels

    @property
    def array(self) -> Array:
        a = self.spec.array
        return Array(a.rows, a.cols, a.accumulate_latency_cycles, interleave=a.accumulators)

    def dataflows(self, op: Op) -> Sequence[str]:
        return ("os",)

    def _weighted(self, op: Op) -> bool:
        weights = op.is_matmul and op.weight is not None and op.phase is not Phase.BACKWARD_WEIGHT
        return weights and not op.b_pattern.is_dense

    def narrows(self, op: Op) -> bool:
        """Whether the weights that the pattern does not keep are narrow here."""
        return self.spec.array.unkept == "narrow" and self._weighted(op)

    def block(self, op: Op) -> tuple[int, int] | None:
        """The block (outputs, inputs) that an operator's empty blocks are skipped in, if any."""
        pattern = op.b_pattern
        if self.spec.array.unkept != "skipped" or not self._weighted(op):
            return None
        if not isinstance(pattern, Block):
            return None
        sizes = [tuple(int(edge) for edge in text.split("x")) for text in self.spec.array.blocks]
        fits = [
            (rows, cols)
            for rows, cols in sizes
            if pattern.block_rows % rows == 0 and pattern.block_cols % cols == 0
        ]
        return max(fits, key=lambda size: size[0] * size[1], default=None)

    def exploits(self, op: Op) -> bool:
        return self.block(op) is not None

    def note(self, op: Op) -> str | None:
        if self.narrows(op):
            wide, narrow = op.b_dtype, self.spec.array.two_precision.narrow_dtype
            return f"{op.b_pattern} in {wide}, the other weights in {narrow}"
        return super().note(op)

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        return fidelity is not Fidelity.TILE and self.group(op) > 1

    def group(self, op: Op) -> int:
        if self.narrows(op):
            return min(op.k, self.spec.array.two_precision.bank)
        block = self.block(op)
        return 1 if block is None else min(op.k, block[1])

    def slots(self, op: Op) -> float:
        if self.group(op) == 1:
            return 1.0
        return float(self._times(op, self._patch(op)).mean())

    def lanes(self, op: Op, sparse: Sparse, fidelity: Fidelity) -> Lanes:
        group = self.group(op)
        if group == 1:
            return super().lanes(op, sparse, fidelity)
        if sparse.mask is None:
            patch = self._times(op, self._patch(op))
            column = np.arange(-(-op.n // self.spec.array.cols)) % patch.shape[0]
            place = np.arange(-(-op.k // group)) % patch.shape[1]
            times = np.minimum(patch[column[:, None], place], self._longest(op))[None]
            return Lanes(group, np.ascontiguousarray(times))
        mask = sparse.mask
        products = [
            self._times(op, mask[start : start + op.n, :]) for start in range(0, mask.rows, op.n)
        ]
        return Lanes(group, np.stack(products))

    def _patch(self, op: Op) -> Mask:
        """A small sample of the pattern, whole blocks of columns and groups."""
        rows = min(op.n, _PATCH_BLOCKS * self.spec.array.cols)
        return op.b_pattern.sample(rows, min(op.k, 64 * self.group(op)), _PATCH_SEED)

    def _sizes(self, op: Op, k: int) -> Int64:
        group = self.group(op)
        starts = np.arange(0, k, group, dtype=np.int64)
        return np.minimum(group, k - starts)

    def _feed(self, op: Op) -> int:
        """Cycles in which scratchpads feed a value to every row and a weight to every column."""
        array, buffers = self.spec.array, self.spec.buffers
        down = array.rows * ceil_bytes(8, op.a_dtype) / 8 / buffers.input.width_bytes
        across = array.cols * self.stored_bits(op) / 8 / buffers.weight.width_bytes
        return max(1, int(np.ceil(down)), int(np.ceil(across)))

    def _longest(self, op: Op) -> Int64:
        """Cycles of every group when nothing is skipped and nothing is narrow."""
        return self._sizes(op, op.k) * self._feed(op)

    def _times(self, op: Op, mask: Mask) -> Int64:
        """Cycles of every group in every block of columns, int64 [blocks of columns, groups]."""
        array, sizes = self.spec.array, self._sizes(op, mask.cols)
        starts = np.arange(0, mask.rows, array.cols)
        counts = mask.group_counts(self.group(op)).astype(np.int64)
        if self.narrows(op):
            rate = array.two_precision.narrow_per_cycle
            times = np.maximum(counts, -(-(sizes - counts) // rate))
        else:
            times = np.where(counts > 0, sizes, 0)
        slowest = np.maximum.reduceat(times, starts, axis=0)
        return np.asarray(slowest * self._feed(op), dtype=np.int64)

    def paced_array(self, op: Op) -> Array:
        paced = super().paced_array(op)
        least = max(paced.feed_slots, self._feed(op)) if self.group(op) == 1 else 1
        return replace(paced, feed_slots=least)

    def stored_bits(self, op: Op) -> int:
        return ceil_bytes(8, op.b_dtype)

    def held_density(self, op: Op) -> float:
        if self.group(op) == 1:
            return 1.0
        if self.narrows(op):
            return min(1.0, self._narrow_bits(op, op.b_pattern.density) / self.stored_bits(op))
        return min(1.0, self.slots(op) / (self.group(op) * self._feed(op)))

    def _narrow_bits(self, op: Op, wide: float) -> float:
        """Mean bits of a weight of which a fraction is wide, with a bit that tells which."""
        narrow = ceil_bytes(8, self.spec.array.two_precision.narrow_dtype)
        return wide * self.stored_bits(op) + (1 - wide) * narrow + 1

    def b_bytes(self, op: Op, table: TileTable, stored: Int64) -> Int64:
        if self.group(op) == 1:
            return super().b_bytes(op, table, stored)
        if self.narrows(op):
            bits = self._narrow_bits(op, op.b_pattern.density)
            dense = table.groups * table.n * table.k
            return np.asarray(np.ceil(dense * min(bits, self.stored_bits(op)) / 8), dtype=np.int64)
        most = table.groups * table.n * table.k
        values = np.minimum(-(-stored // self._feed(op)), most)
        return np.asarray(-(-values * self.stored_bits(op) // 8), dtype=np.int64)

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        if self.narrows(op):
            bits = min(self._narrow_bits(op, op.b_pattern.density), self.stored_bits(op))
            return int(op.b_elements * bits // 8)
        if not self.exploits(op):
            return op.b_bytes
        kept = effective_macs(op, sparse.mask) // (op.m * op.repeats)
        kept //= op.groups if op.b_shared else 1
        return kept * self.stored_bits(op) // 8

    def executed_macs(self, op: Op, table: TileTable, sparse: Sparse) -> Int64:
        dense = super().executed_macs(op, table, sparse)
        if not self.exploits(op):
            return dense
        mask = sparse.mask
        if mask is not None and op.groups == 1:
            kept = mask.tile_counts(table.tiling.n, table.tiling.k)
            return np.asarray(kept[table.n_index, table.k_index] * table.m)
        total = effective_macs(op, mask) // op.repeats
        ends = [int(edge) * total // int(dense.sum()) for edge in [0, *np.cumsum(dense)]]
        return np.array([b - a for a, b in pairwise(ends)], dtype=np.int64)

    def tile_cycles(
        self,
        op: Op,
        mapping: Mapping,
        table: TileTable,
        lanes: Lanes,
        sparse: Sparse,
        fidelity: Fidelity,
    ) -> TileCycles:
        if fidelity is Fidelity.CYCLE and self.group(op) > 1:
            raise CodesignError(
                f"{op.name}: fidelity cycle steps no skipped blocks and no two precisions; use row"
            )
        return super().tile_cycles(op, mapping, table, lanes, sparse, fidelity)
