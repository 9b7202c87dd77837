"""A dense systolic array with double-buffered scratchpads, by the conventions of two simulators."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from codesign.arch.base import Fidelity, Mapping, Sparse
from codesign.arch.parts import distinct
from codesign.arch.systolic import SystolicMachine
from codesign.arch.systolic_parts import SystolicSpec
from codesign.config import CodesignError, Spec
from codesign.schedule.epilogue import Epilogue
from codesign.schedule.folds import Array, Lanes, TileCycles, blocks
from codesign.schedule.program import Int64
from codesign.schedule.streaming import Link
from codesign.schedule.tiling import TileTable
from codesign.sparsity.pattern import NM
from codesign.trace.op import Op

Dataflow = Literal["ws", "os", "is"]
Convention = Literal["overlapped", "scalesim", "stonne"]


class DenseArray(Spec):
    """The array and how its cycles are counted.

    `overlapped` is this project's own: the next fold's weights load during the current stream and
    edge folds have their true size. `scalesim` and `stonne` reproduce the cycles of SCALE-Sim 3.0.0
    and of STONNE's output-stationary mesh: one fold after the other, memory that never stalls.
    """

    rows: int = Field(ge=1, le=4096)
    cols: int = Field(ge=1, le=4096)
    dataflows: Annotated[tuple[Dataflow, ...], Field(min_length=1), AfterValidator(distinct)]
    accumulate_latency_cycles: int = Field(ge=1, le=64)
    convention: Convention = "overlapped"
    row_wise_block: int = Field(
        default=0, ge=0, description="block of SCALE-Sim's row-wise sparsity; 0 is layer-wise"
    )


class DenseSystolicSpec(SystolicSpec):
    """A machine file of family `dense_systolic`."""

    machine: Literal["dense_systolic"]
    array: DenseArray


class DenseSystolic(SystolicMachine[DenseSystolicSpec]):
    """Weight-, output- or input-stationary; zeros save nothing, except as SCALE-Sim counts them."""

    spec_type = DenseSystolicSpec

    @property
    def array(self) -> Array:
        a = self.spec.array
        return Array(a.rows, a.cols, a.accumulate_latency_cycles)

    @property
    def idealised(self) -> bool:
        """Whether cycles are counted as a peer does, with memory that never stalls."""
        return self.spec.array.convention != "overlapped"

    def dataflows(self, op: Op) -> Sequence[str]:
        return self.spec.array.dataflows

    def link(self) -> Link:
        return Link(None) if self.idealised else super().link()

    @property
    def fusion_rule(self) -> str:
        counted = self.spec.array.convention
        return (
            f"counts {counted} cycles, one operator after the other"
            if self.idealised
            else (super().fusion_rule)
        )

    def fusing(self, epilogue: Epilogue) -> SystolicMachine[DenseSystolicSpec] | None:
        return None if self.idealised else super().fusing(epilogue)

    def exploits(self, op: Op) -> bool:
        return self.kept_reduction(op) < op.k

    def kept_reduction(self, op: Op) -> int:
        """Length of the reduction that takes cycles: SCALE-Sim 3.0.0 shortens it for N:M weights.

        Layer-wise: whole groups keep n of m, the rest min(rest, n). Row-wise: about half of it
        whatever the ratio, in whole blocks.
        """
        array = self.spec.array
        if array.convention != "scalesim" or not isinstance(op.b_pattern, NM):
            return op.k
        if array.row_wise_block:
            return -(-op.k // (2 * array.row_wise_block)) * array.row_wise_block
        whole, rest = divmod(op.k, op.b_pattern.m)
        return whole * op.b_pattern.n + min(rest, op.b_pattern.n)

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        return False

    def lane_counts(self, op: Op) -> tuple[int, int] | None:
        return None if self.idealised else (1, 1)

    def rated_mappings(self, op: Op) -> Sequence[tuple[float, Mapping]]:
        if not (op.is_matmul and self.idealised):
            return super().rated_mappings(op)
        whole = [
            (float(self.serial_folds(op, d).sum()), Mapping(d, op.m, op.n, op.k, op.groups))
            for d in self.dataflows(op)
        ]
        return sorted(whole, key=itemgetter(0))

    def serial_folds(self, op: Op, dataflow: str) -> Int64:
        """Cycles of every fold, one after the other, in the convention of a peer.

        SCALE-Sim 3.0.0: each fold loads its stationary values, fills and drains the whole array,
        also at the edges. STONNE (22634b8): each tile of the output-stationary mesh takes k + rows
        + columns + 3 cycles, one less when it is a single row or column. Both fitted to runs of the
        simulators.
        """
        array, k = self.spec.array, self.kept_reduction(op)
        if array.convention == "stonne":
            rows, cols = blocks(op.m, array.rows), blocks(op.n, array.cols)
            single = (rows[:, None] == 1) | (cols == 1)
            one = (k + rows[:, None] + cols + 3 - single).ravel()
        else:
            down, across, stream = {
                "ws": (k, op.n, 2 * array.rows + array.cols + op.m - 2),
                "is": (k, op.m, 2 * array.rows + array.cols + op.n - 2),
                "os": (op.m, op.n, array.rows + array.cols + k - 2),
            }[dataflow]
            one = np.full(-(-down // array.rows) * -(-across // array.cols), stream)
        return np.tile(one.astype(np.int64), op.groups)

    def tile_cycles(
        self,
        op: Op,
        mapping: Mapping,
        table: TileTable,
        lanes: Lanes,
        sparse: Sparse,
        fidelity: Fidelity,
    ) -> TileCycles:
        if not self.idealised:
            return super().tile_cycles(op, mapping, table, lanes, sparse, fidelity)
        if fidelity is Fidelity.CYCLE and self.spec.array.convention == "stonne":
            raise CodesignError(
                "fidelity cycle steps this project's own array, "
                "which has no STONNE convention; use row"
            )
        folds = self.serial_folds(op, mapping.dataflow)
        zero = np.zeros(1, dtype=np.int64)
        return TileCycles(
            fill=zero,
            body=np.array([folds[:-1].sum()]),
            tail=folds[-1:],
            latency=zero,
            stored=np.array([op.groups * self.kept_reduction(op) * op.n]),
        )

    def executed_macs(self, op: Op, table: TileTable, sparse: Sparse) -> Int64:
        return table.groups * table.m * table.n * table.k * self.kept_reduction(op) // op.k
