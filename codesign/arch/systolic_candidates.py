"""The mappings of a product on a systolic machine that a search may try."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from codesign.arch.base import Candidates, Mapping, Sparse, joined_candidates
from codesign.schedule.epilogue import Epilogue
from codesign.schedule.tiling import Tiling, transposed
from codesign.schedule.tilings import Tilings, all_tilings, estimates, least_bytes, least_cycles
from codesign.trace.op import Op

if TYPE_CHECKING:
    from codesign.arch.systolic import SystolicMachine


def product_candidates(
    machine: SystolicMachine[Any], op: Op, sparse: Sparse, *, every: bool
) -> Candidates:
    """The tilings of a product in all dataflows, with bounds that no mask can beat."""
    found = []
    for dataflow in machine.usable_dataflows(op):
        laid = transposed(op) if dataflow == "is" else op
        tilings = all_tilings(laid, machine.budget(laid, dataflow), every=every)
        if not len(tilings):
            continue
        layout = machine.layout(laid, dataflow)
        likely, _ = estimates(laid, tilings, layout)
        if dataflow == "is":
            must = replace(layout, a_bytes=machine.stored_bytes(op, sparse), b_bytes=op.a_bytes)
            least = machine.least_slots(laid)
        else:
            must = replace(layout, b_bytes=machine.stored_bytes(op, sparse))
            least = machine.least_slots(op)
        found.append(
            Candidates(
                least_cycles=least_cycles(laid, tilings, must, least),
                least_bytes=least_bytes(laid, tilings, must),
                likely_cycles=likely,
                at=partial(_mapping_at, dataflow, tilings, machine.epilogue),
            )
        )
    return joined_candidates(found)


def mapping_of(dataflow: str, laid: Tiling, epilogue: Epilogue) -> Mapping:
    """The mapping of a tiling, which is that of the transposed product where inputs stay."""
    t = laid.swapped() if dataflow == "is" else laid
    return Mapping(dataflow, t.m, t.n, t.k, t.groups, t.order, epilogue=epilogue)


def _mapping_at(dataflow: str, tilings: Tilings, epilogue: Epilogue, place: int) -> Mapping:
    return mapping_of(dataflow, tilings.at(place), epilogue)
