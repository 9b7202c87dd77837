"""S4 with Antoum chips (Moffett AI, arXiv 2207.08006): sparse cores fed with bank-balanced weights.

A card has `chips` chips of `cores` cores. A core's lanes read compressed weights: each bank of the
reduction holds so many kept weights, and the lanes of a set of banks wait for the slowest one.
Feature maps live in each core's memory while they fit, else in DRAM. The run of one core stands for
all: the others do the same work on other items, or on other outputs of the same length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import ClassVar

import numpy as np

from codesign.arch.base import Fidelity, Machine, Mapping, Sparse
from codesign.arch.parts import Component, VectorUnit, mac_action, macs_by_width
from codesign.arch.s4_spec import S4Spec
from codesign.arch.vector_lanes import stream_through
from codesign.config import CodesignError
from codesign.schedule.banks import (
    BankArray,
    bank_sizes,
    expected_slots,
    pace_tiles,
    slowest_banks,
    slowest_of_sets,
    stored_slots,
)
from codesign.schedule.fitting import Budget, best_tiling
from codesign.schedule.program import Int64, Program, Steps, Unit
from codesign.schedule.resident import (
    HOST,
    RING,
    SPU,
    SUM_BYTES,
    VPU,
    Chip,
    Layout,
    Product,
    VectorWork,
    spread,
)
from codesign.schedule.sharing import Part, share_items, share_outputs
from codesign.schedule.streaming import DRAM, DRAM_READ, DRAM_WRITE, MAC, Link
from codesign.schedule.tiling import Tiling, tile_table
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import DENSE
from codesign.trace.op import FORWARD_PHASES, Kind, Op, ceil_bytes
from codesign.trace.sparsify import effective_macs

_IMAGE_CHANNELS = 4
"""A convolution of fewer input channels reads an image, which comes from the host."""
_ALWAYS = 1 << 62
_LANE_BITS = (8, 16)
"""Widths of operands that lanes multiply: two together take those of 16 bits."""


class S4(Machine[S4Spec]):
    """Inference; sparse weights save work, products of activations and vector work stay dense."""

    spec_type = S4Spec
    actions: ClassVar[tuple[str, ...]] = (
        DRAM_READ, DRAM_WRITE, MAC, "mac_8bit", "mac_16bit", "weight_read", "weight_write",
        "map_read", "map_write", "sum_read", "sum_write", "vpu_alu", "vpu_special",
    )  # fmt: skip
    unit_labels: ClassVar[dict[str, str]] = {
        DRAM.name: "memory", SPU.name: "compute", VPU.name: "vector",
    }  # fmt: skip

    def units(self) -> tuple[Unit, ...]:
        return (DRAM, SPU, VPU, RING, HOST)

    def supports(self, op: Op) -> bool:
        return op.phase in FORWARD_PHASES

    def refusal(self, op: Op) -> str:
        return f"{super().refusal(op)} of the phase {op.phase}; it runs inference alone"

    def exploits(self, op: Op) -> bool:
        return op.is_matmul and op.weight is not None and not op.b_pattern.is_dense

    def engine(self, op: Op) -> str:
        return SPU.name if op.is_matmul else VPU.name

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        if fidelity is Fidelity.TILE or not self.exploits(op):
            return False
        return fidelity is Fidelity.CYCLE or self.balanced_slots(op) is None

    def balanced_slots(self, op: Op) -> int | None:
        """Kept weights of every full bank where they are all alike, as the format stores them.

        A balanced layer is stored at a ratio that is a power of two, at most `max_ratio`.
        """
        array = self.spec.array
        if not self.exploits(op):
            return array.bank_size
        count = op.b_pattern.exact_group_count(array.bank_size)
        if count is None:
            return None
        return stored_slots(count, array.bank_size, array.max_ratio)

    def banks(self, op: Op) -> int:
        """Banks that a lane serves at once for the operator's data types."""
        wide = max(ceil_bytes(8, op.a_dtype), ceil_bytes(8, op.b_dtype)) > 8
        return max(1, self.spec.array.banks // 2) if wide else self.spec.array.banks

    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        spec = self.spec
        return Fraction(
            spec.chips * spec.cores * spec.array.rows * spec.array.cols * self.banks(op)
        )

    @property
    def dram_bytes_per_cycle(self) -> float:
        return self.spec.chips * self.spec.dram.bytes_per_cycle

    @property
    def chip(self) -> Chip:
        """What moves data, as the steps need it."""
        spec, dram = self.spec, self.spec.dram
        return Chip(
            link=Link(dram.bytes_per_cycle * spec.dram_efficiency, dram.latency_cycles),
            ring=Link(spec.ring.bytes_per_cycle, spec.ring.latency_cycles),
            host=Link(spec.host.bytes_per_cycle, spec.host.call_cycles),
            maps_bytes=spec.maps.capacity_bytes,
            launch_cycles=spec.launch_cycles,
        )

    @property
    def vector(self) -> VectorUnit:
        """The lanes, which stream what is not in the core through a quarter of its memory."""
        given = self.spec.vector.model_dump()
        return VectorUnit(**given, buffer_bytes=max(64, self.spec.maps.capacity_bytes // 4))

    def from_host(self, op: Op) -> bool:
        return op.conv is not None and op.conv.in_channels < _IMAGE_CHANNELS

    def stored_bits(self, op: Op) -> int:
        """Bits of one stored weight and of its place: an index, or its share of a bank's bitmap."""
        if not self.exploits(op):
            return ceil_bytes(8, op.b_dtype)
        bank = self.spec.array.bank_size
        kept = self.balanced_slots(op) or max(1, int(op.b_pattern.density * bank))
        return ceil_bytes(8, op.b_dtype) + min((bank - 1).bit_length(), -(-bank // kept))

    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        if not self.exploits(op):
            return op.b_bytes
        kept = effective_macs(op, sparse.mask) // (op.m * op.repeats)
        kept //= op.groups if op.b_shared else 1
        return -(-kept * self.stored_bits(op) // 8)

    def compulsory_bytes(self, op: Op, sparse: Sparse) -> int:
        part = self.part(op)
        if not op.is_matmul:
            return sum(self.vector_work(op).traffic(self.chip))
        total = self.stored_bytes(op, sparse) if op.weight is not None else 0
        if op.weight is None and not self.chip.holds_b(part.op):
            total += op.b_bytes
        if not self.from_host(op) and not self.chip.resident(part.op.a_bytes):
            total += op.a_bytes
        return total + (0 if self.chip.resident(part.op.c_bytes) else op.c_bytes)

    def part(self, op: Op) -> Part:
        """The busiest core's share: items first over chips, then over cores as the mode says."""
        spec = self.spec
        if op.is_matmul and op.b_shared and op.conv is None:
            op = replace(op, m=op.m * op.groups, groups=1, b_shared=False)
        if spec.fills_square_kernels and op.conv is not None and op.b_pattern.is_dense:
            side = max(op.conv.kernel_h, op.conv.kernel_w)
            op = replace(op, k=op.k // (op.conv.kernel_h * op.conv.kernel_w) * side * side)
        if not self._shares_inputs(op):
            one, active = share_items(op, spec.chips * spec.cores)
            return Part(one, min(spec.cores, active), -(-active // spec.cores))
        chip, chips = share_items(op, spec.chips)
        one, cores = share_outputs(chip, spec.cores)
        return Part(one, cores, chips)

    def mappings(self, op: Op) -> Sequence[Mapping]:
        if not op.is_matmul:
            return (Mapping("vector", 0, 0, 0),)
        part = self.part(op)
        layout = Layout(
            part=part,
            chip=self.chip,
            array=self.lanes(part.op),
            density=self._density(op),
            image=self.from_host(op),
            shares_weights=self._shares_weights(op),
        )
        best = best_tiling(part.op, self.budget(op, part), layout.cost)
        if best is None:
            raise CodesignError(
                f"{self.spec.name}: a core's memories are too small for one tile of {op.name} "
                f"({op.m}x{op.n}x{op.k}); enlarge weights, maps or sums"
            )
        t = best[1]
        return (Mapping(self.spec.mode, t.m, t.n, t.k, t.groups, t.order),)

    def budget(self, op: Op, part: Part) -> Budget:
        """Tiles of whole blocks of lanes and whole sets; what is in the core has no limit."""
        spec, array = self.spec, self.spec.array
        on_chip = self.from_host(op) or self.chip.resident(part.op.a_bytes)
        fixed = self.chip.holds_b(part.op)
        taken = part.op.c_bytes if self.chip.resident(part.op.c_bytes) else 0
        room = spec.maps.capacity_bytes - taken
        return Budget(
            a_bytes=_ALWAYS if on_chip else room // 2,
            b_bytes=_ALWAYS if fixed else spec.weights.capacity_bytes // 2,
            c_bytes=spec.sums.capacity_bytes,
            n_granule=array.cols,
            k_granule=self.banks(op) * array.bank_size,
            b_density=self._density(op),
            sum_bytes=SUM_BYTES,
        )

    def _density(self, op: Op) -> float:
        """Expected stored bytes of B over its dense bytes, before any mask is known."""
        slots = self.balanced_slots(op)
        array = self.spec.array
        if slots is None:
            spread = 2.0 if op.b_pattern.density < 0.5 else 1.0
            slots = min(array.bank_size, round(op.b_pattern.density * array.bank_size * spread) + 1)
        return slots / array.bank_size * self.stored_bits(op) / ceil_bytes(8, op.b_dtype)

    def lanes(self, op: Op) -> BankArray:
        """The lanes of one core, as an operator uses them."""
        array, banks = self.spec.array, self.banks(op)
        values = array.rows * min(op.k, banks * array.bank_size)
        return BankArray(
            array.rows, array.cols, banks, array.bank_size,
            gather_cycles=-(-ceil_bytes(values, op.a_dtype) // array.gather_bytes_per_cycle),
            drain_values_per_cycle=array.drain_values_per_cycle,
        )  # fmt: skip

    def slots(self, op: Op, part: Part, masks: tuple[Mask, ...] | None) -> Int64:
        """Most kept weights of a bank in a set, int64 [parts, blocks of lanes, sets].

        A balanced format stores, and takes the time of, its full banks; a real mask that has fuller
        ones takes longer.
        """
        array, one = self.lanes(part.op), part.op
        sizes = bank_sizes(one.k, array)
        balanced = self.balanced_slots(op)
        counts = np.zeros((1, 1, len(sizes)), dtype=np.int64)
        if balanced is not None:
            counts = np.minimum(sizes, balanced)[None, None]
            last = op.b_pattern.exact_nnz(1, int(sizes[-1]))
            if last is not None and sizes[-1] < array.bank_size:
                counts[0, 0, -1] = min(balanced, last)
        elif masks is None:
            expected = expected_slots(op.b_pattern, op.n, op.k, array)
            counts = np.minimum(sizes, expected)[None, None]
        if masks is not None and self.exploits(op):
            counts = np.maximum(counts, slowest_banks(masks, array, alike=op.groups > 1))
        least = np.minimum(sizes, -(-array.bank_size // self.spec.array.max_ratio))
        counts = np.where(counts > 0, np.maximum(counts, least), 0)
        return slowest_of_sets(counts, -(-one.n // array.cols), array)

    def masks(self, op: Op, part: Part, sparse: Sparse) -> tuple[Mask, ...] | None:
        """The mask of each part of the outputs; of a grouped product, of each product."""
        mask = sparse.mask
        if mask is None:
            return None
        rows = part.op.n if op.groups == 1 or op.b_shared else op.n
        return tuple(mask[start : start + rows, :] for start in range(0, mask.rows, rows))

    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        steps = Steps(self.units(), self.actions)
        if op.is_matmul:
            product = self.product(op, mapping, sparse, fidelity)
            product.tally_accesses(steps, self.spec.array.rows, self.spec.array.cols)
            kind = mac_action((op.a_dtype, op.b_dtype), _LANE_BITS)
            steps.tally(kind, int(product.macs.sum()))
            release, done = product.emit(steps, self.chip)
        else:
            work = self.vector_work(op)
            steps.tally("map_read", op.read_bytes)
            steps.tally("map_write", op.write_bytes)
            stream = stream_through(work.moved(self.chip), VPU, self.vector)
            release, done = work.emit(steps, self.chip, stream)
        return steps.build(release_after=release, done_after=done)

    def product(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Product:
        """A product laid out on a core: its tiles and how long each holds the lanes."""
        part, m = self.part(op), mapping
        one = part.op
        table = tile_table(one, Tiling(m.tile_m, m.tile_n, m.tile_k, m.tile_groups, m.order))
        masks = self.masks(op, part, sparse)
        stepped = fidelity is Fidelity.CYCLE and op.groups == 1
        if stepped and masks is None:
            masks = (Mask.full(one.n, one.k),) * -(-op.n // one.n)
        cycles = pace_tiles(
            table, self.slots(op, part, masks), self.lanes(one), masks if stepped else None
        )
        return Product(
            op=op,
            part=part,
            table=table,
            busy_cycles=cycles.busy,
            latency_cycles=cycles.latency + self.spec.array.latency_cycles,
            stored_bytes=-(-cycles.stored * self.stored_bits(op) // 8),
            macs=spread(table, self._issued(op, sparse)),
            image=self.from_host(op),
            shares_weights=self._shares_weights(op),
            shares_inputs=self._shares_inputs(op),
        )

    def _issued(self, op: Op, sparse: Sparse) -> int:
        """Multiply-accumulates of one run on kept weights; zeros of A are multiplied too."""
        dense_a = replace(op, a_pattern=DENSE)
        if not self.exploits(op):
            return op.macs // op.repeats
        return effective_macs(dense_a, sparse.mask) // op.repeats

    def _shares_inputs(self, op: Op) -> bool:
        return self.spec.mode == "broadcast" and op.weight is not None and op.is_matmul

    def _shares_weights(self, op: Op) -> bool:
        """Whether one load of B serves all cores; products of activations have one on each."""
        return self.spec.mode == "split" and op.weight is not None

    @property
    def fusion_rule(self) -> str:
        return "fuses element-wise work of one sweep by its own rule (fuses_activations)"

    def fused(self, op: Op) -> bool:
        """Whether an operator works on results as they leave the array."""
        element_wise = op.kind in (Kind.ELEMENTWISE, Kind.NORM) and op.passes == 1
        works = op.alu_per_element + op.special_per_element > 0
        return self.spec.fuses_activations and element_wise and works

    def vector_work(self, op: Op) -> VectorWork:
        """An operator without a product, as the vector units share it."""
        return VectorWork(op, self.part(op), self.fused(op))

    def components(self) -> Sequence[Component]:
        spec = self.spec
        array, cores = spec.array, spec.chips * spec.cores
        memories = {"weight": spec.weights, "map": spec.maps, "sum": spec.sums}
        return (
            *macs_by_width(
                Component(
                    name="lanes", kind="mac", actions=(), dtype="int8", accumulate_dtype="int32",
                    instances=cores * array.rows * array.cols * array.banks,
                ),
                _LANE_BITS,
            ),
            *(
                Component(
                    name=f"{name} memory", kind="sram", actions=(f"{name}_read", f"{name}_write"),
                    instances=cores, capacity_bytes=pad.capacity_bytes,
                )
                for name, pad in memories.items()
            ),
            Component(
                name="vector", kind="vector", actions=("vpu_alu", "vpu_special"), dtype="bf16",
                instances=cores * spec.vector.lanes * spec.vector.alu_per_lane,
            ),
            Component(
                name="dram", kind="dram", actions=(DRAM_READ, DRAM_WRITE), dram_kind=spec.dram.kind
            ),
        )  # fmt: skip
