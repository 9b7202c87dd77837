"""What one element costs in each vector function, forward and backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign.config import CodesignError, suggestion
from codesign.trace.op import Kind


@dataclass(frozen=True, slots=True)
class Work:
    """Work on one element: sweeps, simple and transcendental operations, elements read and written.

    Operations are counted for all passes together; a fused multiply-add counts as two. A function
    that works on one row at a time (layernorm, softmax) reads its row once, since a row stays in
    the vector unit; a function whose statistics span the batch (batchnorm in training) reads its
    input twice.
    """

    passes: int
    alu: int
    special: int
    reads: int
    writes: int


@dataclass(frozen=True, slots=True)
class Function:
    """A vector function: what it does forward, and what its gradient does.

    `backward` is None where the gradient passes through unchanged (residual additions) or does not
    exist. A REDUCTION states its work for each element of its input.
    """

    kind: Kind
    forward: Work
    backward: Work | None = None


_E, _N, _R = Kind.ELEMENTWISE, Kind.NORM, Kind.REDUCTION

FUNCTIONS: Mapping[str, Function] = {
    # y = max(x, 0); dx = dy where y > 0
    "relu": Function(_E, Work(1, 1, 0, 1, 1), Work(1, 1, 0, 2, 1)),
    "relu6": Function(_E, Work(1, 2, 0, 1, 1), Work(1, 2, 0, 2, 1)),
    # x/2 * (1 + erf(x / sqrt 2)); dx = dy * (cdf + x * pdf)
    "gelu": Function(_E, Work(1, 4, 1, 1, 1), Work(1, 7, 2, 2, 1)),
    # the form with tanh has a cubic argument
    "gelu_tanh": Function(_E, Work(1, 8, 1, 1, 1), Work(1, 14, 1, 2, 1)),
    # x * sigmoid(x): exp and reciprocal
    "silu": Function(_E, Work(1, 2, 2, 1, 1), Work(1, 5, 2, 2, 1)),
    "sigmoid": Function(_E, Work(1, 1, 2, 1, 1), Work(1, 3, 0, 2, 1)),
    "tanh": Function(_E, Work(1, 0, 1, 1, 1), Work(1, 3, 0, 2, 1)),
    "add": Function(_E, Work(1, 1, 0, 2, 1)),
    "add_parameter": Function(_E, Work(1, 1, 0, 1, 1)),
    "multiply": Function(_E, Work(1, 1, 0, 2, 1), Work(1, 2, 0, 3, 2)),
    # partial sums of several devices; what links carry is the second operand
    "all_reduce": Function(_E, Work(1, 1, 0, 1, 1)),
    "scale": Function(_E, Work(1, 1, 0, 1, 1), Work(1, 1, 0, 1, 1)),
    "copy": Function(_E, Work(1, 0, 0, 1, 1), Work(1, 0, 0, 1, 1)),
    "elementwise": Function(_E, Work(1, 1, 0, 1, 1), Work(1, 1, 0, 2, 1)),
    # two multiplications and an addition with tabulated angles
    "rotary": Function(_E, Work(1, 3, 0, 1, 1), Work(1, 3, 0, 1, 1)),
    # bilinear: four neighbours times their shares; the gradient adds four shares
    "interpolate": Function(_E, Work(1, 7, 0, 1, 1), Work(1, 8, 0, 1, 1)),
    # nearest neighbour; the gradient adds up the copies
    "enlarge": Function(_E, Work(1, 0, 0, 1, 1), Work(1, 1, 0, 1, 1)),
    "kv_cache_write": Function(_E, Work(1, 0, 0, 1, 1)),
    # sum and sum of squares; then subtract, scale, weight, bias. The gradient also sums the
    # gradients of weight and bias
    "layernorm": Function(_N, Work(2, 7, 0, 1, 1), Work(2, 13, 0, 2, 1)),
    "rmsnorm": Function(_N, Work(2, 4, 0, 1, 1), Work(2, 9, 0, 2, 1)),
    "batchnorm": Function(_N, Work(2, 5, 0, 2, 1), Work(2, 9, 0, 4, 1)),
    # running statistics folded into one scale and one bias for each channel
    "batchnorm_inference": Function(_N, Work(1, 2, 0, 1, 1), Work(1, 1, 0, 1, 1)),
    # maximum; scale, subtract, exponential and sum; divide by the sum
    "softmax": Function(Kind.SOFTMAX, Work(3, 5, 1, 1, 1), Work(2, 5, 0, 2, 1)),
    "embedding": Function(Kind.EMBEDDING, Work(1, 0, 0, 1, 1), Work(1, 1, 0, 2, 1)),
    "max_pool": Function(_R, Work(1, 1, 0, 1, 0), Work(1, 1, 0, 0, 1)),
    "mean": Function(_R, Work(1, 1, 0, 1, 0), Work(1, 1, 0, 0, 1)),
    "sum": Function(_R, Work(1, 1, 0, 1, 0), Work(1, 0, 0, 0, 1)),
    # the outputs of a token's experts, each times its share
    "weighted_sum": Function(_R, Work(1, 2, 0, 1, 0), Work(1, 2, 0, 0, 1)),
    # softmax of the logits, then the logarithm of the label's share; softmax minus one-hot
    "cross_entropy": Function(_R, Work(3, 4, 1, 1, 0), Work(1, 3, 1, 1, 1)),
}

RESIZING = frozenset({"interpolate", "enlarge"})
"""Functions whose result is larger than what they read; `elements` are those of the larger one."""


def function(name: str) -> Function:
    """The row of a vector function; CodesignError with a suggestion for an unknown one."""
    try:
        return FUNCTIONS[name]
    except KeyError:
        raise CodesignError(
            f"no vector function {name!r}" + suggestion(name, list(FUNCTIONS))
        ) from None


@dataclass(frozen=True, slots=True)
class Optimizer:
    """One step over one weight: operations, and fp32 values (master weight, moments) that are kept.

    Mixed precision as in Micikevicius et al. 2018 (arXiv 1710.03740): the gradient comes in the
    working type, the master weight and the moments are read and written in fp32, and a copy in the
    working type is written for the next step. With fp32 as working type the master weight is the
    copy.
    """

    alu: int
    special: int
    state: int


OPTIMIZERS: Mapping[str, Optimizer] = {
    # convert, decay (2), step (2), convert
    "sgd": Optimizer(alu=6, special=0, state=1),
    # and v = mu v + g
    "sgd_momentum": Optimizer(alu=8, special=0, state=2),
    # m (3), v (4), square root and eps, division, step (2), decay (2), conversions (2);
    # the bias corrections are in the step size
    "adam": Optimizer(alu=14, special=2, state=3),
    "adamw": Optimizer(alu=14, special=2, state=3),
}


def optimizer(name: str) -> Optimizer:
    """The row of an optimiser; CodesignError with a suggestion for an unknown one."""
    try:
        return OPTIMIZERS[name]
    except KeyError:
        raise CodesignError(
            f"no optimizer {name!r} (known: {', '.join(OPTIMIZERS)})"
            + suggestion(name, list(OPTIMIZERS))
        ) from None
