"""Does the compiled scoreboard give every step the cycles that a ticking clock gives it?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.kernels.scoreboard import run_steps
from tests.reference.scoreboard_twin import run_steps_by_clock


def table(unit, busy, latency, deps, servers, order):
    """Arguments of run_steps from Python lists; `deps` is a list of lists of earlier rows."""
    ptr = np.zeros(len(unit) + 1, dtype=np.int64)
    ptr[1:] = np.cumsum([len(d) for d in deps])
    return (
        np.array(unit, dtype=np.int32),
        np.array(busy, dtype=np.int64),
        np.array(latency, dtype=np.int64),
        ptr,
        np.array([d for row in deps for d in row], dtype=np.int64),
        np.array(servers, dtype=np.int64),
        np.array(order, dtype=np.int8),
    )


def random_program(seed: int, *, by_arrival: bool | None = None):
    """A small program; the seed also draws its kind: how long, how connected, how contended."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 32))
    units = int(rng.integers(1, 6))
    longest = int(rng.choice([0, 1, 3, 7]))
    fan_in = float(rng.choice([0, 0.5, 1, 2, 6]))
    reach = int(rng.choice([1, 3, 1000]))
    servers = rng.choice([0, 1, 1, 1, 2, 3, 12], units)
    order = rng.integers(0, 2, units) if by_arrival is None else np.full(units, int(by_arrival))
    deps = [
        rng.integers(max(0, i - reach), i, rng.poisson(fan_in)).tolist() if i else []
        for i in range(n)
    ]
    return table(
        rng.integers(0, units, n),
        rng.integers(0, longest + 1, n) * (rng.random(n) < rng.choice([0.3, 1.0])),
        rng.integers(0, longest + 1, n) * (rng.random(n) < 0.3),
        deps,
        servers,
        order,
    )


def assert_equals_clock(program) -> None:
    fast = run_steps(*program)
    for name, got, expected in zip(
        ("ready", "start", "end"), fast, run_steps_by_clock(*program), strict=True
    ):
        assert got.dtype == np.int64
        assert got.tolist() == expected, name


@pytest.mark.parametrize("block", range(6))
def test_random_programs_equal_the_clock(block):
    for seed in range(100 * block, 100 * block + 100):
        assert_equals_clock(random_program(seed))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("servers", [0, 1, 2, 9, 10**12])
def test_degenerate_programs_equal_the_clock(servers, order):
    rng = np.random.default_rng(5)
    n = 12
    chain = [[i - 1] if i else [] for i in range(n)]
    star = [[] if i == 0 else [0] for i in range(n)]
    fan_in = [[] for _ in range(n - 1)] + [list(range(n - 1)) * 2]
    for deps in (chain, star, fan_in, [[] for _ in range(n)]):
        for busy in (np.zeros(n), np.ones(n), rng.integers(0, 9, n), np.arange(n)[::-1]):
            for units in (1, 2):
                assert_equals_clock(
                    table(
                        np.arange(n) % units,
                        busy,
                        rng.integers(0, 3, n),
                        deps,
                        [servers] * units,
                        [order] * units,
                    )
                )


def test_empty_program_has_no_steps():
    for units in (0, 2):
        assert [
            len(out) for out in run_steps(*table([], [], [], [], [1] * units, [1] * units))
        ] == [0] * 3


def test_arrival_order_serves_by_ready_cycle_then_row():
    """Rows 1 and 2 reach the link at cycle 5, rows 4 and 5 at cycle 4: the later rows go first."""
    program = table(
        [0, 1, 1, 0, 1, 1],
        [5, 4, 4, 4, 4, 4],
        [0] * 6,
        [[], [0], [0], [], [3], [3]],
        [0, 1],
        [0, 1],
    )
    assert run_steps(*program)[1].tolist() == [0, 12, 16, 0, 4, 8]


def test_later_row_is_served_first_when_it_is_ready_first():
    program = table([0, 1, 1], [9, 4, 4], [0, 0, 0], [[], [0], []], [0, 1], [0, 1])
    assert run_steps(*program)[1].tolist() == [0, 9, 0]
    in_order = table([0, 1, 1], [9, 4, 4], [0, 0, 0], [[], [0], []], [0, 1], [0, 0])
    assert run_steps(*in_order)[1].tolist() == [0, 9, 13]


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10**9))
def test_every_program_keeps_the_laws_of_queues(seed):
    program = random_program(seed)
    unit, busy, latency, dep_ptr, dep_idx, servers, order = program
    ready, start, end = run_steps(*program)
    path = np.zeros(len(unit), dtype=np.int64)
    for i in range(len(unit)):
        deps = dep_idx[dep_ptr[i] : dep_ptr[i + 1]]
        assert ready[i] == max(end[deps], default=0)
        path[i] = max(path[deps], default=0) + busy[i] + latency[i]
    assert np.all(start >= ready)
    assert np.array_equal(end, start + busy + latency)
    assert end.max() >= path.max()
    for u in range(len(servers)):
        rows = np.flatnonzero(unit == u)
        if servers[u] == 0:
            assert np.array_equal(start[rows], ready[rows])
            continue
        served = rows if order[u] == 0 else rows[np.lexsort((rows, ready[rows]))]
        assert np.all(np.diff(start[served]) >= 0)
        assert len(rows) == 0 or end.max() * servers[u] >= busy[rows].sum()
        for cycle in range(int(end.max())):
            held = np.count_nonzero((start[rows] <= cycle) & (cycle < start[rows] + busy[rows]))
            assert held <= servers[u]
            waiting = np.any((ready[rows] <= cycle) & (cycle < start[rows]))
            assert order[u] == 0 or not waiting or held == servers[u], (
                "a link idles beside a waiting step"
            )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(2, 7))
def test_stretching_every_duration_stretches_every_cycle(seed, factor):
    unit, busy, latency, *rest = random_program(seed)
    plain = run_steps(unit, busy, latency, *rest)
    stretched = run_steps(unit, busy * factor, latency * factor, *rest)
    for before, after in zip(plain, stretched, strict=True):
        assert np.array_equal(before * factor, after)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.data())
def test_less_work_or_more_servers_never_delay_a_step_in_program_order(seed, data):
    """Holds for program order only: queues in order of arrival have scheduling anomalies."""
    unit, busy, latency, dep_ptr, dep_idx, servers, order = random_program(seed, by_arrival=False)
    before = run_steps(unit, busy, latency, dep_ptr, dep_idx, servers, order)
    row = data.draw(st.integers(0, len(unit) - 1))
    less = busy.copy()
    less[row] //= 2
    fewer = dep_ptr.copy()
    lost = dep_ptr[row + 1] - dep_ptr[row]
    fewer[row + 1 :] -= lost
    kept_idx = np.delete(dep_idx, slice(dep_ptr[row], dep_ptr[row + 1]))
    more = np.where(servers > 0, servers + 1, 0)
    for changed in (
        run_steps(unit, less, latency, dep_ptr, dep_idx, servers, order),
        run_steps(unit, busy, latency, fewer, kept_idx, servers, order),
        run_steps(unit, busy, latency, dep_ptr, dep_idx, more, order),
    ):
        for after, reference in zip(changed, before, strict=True):
            assert np.all(after <= reference)
