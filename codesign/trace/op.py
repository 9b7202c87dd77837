"""The operators of a model and their dependency graph, with no machine in sight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from codesign.config import CodesignError, fingerprint, suggestion
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import DENSE, Pattern
from codesign.trace.window import Conv
from codesign.units import DTYPE_BYTES

if TYPE_CHECKING:
    import networkx


class Kind(StrEnum):
    """What an operator computes."""

    GEMM = "gemm"
    CONV = "conv"
    ATTENTION = "attention"
    """A product of two activations; `groups` counts batch times heads."""
    EMBEDDING = "embedding"
    NORM = "norm"
    SOFTMAX = "softmax"
    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"
    UPDATE = "update"
    """The optimiser's step over one weight tensor."""


MATMUL_KINDS = frozenset({Kind.GEMM, Kind.CONV, Kind.ATTENTION})


class Phase(StrEnum):
    """Where in inference or in a training step an operator stands."""

    FORWARD = "forward"
    BACKWARD_DATA = "backward_data"
    BACKWARD_WEIGHT = "backward_weight"
    UPDATE = "update"
    PREFILL = "prefill"
    DECODE = "decode"


GENERATING = (Phase.PREFILL, Phase.DECODE)
FORWARD_PHASES = (Phase.FORWARD, *GENERATING)
PHASES: Mapping[str, Phase] = {
    "inference": Phase.FORWARD,
    "training": Phase.FORWARD,
    "prefill": Phase.PREFILL,
    "decode": Phase.DECODE,
}
"""What a caller asks to be run, and the phase of its forward operators."""


def forward_phase(asked: str) -> Phase:
    """The phase of the forward operators of what is run; CodesignError for an unknown word.

    >>> forward_phase("training").value
    'forward'
    """
    if asked not in PHASES:
        raise CodesignError(
            f"phase is one of {', '.join(PHASES)}, got {str(asked)[:40]!r}"
            + suggestion(str(asked), list(PHASES))
        )
    return PHASES[asked]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operator: `groups` products C (m x n) = A (m x k) . B (k x n), or vector work.

    Matrix kinds use `m, n, k, groups`; B holds the weights where `weight` names a tensor. The masks
    of B are kept in the layout of a linear layer's weight: groups * n rows of k, the reduction
    last. Vector kinds use `elements`: each of `passes` sweeps touches every element once,
    `alu_per_element` and `special_per_element` count simple and transcendental operations of all
    passes together. `reads` (of a_dtype) and `writes` (of c_dtype) count elements moved between
    memory and the vector unit, `b_reads` and `b_writes` those of a second operand of b_dtype:
    optimiser state, indices. The patterns of an update are those of the copies of the weight that
    forward (b) and backward-data (a) products read.
    """

    name: str
    kind: Kind
    phase: Phase
    layer: str = ""
    """Module path; several operators share it."""
    function: str = ""
    """What a vector operator computes: a row of `trace.vector_work`."""
    m: int = 0
    n: int = 0
    k: int = 0
    groups: int = 1
    conv: Conv | None = None
    weight: str | None = None
    """Name of the parameter that is read as B, or whose gradient or update is computed."""
    a_pattern: Pattern = DENSE
    b_pattern: Pattern = DENSE
    a_dtype: str = "fp16"
    b_dtype: str = "fp16"
    c_dtype: str = "fp16"
    b_shared: bool = False
    """Every group multiplies the same B (a weight that is broadcast over a batch dimension)."""
    b_changes: bool = False
    """B is a weight that the optimiser changes between two runs of the operator."""
    elements: int = 0
    passes: int = 0
    alu_per_element: int = 0
    special_per_element: int = 0
    reads: int = 0
    writes: int = 0
    b_reads: int = 0
    b_writes: int = 0
    repeats: int = 1
    """How many times the operator runs in succession with identical content."""
    deps: tuple[str, ...] = ()

    @property
    def is_matmul(self) -> bool:
        return self.kind in MATMUL_KINDS

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one dense run, times `repeats`."""
        return self.groups * self.m * self.n * self.k * self.repeats if self.is_matmul else 0

    @property
    def a_elements(self) -> int:
        """Unique elements of A: a convolution reads its input map, not the im2col matrix."""
        if self.conv is not None:
            return min(self.conv.touched_elements, self.groups * self.m * self.k)
        return self.groups * self.m * self.k

    @property
    def b_elements(self) -> int:
        return (1 if self.b_shared else self.groups) * self.k * self.n

    @property
    def scatters(self) -> bool:
        """Whether the rows of A are positions of a spread input, of which windows read every few.

        So it is with transposed convolutions, and with the input's gradient of all others.
        """
        if self.conv is None or self.phase is Phase.BACKWARD_WEIGHT:
            return False
        return self.conv.transposed != (self.phase is Phase.BACKWARD_DATA)

    @property
    def gathers_gradient(self) -> bool:
        """Whether A are windows of the output's gradient and B is the layer's input.

        So it is with the weight's gradient of a transposed convolution.
        """
        swapped = self.conv is not None and self.conv.transposed
        return swapped and self.phase is Phase.BACKWARD_WEIGHT

    @property
    def c_elements(self) -> int:
        """Unique elements of C; what scatters writes its whole map, however few its rows."""
        if self.conv is not None and self.scatters:
            return self.conv.out_elements
        return self.groups * self.m * self.n

    @property
    def a_bytes(self) -> int:
        return ceil_bytes(self.a_elements, self.a_dtype)

    @property
    def b_bytes(self) -> int:
        """Bytes of a dense B."""
        return ceil_bytes(self.b_elements, self.b_dtype)

    @property
    def c_bytes(self) -> int:
        return ceil_bytes(self.c_elements, self.c_dtype)

    @property
    def read_bytes(self) -> int:
        """Bytes that a vector operator reads, both operands together."""
        return ceil_bytes(self.reads, self.a_dtype) + ceil_bytes(self.b_reads, self.b_dtype)

    @property
    def write_bytes(self) -> int:
        """Bytes that a vector operator writes, both operands together."""
        return ceil_bytes(self.writes, self.c_dtype) + ceil_bytes(self.b_writes, self.b_dtype)

    @property
    def reads_cache(self) -> bool:
        """Whether B holds keys or values of earlier steps, which no step before this one made."""
        return self.kind is Kind.ATTENTION and self.phase is Phase.DECODE

    @property
    def shape_key(self) -> tuple[object, ...]:
        """All that decides the cost: every field but names and dependencies; if B is a weight."""
        return (*_shape_of(self), self.weight is None)


_LABELS = frozenset({"name", "layer", "weight", "deps", "function"})
_shape_of = attrgetter(*(f.name for f in fields(Op) if f.name not in _LABELS))


def ceil_bytes(elements: int, dtype: str) -> int:
    """Whole bytes that `elements` packed values of `dtype` take."""
    numerator, denominator = DTYPE_BYTES[dtype]
    return -(-elements * numerator // denominator)


@dataclass(frozen=True, repr=False)
class Trace:
    """A directed acyclic graph of operators in an order in which they can run.

    `masks` holds real masks by operator name (n rows of k, reduction last); an operator whose
    pattern is sparse and has no entry gets a mask sampled from its pattern. `parameters` counts
    trainable elements by tensor name. Raises CodesignError when a name is repeated or a dependency
    does not come earlier.
    """

    name: str
    ops: tuple[Op, ...]
    parameters: Mapping[str, int] = field(default_factory=dict)
    masks: Mapping[str, Mask] = field(default_factory=dict)
    meta: Mapping[str, str | int | float] = field(default_factory=dict)
    """How the trace was made: phase, batch, seq, context, source, policies."""

    def __post_init__(self) -> None:
        for attribute in ("parameters", "masks", "meta"):
            object.__setattr__(self, attribute, MappingProxyType(dict(getattr(self, attribute))))
        seen: set[str] = set()
        for op in self.ops:
            if op.name in seen:
                raise CodesignError(f"trace {self.name}: two operators are named {op.name!r}")
            for dep in op.deps:
                if dep not in seen:
                    raise CodesignError(
                        f"trace {self.name}: {op.name!r} depends on {dep!r}, "
                        "which does not come earlier"
                    )
            seen.add(op.name)
        for masked in self.masks:
            if masked not in seen:
                raise CodesignError(
                    f"trace {self.name}: a mask is given for {masked!r}, no such operator"
                )

    def __repr__(self) -> str:
        """One line, for notebooks: what is run, how large it is, and how sparse."""
        said = [str(self.meta[key]) for key in ("phase", "sparsity") if key in self.meta]
        sizes = [
            f"{key} {self.meta[key]}" for key in ("batch", "seq", "context") if self.meta.get(key)
        ]
        what = ", ".join([*said, *sizes])
        return (
            f"Trace({self.name}{f', {what}' if what else ''}: {len(self.ops)} operators, "
            f"{self.macs:.4g} MACs, {self.parameter_count:.4g} parameters)"
        )

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def __len__(self) -> int:
        return len(self.ops)

    def __getitem__(self, name: str) -> Op:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Op]:
        return {op.name: op for op in self.ops}

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates of the whole trace."""
        return sum(op.macs for op in self.ops)

    @property
    def parameter_count(self) -> int:
        return sum(self.parameters.values())

    @cached_property
    def fingerprint(self) -> str:
        """Equal for traces that any machine must treat alike."""
        content = [(op.name, op.deps, *op.shape_key) for op in self.ops]
        return fingerprint([content, {name: mask.fingerprint for name, mask in self.masks.items()}])

    def graph(self) -> networkx.DiGraph[str]:
        """The dependency graph, one node for each operator with the operator under `op`."""
        import networkx

        graph = networkx.DiGraph()
        for op in self.ops:
            graph.add_node(op.name, op=op)
            graph.add_edges_from((dep, op.name) for dep in op.deps)
        return graph
