"""Machines of equal cores with one way off the chip; an operator runs on one core or over all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import replace
from fractions import Fraction
from operator import itemgetter
from typing import ClassVar, TypeVar

from pydantic import Field

from codesign.arch.base import (
    ArchSpec,
    Candidates,
    Fidelity,
    Machine,
    Mapping,
    Place,
    Sparse,
    joined_candidates,
)
from codesign.arch.parts import Component
from codesign.schedule.cores import moved_to_core, on_core, side_by_side
from codesign.schedule.cut import axes, cut
from codesign.schedule.program import Program
from codesign.trace.op import Op

NO_MASK = Sparse()


class CoresSpec(ArchSpec):
    """A machine file that describes one core and says how many there are."""

    cores: int = Field(
        default=1, ge=1, le=64, description="copies of all but the memory, which they share"
    )

    free: ClassVar[frozenset[str]] = frozenset({"cores"})
    silent_defaults: ClassVar[frozenset[str]] = frozenset({"cores"})


S = TypeVar("S", bound=CoresSpec)


class CoresMachine(Machine[S]):
    """A machine that is written as one core; with one core, it is that.

    Where nobody places them, operators are cut over all cores along the axis that is likely
    quickest. Each core reads what its part needs over the link that all share.
    """

    place: Place | None = None
    """Where all mappings place their operators, if that is not theirs to choose."""

    @abstractmethod
    def rated_mappings(self, op: Op) -> Sequence[tuple[float, Mapping]]:
        """Mappings on one core, quickest first, with the cycles that they likely take."""

    @abstractmethod
    def candidates_on_core(self, op: Op, sparse: Sparse, *, every: bool) -> Candidates:
        """What a search tries of mappings on one core."""

    @abstractmethod
    def lower_on_core(
        self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity
    ) -> Program:
        """Step tables on the units of one core."""

    @abstractmethod
    def components_of_core(self) -> Sequence[Component]:
        """The blocks of one core, and the memory."""

    @property
    def cores(self) -> int:
        return self.spec.cores

    def engines(self, op: Op, mapping: Mapping) -> tuple[str, ...]:
        engine = self.engine(op)
        if self.cores == 1:
            return (engine,)
        place = mapping.place or Place()
        chosen = range(self.cores) if place.axis else (place.core,)
        return tuple(on_core(engine, core) for core in chosen)

    def places(self, op: Op) -> Sequence[Place]:
        if self.cores == 1:
            return ()
        cuts = [Place(axis=axis) for axis in axes(op, self.cores)]
        return (*cuts, *(Place(core) for core in range(self.cores)))

    def confined(self, place: Place) -> CoresMachine[S]:
        machine = type(self)(self.spec)
        machine.place = place
        return machine

    @property
    def sharers(self) -> int:
        """Cores that use the link at once for an operator, as far as its place is known."""
        return self.cores if self.place is not None and self.place.axis else 1

    def share_of_peak(self, mapping: Mapping) -> Fraction:
        is_cut = mapping.place is not None and mapping.place.axis
        return Fraction(1) if is_cut else Fraction(1, self.cores)

    def mappings(self, op: Op) -> Sequence[Mapping]:
        if self.cores == 1:
            return [mapping for _, mapping in self.rated_mappings(op)]
        cuts: list[tuple[float, Mapping]] = []
        whole: list[tuple[float, Mapping]] = []
        for place, part, _ in self._parts(op):
            rated = [
                (cycles, replace(mapping, place=place))
                for cycles, mapping in self.confined(place).rated_mappings(part)
            ]
            (cuts if place.axis else whole).extend(rated)
        return [mapping for _, mapping in (*sorted(cuts, key=itemgetter(0)), *whole)]

    def candidates(self, op: Op, sparse: Sparse, *, every: bool = False) -> Candidates:
        if not op.is_matmul:
            return super().candidates(op, sparse, every=every)
        if self.cores == 1:
            return self.candidates_on_core(op, sparse, every=every)
        return joined_candidates(
            [
                self.confined(place).candidates_on_core(part, own, every=every).placed(place)
                for place, part, own in self._parts(op, sparse)
            ]
        )

    def _parts(self, op: Op, sparse: Sparse = NO_MASK) -> Iterator[tuple[Place, Op, Sparse]]:
        """Where the operator may run, any core standing for all, with the largest part of it."""
        places = [place for place in self.places(op) if place.axis or place.core == 0]
        for place in places if self.place is None else [self.place]:
            if place.axis:
                parts = cut(op, place.axis, self.cores, sparse.mask)
                largest = max(parts, key=lambda part: part.op.macs or part.op.elements)
                yield place, largest.op, Sparse(largest.mask)
            else:
                yield place, op, sparse

    def lower(self, op: Op, mapping: Mapping, sparse: Sparse, fidelity: Fidelity) -> Program:
        if self.cores == 1:
            return self.lower_on_core(op, mapping, sparse, fidelity)
        place = mapping.place or Place()
        if not place.axis:
            alone = self.lower_on_core(op, mapping, sparse, fidelity)
            return moved_to_core(alone, place.core, self.cores)
        known: dict[object, Program] = {}
        programs = []
        for core, part in enumerate(cut(op, place.axis, self.cores, sparse.mask)):
            key = part.op.shape_key, None if part.mask is None else part.mask.fingerprint
            if key not in known:
                known[key] = self.lower_on_core(part.op, mapping, Sparse(part.mask), fidelity)
            programs.append(moved_to_core(known[key], core, self.cores))
        return side_by_side(programs)

    def components(self) -> Sequence[Component]:
        return [
            one
            if one.kind in ("dram", "command")
            else replace(one, instances=one.instances * self.cores)
            for one in self.components_of_core()
        ]


def most_of_a_core(cycles: MappingABC[str, int]) -> dict[str, int]:
    """The largest figure of each kind of unit, by the kind's name."""
    most: dict[str, int] = {}
    for name, value in cycles.items():
        kind = _kind(name)
        most[kind] = max(most.get(kind, 0), value)
    return most


def sum_over_cores(cycles: MappingABC[str, int], unit: str) -> int:
    """The figures of one kind of unit, added up."""
    return sum(value for name, value in cycles.items() if _kind(name) == unit)


def _kind(unit: str) -> str:
    kind, _, core = unit.rpartition(" ")
    return kind if core.isdigit() else unit
