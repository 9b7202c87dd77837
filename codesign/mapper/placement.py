"""Which core runs which operator: estimates from what each costs alone, and a search over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

CUT = -1
"""The choice that cuts an operator over all cores; others are numbers of cores."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operator takes alone: cycles, those for which it holds the shared link, and energy
    that does not grow with time.
    """

    cycles: float
    link_cycles: float = 0.0
    joules: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """An operator to place: what it waits for, its kind of unit, and its costs on one core and cut
    over all; None where it cannot be cut.
    """

    deps: tuple[int, ...]
    engine: str
    alone: Cost
    cut: Cost | None = None

    def cost(self, choice: int) -> Cost:
        chosen = self.cut if choice == CUT else self.alone
        assert chosen is not None
        return chosen

    @property
    def least_cycles(self) -> float:
        return min(self.alone.cycles, inf if self.cut is None else self.cut.cycles)


@dataclass(frozen=True, slots=True)
class Weights:
    """What is minimised: cycles of the whole, and joules that do not grow with them."""

    cycles: float = 1.0
    joules: float = 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """A choice for each task, and what it is estimated to cost."""

    choices: tuple[int, ...]
    cycles: float
    cost: float


@dataclass(frozen=True, slots=True)
class _State:
    """The first tasks as placed: when units and the link are free, when tasks end."""

    choices: tuple[int, ...]
    free: tuple[tuple[float, ...], ...]
    """By core, then by kind of unit."""
    link_free: float
    ends: tuple[float, ...]
    cycles: float
    critical: float
    """The latest end with the longest path of tasks behind it."""
    joules: float


class _Model:
    """Tasks begin in their order, each when its inputs and its units are there, and the link serves
    them in that order, too.
    """

    def __init__(self, tasks: Sequence[Task], cores: int, weights: Weights) -> None:
        self.tasks, self.cores, self.weights = tasks, cores, weights
        engines = sorted({task.engine for task in tasks})
        self.unit = [engines.index(task.engine) for task in tasks]
        self.engines = len(engines)
        self.tail = [0.0] * len(tasks)
        last_use = list(range(len(tasks)))
        for i in reversed(range(len(tasks))):
            for dep in tasks[i].deps:
                behind = tasks[i].least_cycles + self.tail[i]
                self.tail[dep] = max(self.tail[dep], behind)
                last_use[dep] = max(last_use[dep], i)
        self.live = [
            [i for i in range(done) if last_use[i] >= done] for done in range(len(tasks) + 1)
        ]
        self.left = _left(tasks, self.unit, self.engines, cores)

    def begin(self) -> _State:
        row = (0.0,) * self.engines
        return _State((), (row,) * self.cores, 0.0, (), 0.0, 0.0, 0.0)

    def after(self, state: _State, choice: int) -> _State:
        """The state with the next task placed."""
        place = len(state.choices)
        task, unit = self.tasks[place], self.unit[place]
        cost = task.cost(choice)
        held = range(self.cores) if choice == CUT else (choice,)
        ready = max((state.ends[dep] for dep in task.deps), default=0.0)
        start = max(ready, *(state.free[core][unit] for core in held))
        link_free = state.link_free
        end = start + cost.cycles
        if cost.link_cycles:
            link_free = max(link_free, start) + cost.link_cycles
            end = max(end, link_free)
        free = tuple(
            (*row[:unit], end, *row[unit + 1 :]) if core in held else row
            for core, row in enumerate(state.free)
        )
        return _State(
            (*state.choices, choice),
            free,
            link_free,
            (*state.ends, end),
            max(state.cycles, end),
            max(state.critical, end + self.tail[place]),
            state.joules + cost.joules,
        )

    def choices(self, state: _State) -> list[int]:
        """Choices for the next task that differ: equal cores are one."""
        seen: dict[tuple[float, ...], int] = {}
        for core, row in enumerate(state.free):
            seen.setdefault(row, core)
        cut = [CUT] if self.tasks[len(state.choices)].cut is not None else []
        return [*cut, *seen.values()]

    def least(self, state: _State) -> float:
        """What any placement that goes on from a state costs at least."""
        left = self.left[len(state.choices)]
        cycles = max(
            state.critical,
            state.link_free + left.link_cycles if left.link_cycles else 0.0,
            *(
                (sum(row[unit] for row in state.free) + work) / self.cores
                for unit, work in enumerate(left.work_cycles)
                if work
            ),
        )
        joules = state.joules + left.joules
        return self.weights.cycles * cycles + self.weights.joules * joules

    def key(self, state: _State) -> object:
        """Equal for states from which the same can follow, but for names of cores and joules."""
        live = tuple(state.ends[i] for i in self.live[len(state.choices)])
        return tuple(sorted(state.free)), live, state.link_free, state.cycles

    def placement(self, state: _State) -> Placement:
        cost = self.weights.cycles * state.cycles + self.weights.joules * state.joules
        return Placement(state.choices, state.cycles, cost)


@dataclass(frozen=True, slots=True)
class _Left:
    """The least that tasks still to be placed need: of units by kind, of the link, in joules."""

    work_cycles: tuple[float, ...]
    link_cycles: float
    joules: float


def _left(tasks: Sequence[Task], unit: Sequence[int], engines: int, cores: int) -> list[_Left]:
    """What is left before each task, and behind the last."""
    found = [_Left((0.0,) * engines, 0.0, 0.0)]
    for task, own in zip(reversed(tasks), reversed(unit), strict=True):
        costs = [task.alone, *([task.cut] if task.cut is not None else [])]
        held = min(task.alone.cycles, inf if task.cut is None else cores * task.cut.cycles)
        behind = found[-1]
        work = list(behind.work_cycles)
        work[own] += held
        found.append(
            _Left(
                tuple(work),
                behind.link_cycles + min(cost.link_cycles for cost in costs),
                behind.joules + min(cost.joules for cost in costs),
            )
        )
    return found[::-1]


def estimate(
    tasks: Sequence[Task], cores: int, choices: Sequence[int], weights: Weights = Weights()
) -> Placement:
    """What a placement is estimated to cost.

    >>> two = [Task((), "array", Cost(6.0), Cost(4.0))] * 2
    >>> [estimate(two, 2, choices).cycles for choices in ([0, 0], [CUT, CUT], [0, 1])]
    [12.0, 8.0, 6.0]
    """
    model = _Model(tasks, cores, weights)
    state = model.begin()
    for choice in choices:
        state = model.after(state, choice)
    return model.placement(state)


def place(
    tasks: Sequence[Task], cores: int, weights: Weights = Weights(), *, most_states: int | None
) -> Placement:
    """The cheapest placement by the estimate, following the `most_states` most promising ones.

    List scheduling in the order of the tasks: of all continuations of the states that are followed,
    those with the least lower bounds go on (the longest path of tasks behind each end, the work
    that is left over all cores, what the link has yet to move). With one state every task takes the
    choice with the least bound; with None, or where no more states are alive, it is the optimum.
    """
    model = _Model(tasks, cores, weights)
    states = [model.begin()]
    for _ in tasks:
        following: dict[object, _State] = {}
        for state in states:
            for choice in model.choices(state):
                new = model.after(state, choice)
                key = model.key(new)
                if key not in following or new.joules < following[key].joules:
                    following[key] = new
        states = sorted(following.values(), key=model.least)[:most_states]
    return min(map(model.placement, states), key=lambda found: found.cost)
