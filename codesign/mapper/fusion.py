"""Which element-wise operators could work on the tiles of the product before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from codesign.schedule.epilogue import Epilogue
from codesign.trace.op import Kind, Op, Trace

_ROW_WISE = frozenset({"softmax", "layernorm", "rmsnorm", "softmax.gradient"})
"""Functions of more than one sweep that need no more than a row of the result at a time."""
_NOT_IN_PLACE = frozenset({"rotary", "rotary.gradient"})
"""Functions of one sweep whose elements need others of the same row."""
_GRADIENT_FROM_RESULT = frozenset({"relu", "relu6", "sigmoid", "tanh", "softmax"})
"""Functions whose gradient reads what they computed; that of others reads what they worked on."""


@dataclass(frozen=True)
class Chain:
    """A product and the operators that could follow on each tile of its result, by their places.

    Some of them can be fused only together with all before them: `epilogue(count)` is that of the
    first `count`.
    """

    product: int
    ops: tuple[int, ...]
    work: tuple[Op, ...]
    """The operators without their names, so that equal ones are equal."""
    needed: tuple[bool, ...]
    """Whether an operator beyond the chain reads a result; the product's own comes first."""
    saved: tuple[bool, ...]
    """Whether the gradient of an operator of the chain reads what it works on."""
    operands: tuple[tuple[int, ...], ...]
    """The operators whose results each reads beside that of the one before it."""

    def epilogue(self, count: int) -> Epilogue:
        """What follows the product when the first `count` operators are fused."""
        needs = (self.needed[i] or self.saved[i] for i in range(count))
        return Epilogue(self.work[:count], (*needs, True))

    def waits(self, count: int) -> tuple[int, ...]:
        """Places of the operators that must be done before the product begins."""
        return tuple(dict.fromkeys(place for each in self.operands[:count] for place in each))


def chains(trace: Trace) -> list[Chain]:
    """All products with what could follow them; every operator is in one chain at most.

    An operator of two results of products follows the later one, whose tiles find the other whole.
    """
    place = {op.name: i for i, op in enumerate(trace)}
    readers: dict[int, list[int]] = {}
    for i, op in enumerate(trace):
        for dep in op.deps:
            readers.setdefault(place[dep], []).append(i)
    found = []
    taken: set[int] = set()
    for i, op in enumerate(trace):
        if not op.is_matmul:
            continue
        links = list(_follow(trace, i, place, readers, taken))
        if links:
            found.append(_chain(trace, i, links, place, readers))
            taken.update(links)
    return found


def _follow(
    trace: Trace, product: int, place: Mapping[str, int], readers: Mapping[int, list[int]],
    taken: set[int],
) -> Iterator[int]:  # fmt: skip
    """The operators that follow a product, one after another."""
    end: int | None = product
    while end is not None:
        following = (
            reader
            for reader in readers.get(end, ())
            if reader not in taken and _fits(trace, product, end, reader, place)
        )
        end = next(following, None)
        if end is not None:
            yield end


def _fits(trace: Trace, product: int, before: int, follower: int, place: Mapping[str, int]) -> bool:
    """Whether an operator can work on each tile as the one before it leaves it."""
    op, head, last = trace.ops[follower], trace.ops[product], trace.ops[before]
    others = [place[dep] for dep in op.deps if place[dep] != before]
    size, dtype = op.elements, last.c_dtype
    return (
        _in_place(op, head)
        and op.repeats == head.repeats
        and size == head.c_elements == op.writes
        and op.b_writes == 0
        and op.a_dtype == dtype
        and op.reads >= size
        and (op.reads == size or bool(others))
        and all(other < product for other in others)
    )


def _in_place(op: Op, product: Op) -> bool:
    """Whether each element needs itself alone, or its row where a tile can hold one."""
    if op.kind not in (Kind.ELEMENTWISE, Kind.NORM, Kind.SOFTMAX):
        return False
    if op.alu_per_element + op.special_per_element == 0 or op.function in _NOT_IN_PLACE:
        return False
    return op.passes == 1 or (op.function in _ROW_WISE and product.conv is None)


def _chain(
    trace: Trace, product: int, links: list[int], place: Mapping[str, int],
    readers: Mapping[int, list[int]],
) -> Chain:  # fmt: skip
    every = [product, *links]
    return Chain(
        product=product,
        ops=tuple(links),
        work=tuple(_nameless(trace.ops[i]) for i in links),
        needed=tuple(
            any(reader not in after for reader in readers.get(i, ()))
            for i, after in zip(every[:-1], ((link,) for link in links), strict=True)
        ),
        saved=tuple(_gradient_reads_input(trace, i, readers) for i in links),
        operands=tuple(
            tuple(place[dep] for dep in trace.ops[i].deps if place[dep] != before)
            for before, i in zip(every[:-1], links, strict=True)
        ),
    )


def _nameless(op: Op) -> Op:
    return replace(op, name=op.function or op.kind.value, layer="", weight=None, deps=())


def _gradient_reads_input(trace: Trace, place: int, readers: Mapping[int, list[int]]) -> bool:
    op = trace.ops[place]
    if op.function in _GRADIENT_FROM_RESULT:
        return False
    return any(
        reader.function == f"{op.function}.gradient" and reader.reads > reader.elements
        for reader in (trace.ops[i] for i in readers.get(place, ()))
    )


@dataclass(frozen=True)
class Fused:
    """Which operators of a trace are fused, by their places: how much of each chain."""

    parts: tuple[tuple[Chain, int], ...] = ()

    @cached_property
    def host(self) -> dict[int, int]:
        """The place of the product into which each fused operator goes."""
        return {i: chain.product for chain, count in self.parts for i in chain.ops[:count]}

    @cached_property
    def inner(self) -> set[int]:
        """Places of products and operators whose results the next one takes from the tile."""
        return {i for chain, count in self.parts for i in (chain.product, *chain.ops)[:count]}

    @cached_property
    def epilogues(self) -> dict[int, Epilogue]:
        """What follows each product."""
        return {chain.product: chain.epilogue(count) for chain, count in self.parts if count}

    def waits(self, trace: Trace) -> dict[str, tuple[str, ...]]:
        """By the name of each product, those whose results its epilogue reads."""
        return {
            trace.ops[chain.product].name: tuple(trace.ops[i].name for i in chain.waits(count))
            for chain, count in self.parts
            if count
        }


NOTHING_FUSED = Fused()
