"""What a machine is: a specification from YAML, and a class that lowers operators to steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import Field, ValidationInfo, model_validator

from codesign.arch.mapping import (
    NOTHING_KEPT,
    Candidates,
    Kept,
    Mapping,
    Place,
    joined_candidates,
)
from codesign.arch.parts import (
    DOUBTFUL,
    Anchor,
    Component,
    EnergyOverrides,
    Source,
    Status,
    Technology,
)
from codesign.config import EntryError, Spec, leaves
from codesign.schedule.epilogue import Epilogue
from codesign.schedule.program import Program
from codesign.sparsity.mask import Mask
from codesign.trace.op import Op

__all__ = [
    "NOTHING_KEPT",
    "SOURCES_ARE_KNOWN",
    "AnyMachine",
    "ArchSpec",
    "Assumption",
    "Candidates",
    "Fidelity",
    "Kept",
    "Machine",
    "Mapping",
    "Place",
    "Sparse",
    "joined_candidates",
]  # fmt: skip


class Fidelity(StrEnum):
    """How closely a machine is followed."""

    TILE = "tile"
    """Expected densities and closed forms, a handful of steps for each operator."""
    ROW = "row"
    """The real mask: every fold takes as long as its slowest lane, every tile is a step."""
    CYCLE = "cycle"
    """Every processing element is stepped, and computes its numbers."""


_UNSOURCED = ("sources", "anchors")
SOURCES_ARE_KNOWN = object()
"""Context of a validation whose input has numbers at the same paths as one that was valid."""


class ArchSpec(Spec):
    """What every machine file states.

    Raises ConfigError when a number is covered by no entry of `sources`, or an entry covers
    nothing; an entry may also say where a choice that is no number comes from.
    """

    machine: str
    name: str = Field(min_length=1)
    description: str = ""
    clock_mhz: float = Field(ge=0.001, le=1e6)
    technology: Technology
    energy: EnergyOverrides = EnergyOverrides()
    sources: dict[str, Source] = Field(default_factory=dict)
    anchors: tuple[Anchor, ...] = ()

    free: ClassVar[frozenset[str]] = frozenset()
    """Dotted paths of choices of whoever uses the design, which need no source."""

    @model_validator(mode="after")
    def _every_number_has_a_source(self, info: ValidationInfo) -> ArchSpec:
        if info.context is SOURCES_ARE_KNOWN:
            return self
        stated = [path for path, _ in leaves(self, without=_UNSOURCED)]
        numbers = [path for path, _ in self.numbers()]
        bare = [p for p in numbers if self.source_of(p) is None and p not in self.free]
        idle = [
            key
            for key in self.sources
            if not any(path == key or path.startswith(key + ".") for path in stated)
        ]
        if bare:
            first, *others = bare
            raise EntryError(
                tuple(first.split(".")),
                f"no entry of `sources` covers it{', nor ' if others else ''}{', '.join(others)}; "
                "name its source, or write status: assumed",
            )
        if idle:
            raise EntryError(("sources", idle[0]), f"this file does not state {', '.join(idle)}")
        return self

    def numbers(self) -> list[tuple[str, int | float]]:
        """Dotted path and value of every number that says something about the machine."""
        fields = type(self).model_fields
        silent = {n for n in self.silent_defaults if getattr(self, n) == fields[n].default}
        return [
            (path, value)
            for path, value in leaves(self, without=_UNSOURCED)
            if isinstance(value, int | float) and not isinstance(value, bool) and path not in silent
        ]

    def choices(self) -> list[tuple[str, object]]:
        """Dotted path and value of what is no number but has an entry of `sources`."""
        numbers = {path for path, _ in self.numbers()}
        return [(p, value) for p, value in leaves(self) if p in self.sources and p not in numbers]

    def source_of(self, path: str) -> Source | None:
        """The entry of `sources` with the longest prefix of a dotted path."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            found = self.sources.get(".".join(parts[:length]))
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class Assumption:
    """A number of the result's ancestry that nobody published."""

    path: str
    value: float
    status: Status
    source: str


@dataclass(frozen=True, slots=True)
class Sparse:
    """What a machine is told of an operator's zeros, beside its pattern; the mask may be real."""

    mask: Mask | None = None
    """Of B, n rows (times groups) of k; None where the pattern's counts are exact or B is dense."""


S = TypeVar("S", bound=ArchSpec)


class Machine(ABC, Generic[S]):
    """A machine family; an instance is one machine file.

    A family is one module in `codesign.arch` (or a plug-in of the entry-point group
    `codesign.architectures`) that defines a subclass of this and of ArchSpec.
    """

    spec_type: ClassVar[type[ArchSpec]]

    def __init__(self, spec: S) -> None:
        self.spec: S = spec

    def __repr__(self) -> str:
        """One line, for notebooks: the family and the name of the file."""
        return f"{type(self).__name__}({self.spec.name})"

    @abstractmethod
    def supports(self, op: Op) -> bool:
        """Whether the machine can run the operator at all."""

    def refusal(self, op: Op) -> str:
        """What of an operator that the machine does not support it cannot run."""
        return str(op.kind)

    @abstractmethod
    def exploits(self, op: Op) -> bool:
        """Whether the zeros of the operator's B save work here; if not, it runs dense."""

    def skips(self, op: Op) -> bool:
        """Whether products with zeros of B are left out; else B may still be stored compressed."""
        return self.exploits(op)

    def note(self, op: Op) -> str | None:
        """One line for the report when the operator does not run as its pattern suggests."""
        pattern = op.a_pattern if op.b_pattern.is_dense else op.b_pattern
        if op.is_matmul and not pattern.is_dense and not self.exploits(op):
            return f"{pattern} runs dense on {self.spec.name}"
        return None

    @abstractmethod
    def engine(self, op: Op) -> str:
        """Name of the unit whose buffers the operator occupies."""

    def engines(self, op: Op, mapping: Mapping) -> tuple[str, ...]:
        """Names of all units whose buffers the operator occupies where it is placed."""
        return (self.engine(op),)

    @property
    def cores(self) -> int:
        """Equal cores over which operators can be placed or cut."""
        return 1

    def places(self, op: Op) -> Sequence[Place]:
        """Where an operator may run: on any core, or cut over all along an axis that allows it."""
        return ()

    def confined(self, place: Place) -> Machine[S]:
        """The machine as it is to an operator that runs at a place."""
        return self

    def share_of_peak(self, mapping: Mapping) -> Fraction:
        """The part of `peak_macs_per_cycle` that is in reach where an operator is placed."""
        return Fraction(1)

    @abstractmethod
    def mappings(self, op: Op) -> Sequence[Mapping]:
        """Candidate mappings, the first of which always works."""

    def candidates(self, op: Op, sparse: Sparse, *, every: bool = False) -> Candidates:
        """Mappings that a search tries; `every` one there is, where that can be listed.

        A machine that says no more has only those that it proposes.
        """
        proposed = self.mappings(op)
        nothing = np.zeros(len(proposed))
        moved = np.full(len(proposed), float(self.compulsory_bytes(op, sparse)))
        likely = np.arange(len(proposed), dtype=np.float64)
        return Candidates(nothing, moved, likely, proposed.__getitem__)

    @property
    def room_bytes(self) -> int:
        """Scratchpads that may hold feature maps between operators; 0 where there is no choice."""
        return 0

    def narrowed(self, taken_bytes: int) -> Machine[S]:
        """The machine with what maps of so many bytes leave of its scratchpads."""
        return self

    @property
    def fusion_rule(self) -> str:
        """What a report says where a fusion is asked for and `fusing` has none."""
        return "has no choice of fusing element-wise work into products"

    def fusing(self, epilogue: Epilogue) -> Machine[S] | None:
        """The machine as it is to a product whose tiles such work follows; its mappings say so.

        None where the machine leaves nothing to decide.
        """
        return None

    @abstractmethod
    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        """Step tables of one run of the operator."""

    @abstractmethod
    def peak_macs_per_cycle(self, op: Op) -> Fraction:
        """Dense-equivalent MACs that the operator could do per cycle if nothing ever waited."""

    @abstractmethod
    def stored_bytes(self, op: Op, sparse: Sparse) -> int:
        """Bytes of B in memory, as the machine stores it, without any padding."""

    def moved_bytes(self, op: Op) -> int:
        """Bytes that an operator without products must read and write, once."""
        return op.read_bytes + op.write_bytes

    def compulsory_bytes(self, op: Op, sparse: Sparse) -> int:
        """Bytes that one run of an operator must move off chip, less the maps that stay on it."""
        if not op.is_matmul:
            return self.moved_bytes(op)
        return op.a_bytes + self.stored_bytes(op, sparse) + op.c_bytes

    @abstractmethod
    def components(self) -> Sequence[Component]:
        """The blocks that metrics charge energy and area for."""

    @property
    @abstractmethod
    def dram_bytes_per_cycle(self) -> float:
        """Peak off-chip bandwidth."""

    @property
    def memory_bytes(self) -> int | None:
        """Capacity of the off-chip memory, None where the machine file does not state it."""
        return None

    def static_power_w(self) -> MappingABC[str, float]:
        """Power by part that is drawn at all times, beside the leakage of the area."""
        return {}

    def board_energy_pj(self, op: Op, counts: MappingABC[str, int], cycles: int) -> float | None:
        """Energy of an operator at the supply of the board, None without coefficients of boards.

        `counts` are its actions, `cycles` its share of the run. It is kept apart from the energy of
        `components`, which is that of the devices on the board alone.
        """
        return None

    def needs_mask(self, op: Op, fidelity: Fidelity) -> bool:
        """Whether lowering depends on where the zeros of B are."""
        return fidelity is not Fidelity.TILE and self.exploits(op)

    acts_beyond_probes: ClassVar[tuple[str, ...]] = ()
    """Dotted paths of the file whose numbers matter only beyond the probes of conformance."""
    sparse_can_lose: ClassVar[bool] = False
    """Whether sparse operands have kernels of their own, slower than dense ones for some shapes."""

    unit_labels: ClassVar[dict[str, str]] = {}
    """What an operator that waits for a unit is bound by; where absent, the unit's name."""

    def bound_by(
        self, op: Op, busy_cycles: MappingABC[str, int], span_cycles: int, executed_macs: int
    ) -> str:
        """What an operator waited for most: the unit that was busy longest, or else latency."""
        if not busy_cycles or span_cycles == 0:
            return "latency"
        unit = max(busy_cycles, key=lambda name: busy_cycles[name])
        if 2 * busy_cycles[unit] < span_cycles:
            return "latency"
        return self.unit_labels.get(unit, unit)

    def assumptions(self) -> tuple[Assumption, ...]:
        """The numbers of the machine file that are unverified or assumed."""
        rows = []
        for path, value in self.spec.numbers():
            source = self.spec.source_of(path)
            if source is not None and source.status in DOUBTFUL:
                rows.append(Assumption(path, value, source.status, source.source))
        return tuple(rows)


AnyMachine = Machine[Any]
