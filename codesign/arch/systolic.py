"""What systolic machines share: scratchpads around an array, vector lanes, a link to DRAM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from operator import itemgetter
from typing import ClassVar, TypeVar

import numpy as np

from codesign.arch import systolic_outlines
from codesign.arch.base import Candidates, Fidelity, Kept, Mapping, Sparse
from codesign.arch.cores import CoresMachine, most_of_a_core, sum_over_cores
from codesign.arch.device_link import device_link
from codesign.arch.kept import narrowed, pad_link, room_bytes
from codesign.arch.parts import Component, DramDevice
from codesign.arch.systolic_candidates import mapping_of, product_candidates
from codesign.arch.systolic_parts import (
    SystolicSpec,
    paced,
    systolic_components,
    tally_accesses,
)
from codesign.arch.vector_lanes import finish_on, stream_through
from codesign.config import CodesignError
from codesign.schedule.epilogue import NO_EPILOGUE, Epilogue
from codesign.schedule.fitting import Budget
from codesign.schedule.folds import (
    Array,
    Lanes,
    TileCycles,
    joined,
    output_stationary,
    weight_stationary,
)
from codesign.schedule.product import TiledProduct
from codesign.schedule.program import Int64, Program, Steps, Unit
from codesign.schedule.stepped import step_tiles
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
)
from codesign.schedule.tiling import TileTable, Tiling, tile_table, transposed
from codesign.schedule.tilings import Layout, quickest_tiling
from codesign.schedule.vector_stream import Stream
from codesign.trace.op import Op, Phase, ceil_bytes

VECTOR = Unit("vector")

S = TypeVar("S", bound=SystolicSpec)


class SystolicMachine(CoresMachine[S]):
    """Lowers products to folds of an array behind double buffers, the rest to vector lanes."""

    actions: ClassVar[tuple[str, ...]] = (
        DRAM_READ, DRAM_WRITE, MAC, "register",
        "input_read", "input_write", "weight_read", "weight_write", "output_read", "output_write",
        "vector_alu", "vector_special", "vector_buffer_read", "vector_buffer_write",
    )  # fmt: skip

    unit_labels: ClassVar[dict[str, str]] = {
        DRAM.name: "memory", ARRAY.name: "compute", STATIONARY_LOAD.name: "weight load",
        "sore": "selection", "wuve": "update",
    }  # fmt: skip

    def bound_by(
        self, op: Op, busy_cycles: MappingABC[str, int], span_cycles: int, executed_macs: int
    ) -> str:
        held = busy_cycles.get(ARRAY.name, 0)
        if self.cores > 1:
            held = sum_over_cores(busy_cycles, ARRAY.name)
            busy_cycles = most_of_a_core(busy_cycles)
        label = super().bound_by(op, busy_cycles, span_cycles, executed_macs)
        capacity = held * self.array.rows * self.array.cols
        if label == "compute" and 2 * executed_macs < capacity:
            return "imbalance" if self.needs_mask(op, Fidelity.ROW) else "underfilled"
        return label

    outliner = systolic_outlines

    epilogue: Epilogue = NO_EPILOGUE
    """What follows on the tiles of all products, where that is not theirs to choose."""

    @property
    @abstractmethod
    def array(self) -> Array:
        """Shape and pipelines of the array; scratchpad limits are added for each operator."""

    @abstractmethod
    def dataflows(self, op: Op) -> Sequence[str]:
        """The dataflows that the machine may choose from for an operator."""

    def usable_dataflows(self, op: Op) -> Sequence[str]:
        """Those that suit the operator: with inputs stationary, tiles are those of C^T."""
        turns = op.b_shared or self.epilogue.whole_rows
        return [each for each in self.dataflows(op) if each != "is" or not turns]

    @property
    def fusion_rule(self) -> str:
        return "fuses element-wise work into products where it has one core"

    def fusing(self, epilogue: Epilogue) -> SystolicMachine[S] | None:
        if self.cores > 1:
            return None
        machine = type(self)(self.spec)
        machine.epilogue = epilogue
        return machine

    def engines(self, op: Op, mapping: Mapping) -> tuple[str, ...]:
        if mapping.fused_into:
            return ()
        names = super().engines(op, mapping)
        return (*names, VECTOR.name) if mapping.epilogue.ops else names

    def group(self, op: Op) -> int:
        """Neighbours of the reduction that one processing element chooses from; 1 runs dense."""
        return 1

    def slots(self, op: Op) -> float:
        """Expected cycles of a group, for choosing tiles before any mask is known."""
        return 1.0

    def lanes(self, op: Op, sparse: Sparse, fidelity: Fidelity) -> Lanes:
        """Cycles of every group of the reduction."""
        return Lanes(1, np.ones((1, 1, 1), dtype=np.int64))

    def lane_counts(self, op: Op) -> tuple[int, int] | None:
        """Cycles of a full group of the reduction and of one cut short, if no mask decides."""
        return None

    def units(self) -> tuple[Unit, ...]:
        return (DRAM, STATIONARY_LOAD, ARRAY, VECTOR)

    def link(self) -> Link:
        memory = self.spec.dram
        if isinstance(memory, DramDevice):
            return device_link(memory, self.spec.clock_mhz)
        return Link(memory.bytes_per_cycle, memory.latency_cycles)

    @property
    def dram_bytes_per_cycle(self) -> float:
        bandwidth = self.link().bytes_per_cycle
        return float("inf") if bandwidth is None else bandwidth

    def supports(self, op: Op) -> bool:
        return True

    def exploits(self, op: Op) -> bool:
        return self.group(op) > 1

    def engine(self, op: Op) -> str:
        return ARRAY.name if op.is_matmul else VECTOR.name

    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        return Fraction(self.array.rows * self.array.cols * self.cores)

    @property
    def room_bytes(self) -> int:
        if self.cores > 1 or self.link().bytes_per_cycle is None:
            return 0
        return room_bytes(self.spec.buffers)

    def narrowed(self, taken_bytes: int) -> SystolicMachine[S]:
        pads = narrowed(self.spec.buffers, taken_bytes)
        return type(self)(self.spec.model_copy(update={"buffers": pads}))

    def stored_bits(self, op: Op) -> int:
        """Bits of one stored value of B, with its place in the group."""
        bits = ceil_bytes(8, op.b_dtype)
        group = self.group(op)
        return bits + ((group - 1).bit_length() if group > 1 else 0)

    def paced_array(self, op: Op) -> Array:
        """The array as the scratchpads can feed and drain it for this operator."""
        return paced(
            self.array, self.spec.buffers, group=self.group(op), a_bits=ceil_bytes(8, op.a_dtype),
            b_bits=self.stored_bits(op), sum_bytes=self.sum_bytes,
        )  # fmt: skip

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        return op.b_bytes

    @property
    def sum_bytes(self) -> int:
        return self.spec.sum_bytes

    def rated_mappings(self, op: Op) -> Sequence[tuple[float, Mapping]]:
        if not op.is_matmul:
            return [(0.0, Mapping("vector", 0, 0, 0))]
        found = []
        for dataflow in self.usable_dataflows(op):
            laid = transposed(op) if dataflow == "is" else op
            layout = self.layout(laid, dataflow)
            best = quickest_tiling(laid, self.budget(laid, dataflow), layout)
            if best is not None:
                found.append((best[0], mapping_of(dataflow, best[1], self.epilogue)))
        if not found:
            raise CodesignError(
                f"{self.spec.name}: the scratchpads are too small for one tile of {op.name} "
                f"({op.m}x{op.n}x{op.k}); enlarge buffers.input, buffers.weight or buffers.output"
            )
        return sorted(found, key=itemgetter(0))

    def candidates_on_core(self, op: Op, sparse: Sparse, *, every: bool) -> Candidates:
        return product_candidates(self, op, sparse, every=every)

    def least_slots(self, op: Op) -> int:
        """Cycles that every group of the reduction takes at least."""
        return 1

    def budget(self, op: Op, dataflow: str) -> Budget:
        """Half of each scratchpad, and tiles that are whole folds."""
        buffers, group = self.spec.buffers, self.group(op)
        inputs, weights = buffers.input, buffers.weight
        if dataflow == "is":
            inputs, weights = weights, inputs
        return Budget(
            a_bytes=inputs.capacity_bytes // 2,
            b_bytes=weights.capacity_bytes // 2,
            c_bytes=buffers.output.capacity_bytes // 2,
            n_granule=op.n if self.epilogue.whole_rows else self.array.cols,
            k_granule=group * (1 if dataflow == "os" else self.array.rows),
            b_density=self.held_density(op),
            sum_bytes=self.sum_bytes,
        )

    def held_density(self, op: Op) -> float:
        """Bytes of B in a scratchpad over its dense bytes."""
        kept = min(1.0, self.slots(op) / self.group(op))
        return kept * self.stored_bits(op) / ceil_bytes(8, op.b_dtype)

    def loaded_density(self, op: Op) -> float:
        """Bytes of B that cross the link over its dense bytes."""
        return self.held_density(op)

    def layout(self, op: Op, dataflow: str) -> Layout:
        """What ranks an operator's tilings."""
        link = self.link()
        if self.sharers > 1 and link.bytes_per_cycle is not None:
            link = replace(link, bytes_per_cycle=link.bytes_per_cycle / self.sharers)
        return Layout(
            array=self.paced_array(op),
            link=link,
            group=self.group(op),
            slots=self.slots(op),
            a_bytes=op.a_bytes,
            b_bytes=op.b_bytes * self.loaded_density(op),
            c_bytes=self.epilogue.moved_bytes(op),
            holds_sums=dataflow == "os",
        )

    def lower_on_core(
        self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity
    ) -> Program:
        steps = Steps(self.units(), self.actions)
        if mapping.fused_into:
            return steps.idle()
        if op.is_matmul:
            release, done = self.emit_matmul(steps, op, mapping, sparse, fidelity)
        else:
            release, done = self.emit_vector(steps, op, fidelity, mapping.kept)
        return steps.build(release_after=release, done_after=done)

    def emit_matmul(
        self, steps: Steps, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity
    ) -> tuple[Int64, Int64]:
        """Append the steps of a product and tally its scratchpad and register accesses."""
        table = tile_table(
            op,
            Tiling(
                mapping.tile_m, mapping.tile_n, mapping.tile_k, mapping.tile_groups, mapping.order
            ),
        )
        lanes = self.lanes(op, sparse, fidelity)
        cycles = self.tile_cycles(op, mapping, table, lanes, sparse, fidelity)
        macs = self.executed_macs(op, table, sparse)
        kept, pads = mapping.kept, pad_link(self.spec.buffers)
        finish = finish_on(mapping.epilogue, VECTOR, self.spec.vector, kept, pads)
        results = pads if kept.c and finish is None else None
        a = Operand(
            table.loads_a, bytes_of(table.a_elements, op.a_dtype), True,
            self.a_selection(op, table), kept=pads if kept.a else None,
        )  # fmt: skip
        b = Operand(
            table.loads_b,
            self.b_bytes(op, table, cycles.stored),
            is_activation=op.weight is None or op.phase is Phase.BACKWARD_WEIGHT,
            selection=self.b_selection(op, table),
            kept=pads if kept.b else None,
        )
        tally_accesses(
            steps, mapping.dataflow, table, self.array, a, b, macs,
            b_values=cycles.stored, b_bits=self.stored_bits(op), group=self.group(op),
            sum_bytes=self.sum_bytes,
        )  # fmt: skip
        if finish is not None:
            finish.tally(steps, op, "vector_special", "vector_buffer")
        streamed, stationary = (b, a) if mapping.dataflow == "is" else (a, b)
        product = TiledProduct(table, cycles, streamed, stationary, macs, results, finish)
        if fidelity is Fidelity.TILE:
            return emit_outline(steps, self.link(), product.outline(self.link()))
        return product.emit(steps, self.link())

    def b_bytes(self, op: Op, table: TileTable, stored: Int64) -> Int64:
        """Bytes of B that each tile loads, from the values that its lanes hold."""
        return -(-stored * self.stored_bits(op) // 8)

    def moves_b_dense(self, op: Op) -> bool:
        """Whether the whole of B crosses the link, whatever its lanes hold."""
        return False

    @property
    def select_lanes(self) -> int:
        """Groups that a unit of `a_selection` or `b_selection` selects from at once."""
        return 1

    def a_selection(self, op: Op, table: TileTable) -> Selection | None:
        """A unit that A passes on its way from memory, if any."""
        return None

    def b_selection(self, op: Op, table: TileTable) -> Selection | None:
        """A unit that B passes on its way from memory, if any."""
        return None

    def tile_cycles(
        self,
        op: Op,
        mapping: Mapping,
        table: TileTable,
        lanes: Lanes,
        sparse: Sparse,
        fidelity: Fidelity,
    ) -> TileCycles:
        """How long each tile holds the array."""
        if table.tiling.groups > 1 and lanes.slots.shape[0] > 1:
            alone = tile_table(op, replace(table.tiling, groups=1))
            products = self.tile_cycles(op, mapping, alone, lanes, sparse, fidelity)
            return joined(products, table.tiling.groups)
        array = self.paced_array(op)
        laid = table.swapped() if mapping.dataflow == "is" else table
        timing = output_stationary if mapping.dataflow == "os" else weight_stationary
        closed = timing(laid, lanes, array)
        if mapping.dataflow == "is":
            closed = replace(closed, stored=table.groups * table.n * table.k)
        if fidelity is not Fidelity.CYCLE:
            return closed
        if not op.a_pattern.is_dense and self.exploits(op) and sparse.mask is None:
            raise CodesignError(
                f"{op.name}: fidelity cycle steps weights that are sparse, not activations; use row"
            )
        return step_tiles(laid, closed, array, mapping.dataflow, self.group(op), sparse.mask)

    def executed_macs(self, op: Op, table: TileTable, sparse: Sparse) -> Int64:
        """Multiply-accumulates that each tile issues."""
        return table.groups * table.m * table.n * table.k

    def moved_bytes(self, op: Op) -> int:
        stream, _ = self.stream(op)
        return op.read_bytes + stream.write_bytes

    def emit_vector(
        self, steps: Steps, op: Op, fidelity: Fidelity, kept: Kept
    ) -> tuple[Int64, Int64]:
        """Append the steps of an operator that streams through lanes."""
        stream, buffer = self.stream(op)
        if kept.c or kept.read_bytes:
            stream = replace(
                stream, kept_read_bytes=kept.read_bytes, keeps_result=kept.c,
                pads=pad_link(self.spec.buffers),
            )  # fmt: skip
        stream.tally(steps, buffer)
        if fidelity is Fidelity.TILE:
            return emit_outline(steps, self.link(), stream.outline(self.link()))
        return stream.emit(steps, self.link())

    def stream(self, op: Op) -> tuple[Stream, str]:
        """An operator as streamed vector work, and the name of the buffer that it passes."""
        return stream_through(op, VECTOR, self.spec.vector), "vector_buffer"

    def components_of_core(self) -> Sequence[Component]:
        return systolic_components(self.spec, self.array)
