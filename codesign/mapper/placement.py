"""Which core runs which operator: estimates from what each costs alone, and a search over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter, itemgetter

import numpy as np

from codesign.kernels.placement import CUT_ALL, EARLIEST, FRUGAL, finish_by_rule

CUT = -1
"""The choice that cuts an operator over all cores; others are numbers of cores."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operator takes alone; `joules` is the energy that does not grow with time.

    For `link_cycles` of its cycles it holds the shared link.
    """

    cycles: float
    link_cycles: float = 0.0
    joules: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """An operator to place: what it waits for, its kind of unit, and what it costs.

    `alone` is on one core, `cut` over all of them; None where it cannot be cut.
    """

    deps: tuple[int, ...]
    engine: str
    alone: Cost
    cut: Cost | None = None

    def cost(self, choice: int) -> Cost:
        chosen = self.cut if choice == CUT else self.alone
        assert chosen is not None
        return chosen


@dataclass(frozen=True, slots=True)
class Weights:
    """What is minimised: cycles of the whole, and joules that do not grow with them."""

    cycles: float = 1.0
    joules: float = 0.0

    def of(self, cycles: float, joules: float) -> float:
        return self.cycles * cycles + self.joules * joules


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
    joules: float


class _Model:
    """Tasks begin in their order, each when its inputs and its units are there.

    The link serves them in that order, too.
    """

    def __init__(self, tasks: Sequence[Task], cores: int, weights: Weights) -> None:
        self.tasks, self.cores, self.weights = tasks, cores, weights
        engines = sorted({task.engine for task in tasks})
        self.unit = [engines.index(task.engine) for task in tasks]
        self.engines = len(engines)
        last_use = list(range(len(tasks)))
        for i, task in enumerate(tasks):
            for dep in task.deps:
                last_use[dep] = i
        self.live = [
            [i for i in range(done) if last_use[i] >= done] for done in range(len(tasks) + 1)
        ]
        costs = [(task.alone, task.cut or Cost(inf)) for task in tasks]
        self.columns = (
            np.array(self.unit, dtype=np.int64),
            np.array([[cost.cycles for cost in pair] for pair in costs]),
            np.array([[cost.link_cycles for cost in pair] for pair in costs]),
            np.array([[cost.joules for cost in pair] for pair in costs]),
            np.cumsum([0, *(len(task.deps) for task in tasks)], dtype=np.int64),
            np.array([dep for task in tasks for dep in task.deps], dtype=np.int64),
        )

    def begin(self) -> _State:
        row = (0.0,) * self.engines
        return _State((), (row,) * self.cores, 0.0, (), 0.0, 0.0)

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
            state.joules + cost.joules,
        )

    def choices(self, state: _State) -> list[int]:
        """Choices for the next task that differ: equal cores are one."""
        seen: dict[tuple[float, ...], int] = {}
        for core, row in enumerate(state.free):
            seen.setdefault(row, core)
        cut = [CUT] if self.tasks[len(state.choices)].cut is not None else []
        return [*cut, *seen.values()]

    def key(self, state: _State) -> object:
        """Equal for states from which the same can follow, but for names of cores and joules."""
        live = tuple(state.ends[i] for i in self.live[len(state.choices)])
        return tuple(sorted(state.free)), live, state.link_free, state.cycles

    def finished(self, state: _State) -> Placement:
        """The cheapest of what rules of thumb make of a state."""
        done, size = len(state.choices), len(self.tasks)
        ends = np.empty(size)
        for i in self.live[done]:
            ends[i] = state.ends[i]
        start = np.array(state.free)
        tries = []
        for rule in (CUT_ALL, EARLIEST, FRUGAL):
            rest = np.empty(size, dtype=np.int64)
            cycles, joules = finish_by_rule(
                rule, done, *self.columns, start.copy(), state.link_free, ends, rest
            )
            cycles = max(cycles, state.cycles)
            cost = self.weights.of(cycles, state.joules + joules)
            tries.append((cost, cycles, rest))
        cost, cycles, rest = min(tries, key=itemgetter(0))
        return Placement((*state.choices, *rest[done:].tolist()), cycles, cost)


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
    return Placement(state.choices, state.cycles, weights.of(state.cycles, state.joules))


def place(
    tasks: Sequence[Task], cores: int, weights: Weights = Weights(), *, most_states: int
) -> Placement:
    """The cheapest placement by the estimate that is found by following `most_states` at a time.

    List scheduling in the order of the tasks: every continuation of the states that are followed is
    finished by three rules of thumb (cut all that can be cut; end each task as early as possible;
    spend the fewest joules), and those that become cheapest go on. The answer is never worse than
    what a rule makes of all tasks, and the optimum where no more states are alive at once.
    """
    model = _Model(tasks, cores, weights)
    best = model.finished(model.begin())
    states = [model.begin()]
    for _ in tasks:
        following: dict[object, _State] = {}
        for state in states:
            for choice in model.choices(state):
                new = model.after(state, choice)
                key = model.key(new)
                if key not in following or new.joules < following[key].joules:
                    following[key] = new
        states = list(following.values())
        if len(states) > most_states:
            ends = [model.finished(state) for state in states]
            best = min(best, *ends, key=attrgetter("cost"))
            ranked = sorted(range(len(states)), key=lambda i: ends[i].cost)
            states = [states[i] for i in ranked[:most_states]]
    ends = [Placement(s.choices, s.cycles, weights.of(s.cycles, s.joules)) for s in states]
    return min(best, *ends, key=attrgetter("cost"))
