"""Is a network that is run through a window the network that is run as one program?"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from codesign import windowed
from codesign.config import CodesignError
from codesign.schedule.network import Network, network
from codesign.schedule.program import MARKER, Order, Program, Steps, Unit
from codesign.sim import Spans, simulate
from codesign.windowed import simulate_spans
from tests.reference.scoreboard_twin import run_steps_by_clock

WINDOWS = (1, 10, 40)


def random_operator(rng: np.random.Generator, units: list[Unit]) -> Program:
    """Stages of some tiles; loads wait for markers, for other tiles or for nothing."""
    steps = Steps(units, ("work",))
    tiles = int(rng.integers(1, 8))
    before: list[np.ndarray] = []
    for stage in range(int(rng.integers(1, 5))):
        own = steps.add(
            units[rng.integers(len(units))].name,
            rng.integers(0, 9, tiles),
            at=np.arange(tiles),
            stage=stage,
            latency_cycles=int(rng.integers(0, 4)),
            action="work",
            count=1,
        )
        if before:
            steps.depend(own, before[-1])
        else:
            for marker in (steps.inputs_ready, steps.engine_ready):
                if rng.random() < 0.8:
                    steps.depend(own[:2], marker)
            steps.depend(own[2:], own[:-2] if rng.random() < 0.8 else steps.engine_ready)
        before.append(own)
    released = before[rng.integers(len(before))][-1:]
    return steps.build(release_after=released, done_after=before[-1])


def random_network(seed: int) -> Network:
    """Some operators, most of them one after the other, on one or two engines."""
    rng = np.random.default_rng(seed)
    units = [
        Unit(f"unit {i}", int(rng.choice([0, 1, 1, 1, 2, 3])), Order(int(rng.integers(2))))
        for i in range(rng.integers(1, 4))
    ]
    programs = [random_operator(rng, units) for _ in range(rng.integers(1, 7))]
    count = int(rng.integers(1, 14))
    follows = rng.random() < 0.7
    deps = []
    for i in range(count):
        own = {int(dep) for dep in rng.integers(0, i, rng.integers(0, 3))} if i else set()
        deps.append(sorted(own or ({i - 1} if i and follows else set())))
    engines = [
        tuple(name for name in ("array", "vector") if rng.random() < 0.6) or ("array",)
        for _ in range(count)
    ]
    chosen = [programs[i] for i in rng.integers(0, len(programs), count)]
    return network(chosen, deps, engines, rng.integers(1, 4, count).tolist())


def by_the_clock(net: Network) -> Spans:
    """Spans of the ticked twin's timeline of the network as one program."""
    program = net.join()
    columns = (
        program.unit, program.busy_cycles, program.latency_cycles, program.dep_ptr, program.dep_idx,
    )  # fmt: skip
    ready, start, end = run_steps_by_clock(
        *(column.tolist() for column in columns),
        [unit.servers for unit in program.units],
        [unit.order for unit in program.units],
    )
    at = net.first.tolist()
    owns = [range(a, b) for a, b in pairwise(at)]
    works = [[start[i] for i in own if program.units[program.unit[i]] != MARKER] for own in owns]
    names = {unit.name: np.flatnonzero(program.unit == i) for i, unit in enumerate(program.units)}
    return Spans(
        cycles=max(end),
        start=np.array([min(*some, end[own[-1]]) for some, own in zip(works, owns, strict=True)]),
        end=np.array([end[own[-1]] for own in owns]),
        busy_cycles={u: int(program.busy_cycles[rows].sum()) for u, rows in names.items()},
        stall_cycles={u: sum(start[i] - ready[i] for i in rows) for u, rows in names.items()},
    )


def assert_equal(got: Spans, expected: Spans) -> None:
    assert got.cycles == expected.cycles
    assert got.start.tolist() == expected.start.tolist()
    assert got.end.tolist() == expected.end.tolist()
    assert got.busy_cycles == expected.busy_cycles
    assert got.stall_cycles == expected.stall_cycles


@pytest.mark.parametrize("block", range(4))
def test_random_networks_equal_their_one_program(block: int) -> None:
    for seed in range(250 * block, 250 * block + 250):
        net = random_network(seed)
        whole = simulate(net.join()).spans(net.first)
        for steps_at_once in WINDOWS:
            assert_equal(simulate_spans(net, steps_at_once), whole)


def test_random_networks_equal_the_clock() -> None:
    for seed in range(12):
        net = random_network(seed)
        for steps_at_once in (1, 10**9):
            assert_equal(simulate_spans(net, steps_at_once), by_the_clock(net))


def chain(length: int) -> Network:
    """Operators of eleven steps, each after the one before it, on one engine."""
    rng = np.random.default_rng(3)
    one = random_operator(rng, [Unit("link", order=Order.ARRIVAL), Unit("array")])
    while len(one) != 11 or (np.diff(one.dep_ptr)[2:] == 0).any():
        one = random_operator(rng, [Unit("link", order=Order.ARRIVAL), Unit("array")])
    return network([one] * length, [[i - 1] if i else [] for i in range(length)],
                   [("array",)] * length, [1] * length)  # fmt: skip


def test_the_window_does_not_grow_with_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = []
    join = Network.join

    def counted(net: Network, begin: int = 0, stop: int | None = None) -> Program:
        joined.append(len(program := join(net, begin, stop)))
        return program

    monkeypatch.setattr(Network, "join", counted)
    simulate_spans(chain(100), 40)
    assert max(joined) <= 2 * 40 + 11
    assert sum(joined) < 4 * 100 * 11


def test_a_run_too_long_to_count_is_refused() -> None:
    net = chain(8)
    long = replace(net.runs[0], busy_cycles=net.runs[0].busy_cycles * 0 + (1 << 58))
    with pytest.raises(CodesignError, match="more than can be counted in 64 bits"):
        simulate_spans(replace(net, runs=(long,) * 8), 20)


def test_small_networks_are_run_as_one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    net = chain(3)
    whole = simulate(net.join()).spans(net.first)
    monkeypatch.setattr(windowed, "resume_steps", None)
    assert_equal(simulate_spans(net, 33), whole)
    with pytest.raises(TypeError):
        simulate_spans(net, 32)
