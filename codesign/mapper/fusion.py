"""Which element-wise operators could work on the tiles of the product before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

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

    Each can be fused only together with all before it: `epilogue(count)` is that of the first
    `count`.
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
        """Places of the operators whose results the first `count` read beside the product's."""
        return tuple(dict.fromkeys(place for each in self.operands[:count] for place in each))


def chains(trace: Trace) -> list[Chain]:
    """All products with what could follow them; every operator is in one chain at most.

    An operator of two results of products follows the later one, whose tiles find the other whole:
    what comes before that product in the trace, or could be fused into one that does.
    """
    search = _Search(trace)
    found = (search.chain(i) for i, op in enumerate(trace) if op.is_matmul)
    return [chain for chain in found if chain is not None]


class _Search:
    """A walk over the products of a trace in their order."""

    def __init__(self, trace: Trace) -> None:
        self._ops = trace.ops
        place = {op.name: i for i, op in enumerate(trace)}
        self._deps = [[place[dep] for dep in op.deps] for op in trace]
        self._readers: list[list[int]] = [[] for _ in trace]
        for i, deps in enumerate(self._deps):
            for dep in deps:
                self._readers[dep].append(i)
        self._taken: dict[int, int] = {}

    def chain(self, product: int) -> Chain | None:
        """What could follow a product, if anything; it is then taken from later products."""
        links = list(self._follow(product))
        if not links:
            return None
        self._taken.update(dict.fromkeys(links, product))
        steps = list(pairwise([product, *links]))
        return Chain(
            product=product,
            ops=tuple(links),
            work=tuple(_nameless(self._ops[i]) for i in links),
            needed=tuple(any(r != link for r in self._readers[i]) for i, link in steps),
            saved=tuple(self._gradient_reads_input(i) for i in links),
            operands=tuple(tuple(dep for dep in self._deps[link] if dep != i) for i, link in steps),
        )

    def _follow(self, product: int) -> Iterator[int]:
        end: int | None = product
        while end is not None:
            fitting = (i for i in self._readers[end] if self._fits(product, end, i))
            end = next(fitting, None)
            if end is not None:
                yield end

    def _fits(self, product: int, before: int, follower: int) -> bool:
        """Whether an operator can work on each tile as the one before it leaves it."""
        op, head, last = (self._ops[i] for i in (follower, product, before))
        others = [dep for dep in self._deps[follower] if dep != before]
        return (
            follower not in self._taken
            and _in_place(op, head)
            and op.repeats == head.repeats
            and op.elements == head.c_elements == op.writes
            and op.b_writes == 0
            and op.a_dtype == last.c_dtype
            and (op.reads == op.elements or (op.reads > op.elements and bool(others)))
            and all(self._taken.get(other, other) < product for other in others)
        )

    def _gradient_reads_input(self, place: int) -> bool:
        """Whether the gradient of an operator reads what that works on; not what it computes."""
        op = self._ops[place]
        if op.function in _GRADIENT_FROM_RESULT:
            return False
        readers = (self._ops[i] for i in self._readers[place])
        return any(
            reader.function == f"{op.function}.gradient" and reader.reads > reader.elements
            for reader in readers
        )


def _in_place(op: Op, product: Op) -> bool:
    """Whether each element needs itself alone, or its row where a tile can hold one."""
    if op.kind not in (Kind.ELEMENTWISE, Kind.NORM, Kind.SOFTMAX):
        return False
    if op.alu_per_element + op.special_per_element == 0 or op.function in _NOT_IN_PLACE:
        return False
    return op.passes == 1 or (op.function in _ROW_WISE and product.conv is None)


def _nameless(op: Op) -> Op:
    return replace(op, name=op.function or op.kind.value, layer="", weight=None, deps=())


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
        return {chain.product: chain.epilogue(count) for chain, count in self.parts}

    def waits(self, trace: Trace) -> dict[str, tuple[str, ...]]:
        """By the name of each product, those that make what its epilogue reads."""
        return {
            trace.ops[chain.product].name: tuple(
                trace.ops[self.host.get(i, i)].name for i in chain.waits(count)
            )
            for chain, count in self.parts
        }


NOTHING_FUSED = Fused()


def fuse(wanted: Iterable[tuple[Chain, int]]) -> Fused:
    """As much of each chain as is wanted, in their order, and as its operands are ready for.

    An operand that comes after the product in the trace is ready where it is fused itself.
    """
    parts: list[tuple[Chain, int]] = []
    done: set[int] = set()
    for chain, count in wanted:
        for number, operands in enumerate(chain.operands[:count]):
            if any(place > chain.product and place not in done for place in operands):
                count = number
                break
        if count:
            parts.append((chain, count))
            done.update(chain.ops[:count])
    return Fused(tuple(parts))
