"""What a dispatched operator without products costs, as fields of an operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from codesign.trace.aten import VECTOR_FUNCTIONS
from codesign.trace.op import Kind
from codesign.trace.vector_work import FUNCTIONS, RESIZING, function

_RESIZING_BACK = tuple(f"{name}.gradient" for name in RESIZING)


def vector_function(name: str, args: Sequence[Any], inputs: Sequence[Tensor]) -> str:
    """The row of `trace.vector_work` that an operator of torch is."""
    what = VECTOR_FUNCTIONS.get(name, "elementwise")
    if what == "batchnorm" and len(args) > 5 and args[5] is False:
        return "batchnorm_inference"
    if what == "multiply" and len([t for t in inputs if t.is_floating_point()]) < 2:
        return "scale"
    return what if what.removesuffix(".gradient") in FUNCTIONS else "elementwise"


def vector_fields(
    what: str, name: str, read: Sequence[Tensor], fresh: int, made: Sequence[Tensor]
) -> dict[str, Any]:
    """Kind, elements, passes, operations, reads and writes of an operator that made `made`.

    `read` are its floating-point inputs, `fresh` the elements of those that an operator wrote: a
    concatenation appends them to what is there already, such as cached keys.
    """
    row = function(what.removesuffix(".gradient"))
    work = (row.backward or row.forward) if what.endswith(".gradient") else row.forward
    elements = made[0].numel()
    reads = elements if what == "embedding" else sum(t.numel() for t in read)
    writes = sum(t.numel() for t in made)
    if row.kind is Kind.REDUCTION or what in ("batchnorm", *_RESIZING_BACK):
        elements = max(elements, max((t.numel() for t in read), default=0))
    if name == "cat":
        elements = writes = reads = fresh or reads
    if what in ("batchnorm", "batchnorm.gradient"):
        reads += elements * (work.reads // 2)
    return {
        "kind": row.kind, "function": what, "elements": elements, "passes": work.passes,
        "alu_per_element": work.alu, "special_per_element": work.special, "reads": reads,
        "writes": writes,
    }  # fmt: skip
