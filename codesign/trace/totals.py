"""Sums over a trace: bytes that operators touch, and operations for each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codesign.trace.op import Op, Trace


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that operators read and write once each, nothing kept between operators.

    `weights` are those of operand B where it holds parameters, `products` the other operands of
    matrix products, `vector` all of vector operators.
    """

    weights: int
    products: int
    vector: int

    @property
    def total(self) -> int:
        return self.weights + self.products + self.vector


def traffic(ops: Iterable[Op]) -> Traffic:
    """The traffic of dense operators, repeats counted."""
    weights = products = vector = 0
    for op in ops:
        if not op.is_matmul:
            vector += (op.read_bytes + op.write_bytes) * op.repeats
            continue
        reads_weights = op.weight is not None and op.phase != "backward_weight"
        weights += op.b_bytes * op.repeats if reads_weights else 0
        rest = op.a_bytes + op.c_bytes + (0 if reads_weights else op.b_bytes)
        products += rest * op.repeats
    return Traffic(weights, products, vector)


def intensity_flop_per_byte(trace: Trace) -> float:
    """Floating-point operations of dense products for each byte that any operator touches."""
    touched = traffic(trace).total
    return 2 * trace.macs / touched if touched else 0.0
