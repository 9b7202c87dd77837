"""What every workload file states, and what a caller asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from codesign.config import CodesignError, Spec
from codesign.trace.network import Network
from codesign.trace.op import GENERATING, Phase

Size = Annotated[int, Field(ge=1, le=1 << 31)]
Depth = Annotated[int, Field(ge=1, le=10_000)]


class Published(Spec):
    """Numbers that others published for one forward pass of one item at the default shape.

    A tolerance of 0 says that the number is exact; otherwise it is the rounding of the source,
    relative.
    """

    parameters: int | None = None
    parameters_tolerance: float = Field(default=0.0, ge=0, le=0.1)
    macs: int | None = None
    macs_tolerance: float = Field(default=0.0, ge=0, le=0.1)
    source: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Request:
    """One forward pass: how many items, how long, in which phase and data type."""

    batch: int = 1
    seq: int | None = None
    context: int | None = None
    phase: Phase = Phase.FORWARD
    training: bool = False
    dtype: str = "fp16"
    draft: int = 0
    """Guessed tokens that a decode step verifies together with the one that is certain."""

    def network(self) -> Network:
        return Network(dtype=self.dtype, phase=self.phase, training=self.training)


class WorkloadSpec(Spec):
    """Base of all workload files; a subclass states hyper-parameters and builds the layers."""

    takes_sequence: ClassVar[bool] = False
    """Whether the number of tokens is a parameter of the caller."""
    generates: ClassVar[bool] = False
    """Whether the model has prefill and decode phases."""
    input_gradient: ClassVar[bool] = False
    """Whether the gradient of the input is wanted in training, as for one layer out of a model."""

    name: str = Field(min_length=1)
    description: str = ""
    published: Published | None = None

    def build(self, request: Request) -> Network:
        """The forward operators of one request."""
        raise NotImplementedError

    def resolve(self, request: Request) -> tuple[int, int]:
        """New tokens and cached tokens of a request, (0, 0) for a model without a sequence.

        Raises CodesignError for a sequence, a context or a phase that the model does not have.
        """
        if not self.generates and request.phase in GENERATING:
            raise CodesignError(
                f"{self.name} generates no tokens: it has the phases inference and training"
            )
        if request.context is not None and request.phase not in GENERATING:
            raise CodesignError(
                f"{self.name}: a context of cached tokens belongs to the phases prefill and decode"
            )
        if request.seq is not None and not self.takes_sequence:
            raise CodesignError(f"{self.name} takes no sequence length")
        if request.phase is Phase.DECODE and request.seq not in (None, 1):
            raise CodesignError(
                f"{self.name}: decode processes one token at a time, got seq {request.seq}; "
                "cached tokens are given as context"
            )
        return 0, 0
