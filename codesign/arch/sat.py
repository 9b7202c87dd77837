"""SAT: a systolic tensor computing engine for N:M sparse training, arXiv 2309.13015.

STCE is the array of value-serial processing elements, SORE selects the kept weights of a group,
WUVE updates the weights; the names are the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from codesign.arch.base import Fidelity, Sparse
from codesign.arch.parts import Component, VectorUnit, distinct
from codesign.arch.systolic import SystolicMachine
from codesign.arch.systolic_parts import SystolicSpec
from codesign.arch.vector_lanes import stream_buffer, stream_through
from codesign.config import Spec
from codesign.schedule.folds import Array, Lanes
from codesign.schedule.program import Int64, Order, Unit
from codesign.schedule.streaming import Selection, bytes_of
from codesign.schedule.tiling import TileTable
from codesign.schedule.vector_stream import Stream
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import NM, Pattern
from codesign.trace.op import Kind, Op, Phase, ceil_bytes
from codesign.trace.sparsify import effective_macs

SORE = Unit("sore", order=Order.ARRIVAL)
WUVE = Unit("wuve")

_PATCH_COLUMN_BLOCKS, _PATCH_GROUPS, _PATCH_SEED = 4, 64, 0
"""Size and seed of the sample that stands for a whole mask at tile fidelity."""


class Stce(Spec):
    """The array; the last three fields are the paper's optimisations, for ablation."""

    rows: int = Field(ge=1, le=1024)
    cols: int = Field(ge=1, le=1024)
    accumulate_latency_cycles: int = Field(ge=1, le=64)
    accumulators: int = Field(ge=1, le=64, description="independent sums that an element can hold")
    max_group: int = Field(
        ge=2, le=64, description="activations that an element's mux chooses from"
    )
    weight_registers: int = Field(ge=1, le=64, description="weights that an element can hold in WS")
    interleave_mapping: bool
    """Whether independent outputs take turns on an element's adder."""
    pregenerate_weights: bool
    """Whether N:M weights are selected behind the update, once, or at each use."""
    dataflows: Annotated[
        tuple[Literal["ws", "os"], ...], Field(min_length=1), AfterValidator(distinct)
    ]
    """What the offline schedule may choose from, for each layer and pass."""


class Sore(Spec):
    """Lanes that each take one element per cycle and keep the largest of a group."""

    lanes: int = Field(ge=1)


class SatSpec(SystolicSpec):
    """A machine file of family `sat`."""

    machine: Literal["sat"]
    array: Stce
    sore: Sore
    wuve: VectorUnit


class Sat(SystolicMachine[SatSpec]):
    """N:M weights in forward and backward passes; other zeros by the slowest lane of each group."""

    spec_type = SatSpec
    actions: ClassVar[tuple[str, ...]] = (
        *SystolicMachine.actions,
        "sore_compare", "wuve_alu", "wuve_special", "wuve_buffer_read", "wuve_buffer_write",
    )  # fmt: skip

    @property
    def array(self) -> Array:
        a = self.spec.array
        return Array(
            a.rows,
            a.cols,
            a.accumulate_latency_cycles,
            interleave=a.accumulators if a.interleave_mapping else 1,
        )

    def units(self) -> tuple[Unit, ...]:
        return (*super().units(), SORE, WUVE)

    def engine(self, op: Op) -> str:
        return WUVE.name if op.kind is Kind.UPDATE else super().engine(op)

    def group(self, op: Op) -> int:
        pattern = self._sparse_operand(op)
        if pattern.is_dense or op.k < 2 or (isinstance(pattern, NM) and op.k <= pattern.n):
            return 1
        wanted = pattern.m if isinstance(pattern, NM) else self.spec.array.max_group
        return min(wanted, self.spec.array.max_group)

    def _sparse_operand(self, op: Op) -> Pattern:
        """The pattern that the elements' muxes serve: of B, or of A where B is dense."""
        return op.a_pattern if op.b_pattern.is_dense else op.b_pattern

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        if self.group(op) == 1 or op.b_pattern.is_dense or fidelity is Fidelity.TILE:
            return False
        return fidelity is Fidelity.CYCLE or self._exact_count(op) is None

    def _exact_count(self, op: Op) -> int | None:
        """Kept values of every full group where all groups have the same number."""
        return self._sparse_operand(op).exact_group_count(self.group(op))

    def slots(self, op: Op) -> float:
        if self.group(op) == 1:
            return 1.0
        exact = self._exact_count(op)
        return float(exact if exact is not None else self._patch(op, None).mean())

    def least_slots(self, op: Op) -> int:
        group = self.group(op)
        exact = None if group == 1 else self._exact_count(op)
        whole = op.k % group == 0 or (exact is not None and op.k % group >= exact)
        return exact if exact and whole else 1

    def dataflows(self, op: Op) -> Sequence[str]:
        """What the array may do: in WS an element holds its whole part of the stationary operand,
        which is B, so a sparse A streams past sums that stay.
        """
        if op.b_pattern.is_dense and self.group(op) > 1:
            return ("os",)
        exact = self._exact_count(op)
        held = self.group(op) if exact is None else exact
        if held > self.spec.array.weight_registers:
            return ("os",)
        return self.spec.array.dataflows

    def lanes(self, op: Op, sparse: Sparse, fidelity: Fidelity) -> Lanes:
        group = self.group(op)
        if group == 1:
            return super().lanes(op, sparse, fidelity)
        counts = self.lane_counts(op)
        if sparse.mask is None and counts is not None:
            return self._uniform(op, group, counts)
        if fidelity is Fidelity.TILE or sparse.mask is None:
            return Lanes(group, self._spread(op, self._patch(op, sparse.mask)))
        products = [
            sparse.mask[start : start + op.n, :].slowest_lane(group, self.spec.array.cols)
            for start in range(0, sparse.mask.shape[0], op.n)
        ]
        return Lanes(group, np.maximum(1, np.stack(products)))

    def lane_counts(self, op: Op) -> tuple[int, int] | None:
        group = self.group(op)
        if group == 1:
            return 1, 1
        exact = self._exact_count(op)
        if exact is None:
            return None
        count, rest = max(1, exact), op.k % group
        return count, min(count, rest) if rest else count

    def _uniform(self, op: Op, group: int, counts: tuple[int, int]) -> Lanes:
        count, rest = counts
        if rest == count:
            return Lanes(group, np.full((1, 1, 1), count, dtype=np.int64))
        blocks = -(-op.n // self.spec.array.cols)
        slots = np.full((1, blocks, -(-op.k // group)), count, dtype=np.int64)
        slots[..., -1] = rest
        return Lanes(group, slots)

    def _patch(self, op: Op, mask: Mask | None) -> Int64:
        """Slowest lanes of a corner of the mask, or of a small sample of the pattern."""
        group = self.group(op)
        rows = min(op.n, _PATCH_COLUMN_BLOCKS * self.spec.array.cols)
        cols = min(op.k, _PATCH_GROUPS * group)
        if mask is None:
            mask = self._sparse_operand(op).sample(rows, cols, _PATCH_SEED)
        corner = mask[:rows, :cols].slowest_lane(group, self.spec.array.cols)
        least: Int64 = np.maximum(1, corner)
        return least

    def _spread(self, op: Op, patch: Int64) -> Int64:
        """The patch, repeated over the whole operand."""
        column = np.arange(-(-op.n // self.spec.array.cols)) % patch.shape[0]
        place = np.arange(-(-op.k // self.group(op))) % patch.shape[1]
        spread: Int64 = patch[column[:, None], place][None]
        return spread

    def executed_macs(self, op: Op, table: TileTable, sparse: Sparse) -> Int64:
        dense = super().executed_macs(op, table, sparse)
        if self.group(op) == 1:
            return dense
        mask = sparse.mask
        if mask is None or op.groups > 1:
            total = effective_macs(op, mask) // op.repeats
            edges = np.concatenate([[0], np.cumsum(dense)])
            spread = [int(edge) * total // int(edges[-1]) for edge in edges]
            ends = np.array(spread, dtype=np.int64)
            return ends[1:] - ends[:-1]
        kept = mask.tile_counts(table.tiling.n, table.tiling.k)
        per_tile: Int64 = kept[table.n_index, table.k_index] * table.m
        return per_tile

    def selected_at_use(self, op: Op) -> bool:
        """Whether the kept values of B are chosen as it is loaded, and B lies dense in memory."""
        if op.b_pattern.is_dense or self.group(op) == 1:
            return False
        if op.weight is None or op.phase is Phase.BACKWARD_WEIGHT:
            return True
        return op.b_changes and not self.spec.array.pregenerate_weights

    def held_density(self, op: Op) -> float:
        return 1.0 if op.b_pattern.is_dense else super().held_density(op)

    def loaded_density(self, op: Op) -> float:
        return 1.0 if self.selected_at_use(op) else self.held_density(op)

    def moves_b_dense(self, op: Op) -> bool:
        return self.selected_at_use(op) or op.b_pattern.is_dense

    @property
    def select_lanes(self) -> int:
        return self.spec.sore.lanes

    def b_bytes(self, op: Op, table: TileTable, stored: Int64) -> Int64:
        if self.moves_b_dense(op):
            return bytes_of(table.groups * table.n * table.k, op.b_dtype)
        return super().b_bytes(op, table, stored)

    def a_selection(self, op: Op, table: TileTable) -> Selection | None:
        if op.a_pattern.is_dense or not op.b_pattern.is_dense or self.group(op) == 1:
            return None
        return self._selection(op, table.groups * table.m, table.k)

    def b_selection(self, op: Op, table: TileTable) -> Selection | None:
        if not self.selected_at_use(op):
            return None
        return self._selection(op, table.groups * table.n, table.k)

    def _selection(self, op: Op, rows: Int64, k: Int64) -> Selection:
        group = self.group(op)
        groups = rows * -(-k // group)
        busy = -(-groups // self.select_lanes) * group
        return Selection(SORE.name, "sore_compare", busy, rows * k)

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        if op.b_pattern.is_dense or self.group(op) == 1 or self.selected_at_use(op):
            return op.b_bytes
        kept = effective_macs(op, sparse.mask) // (op.m * op.repeats)
        return -(-kept * self.stored_bits(op) // 8)

    def stream(self, op: Op) -> tuple[Stream, str]:
        if op.kind is not Kind.UPDATE:
            return super().stream(op)
        copies = [p for p in (op.b_pattern, op.a_pattern) if not p.is_dense]
        if not (copies and self.spec.array.pregenerate_weights):
            return stream_through(op, WUVE, self.spec.wuve), "wuve_buffer"
        extra = sum(self._copy_bytes(op, pattern) for pattern in copies)
        if len(copies) == 2:
            extra -= ceil_bytes(op.writes, op.c_dtype)
        elements = np.array([op.elements * len(copies)])
        after = Selection(SORE.name, "sore_compare", -(-elements // self.spec.sore.lanes), elements)
        return stream_through(op, WUVE, self.spec.wuve, extra, after), "wuve_buffer"

    def _copy_bytes(self, op: Op, pattern: Pattern) -> int:
        """Bytes of a compact copy of the updated weights."""
        group = pattern.m if isinstance(pattern, NM) else self.spec.array.max_group
        bits = ceil_bytes(8, op.c_dtype) + (group - 1).bit_length()
        return -(-round(op.elements * pattern.density) * bits // 8)

    def components_of_core(self) -> Sequence[Component]:
        spec = self.spec
        return (
            *super().components_of_core(),
            Component(
                name="sore", kind="compare", actions=("sore_compare",), instances=spec.sore.lanes,
                dtype=spec.mac_dtype,
            ),
            Component(
                name="wuve", kind="vector", actions=("wuve_alu", "wuve_special"),
                instances=spec.wuve.lanes * spec.wuve.alu_per_lane, dtype=spec.accumulate_dtype,
            ),
            stream_buffer("wuve", spec.wuve),
        )  # fmt: skip
